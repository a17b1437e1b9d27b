package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/ststest"
)

const metricsToken = "a-token-of-the-scraper"

// scrape reads the metrics of an example server as Prometheus does.
func scrape(t *testing.T, address, authorization string) (families map[string]*dto.MetricFamily, status int) {
	t.Helper()
	request, err := http.NewRequestWithContext(within(t, patience), http.MethodGet, "http://"+address+"/metrics", nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", authorization)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, response.StatusCode
	}
	textParser := expfmt.NewTextParser(model.UTF8Validation)
	families, err = textParser.TextToMetricFamilies(response.Body)
	require.NoError(t, err)
	return families, response.StatusCode
}

// value sums the series of a metric that have the labels, given as name=value.
func value(families map[string]*dto.MetricFamily, name string, labels ...string) (sum float64) {
	for _, series := range families[name].GetMetric() {
		has := map[string]bool{}
		for _, pair := range series.GetLabel() {
			has[pair.GetName()+"="+pair.GetValue()] = true
		}
		all := true
		for _, label := range labels {
			all = all && has[label]
		}
		if all {
			sum += series.GetCounter().GetValue() + series.GetGauge().GetValue()
		}
	}
	return sum
}

// TestExampleServerMetrics looks at the metrics while credentials roll over,
// are rejected, and cannot be had.
func TestExampleServerMetrics(t *testing.T) {
	t.Parallel() // it waits for most of its time
	const life = 20 * time.Second
	s := newServices(t, life)
	base, address, _ := startExampleServer(t, s, "METRICS_TOKEN="+metricsToken)
	for _, wrong := range []string{"", metricsToken, "Bearer ", "Bearer " + metricsToken + "x"} {
		_, status := scrape(t, address, wrong)
		assert.Equal(t, http.StatusUnauthorized, status, "%q", wrong)
	}
	get := func() int {
		response, err := http.Get(base + "/photos")
		require.NoError(t, err)
		response.Body.Close()
		return response.StatusCode
	}
	var now map[string]*dto.MetricFamily
	// until asks for photos until the metrics say what is expected.
	until := func(what string, expected func(status int) bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) { // a client's own work
			status := get()
			var scraped int
			now, scraped = scrape(t, address, "Bearer "+metricsToken)
			require.Equal(t, http.StatusOK, scraped)
			if expected(status) {
				return
			}
			require.True(t, time.Now().Before(deadline), "%s: status %d, metrics %v", what, status, now)
		}
	}
	const refreshes, failures = "aws_credentials_refreshes_total", "aws_credentials_failures_total"
	until("the first credentials", func(status int) bool {
		require.Equal(t, http.StatusOK, status)
		return value(now, refreshes, "reason=missing") == 1
	})
	seconds := value(now, "aws_credentials_expiry_seconds")
	assert.Greater(t, seconds, 0.0)
	assert.LessOrEqual(t, seconds, life.Seconds())
	assert.Contains(t, now, "aws_credentials_rejected_total")
	assert.Contains(t, now, "aws_credentials_dropped_events_total")
	assert.NotContains(t, now, failures)

	until("a roll-over", func(status int) bool {
		require.Equal(t, http.StatusOK, status)
		return value(now, refreshes, "reason=expiring") == 1
	})
	assert.Zero(t, value(now, "aws_credentials_rejected_total"))

	s.sts.RevokeAll()
	until("a rejection", func(status int) bool {
		return status == http.StatusOK && value(now, "aws_credentials_rejected_total") == 1
	})
	assert.NotContains(t, now, failures)

	s.sts.SetFault(ststest.Always(ststest.Fault{Status: 503, Code: "ServiceUnavailable"}))
	until("a refresh that fails", func(status int) bool {
		require.Equal(t, http.StatusOK, status, "the old credentials serve")
		return value(now, failures, "reason=expiring", "code=ServiceUnavailable") >= 1
	})
	until("requests without credentials", func(status int) bool {
		return status == http.StatusServiceUnavailable && value(now, failures, "reason=missing", "code=ServiceUnavailable") >= 1
	})
	assert.Less(t, value(now, "aws_credentials_expiry_seconds"), 0.0)

	// The alert rules ask for what the server has.
	rules, problems := rulefmt.ParseFile(filepath.Join("..", "examples", "server", "alerts.yml"), false, model.UTF8Validation)
	require.Empty(t, problems)
	for _, rule := range rules.Groups[0].Rules {
		expression, err := parser.ParseExpr(rule.Expr)
		require.NoError(t, err)
		asked := 0
		parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
			if selector, ok := node.(*parser.VectorSelector); ok {
				asked++
				assert.Contains(t, now, selector.Name, rule.Alert)
			}
			return nil
		})
		assert.NotZero(t, asked, rule.Alert)
	}
}

// TestExampleServerHasNoMetricsWithoutToken asks for them at an address that is
// public.
func TestExampleServerHasNoMetricsWithoutToken(t *testing.T) {
	_, address, _ := startExampleServer(t, newServices(t, time.Hour))
	for _, authorization := range []string{"", "Bearer ", "Bearer x"} {
		_, status := scrape(t, address, authorization)
		assert.Equal(t, http.StatusNotFound, status)
	}
}

// TestAlertsHaveAPlace holds each alert to a section of docs/operations.md.
func TestAlertsHaveAPlace(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	require.NoError(t, err)
	rules, problems := rulefmt.ParseFile(filepath.Join("..", "examples", "server", "alerts.yml"), false, model.UTF8Validation)
	require.Empty(t, problems)
	require.Len(t, rules.Groups, 1)
	for _, rule := range rules.Groups[0].Rules {
		assert.Contains(t, string(text), "\n### "+rule.Alert+"\n")
		assert.True(t, strings.HasSuffix(rule.Annotations["runbook_url"], "/docs/operations.md#"+strings.ToLower(rule.Alert)), rule.Alert)
		assert.NotEmpty(t, rule.Annotations["summary"], rule.Alert)
		assert.Contains(t, []string{"critical", "warning"}, rule.Labels["severity"], rule.Alert)
	}
}
