//go:build go1.25

package vercelaws

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/stsclient"
	"github.com/vercelaws/vercelaws/refresh"
	"github.com/vercelaws/vercelaws/ststest"
)

// cleanAWS removes the machine's AWS settings.
func cleanAWS(t *testing.T) {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "") // restored after the test
			require.NoError(t, os.Unsetenv(name))
		}
	}
}

// A cold start whose first region accepts and never answers.
func TestASilentRegion(t *testing.T) {
	for _, fallback := range []string{"", "us-west-2"} {
		t.Run(fallback, func(t *testing.T) {
			isolate(t)
			cleanAWS(t)
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, true)
				defer w.close()
				silent := ststest.NewServer(func(o *ststest.Options) { o.InMemory = true })
				defer silent.Close()
				silent.SetFault(ststest.Always(ststest.Fault{Hang: true}))

				f := newFetcher(testRole, Options{})
				f.client = stsclient.New(stsclient.Options{RoleARN: testRole, FallbackRegion: fallback, Override: func(o *sts.Options) {
					server := w.sts
					if o.Region == "us-east-1" {
						server = silent
					}
					o.BaseEndpoint, o.HTTPClient = aws.String(server.URL), server.Client()
				}})
				p := refresh.NewCredentialsCache(f)
				start := time.Now()
				_, err := p.Retrieve(fromRequest(w.issuer.Mint()))
				if fallback != "" {
					require.NoError(t, err)
					assert.LessOrEqual(t, time.Since(start), 1500*time.Millisecond)
				} else {
					var failed *AssumeRoleError
					require.ErrorAs(t, err, &failed)
					assert.LessOrEqual(t, time.Since(start), 10*time.Second)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

func TestAWrongEnvironmentOrRegionIsNamed(t *testing.T) {
	cases := []struct{ variable, value, fallback, says string }{
		{"AWS_CA_BUNDLE", "/nowhere/missing.pem", "", "AWS_CA_BUNDLE"},
		{"AWS_MAX_ATTEMPTS", "abc", "", "AWS_MAX_ATTEMPTS"},
		{"AWS_RETRY_MODE", "standart", "", "standard or adaptive"},
		{"AWS_ENDPOINT_URL_STS", "sts.example.com", "", "https://sts.eu-central-1.amazonaws.com"},
		{"AWS_REGION", "us-east-1", "us-east-1", "us-east-1"},
		{"AWS_REGION", "us-east-1", "cn-north-1", "cn-north-1"},
		{"AWS_REGION", "us-east-1", "no region", "no region"},
	}
	for _, c := range cases {
		t.Run(c.variable+c.fallback, func(t *testing.T) {
			isolate(t)
			cleanAWS(t)
			t.Setenv(c.variable, c.value)
			p := NewProvider(testRole, func(o *Options) { o.FallbackRegion = c.fallback })
			_, err := p.Retrieve(fromRequest(""))
			require.ErrorAs(t, err, new(*ConfigError), "also where there is no token")
			_, err = p.Retrieve(fromRequest(mint(t, "a")))
			require.ErrorContains(t, err, c.says)
			var bad *ConfigError
			require.ErrorAs(t, err, &bad)
			want := c.variable
			if c.fallback != "" {
				want = "Options.FallbackRegion"
			}
			assert.Equal(t, want, bad.Setting)
			assert.NotErrorAs(t, err, new(*AssumeRoleError))
			assert.NotContains(t, err.Error(), "try again")
		})
	}
}

func TestWarningsAreLogged(t *testing.T) {
	isolate(t)
	cleanAWS(t)
	t.Setenv("AWS_PROFILE", "other")
	synctest.Test(t, func(t *testing.T) {
		log := &recorder{}
		NewProvider(testRole, log.option)
		synctest.Wait()
		assert.Contains(t, log.String(), "AWS_PROFILE")
		silent := &recorder{}
		NewProvider(testRole, silent.option, withClient(newFakeSTS()))
		synctest.Wait()
		assert.Empty(t, silent.String())
	})
}
