// Command worker is a server that also works through an SQS queue, whose address
// is in QUEUE_URL.
package main

import (
	"cmp"
	"context"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
)

// pause is how long the worker waits after a failure.
const pause = time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	provider := vercelaws.NewProvider(os.Getenv("AWS_ROLE_ARN"), func(o *vercelaws.Options) {
		o.Duration = 12 * time.Hour
	})
	cfg, err := config.LoadDefaultConfig(ctx, config.WithCredentialsProvider(provider))
	if err != nil {
		log.Fatal(err)
	}
	var workers sync.WaitGroup
	workers.Add(1)
	go func() {
		defer workers.Done()
		work(ctx, sqs.NewFromConfig(cfg), os.Getenv("QUEUE_URL"), func(_ context.Context, body string) error {
			log.Print("a message: ", body)
			return nil
		})
	}()

	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	server := &http.Server{Addr: ":" + cmp.Or(os.Getenv("PORT"), "3000"), Handler: oidc.Middleware(http.DefaultServeMux)}
	go func() {
		<-ctx.Done()
		_ = server.Shutdown(context.Background())
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	workers.Wait()
}

// work gives the messages of a queue to do, until ctx ends. A message for which
// do fails comes again.
func work(ctx context.Context, client *sqs.Client, queue string, do func(ctx context.Context, body string) error) {
	for ctx.Err() == nil {
		out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: aws.String(queue), MaxNumberOfMessages: 10, WaitTimeSeconds: 20,
		})
		if err != nil {
			if !errors.Is(err, oidc.ErrNoToken) { // there was no request yet that brought one
				log.Print(err)
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			continue
		}
		for _, message := range out.Messages {
			if err := do(ctx, aws.ToString(message.Body)); err != nil {
				log.Print(err)
				continue
			}
			if _, err := client.DeleteMessage(ctx, &sqs.DeleteMessageInput{
				QueueUrl: aws.String(queue), ReceiptHandle: message.ReceiptHandle,
			}); err != nil {
				log.Print(err)
			}
		}
	}
}
