package e2e

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// point is a sample that is a number.
type point struct {
	chunks.Sample
	at    int64 // milliseconds
	value float64
}

func (p point) T() int64                 { return p.at }
func (p point) F() float64               { return p.value }
func (p point) Type() chunkenc.ValueType { return chunkenc.ValFloat }

// shown is what Prometheus has scraped.
type shown []storage.Series

// scraped reads series in Prometheus's notation: a value every 15 seconds, _
// where there is none. The last is of minute 10.
func scraped(t *testing.T, notations ...string) (all shown) {
	t.Helper()
	for _, notation := range notations {
		is, values, err := parser.ParseSeriesDesc(notation)
		require.NoError(t, err)
		require.Len(t, values, 41, notation)
		var there []chunks.Sample
		for i, value := range values {
			if !value.Omitted {
				there = append(there, point{at: int64(i) * 15_000, value: value.Value})
			}
		}
		all = append(all, storage.NewListSeries(is, there))
	}
	return all
}

// selected is a storage.SeriesSet.
type selected struct {
	shown
	next int
}

func (s *selected) Next() bool                        { s.next++; return s.next <= len(s.shown) }
func (s *selected) At() storage.Series                { return s.shown[s.next-1] }
func (s *selected) Err() error                        { return nil }
func (s *selected) Warnings() annotations.Annotations { return nil }

func (s shown) selects(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	found := &selected{}
series:
	for _, series := range s {
		for _, matcher := range matchers {
			if !matcher.Matches(series.Labels().Get(matcher.Name)) {
				continue series
			}
		}
		found.shown = append(found.shown, series)
	}
	return found
}

// TestAlerts has Prometheus's own engine evaluate the rules of the example.
func TestAlerts(t *testing.T) {
	rules, problems := rulefmt.ParseFile(filepath.Join("..", "examples", "server", "alerts.yml"), false, model.UTF8Validation)
	require.Empty(t, problems)
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 10_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute})
	defer engine.Close()
	const failures = `aws_credentials_failures_total{job="web",instance="1",service_instance_id="a"`
	const expiry = `aws_credentials_expiry_seconds{job="web",instance="1",service_instance_id="a"} `
	for name, c := range map[string]struct {
		series []string
		alerts []string
	}{
		"all is well":                                 {[]string{expiry + `3000-15x40`, `aws_credentials_rejected_total{job="web"} 0x40`, `aws_credentials_dropped_events_total{job="web"} 0x40`}, nil},
		"an instance that nobody asks":                {[]string{expiry + `100-15x40`}, nil},
		"a failure as the first of its code":          {[]string{failures + `,reason="missing",code="no_token"} _x30 1x10`}, []string{"AWSCredentialsMissing"}},
		"a failure as the second of its code":         {[]string{failures + `,reason="missing",code="no_token"} 1x29 2x10`}, []string{"AWSCredentialsMissing"}},
		"a failure long ago":                          {[]string{failures + `,reason="missing",code="no_token"} _x10 1x30`}, nil},
		"a refresh that fails for the first time":     {[]string{failures + `,reason="expiring",code="no_answer"} _x30 1x10`, expiry + `800-15x40`}, []string{"AWSCredentialsEndSoon"}},
		"a refresh that fails again":                  {[]string{failures + `,reason="expiring",code="no_answer"} 1x29 2x10`, expiry + `800-15x40`}, []string{"AWSCredentialsEndSoon"}},
		"a refresh that fails with time left":         {[]string{failures + `,reason="expiring",code="no_answer"} _x30 1x10`, expiry + `1400-15x40`}, nil},
		"refreshes that fail":                         {[]string{failures + `,reason="expiring",code="no_answer"} _x10 1x10 2x4 3x4 4x4 5x4`, expiry + `1400-15x40`}, []string{"AWSCredentialsNotRefreshed"}},
		"a refresh of one instance, the end of other": {[]string{failures + `,reason="expiring",code="no_answer"} _x30 1x10`, `aws_credentials_expiry_seconds{job="web",instance="1",service_instance_id="b"} 800-15x40`}, nil},
		"a rejection":                                 {[]string{`aws_credentials_rejected_total{job="web"} 0x29 1x10`}, []string{"AWSCredentialsRejected"}},
		"a dropped event":                             {[]string{`aws_credentials_dropped_events_total{job="web"} 0x29 1x10`}, []string{"AWSCredentialsEventsDropped"}},
	} {
		t.Run(name, func(t *testing.T) {
			all := scraped(t, c.series...)
			var alerts []string
			for _, rule := range rules.Groups[0].Rules {
				query, err := engine.NewInstantQuery(t.Context(), &storage.MockQueryable{MockQuerier: &storage.MockQuerier{SelectMockFunction: all.selects}}, nil, rule.Expr, time.Unix(600, 0))
				require.NoError(t, err)
				defer query.Close()
				found, err := query.Exec(t.Context()).Vector()
				require.NoError(t, err)
				if len(found) > 0 {
					alerts = append(alerts, rule.Alert)
				}
			}
			assert.Equal(t, c.alerts, alerts)
		})
	}
}
