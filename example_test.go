package vercelaws_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
)

// One provider serves all requests of an instance.
var identity = sts.New(sts.Options{
	Region:      "us-east-1",
	Credentials: vercelaws.NewProvider(os.Getenv("AWS_ROLE_ARN")),
})

// A Vercel function passes oidc.RequestContext(r) to SDK calls.
func Example() {
	handler := func(w http.ResponseWriter, r *http.Request) {
		out, err := identity.GetCallerIdentity(oidc.RequestContext(r), nil)
		if err != nil {
			http.Error(w, "no AWS identity", http.StatusBadGateway)
			return
		}
		fmt.Fprintln(w, *out.Arn)
	}
	http.HandleFunc("/", handler)
}

// With config.LoadDefaultConfig, every client made from the config shares the
// provider.
func ExampleNewProvider_config() {
	provider := vercelaws.NewProvider(os.Getenv("AWS_ROLE_ARN"), func(o *vercelaws.Options) {
		o.Preconnect = true
		o.Duration = time.Hour
		o.Logger = slog.Default()
	})
	cfg, err := config.LoadDefaultConfig(context.Background(),
		config.WithCredentialsProvider(provider),
		config.WithAPIOptions([]func(*middleware.Stack) error{vercelaws.InvalidateDeadCredentials(provider)}))
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = sts.NewFromConfig(cfg)
}

// An error says what to change, and a program can tell the cases apart.
func ExampleAssumeRoleError() {
	issuer := oidctest.NewServer()
	defer issuer.Close()
	expired := issuer.Mint(func(c *oidctest.Claims) { c.Expiry = time.Now().Add(-time.Hour) })

	provider := vercelaws.NewProvider("arn:aws:iam::123456789012:role/web")
	_, err := provider.Retrieve(oidc.ContextWithToken(context.Background(), expired))

	var wrong *vercelaws.ConfigError
	var asked *vercelaws.AssumeRoleError
	var exchange *oidc.ExchangeError
	switch {
	case errors.As(err, &wrong):
		fmt.Println("mend the setting:", wrong.Setting)
	case errors.As(err, &asked) && asked.Temporary():
		fmt.Println("STS could not be asked; ask again later")
	case errors.As(err, &asked):
		fmt.Println("STS refused:", asked.Code, asked.Advice())
	case errors.As(err, &exchange):
		fmt.Println("Vercel did not exchange the token")
	case errors.Is(err, oidc.ErrExpired):
		fmt.Println("the token has expired; STS was not asked")
	case errors.Is(err, oidc.ErrNoToken), errors.Is(err, oidc.ErrMalformed):
		fmt.Println("no token")
	}
	// Output: the token has expired; STS was not asked
}
