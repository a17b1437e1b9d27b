package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	identity "go.opentelemetry.io/otel/sdk/resource"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/refresh"
)

// metrics counts what becomes of the credentials, by OpenTelemetry, and shows
// it to Prometheus.
type metrics struct {
	registry  *prometheus.Registry
	refreshes metric.Int64Counter
	failures  metric.Int64Counter
	rejected  metric.Int64Counter
	dropped   metric.Int64Counter
	expires   atomic.Int64 // Unix milliseconds; 0 before the first credentials
}

// newMetrics makes the metrics of one instance. All have the label
// service_instance_id, since each instance counts for itself.
func newMetrics() (*metrics, error) {
	m := &metrics{registry: prometheus.NewRegistry()}
	reader, err := exporter.New(
		exporter.WithRegisterer(m.registry),
		exporter.WithoutScopeInfo(),
		exporter.WithoutTargetInfo(),
		exporter.WithResourceAsConstantLabels(attribute.NewAllowKeysFilter("service.instance.id")))
	if err != nil {
		return nil, err
	}
	meter := sdk.NewMeterProvider(
		sdk.WithReader(reader),
		sdk.WithResource(identity.NewSchemaless(attribute.String("service.instance.id", rand.Text()))),
	).Meter("credentials")
	counter := func(name, description string) metric.Int64Counter {
		c, failed := meter.Int64Counter("aws.credentials."+name, metric.WithDescription(description))
		err = errors.Join(err, failed)
		return c
	}
	m.refreshes = counter("refreshes", "Fetches that brought new credentials, by reason.")
	m.failures = counter("failures", "Fetches of credentials that failed, by reason and code.")
	m.rejected = counter("rejected", "Fetches that were made because a service rejected the credentials.")
	m.dropped = counter("dropped_events", "Events that found no room, which the other counts lack.")
	_, failed := meter.Float64ObservableGauge("aws.credentials.expiry", metric.WithUnit("s"),
		metric.WithDescription("Time until the latest credentials end; negative once they have."),
		metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
			if at := m.expires.Load(); at != 0 {
				o.Observe(time.Until(time.UnixMilli(at)).Seconds())
			}
			return nil
		}))
	if err := errors.Join(err, failed); err != nil {
		return nil, err
	}
	// The counters begin with 0: Prometheus sees no increase if the first value is
	// 1. The codes of failures are not known in advance, and alerts.yml allows for
	// that.
	for _, why := range []refresh.Reason{refresh.ReasonMissing, refresh.ReasonExpiring, refresh.ReasonDependency, refresh.ReasonRejected} {
		m.refreshes.Add(context.Background(), 0, metric.WithAttributes(reason(why)))
	}
	m.rejected.Add(context.Background(), 0)
	m.dropped.Add(context.Background(), 0)
	return m, nil
}

// count is for Options.OnEvent.
func (m *metrics) count(e refresh.Event) {
	ctx := context.Background()
	if e.Err == nil {
		m.refreshes.Add(ctx, 1, metric.WithAttributes(reason(e.Reason)))
	} else {
		m.failures.Add(ctx, 1, metric.WithAttributes(reason(e.Reason), attribute.String("code", code(e.Err))))
	}
	if e.Reason == refresh.ReasonRejected {
		m.rejected.Add(ctx, 1)
	}
	m.dropped.Add(ctx, int64(e.Dropped))
	if !e.Expires.IsZero() {
		m.expires.Store(e.Expires.UnixMilli())
	}
}

// reason is the label that says why a fetch was made.
func reason(r refresh.Reason) attribute.KeyValue { return attribute.String("reason", string(r)) }

// stsCode is the form of STS's error codes. No other text of an answer becomes a
// label.
var stsCode = regexp.MustCompile(`^[A-Za-z.]{1,64}$`)

// code is the kind of a failure, in one word.
func code(err error) string {
	var wrong *vercelaws.ConfigError
	var sts *vercelaws.AssumeRoleError
	var exchange *oidc.ExchangeError
	switch {
	case errors.As(err, &wrong):
		return "config"
	case errors.As(err, &sts) && sts.Code == "":
		return "no_answer"
	case errors.As(err, &sts) && stsCode.MatchString(sts.Code):
		return strings.TrimSuffix(sts.Code, "Exception")
	case errors.As(err, &exchange) && exchange.Refused:
		return "exchange_refused"
	case errors.As(err, &exchange):
		return "exchange_failed"
	case errors.Is(err, oidc.ErrNoToken):
		return "no_token"
	case errors.Is(err, oidc.ErrExpired):
		return "expired_token"
	case errors.Is(err, oidc.ErrMalformed):
		return "malformed_token"
	}
	return "other"
}

// handler answers a scrape that brings the token as "Authorization: Bearer ...".
// The server's address is public.
func (m *metrics) handler(token string) http.Handler {
	scrape := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
	want := sha256.Sum256([]byte("Bearer " + token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := sha256.Sum256([]byte(r.Header.Get("Authorization")))
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			fail(w, r, http.StatusUnauthorized, "the metrics need their token", nil)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		scrape.ServeHTTP(w, r)
	})
}
