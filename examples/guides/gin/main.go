// Command gin is a server of gin's that lists a bucket.
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
	"github.com/gin-gonic/gin"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
)

func main() {
	provider := vercelaws.NewProvider(os.Getenv("AWS_ROLE_ARN"))
	cfg, err := config.LoadDefaultConfig(context.Background(), config.WithCredentialsProvider(provider))
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(routes(s3.NewFromConfig(cfg)).Run(":" + cmp.Or(os.Getenv("PORT"), "3000")))
}

func routes(client *s3.Client) *gin.Engine {
	r := gin.Default()
	r.Use(func(c *gin.Context) {
		c.Request = c.Request.WithContext(oidc.RequestContext(c.Request))
	})
	r.GET("/photos", func(c *gin.Context) {
		out, err := client.ListObjectsV2(c.Request.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("photos")})
		if err != nil {
			log.Print(err)
			c.JSON(http.StatusBadGateway, gin.H{"error": "cannot list the photos"})
			return
		}
		keys := []string{}
		for _, o := range out.Contents {
			keys = append(keys, *o.Key)
		}
		c.JSON(http.StatusOK, keys)
	})
	return r
}
