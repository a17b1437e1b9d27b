// Command fiber is a server of fiber's that lists a bucket, and writes an object
// after the answer.
package main

import (
	"cmp"
	"context"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/gofiber/fiber/v2"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
)

func main() {
	provider := vercelaws.NewProvider(os.Getenv("AWS_ROLE_ARN"))
	cfg, err := config.LoadDefaultConfig(context.Background(), config.WithCredentialsProvider(provider))
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(routes(s3.NewFromConfig(cfg)).Listen(":" + cmp.Or(os.Getenv("PORT"), "3000")))
}

func routes(client *s3.Client) *fiber.App {
	app := fiber.New(fiber.Config{ReadBufferSize: 32 << 10})
	app.Use(func(c *fiber.Ctx) error {
		ctx := oidc.HeaderContext(c.UserContext(), func(name string) string { return c.Get(name) })
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		c.SetUserContext(ctx)
		return c.Next()
	})
	app.Get("/photos", func(c *fiber.Ctx) error {
		out, err := client.ListObjectsV2(c.UserContext(), &s3.ListObjectsV2Input{Bucket: aws.String("photos")})
		if err != nil {
			log.Print(err)
			return fiber.NewError(http.StatusBadGateway, "cannot list the photos")
		}
		keys := []string{}
		for _, o := range out.Contents {
			keys = append(keys, *o.Key)
		}
		return c.JSON(keys)
	})
	app.Post("/photos/:name/views", func(c *fiber.Ctx) error {
		name := strings.Clone(c.Params("name"))
		ctx := oidc.Detach(c.UserContext())
		go func() {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			if err := view(ctx, client, name); err != nil {
				log.Print(err)
			}
		}()
		return c.SendStatus(http.StatusAccepted)
	})
	return app
}

// view records that a photo was looked at.
func view(ctx context.Context, client *s3.Client, name string) error {
	_, err := client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String("photos"),
		Key:    aws.String("views/" + name),
		Body:   strings.NewReader(time.Now().UTC().Format(time.RFC3339)),
	})
	return err
}
