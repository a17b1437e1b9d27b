package doctor

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/testenv"
)

const role = "arn:aws:iam::123456789012:role/web"

// setenv sets these variables, and clears all others that matter.
func setenv(t *testing.T, vars map[string]string) {
	t.Helper()
	testenv.HideAWS(t)
	t.Setenv("HOME", t.TempDir())
	t.Setenv("USERPROFILE", os.Getenv("HOME"))
	for name, value := range vars {
		t.Setenv(name, value)
	}
}

// regions has STS of each region answer at a server, or nowhere. Any other
// region's does not answer either.
func regions(servers map[string]*httptest.Server) func(*sts.Options) {
	return func(o *sts.Options) {
		if o.BaseEndpoint != nil {
			return
		}
		o.BaseEndpoint = aws.String("http://127.0.0.1:1")
		if s := servers[o.Region]; s != nil {
			o.BaseEndpoint = aws.String(s.URL)
		}
	}
}

func answering(t *testing.T, asked *int) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if asked != nil {
			*asked++
		}
		assert.Equal(t, http.MethodHead, r.Method)
		assert.Empty(t, r.Header.Get("Authorization"))
	}))
	t.Cleanup(s.Close)
	return s
}

func TestSTSInTwoRegions(t *testing.T) {
	for name, test := range map[string]struct {
		first, second bool
		status        Status
		todo          string
		then          string // the region that the checks after it ask
	}{
		"both":    {true, true, OK, "", "eu-central-1"},
		"first":   {true, false, Warning, "what keeps the second region away", "eu-central-1"},
		"second":  {false, true, Warning, "why the first region does not answer", "eu-west-1"},
		"neither": {false, false, Failed, "check AWS_REGION", "eu-central-1"},
	} {
		t.Run(name, func(t *testing.T) {
			setenv(t, map[string]string{"AWS_REGION": "eu-central-1"})
			servers := map[string]*httptest.Server{}
			if test.first {
				servers["eu-central-1"] = answering(t, nil)
			}
			if test.second {
				servers["eu-west-1"] = answering(t, nil)
			}
			e := &examination{Options: Options{RoleARN: role, FallbackRegion: "eu-west-1"}, override: regions(servers)}
			c := e.checkSTS(t.Context())
			assert.Equal(t, test.status, c.Status, "%+v", c)
			assert.Equal(t, test.then, e.config.Region)
			assert.Contains(t, strings.Join(c.ToDo, "\n"), test.todo)
			says := map[bool]string{true: "answers within", false: "does not answer"}
			assert.Regexp(t, "^http://127.0.0.1:[0-9]+ in eu-central-1 "+says[test.first]+".*; http://127.0.0.1:[0-9]+ in eu-west-1 "+says[test.second], c.Summary)
		})
	}
}

func TestSTSIsAskedOnce(t *testing.T) {
	setenv(t, nil)
	asked := 0
	e := &examination{Options: Options{RoleARN: role}, override: regions(map[string]*httptest.Server{"us-east-1": answering(t, &asked)})}
	c := e.checkSTS(t.Context())
	assert.Equal(t, 1, asked, "the library's way and this command's are the same")
	assert.Equal(t, Warning, c.Status)
	assert.Equal(t, []string{"set AWS_REGION: the clients of most AWS services do nothing without it"}, c.ToDo)
}

// Each setting is shown with what says it, and a password with nothing.
func TestSTSShowsWhatTheLibraryTakes(t *testing.T) {
	server := answering(t, nil)
	host := strings.TrimPrefix(server.URL, "http://")
	setenv(t, map[string]string{
		"AWS_DEFAULT_REGION": "eu-central-1", "AWS_ENDPOINT_URL": "http://user:hunter2@" + host,
		"AWS_RETRY_MODE": "adaptive", "AWS_MAX_ATTEMPTS": "-1", "AWS_SDK_UA_APP_ID": "web",
	})
	e := &examination{Options: Options{RoleARN: role}}
	c := e.checkSTS(t.Context())
	assert.Equal(t, OK, c.Status, "%+v", c)
	assert.Equal(t, []string{
		"without Options.Client, the library takes:",
		"  region       eu-central-1, from AWS_DEFAULT_REGION",
		"  endpoint     " + server.URL + ", from AWS_ENDPOINT_URL",
		"  FIPS         no, by default",
		"  dual-stack   no, by default",
		"  retry mode   adaptive, from AWS_RETRY_MODE",
		"  attempts     no limit, from AWS_MAX_ATTEMPTS",
		"  CA           the system's, by default",
		`  app ID       "web", from AWS_SDK_UA_APP_ID`,
		"the local clock agrees with it",
	}, c.Details)

	t.Setenv("AWS_ENDPOINT_URL", "http://user:hunter2@127.0.0.1:1")
	refused := e.checkSTS(t.Context())
	assert.Equal(t, Failed, refused.Status)
	t.Setenv("AWS_ENDPOINT_URL", "user:hunter2@host")
	bad := e.checkSTS(t.Context())
	assert.Equal(t, Failed, bad.Status)
	for _, c := range []Check{c, refused, bad} {
		var text strings.Builder
		require.NoError(t, Report{Checks: []Check{c}}.WriteText(&text))
		assert.NotContains(t, text.String(), "hunter2")
	}
}

func TestSTSBeyondTheEnvironment(t *testing.T) {
	first, other := answering(t, nil), answering(t, nil)
	setenv(t, map[string]string{"AWS_REGION": "eu-central-1"})
	file := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(file, []byte("[profile web]\nendpoint_url = "+other.URL+"\n"), 0o600))
	t.Setenv("AWS_CONFIG_FILE", file)
	t.Setenv("AWS_PROFILE", "web")
	e := &examination{Options: Options{RoleARN: role}, override: regions(map[string]*httptest.Server{"eu-central-1": first})}
	c := e.checkSTS(t.Context())
	assert.Equal(t, Warning, c.Status, "%+v", c)
	assert.Contains(t, c.Summary, first.URL+" in eu-central-1 answers")
	assert.Contains(t, strings.Join(c.Details, "\n"), "asks another endpoint: "+other.URL)
	todo := strings.Join(c.ToDo, "\n")
	for _, says := range []string{"AWS_PROFILE is set", "AWS_CONFIG_FILE is set", "this command reads it", "the library does not read that file"} {
		assert.Contains(t, todo, says)
	}
	assert.True(t, e.hasSTS)

	// Where the profile leads elsewhere, the library's second region is not for
	// this command.
	e = &examination{Options: Options{RoleARN: role, FallbackRegion: "eu-west-1"}, override: regions(map[string]*httptest.Server{"eu-west-1": first})}
	c = e.checkSTS(t.Context())
	assert.Equal(t, Warning, c.Status, "%+v", c)
	assert.Equal(t, "eu-central-1", e.config.Region)

	e = &examination{Options: Options{RoleARN: role}, override: regions(map[string]*httptest.Server{"eu-central-1": first})}
	// A profile that is not there hinders this command, and not the library.
	t.Setenv("AWS_PROFILE", "missing")
	e = &examination{Options: Options{RoleARN: role}, override: e.override}
	c = e.checkSTS(t.Context())
	assert.Equal(t, Failed, c.Status)
	assert.Contains(t, c.Summary, "the AWS settings do not load")
	assert.Contains(t, c.Summary, "in eu-central-1 answers")
	assert.False(t, e.hasSTS)
}

func TestSTSNamesWhatIsWrong(t *testing.T) {
	for name, test := range map[string]struct {
		vars     map[string]string
		fallback string
		says     []string
	}{
		"a variable":        {map[string]string{"AWS_RETRY_MODE": "legacy"}, "", []string{`AWS_RETRY_MODE is "legacy"`, "do not load"}},
		"no region's name":  {nil, "mars-north-1", []string{`--fallback-region is "mars-north-1"`}},
		"the first again":   {map[string]string{"AWS_REGION": "eu-west-1"}, "eu-west-1", []string{"--fallback-region", "so is the first"}},
		"another partition": {nil, "cn-north-1", []string{"--fallback-region", "aws-cn"}},
		"an endpoint":       {map[string]string{"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1"}, "eu-west-1", []string{"AWS_ENDPOINT_URL_STS"}},
	} {
		t.Run(name, func(t *testing.T) {
			setenv(t, test.vars)
			e := &examination{Options: Options{RoleARN: role, FallbackRegion: test.fallback}, override: regions(nil)}
			c := e.checkSTS(t.Context())
			assert.Equal(t, Failed, c.Status)
			for _, says := range test.says {
				assert.Contains(t, c.Summary, says)
			}
			assert.NotEmpty(t, c.ToDo)
		})
	}
}

// Vercel sets AWS_REGION to the function's own region, whatever the role.
func TestSTSOfTheRolesPartition(t *testing.T) {
	const role = "arn:aws-us-gov:iam::123456789012:role/web"
	for _, reachable := range []bool{true, false} {
		setenv(t, map[string]string{"AWS_REGION": "us-east-1"})
		servers := map[string]*httptest.Server{}
		if reachable {
			servers["us-gov-west-1"] = answering(t, nil)
		}
		e := &examination{Options: Options{RoleARN: role}, override: regions(servers)}
		c := e.checkSTS(t.Context())
		assert.Equal(t, map[bool]Status{true: Warning, false: Failed}[reachable], c.Status, "%+v", c)
		assert.Contains(t, c.Summary, "in us-gov-west-1")
		assert.NotContains(t, c.Summary, "us-east-1")
		assert.Contains(t, strings.Join(c.ToDo, "\n"), `AWS_REGION is "us-east-1", which is of another partition than the role, so STS is asked in us-gov-west-1`)
		assert.Contains(t, strings.Join(c.Details, "\n"), "us-gov-west-1, of the role's partition: AWS_REGION is of another")
		assert.Equal(t, "us-gov-west-1", e.config.Region)
	}
}

func TestSTSNamesOptInRegions(t *testing.T) {
	for region, vercel := range map[string]string{"ap-east-1": "hkg1", "af-south-1": "cpt1", "eu-central-1": ""} {
		setenv(t, map[string]string{"AWS_REGION": region})
		e := &examination{Options: Options{RoleARN: role}, override: regions(map[string]*httptest.Server{region: answering(t, nil)})}
		c := e.checkSTS(t.Context())
		assert.Equal(t, OK, c.Status)
		details := strings.Join(c.Details, "\n")
		if vercel == "" {
			assert.NotContains(t, details, "opt-in")
			continue
		}
		assert.Contains(t, details, region+" (Vercel's "+vercel+") is an opt-in region")
	}
}

// MinIO and Ceph have no GetCallerIdentity.
func TestIdentityOfAStoreThatDoesNotTell(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		want   Status
	}{
		"MinIO":            {405, `<?xml version="1.0"?><Error><Code>MethodNotAllowed</Code><Message>The specified method is not allowed against this resource.</Message></Error>`, Unknown},
		"Ceph":             {400, `<ErrorResponse><Error><Code>InvalidAction</Code><Message>no</Message></Error></ErrorResponse>`, Unknown},
		"another":          {501, ``, Unknown},
		"a fault":          {500, `<ErrorResponse><Error><Code>InternalFailure</Code></Error></ErrorResponse>`, Failed},
		"dead credentials": {403, `<ErrorResponse><Error><Code>InvalidClientTokenId</Code></Error></ErrorResponse>`, Failed},
	} {
		t.Run(name, func(t *testing.T) {
			setenv(t, nil)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(test.status)
				fmt.Fprint(w, test.body)
			}))
			defer server.Close()
			e := &examination{
				Options:  Options{RoleARN: role},
				config:   aws.Config{Region: "us-east-1", RetryMaxAttempts: 1},
				provider: aws.NewCredentialsCache(credentials.NewStaticCredentialsProvider("ASIA", "secret", "session")),
				override: regions(map[string]*httptest.Server{"us-east-1": server}),
			}
			c := e.checkIdentity(t.Context())
			assert.Equal(t, test.want, c.Status, "%+v", c)
			var r Report
			r.add(c)
			assert.Equal(t, test.want == Unknown, r.Healthy)
		})
	}
}
