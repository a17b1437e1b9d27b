// Package stsclient is how STS is reached: the settings in the environment,
// the limits of an attempt, the connection, and a second region.
//
// It does not link the SDK's config package. Linking that costs a process about
// a fifth more processor time until it has its first credentials, and 25 % more
// binary.
package stsclient

import (
	"context"
	"net/url"
	"os"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/vercelaws/vercelaws/internal/http1"
)

// Options are what a [Client] needs to know beside the environment.
type Options struct {
	// RoleARN is the role to be assumed. Its partition gives the region where
	// the environment gives none, or one of another partition.
	RoleARN string

	// FallbackRegion is asked where the first region does not answer in a
	// second, or faults. Empty: no other region is asked.
	FallbackRegion string

	// Override changes the client of each region before it is used. It is for
	// tests, which have both regions on loopback; o.Region says which it is.
	Override func(o *sts.Options)
}

// Client asks STS in one region, or in two. It keeps to [Limits] by itself.
// Clients with the same settings share the SDK's clients and the connections.
// Its methods are safe for concurrent use.
type Client struct {
	options Options

	mu     sync.Mutex
	region []*sts.Client // the first, and the second if there is one; nil: not yet built; guarded by mu
	key    any           // a string; guarded by mu
}

// New returns a Client, and reads nothing yet: the environment is read when the
// Client is used first.
func New(o Options) *Client { return &Client{options: o} }

// Regions returns the clients of the regions, in the order in which they are
// asked: one, or two with a FallbackRegion. Its errors are of type
// [*SettingError], joined where there are several. A failure is not remembered,
// since the environment may be mended.
func (c *Client) Regions() ([]*sts.Client, error) {
	region, _, err := c.build()
	return region, err
}

// EndpointKey is the same for Clients that ask the same endpoint first: its host
// where one is set, and otherwise the region, and which of its endpoints.
func (c *Client) EndpointKey() (any, error) {
	_, key, err := c.build()
	return key, err
}

func (c *Client) build() ([]*sts.Client, any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.region != nil {
		return c.region, c.key, nil
	}
	settings, err := read(c.options)
	if err != nil {
		return nil, nil, err
	}
	if c.region, err = settings.clients(c.options.Override); err != nil {
		return nil, nil, err
	}
	c.key = settings.endpointKey()
	return c.region, c.key, nil
}

func (s Settings) endpointKey() string {
	if u, err := url.Parse(s.Endpoint.Value); err == nil && u.Host != "" {
		return u.Host
	}
	key := s.Region.Value
	if s.FIPS.Value {
		key += " FIPS"
	}
	if s.DualStack.Value {
		key += " dual-stack"
	}
	return key
}

// built are the clients of the process, by what they are made of.
var built struct {
	sync.Mutex
	of map[recipe][]*sts.Client
}

type recipe struct {
	settings Settings
	roots    *http1.Transport
}

// clients returns the clients of the regions: those of the process that have
// these settings, or new ones where they are changed, or keep a rate of their
// own, as adaptive ones do.
func (s Settings) clients(override func(*sts.Options)) ([]*sts.Client, error) {
	transport, err := s.transport()
	if err != nil {
		return nil, err
	}
	if override != nil || s.RetryMode.Value == string(aws.RetryModeAdaptive) {
		return s.build(transport, override), nil
	}
	built.Lock()
	defer built.Unlock()
	made := recipe{s, transport}
	clients := built.of[made]
	if clients == nil {
		const most = 64
		if built.of == nil || len(built.of) >= most { // whoever has one keeps it
			built.of = map[recipe][]*sts.Client{}
		}
		clients = s.build(transport, nil)
		built.of[made] = clients
	}
	return clients, nil
}

// transport returns the process's for the roots that are set.
func (s Settings) transport() (*http1.Transport, error) {
	if s.CAFile.Value == "" {
		return http1.Shared(nil)
	}
	bundle, err := os.ReadFile(s.CAFile.Value)
	if err != nil {
		return nil, wrong(s.CAFile.From, "names a file that cannot be read: %v", err)
	}
	if len(bundle) > 0 {
		var transport *http1.Transport
		if transport, err = http1.Shared(bundle); err == nil {
			return transport, nil
		}
	}
	return nil, wrong(s.CAFile.From, "names %q, which has no certificate; it must name a file of certificates in PEM form", s.CAFile.Value)
}

// build makes the clients.
func (s Settings) build(transport *http1.Transport, override func(*sts.Options)) []*sts.Client {
	// The SDK's quota of retries is left out: a minute of faults uses it up, and
	// at one fetch in 45 minutes it is empty for hours after. How often STS is
	// asked while it faults is the pacer's to say.
	standard := func(o *retry.StandardOptions) { o.RateLimiter = ratelimit.None }
	so := sts.Options{
		AppID:      s.AppID.Value,
		RetryMode:  aws.RetryMode(s.RetryMode.Value),
		HTTPClient: transport,
	}
	if s.MaxAttempts.From != "" {
		so.RetryMaxAttempts = s.MaxAttempts.Value
	}
	if s.Endpoint.Value != "" {
		so.BaseEndpoint = aws.String(s.Endpoint.Value)
	}
	if s.FIPS.Value {
		so.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateEnabled
	}
	if s.DualStack.Value {
		so.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled
	}
	if override == nil {
		override = func(*sts.Options) {}
	}
	var clients []*sts.Client
	for _, region := range []string{s.Region.Value, s.FallbackRegion} {
		if region == "" {
			continue
		}
		so.Region = region
		if s.RetryMode.Value == string(aws.RetryModeAdaptive) {
			so.Retryer = retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) {
				o.StandardOptions = append(o.StandardOptions, standard)
			})
		} else {
			so.Retryer = retry.NewStandard(standard)
		}
		clients = append(clients, sts.New(so, override))
	}
	return clients
}

var unpaced = Limits(nil, nil)

// AssumeRoleWithWebIdentity is the operation of that name. With a second
// region, optFns may run at the same time for both. [Limits] among them are for
// both together; without, they are those without a pacer.
func (c *Client) AssumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput, optFns ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	regions, err := c.Regions()
	if err != nil {
		return nil, err
	}
	optFns = append(optFns[:len(optFns):len(optFns)], unpaced) // the first counts
	if len(regions) == 1 {
		return regions[0].AssumeRoleWithWebIdentity(ctx, in, optFns...)
	}
	return hedge(ctx, regions[0], regions[1], in, optFns)
}
