package vercelaws

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// cleanAWS removes the machine's AWS settings, and points the shared files at
// a folder of the test's, which it returns.
func cleanAWS(t *testing.T) string {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "") // restored after the test
			require.NoError(t, os.Unsetenv(name))
		}
	}
	folder := t.TempDir()
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(folder, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(folder, "credentials"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	return folder
}

// defaultClient builds the client that a provider without Options.Client has.
func defaultClient(t *testing.T) (*sts.Client, error) {
	t.Helper()
	c, err := clientOf(nil).sts(t.Context())
	if err != nil {
		return nil, err
	}
	return c.(*sts.Client), nil
}

// endpoint is where the client sends its calls.
func endpoint(t *testing.T, c *sts.Client) string {
	t.Helper()
	var got *url.URL
	_, err := c.AssumeRoleWithWebIdentity(t.Context(), &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String(testRole), RoleSessionName: aws.String("s1"), WebIdentityToken: aws.String("token"),
	}, func(o *sts.Options) {
		o.Retryer = aws.NopRetryer{}
		o.HTTPClient = roundTripper(func(r *http.Request) (*http.Response, error) {
			got = r.URL
			assert.Empty(t, r.Header.Get("Authorization"), "the call is not signed")
			return nil, context.Canceled
		})
	})
	require.Error(t, err)
	require.NotNil(t, got, "%v", err)
	return got.Host
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) Do(r *http.Request) (*http.Response, error) { return f(r) }

func TestDefaultClientReadsTheEnvironment(t *testing.T) {
	cases := []struct {
		name string
		env  map[string]string
		file string
		want string
	}{
		{"nothing set", nil, "", "sts.us-east-1.amazonaws.com"},
		{"AWS_REGION", map[string]string{"AWS_REGION": "eu-central-1"}, "", "sts.eu-central-1.amazonaws.com"},
		{"AWS_DEFAULT_REGION", map[string]string{"AWS_DEFAULT_REGION": "eu-west-1"}, "", "sts.eu-west-1.amazonaws.com"},
		{"both", map[string]string{"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-west-1"}, "", "sts.eu-central-1.amazonaws.com"},
		{"China", map[string]string{"AWS_REGION": "cn-north-1"}, "", "sts.cn-north-1.amazonaws.com.cn"},
		{"endpoint", map[string]string{"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:9"}, "", "127.0.0.1:9"},
		{"FIPS", map[string]string{"AWS_REGION": "us-east-1", "AWS_USE_FIPS_ENDPOINT": "true"}, "", "sts-fips.us-east-1.amazonaws.com"},
		{"dual-stack", map[string]string{"AWS_REGION": "eu-west-1", "AWS_USE_DUALSTACK_ENDPOINT": "true"}, "", "sts.eu-west-1.api.aws"},
		{"config file", nil, "[default]\nregion = ap-south-1\n", "sts.ap-south-1.amazonaws.com"},
		{"profile of the config file", map[string]string{"AWS_PROFILE": "x"}, "[profile x]\nregion = ap-south-1\n", "sts.ap-south-1.amazonaws.com"},
		{"profile of the credentials file alone", map[string]string{"AWS_PROFILE": "only-credentials"}, "", "sts.us-east-1.amazonaws.com"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			folder := cleanAWS(t)
			require.NoError(t, os.WriteFile(filepath.Join(folder, "credentials"), []byte("[only-credentials]\naws_access_key_id = AKIASTORED\naws_secret_access_key = stored\n"), 0o600))
			if c.file != "" {
				require.NoError(t, os.WriteFile(filepath.Join(folder, "config"), []byte(c.file), 0o600))
			}
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			client, err := defaultClient(t)
			require.NoError(t, err)
			assert.Equal(t, c.want, endpoint(t, client))
		})
	}
}

func TestDefaultClientNeedsNoReadableCredentials(t *testing.T) {
	folder := cleanAWS(t)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "credentials"), []byte("[default\nnonsense"), 0o600))
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "environment")
	client, err := defaultClient(t)
	require.NoError(t, err)
	endpoint(t, client) // checks that the call is not signed
}

func TestDefaultClientSaysWhatIsWrong(t *testing.T) {
	isolate(t)
	cleanAWS(t)
	t.Setenv("AWS_CA_BUNDLE", filepath.Join(t.TempDir(), "missing.pem"))
	_, err := NewProvider(testRole).Retrieve(fromRequest(mint(t, "a")))
	require.ErrorContains(t, err, "vercelaws: cannot make an STS client from the environment")
	assert.ErrorContains(t, err, "missing.pem")
}

func TestDefaultClientTrustsTheCABundle(t *testing.T) {
	isolate(t)
	cleanAWS(t)
	w := newSTS(t)
	target, err := url.Parse(w.URL)
	require.NoError(t, err)
	secure := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(target))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // the refused handshake is the test's own
	secure.StartTLS()
	defer secure.Close()
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	require.NoError(t, os.WriteFile(bundle, certificate, 0o600))

	t.Setenv("AWS_ENDPOINT_URL_STS", secure.URL)
	_, err = NewProvider(testRole).Retrieve(fromRequest(mint(t, "a")))
	require.ErrorContains(t, err, "certificate")

	t.Setenv("AWS_CA_BUNDLE", bundle)
	_, err = NewProvider(testRole).Retrieve(fromRequest(mint(t, "a")))
	require.NoError(t, err)
}

// newSTS is a server that gives anyone credentials.
func newSTS(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>` +
			`<AccessKeyId>ASIAX</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration>` +
			`</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`))
	}))
	t.Cleanup(server.Close)
	return server
}
