package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
)

func TestJudgeClock(t *testing.T) {
	there := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		off    time.Duration
		status Status
		says   string
	}{
		"right":          {900 * time.Millisecond, OK, "agrees"},
		"a little ahead": {30 * time.Second, OK, "30s ahead of"},
		"ahead":          {2 * time.Minute, Warning, "2m0s ahead of"},
		"behind":         {-2 * time.Minute, Warning, "2m0s behind"},
		"far ahead":      {10 * time.Minute, Failed, "10m0s ahead of"},
		"far behind":     {-25 * time.Hour, Failed, "25h0m0s behind"},
	} {
		t.Run(name, func(t *testing.T) {
			c := Check{Status: OK}
			judgeClock(&c, there.Format(http.TimeFormat), there.Add(test.off))
			assert.Equal(t, test.status, c.Status)
			assert.Contains(t, c.Details[0], test.says)
			assert.Equal(t, test.status != OK, len(c.ToDo) > 0)
		})
	}
	for _, date := range []string{"", "yesterday"} {
		c := Check{Status: OK}
		judgeClock(&c, date, there)
		assert.Equal(t, OK, c.Status)
		assert.Contains(t, c.Details[0], "no date")
	}
}

// The token that names an issuer is not verified when the issuer is asked.
func TestWorthAsking(t *testing.T) {
	for issuer, want := range map[string]bool{
		"https://oidc.vercel.com/acme":      true,
		"http://127.0.0.1:8080/acme":        true,
		"http://[::1]:8080":                 true,
		"http://oidc.vercel.com/acme":       false,
		"http://169.254.169.254/latest":     false,
		"http://127.0.0.1.example.com/acme": false,
		"file:///etc/passwd":                false,
		"https://":                          false,
		"acme":                              false,
		"":                                  false,
		"https://a b":                       false,
	} {
		assert.Equal(t, want, worthAsking(issuer), issuer)
	}
}

// Whatever an issuer does, the check ends, fails and says so.
func TestIssuerFaults(t *testing.T) {
	good := oidctest.NewServer()
	defer good.Close()
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		says   string
	}{
		"not found": {http.NotFound, "404"},
		"garbage":   {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "\x1b[2Jgarbage") }, "discovery fails"},
		"redirect":  {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, good.URL, http.StatusFound) }, "redirects"},
		"another's": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"issuer": "https://example.com"}`) }, "discovery fails"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write([]byte(strings.Repeat(" ", 1<<16))); err != nil {
					return
				}
			}
		}, "discovery fails"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(test.answer)
			defer server.Close()
			raw := good.Mint(func(c *oidctest.Claims) { c.Issuer = server.URL })
			token, err := oidc.ParseUnverified(raw)
			require.NoError(t, err)
			e := &examination{token: token}
			c := e.checkIssuer(t.Context())
			assert.Equal(t, Failed, c.Status)
			assert.Contains(t, c.Summary, test.says)
			assert.Less(t, len(c.Summary), 1000)
			assert.NotEmpty(t, c.ToDo)
			assert.NotContains(t, c.Summary, raw)
		})
	}
}

// What servers and unverified tokens say cannot drive a terminal.
func TestReportIsPlainText(t *testing.T) {
	var r Report
	r.add(Check{Name: "issuer", Status: Failed, Summary: "\x1b[31mred\rtwo\nlines", Details: []string{"bell\a"}, ToDo: []string{"wipe\u009b2J\nall"}})
	var b strings.Builder
	require.NoError(t, r.WriteText(&b))
	assert.Equal(t, "failed   issuer        \ufffd[31mred\ufffdtwo\n"+
		strings.Repeat(" ", 23)+"lines\n"+
		strings.Repeat(" ", 23)+"bell\ufffd\n"+
		strings.Repeat(" ", 23)+"to do: wipe\ufffd2J\n"+
		strings.Repeat(" ", 30)+"all\n", b.String())
	assert.False(t, r.Healthy)
}

func TestCleanKeepsTheTokenOut(t *testing.T) {
	issuer := oidctest.NewServer()
	defer issuer.Close()
	raw := issuer.Mint()
	token, err := oidc.ParseUnverified(raw)
	require.NoError(t, err)
	e := &examination{token: token}
	assert.Equal(t, `"refused [token]!"`, e.clean(errors.New("refused "+raw+"!")))
	assert.LessOrEqual(t, len(e.clean(errors.New(strings.Repeat("ä", 5000)))), 610)
	assert.Equal(t, `"plain"`, (&examination{}).clean(errors.New("plain")))
}

// With an audience, STS sees an exchanged token, whose issuer is the team's.
func TestClaimsOfAnExchangedToken(t *testing.T) {
	e := &examination{token: oidc.Token{
		Issuer: "https://oidc.vercel.com", Subject: "owner:acme:project:web:environment:production",
		Audience: []string{"https://vercel.com/acme"}, Owner: "acme",
	}}
	issuer, _, audience := e.claims()
	assert.Equal(t, "https://oidc.vercel.com", issuer)
	assert.Equal(t, []string{"https://vercel.com/acme"}, audience)
	e.Audience = "https://sts.amazonaws.com"
	issuer, _, audience = e.claims()
	assert.Equal(t, "https://oidc.vercel.com/acme", issuer)
	assert.Equal(t, []string{"https://sts.amazonaws.com"}, audience)
}

// A run that is cancelled ends, and says of each check that it failed.
func TestRunEndsWithItsContext(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // an issuer that takes connections, and answers nothing
	require.NoError(t, err)
	defer silent.Close()
	issuer := oidctest.NewServer()
	defer issuer.Close()
	token, err := oidc.ParseUnverified(issuer.Mint(func(c *oidctest.Claims) { c.Issuer = "http://" + silent.Addr().String() }))
	require.NoError(t, err)
	t.Setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_PROFILE", "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	report := Run(ctx, Options{
		RoleARN: "arn:aws:iam::123456789012:role/web",
		Source:  oidc.TokenSourceFunc(func(context.Context) (oidc.Token, error) { return token, nil }),
	})
	assert.False(t, report.Healthy)
	status := map[string]Status{}
	for _, c := range report.Checks {
		status[c.Name] = c.Status
	}
	assert.Equal(t, Failed, status["issuer"])
	assert.Equal(t, Failed, status["sts"])
	assert.Equal(t, Failed, status["role"])
}
