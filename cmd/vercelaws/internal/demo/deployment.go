package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/ststest"
)

// deployment is a function on Vercel: a handler that asks AWS who it is.
type deployment struct {
	provider *aws.CredentialsCache
	server   *httptest.Server
	log      chan error // the handler's errors
}

// answer is the body of the handler's answer.
type answer struct {
	Account string `json:"account"`
	ARN     string `json:"arn"`
}

// deploy starts a deployment. Its token source is a function, so that it has the
// token of the request alone. The deployments of the demo share a process, and with
// oidc.FromRequest itself a refused one would try the tokens of the other's requests.
func deploy(aws *ststest.Server) *deployment {
	d := &deployment{log: make(chan error, 1)}
	d.provider = vercelaws.NewProvider(roleARN, func(o *vercelaws.Options) {
		o.Client = aws.STS()
		o.TokenSource = oidc.TokenSourceFunc(oidc.FromRequest().Token)
	})
	client := aws.STS(func(o *sts.Options) { o.Credentials = d.provider })
	d.server = httptest.NewServer(oidc.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		identity, err := client.GetCallerIdentity(r.Context(), &sts.GetCallerIdentityInput{})
		if err != nil {
			d.log <- err
			http.Error(w, "AWS refused", http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer{*identity.Account, *identity.Arn})
	})))
	return d
}

// request sends a request with a token, as Vercel's proxy does.
func (d *deployment) request(ctx context.Context, token string) (status int, a answer, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.server.URL+"/api/whoami", nil)
	if err != nil {
		return 0, a, err
	}
	r.Header.Set(oidc.Header, token)
	response, err := d.server.Client().Do(r)
	if err != nil {
		return 0, a, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<16)) // 64 KiB
	if err != nil {
		return 0, a, err
	}
	if response.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, &a); err != nil {
			return 0, a, fmt.Errorf("the handler's answer: %w", err)
		}
	}
	return response.StatusCode, a, nil
}
