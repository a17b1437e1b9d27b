package e2e

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithyendpoints "github.com/aws/smithy-go/endpoints"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/http1"
	"github.com/vercelaws/vercelaws/internal/stsclient"
	"github.com/vercelaws/vercelaws/internal/testenv"
)

// reach is how an STS client reaches STS.
type reach struct {
	URL             string // where the call goes
	Region          string
	FIPS, DualStack bool
	RetryMode       aws.RetryMode
	Attempts        int
	AppID           string
	roots           *x509.CertPool
}

// caller is an STS client, ours or the SDK's.
type caller interface {
	AssumeRoleWithWebIdentity(context.Context, *sts.AssumeRoleWithWebIdentityInput, ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error)
}

var errNotSent = errors.New("not sent")

// reachOf has the client make a call that is not sent, and looks on.
func reachOf(c caller) (r reach, err error) {
	_, err = c.AssumeRoleWithWebIdentity(context.Background(), &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String("role"), RoleSessionName: aws.String("name"), WebIdentityToken: aws.String("token"),
	}, func(o *sts.Options) {
		r.RetryMode, r.Attempts, r.AppID = o.RetryMode, o.Retryer.MaxAttempts(), o.AppID
		switch client := o.HTTPClient.(type) {
		case *http1.Transport:
			r.roots = client.Roots()
		case *awshttp.BuildableClient:
			r.roots = client.GetTransport().TLSClientConfig.RootCAs
		}
		o.EndpointResolverV2 = watched{o.EndpointResolverV2, &r}
		o.Retryer = aws.NopRetryer{}
		o.HTTPClient = unsent{&r}
	})
	if !errors.Is(err, errNotSent) {
		return reach{}, err
	}
	if !strings.HasPrefix(r.URL, "http://") && !strings.HasPrefix(r.URL, "https://") {
		return reach{}, fmt.Errorf("cannot be sent to %q", r.URL)
	}
	return r, nil
}

type watched struct {
	sts.EndpointResolverV2
	r *reach
}

func (w watched) ResolveEndpoint(ctx context.Context, p sts.EndpointParameters) (smithyendpoints.Endpoint, error) {
	w.r.Region, w.r.FIPS, w.r.DualStack = aws.ToString(p.Region), aws.ToBool(p.UseFIPS), aws.ToBool(p.UseDualStack)
	return w.EndpointResolverV2.ResolveEndpoint(ctx, p)
}

type unsent struct{ r *reach }

func (u unsent) Do(request *http.Request) (*http.Response, error) {
	u.r.URL = request.URL.String()
	return nil, errNotSent
}

// variables are the values that an environment can have, the first of each
// being the usual one.
func variables(t *testing.T) map[string][]string {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		return path
	}
	roots := write("roots.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	return map[string][]string{
		"AWS_REGION":                          {"", "eu-central-1", "us-east-1", "us-gov-west-1", "cn-north-1", "eusc-de-east-1", "us-iso-east-1", "aws-global", "us-east-1-fips", "fips-us-west-2", "mars-north-1", "US-EAST-1", "no region", "-x"},
		"AWS_DEFAULT_REGION":                  {"", "ap-south-1", "b@d"},
		"AWS_ENDPOINT_URL_STS":                {"", "", "", "https://sts.example.com", "http://127.0.0.1:9000/path", "localhost:9000", "://", "/path"},
		"AWS_ENDPOINT_URL":                    {"", "", "", "https://all.example.com:8443", "nowhere"},
		"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": {"", "true", "False", "1"},
		"AWS_USE_FIPS_ENDPOINT":               {"", "true", "false", "TRUE", "yes"},
		"AWS_USE_DUALSTACK_ENDPOINT":          {"", "true", "false", "True", "on"},
		"AWS_CA_BUNDLE":                       {"", "", roots, filepath.Join(dir, "missing.pem"), write("empty.pem", nil)},
		"AWS_RETRY_MODE":                      {"", "standard", "adaptive", "Adaptive", "legacy"},
		"AWS_MAX_ATTEMPTS":                    {"", "1", "5", "0", "-1", " 3", "many"},
		"AWS_SDK_UA_APP_ID":                   {"", "web"},
		"AWS_DEFAULTS_MODE":                   {"", "standard", "in-region", "mobile", "fast"},
		"AWS_STS_REGIONAL_ENDPOINTS":          {"", "legacy", "bad"},
		"AWS_S3_USE_ARN_REGION":               {"", "bad"},
		"AWS_PROFILE":                         {"", "", "web", "missing"},
	}
}

// environments are made so that each two values of two variables meet.
func environments(t *testing.T, all map[string][]string) []map[string]string {
	t.Helper()
	var names []string
	for _, name := range []string{
		"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
		"AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_CA_BUNDLE", "AWS_RETRY_MODE", "AWS_MAX_ATTEMPTS",
		"AWS_SDK_UA_APP_ID", "AWS_DEFAULTS_MODE", "AWS_STS_REGIONAL_ENDPOINTS", "AWS_S3_USE_ARN_REGION", "AWS_PROFILE",
	} {
		require.Contains(t, all, name)
		names = append(names, name)
	}
	require.Len(t, all, len(names))

	random := rand.New(rand.NewPCG(1, 2))
	var made []map[string]string
	for i, a := range names { // each pair, all others as usual
		for _, b := range names[i+1:] {
			for _, x := range all[a] {
				for _, y := range all[b] {
					made = append(made, map[string]string{a: x, b: y})
				}
			}
		}
	}
	for range 500 { // all at once, mostly with good values
		env := map[string]string{}
		for _, name := range names {
			values := all[name]
			if random.IntN(3) > 0 {
				values = values[:(len(values)+1)/2]
			}
			env[name] = values[random.IntN(len(values))]
		}
		made = append(made, env)
	}
	return made
}

// The differences to config.LoadDefaultConfig, as docs/sts.md lists them.
const (
	noRegion   = "no region: one of the role's partition is taken"
	otherFault = "a bad value of a variable that is not read is no error"
	configFile = "the shared config file is not read"
	elsewhere  = "a region of another partition than the role's is not asked"
)

// Our client reaches STS as one does that is made of the SDK's config, in
// whatever environment, but for the differences that are listed.
func TestSTSEnvironment(t *testing.T) {
	home := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(home, ".aws"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(home, ".aws", "config"), []byte("[profile web]\nregion = sa-east-1\n"), 0o600))
	testenv.HideAWS(t)
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	variables := variables(t)
	for name := range variables {
		t.Setenv(name, "") // so that it is put back in the end
	}

	roles := []string{"arn:aws:iam::1:role/x", "arn:aws-cn:iam::1:role/x", "arn:aws-us-gov:iam::1:role/x", "arn:aws-eusc:iam::1:role/x", "arn:minio:iam:::role/x"}
	defaults := []string{"us-east-1", "cn-northwest-1", "us-gov-west-1", "eusc-de-east-1", "us-east-1"}
	seen := map[string]int{}
	both := 0
	environments := environments(t, variables)
	require.GreaterOrEqual(t, len(environments), 300)
	for i, env := range environments {
		for name := range variables {
			require.NoError(t, os.Setenv(name, env[name]))
		}
		role := roles[i%len(roles)]
		ours, ourErr := reachOf(stsclient.New(stsclient.Options{RoleARN: role}))

		// What theirs would be, but for the differences.
		var theirs reach
		load := func() error {
			cfg, err := config.LoadDefaultConfig(context.Background(), config.WithCredentialsProvider(aws.AnonymousCredentials{}))
			if err != nil {
				return err
			}
			theirs, err = reachOf(sts.NewFromConfig(cfg))
			return err
		}
		theirErr := load()
		correct := func(difference, name, value string) {
			require.NoError(t, os.Setenv(name, value))
			before, beforeErr := theirs, theirErr
			theirErr = load()
			if (beforeErr == nil) != (theirErr == nil) || before.URL != theirs.URL || before.Region != theirs.Region {
				seen[difference]++
			}
		}
		if env["AWS_PROFILE"] != "" {
			correct(configFile, "AWS_PROFILE", "")
		}
		for _, name := range []string{"AWS_DEFAULTS_MODE", "AWS_S3_USE_ARN_REGION"} {
			if env[name] != "" {
				correct(otherFault, name, "")
			}
		}
		if env["AWS_REGION"] == "" && env["AWS_DEFAULT_REGION"] == "" {
			correct(noRegion, "AWS_REGION", defaults[i%len(roles)])
		}

		if is, err := stsclient.Resolve(stsclient.Options{RoleARN: role}); err == nil && is.Elsewhere.Value != "" {
			correct(elsewhere, "AWS_REGION", defaults[i%len(roles)])
		}

		if theirErr != nil {
			if assert.Error(t, ourErr, "%v: theirs: %v", env, theirErr) {
				assert.Contains(t, ourErr.Error(), "AWS_", "the variable is named")
			}
			continue
		}
		if !assert.NoError(t, ourErr, "%v", env) {
			continue
		}
		both++
		assert.True(t, ours.roots == nil && theirs.roots == nil || ours.roots != nil && ours.roots.Equal(theirs.roots), "roots in %v", env)
		ours.roots, theirs.roots = nil, nil
		assert.Equal(t, theirs, ours, "%v", env)

		// What doctor shows is what is done.
		require.NoError(t, os.Setenv("AWS_REGION", env["AWS_REGION"]))
		settings, err := stsclient.Resolve(stsclient.Options{RoleARN: role})
		require.NoError(t, err)
		assert.Equal(t, strings.TrimSuffix(ours.URL, "/"), settings.Endpoint.Value)
		assert.Equal(t, ours, reach{
			URL: ours.URL, Region: settings.Region.Value, FIPS: settings.FIPS.Value, DualStack: settings.DualStack.Value,
			RetryMode: aws.RetryMode(settings.RetryMode.Value), Attempts: settings.MaxAttempts.Value, AppID: settings.AppID.Value,
		})
	}
	t.Logf("%d environments, %d of them good; differences seen: %v", len(environments), both, seen)
	assert.Greater(t, both, 300)
	for _, difference := range []string{noRegion, otherFault, configFile, elsewhere} {
		assert.NotZero(t, seen[difference], "a difference that does not occur is none: %s", difference)
	}
}
