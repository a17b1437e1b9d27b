// Command echo is a server of echo's that lists a bucket.
package main

import (
	"cmp"
	"context"
	"log"
	"net/http"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/labstack/echo/v4"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
)

func main() {
	provider := vercelaws.NewProvider(os.Getenv("AWS_ROLE_ARN"))
	cfg, err := config.LoadDefaultConfig(context.Background(), config.WithCredentialsProvider(provider))
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(routes(s3.NewFromConfig(cfg)).Start(":" + cmp.Or(os.Getenv("PORT"), "3000")))
}

func routes(client *s3.Client) *echo.Echo {
	e := echo.New()
	e.Use(echo.WrapMiddleware(oidc.Middleware))
	e.GET("/photos", func(c echo.Context) error {
		out, err := client.ListObjectsV2(c.Request().Context(), &s3.ListObjectsV2Input{Bucket: aws.String("photos")})
		if err != nil {
			log.Print(err)
			return echo.NewHTTPError(http.StatusBadGateway, "cannot list the photos")
		}
		keys := []string{}
		for _, o := range out.Contents {
			keys = append(keys, *o.Key)
		}
		return c.JSON(http.StatusOK, keys)
	})
	return e
}
