package vercelaws_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
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

// A handler acts in the account of the customer who has signed in. The role is
// that customer's by the program's own records, and the session name is one that
// the program uses for no other customer. Each customer's trust policy demands
// it:
//
//	"Condition": {"StringEquals": {
//	    "oidc.vercel.com/acme:aud": "https://vercel.com/acme",
//	    "oidc.vercel.com/acme:sub": "owner:acme:project:web:environment:production",
//	    "sts:RoleSessionName": "customer-7f3a"}}
//
// So a customer who enters the ARN of another customer's role gets AccessDenied.
// The identifier is the program's choice, tells customers nothing, and never
// changes.
func ExampleProviders_For() {
	var records interface {
		// CustomerOf returns the customer who has signed in.
		CustomerOf(r *http.Request) (id string, err error)
		// RoleOf returns the customer's role. No two customers have the same.
		RoleOf(id string) (roleARN string, err error)
		// OwnerOf returns the customer whose role it is.
		OwnerOf(roleARN string) (id string)
	}

	roles := vercelaws.NewProviders(func(roleARN string, o *vercelaws.Options) {
		o.RoleSessionName = "customer-" + records.OwnerOf(roleARN)
	})

	http.HandleFunc("GET /account", func(w http.ResponseWriter, r *http.Request) {
		customer, err := records.CustomerOf(r) // never an ARN that the request names
		if err != nil {
			http.Error(w, "sign in first", http.StatusUnauthorized)
			return
		}
		roleARN, err := records.RoleOf(customer)
		if err != nil {
			http.Error(w, "no role", http.StatusNotFound)
			return
		}
		client := sts.New(sts.Options{Region: os.Getenv("AWS_REGION"), Credentials: roles.For(roleARN)})
		identity, err := client.GetCallerIdentity(oidc.RequestContext(r), &sts.GetCallerIdentityInput{})
		if err != nil {
			http.Error(w, "your role does not admit us", http.StatusBadGateway)
			return
		}
		_ = json.NewEncoder(w).Encode(identity.Arn)
	})
}

// A program that acts for other parties, each with a token of its own, has a
// provider for each party: a provider has one set of credentials, which all who
// ask it get.
func ExampleNewProvider_otherParties() {
	type party struct {
		token       func(context.Context) (string, error) // a Vercel OIDC token of the party's
		credentials *aws.CredentialsCache
	}
	newParty := func(roleARN string, token func(context.Context) (string, error)) *party {
		return &party{token, vercelaws.NewProvider(roleARN, func(o *vercelaws.Options) {
			o.TokenSource = oidc.FromRequest() // nothing of this program's own
		})}
	}
	identity := func(ctx context.Context, p *party) (*sts.GetCallerIdentityOutput, error) {
		raw, err := p.token(ctx)
		if err != nil {
			return nil, err
		}
		client := sts.New(sts.Options{Region: os.Getenv("AWS_REGION"), Credentials: p.credentials})
		return client.GetCallerIdentity(oidc.ContextWithToken(ctx, raw), &sts.GetCallerIdentityInput{})
	}
	_, _ = newParty, identity
}
