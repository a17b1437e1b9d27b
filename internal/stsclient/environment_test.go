package stsclient

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/testenv"
)

const testRole = "arn:aws:iam::123456789012:role/web"

// setenv sets these variables, and clears all others that a Client reads.
func setenv(t testing.TB, vars map[string]string) {
	t.Helper()
	testenv.HideAWS(t)
	for name, value := range vars {
		t.Setenv(name, value)
	}
}

func TestSettingsSayWhereTheyComeFrom(t *testing.T) {
	setenv(t, nil)
	s, err := Resolve(Options{RoleARN: testRole})
	require.NoError(t, err)
	assert.Equal(t, Settings{
		Region:      Setting[string]{Value: "us-east-1"},
		Endpoint:    Setting[string]{Value: "https://sts.us-east-1.amazonaws.com"},
		RetryMode:   Setting[string]{Value: "standard"},
		MaxAttempts: Setting[int]{Value: 3},
	}, s)

	setenv(t, map[string]string{
		"AWS_DEFAULT_REGION": "eu-central-1", "AWS_USE_FIPS_ENDPOINT": "TRUE", "AWS_USE_DUALSTACK_ENDPOINT": "true",
		"AWS_RETRY_MODE": "adaptive", "AWS_MAX_ATTEMPTS": "7", "AWS_SDK_UA_APP_ID": "web",
		"AWS_ENDPOINT_URL": "http://nowhere.invalid", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
	})
	s, err = Resolve(Options{RoleARN: testRole, FallbackRegion: "eu-west-1"})
	require.NoError(t, err)
	assert.Equal(t, Settings{
		Region:         Setting[string]{"eu-central-1", "AWS_DEFAULT_REGION"},
		Endpoint:       Setting[string]{Value: "https://sts-fips.eu-central-1.api.aws"},
		FIPS:           Setting[bool]{true, "AWS_USE_FIPS_ENDPOINT"},
		DualStack:      Setting[bool]{true, "AWS_USE_DUALSTACK_ENDPOINT"},
		RetryMode:      Setting[string]{"adaptive", "AWS_RETRY_MODE"},
		MaxAttempts:    Setting[int]{7, "AWS_MAX_ATTEMPTS"},
		AppID:          Setting[string]{"web", "AWS_SDK_UA_APP_ID"},
		FallbackRegion: "eu-west-1", FallbackEndpoint: "https://sts-fips.eu-west-1.api.aws",
	}, s)
}

func TestBadValuesAreNamed(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, []byte("no certificate"), 0o600))
	for name, test := range map[string]struct {
		vars     map[string]string
		fallback string
		says     []string
	}{
		"region":             {map[string]string{"AWS_REGION": "us east"}, "", []string{"AWS_REGION", `"us east"`}},
		"default region":     {map[string]string{"AWS_DEFAULT_REGION": "-x"}, "", []string{"AWS_DEFAULT_REGION"}},
		"FIPS":               {map[string]string{"AWS_USE_FIPS_ENDPOINT": "yes"}, "", []string{"AWS_USE_FIPS_ENDPOINT", `"yes"`, "true or false"}},
		"dual-stack":         {map[string]string{"AWS_USE_DUALSTACK_ENDPOINT": "1"}, "", []string{"AWS_USE_DUALSTACK_ENDPOINT", "true or false"}},
		"ignored":            {map[string]string{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "1"}, "", []string{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true or false"}},
		"retry mode":         {map[string]string{"AWS_RETRY_MODE": "legacy"}, "", []string{"AWS_RETRY_MODE", "standard or adaptive"}},
		"attempts":           {map[string]string{"AWS_MAX_ATTEMPTS": "many"}, "", []string{"AWS_MAX_ATTEMPTS", "whole number"}},
		"endpoint":           {map[string]string{"AWS_ENDPOINT_URL_STS": "localhost:9000"}, "", []string{"AWS_ENDPOINT_URL_STS", "https://"}},
		"endpoint for all":   {map[string]string{"AWS_ENDPOINT_URL": "/path"}, "", []string{"AWS_ENDPOINT_URL"}},
		"two":                {map[string]string{"AWS_RETRY_MODE": "x", "AWS_MAX_ATTEMPTS": "y"}, "", []string{"AWS_RETRY_MODE", "AWS_MAX_ATTEMPTS"}},
		"no file":            {map[string]string{"AWS_CA_BUNDLE": empty + "x"}, "", []string{"AWS_CA_BUNDLE", empty + "x"}},
		"no certificate":     {map[string]string{"AWS_CA_BUNDLE": empty}, "", []string{"AWS_CA_BUNDLE", "PEM"}},
		"FIPS of endpoint":   {map[string]string{"AWS_ENDPOINT_URL": "http://a", "AWS_USE_FIPS_ENDPOINT": "true"}, "", []string{"AWS_ENDPOINT_URL", "AWS_USE_FIPS_ENDPOINT"}},
		"FIPS region of it":  {map[string]string{"AWS_ENDPOINT_URL": "http://a", "AWS_REGION": "us-east-1-fips"}, "", []string{"AWS_ENDPOINT_URL", "AWS_REGION"}},
		"dual-stack of it":   {map[string]string{"AWS_ENDPOINT_URL": "http://a", "AWS_USE_DUALSTACK_ENDPOINT": "true"}, "", []string{"AWS_ENDPOINT_URL", "AWS_USE_DUALSTACK_ENDPOINT"}},
		"fallback unknown":   {nil, "mars-north-1", []string{"FallbackRegion", "mars-north-1"}},
		"fallback misspelt":  {nil, "US-WEST-2", []string{"FallbackRegion", "US-WEST-2"}},
		"fallback the same":  {map[string]string{"AWS_REGION": "us-west-2"}, "us-west-2", []string{"FallbackRegion", "us-west-2"}},
		"fallback by name":   {map[string]string{"AWS_REGION": "fips-us-west-2"}, "us-west-2", []string{"FallbackRegion", "us-west-2"}},
		"fallback elsewhere": {nil, "cn-north-1", []string{"FallbackRegion", "aws-cn"}},
		"fallback endpoint":  {map[string]string{"AWS_ENDPOINT_URL_STS": "http://a"}, "us-west-2", []string{"FallbackRegion", "AWS_ENDPOINT_URL_STS"}},
	} {
		t.Run(name, func(t *testing.T) {
			setenv(t, test.vars)
			o := Options{RoleARN: testRole, FallbackRegion: test.fallback}
			_, err := Resolve(o)
			require.Error(t, err)
			for _, want := range test.says {
				assert.ErrorContains(t, err, want)
			}
			_, fromCall := New(o).AssumeRoleWithWebIdentity(t.Context(), nil)
			assert.EqualError(t, fromCall, err.Error())
		})
	}
}

func TestPasswordInAnEndpointIsNotShown(t *testing.T) {
	for _, value := range []string{"https://user:pass word@host", "user:hunter2@host", "ftp://user:hunter2@host"} {
		setenv(t, map[string]string{"AWS_ENDPOINT_URL_STS": value})
		_, err := Resolve(Options{RoleARN: testRole})
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "hunter2")
		assert.NotContains(t, err.Error(), "pass")
	}
	setenv(t, map[string]string{"AWS_ENDPOINT_URL_STS": "https://user:hunter2@host"})
	s, err := Resolve(Options{RoleARN: testRole})
	require.NoError(t, err)
	assert.Equal(t, "https://host", s.Endpoint.Value, "as the SDK sends it")
}

// The environment is read at the first use, and again after a failure.
func TestFailureIsNotRemembered(t *testing.T) {
	var agent string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent = r.UserAgent()
		w.WriteHeader(http.StatusForbidden)
	}))
	defer server.Close()
	c := New(Options{RoleARN: testRole})
	bundle := filepath.Join(t.TempDir(), "roots.pem")
	setenv(t, map[string]string{"AWS_ENDPOINT_URL_STS": server.URL, "AWS_CA_BUNDLE": bundle, "AWS_SDK_UA_APP_ID": "myapp"})
	_, err := assumeRole(t, c)
	require.ErrorContains(t, err, "AWS_CA_BUNDLE")

	require.NoError(t, os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	_, err = assumeRole(t, c)
	require.ErrorContains(t, err, "403")
	assert.Contains(t, agent, "app/myapp")

	t.Setenv("AWS_CA_BUNDLE", "")
	_, err = assumeRole(t, New(Options{RoleARN: testRole}))
	require.ErrorContains(t, err, "certificate", "the system's roots do not have it")
}

func TestWarnings(t *testing.T) {
	setenv(t, nil)
	assert.Empty(t, Warnings())
	setenv(t, map[string]string{"AWS_PROFILE": "web", "AWS_CONFIG_FILE": "/etc/aws"})
	require.Len(t, Warnings(), 2)
	assert.Contains(t, Warnings()[0], "AWS_PROFILE")
	assert.Contains(t, Warnings()[1], "AWS_CONFIG_FILE")
}

// The table of partitions is the SDK's.
func TestPartitionsAreTheSDKs(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2").Output()
	require.NoError(t, err)
	data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "internal", "endpoints", "awsrulesfn", "partitions.json"))
	require.NoError(t, err)
	var sdk struct {
		Partitions []struct {
			ID      string
			Regions map[string]any
			Outputs struct{ ImplicitGlobalRegion string }
		}
	}
	require.NoError(t, json.Unmarshal(data, &sdk))
	require.Len(t, sdk.Partitions, len(partitions))
	for _, p := range sdk.Partitions {
		assert.Equal(t, p.Outputs.ImplicitGlobalRegion, DefaultRegion("arn:"+p.ID+":iam::123456789012:role/web"))
		for region := range p.Regions {
			if !strings.HasSuffix(region, "-global") {
				assert.Equal(t, p.ID, partitionOf(region), region)
			}
		}
	}
	for _, arn := range []string{"arn:minio:iam:::role/x", "arn", ""} {
		assert.Equal(t, "us-east-1", DefaultRegion(arn))
	}
	for _, region := range []string{"", "-", "us", "us-east", "us--1", "us-east-", "us-east-x", "us-east-1-fips", "us-$-1", "moon-east-1", "us-gov-x-west-1"} {
		assert.Empty(t, partitionOf(region), region)
	}
}
