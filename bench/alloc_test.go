//go:build !race

// The race detector has sync.Pool drop items at random, and so the counts vary.

package bench

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
)

// canned is an STS that gives everyone the same credentials, and allocates
// nothing while it does. Each request comes in one piece over loopback.
func canned(t *testing.T) (url string) {
	t.Helper()
	body := fmt.Sprintf(`<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
		strings.Repeat("t", 900), time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nDate: %s\r\nContent-Length: %d\r\n\r\n%s", time.Now().UTC().Format(time.RFC1123), len(body), body)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for request := make([]byte, 64<<10); ; {
					if _, err := c.Read(request); err != nil {
						return
					}
					if _, err := c.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return "http://" + listener.Addr().String()
}

// TestAllocationsOfAColdRetrieve counts what a fetch allocates beside plain
// stscreds, each with its default HTTP client. The count does not depend on the
// machine.
func TestAllocationsOfAColdRetrieve(t *testing.T) {
	const most = 1.18
	r, url := newRig(t), canned(t)
	t.Setenv("AWS_REGION", "us-east-1")
	t.Setenv("AWS_ENDPOINT_URL_STS", url)
	t.Setenv("AWS_CA_BUNDLE", "")
	ctx := oidc.ContextWithToken(context.Background(), r.token)
	count := func(p *aws.CredentialsCache) float64 {
		return testing.AllocsPerRun(500, func() {
			p.Invalidate()
			_, err := p.Retrieve(ctx)
			require.NoError(t, err)
		})
	}
	ours := count(vercelaws.NewProvider(role))
	client := sts.New(sts.Options{Region: "us-east-1", BaseEndpoint: aws.String(url)})
	theirs := count(aws.NewCredentialsCache(stscreds.NewWebIdentityRoleProvider(client, role, fixed(r.token))))
	t.Logf("%.0f allocations, of stscreds %.0f: %.3f", ours, theirs, ours/theirs)
	require.LessOrEqual(t, ours/theirs, most)
}
