// Package stsclient calls STS: it reads the environment's settings, limits each
// attempt, opens connections ahead, and asks a second region.
//
// It does not link the SDK's config package. With that a process would need about
// a fifth more processor time until it has its first credentials, and its binary
// would be 25 % larger.
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

// Options are the settings of a [Client] that do not come from the environment.
type Options struct {
	// RoleARN is the role to be assumed. If the environment names no region, or
	// one of another partition, the default region of the role's partition is used.
	RoleARN string

	// FallbackRegion is asked too if the first region does not answer within a
	// second, or fails. If empty, no other region is asked.
	FallbackRegion string

	// Override changes the options of each region's client; o.Region names the
	// region. It is for tests, whose regions are servers of their own.
	Override func(o *sts.Options)
}

// Client asks STS in one region, or in two. It applies [Limits] by itself.
// Clients with the same settings share the SDK's clients and the connections.
// Its methods are safe for concurrent use.
type Client struct {
	options Options

	mu      sync.Mutex    // guards what follows
	regions []*sts.Client // the first, and the second if there is one; nil until the first use
	key     any           // of EndpointKey; a string
}

// New returns a Client. The environment is read when the Client is first used.
func New(o Options) *Client { return &Client{options: o} }

// Regions returns the clients of the regions, in the order in which they are
// asked: one, or two with a FallbackRegion. Its errors are of type
// [*SettingError], joined if there are several. After an error the next call reads
// the environment again.
func (c *Client) Regions() ([]*sts.Client, error) {
	regions, _, err := c.build()
	return regions, err
}

// EndpointKey returns a key that Clients have in common if they ask the same
// endpoint first. It is the host of an endpoint that is set, or else the region and
// the kind of its endpoint.
func (c *Client) EndpointKey() (any, error) {
	_, key, err := c.build()
	return key, err
}

func (c *Client) build() ([]*sts.Client, any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.regions == nil {
		settings, err := read(c.options)
		if err != nil {
			return nil, nil, err
		}
		if c.regions, err = settings.clients(c.options.Override); err != nil {
			return nil, nil, err
		}
		c.key = settings.endpointKey()
	}
	return c.regions, c.key, nil
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

// built holds the clients that are shared, by their settings and certificates.
var built struct {
	sync.Mutex
	of map[recipe][]*sts.Client
}

type recipe struct {
	settings Settings
	roots    *http1.Transport
}

// clients returns the clients of the regions. They are shared by all Clients with
// the same settings, except for clients that override changes, and those of the
// retry mode adaptive, which measure a rate of their own.
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
		if built.of == nil || len(built.of) >= most { // clients that are in use go on working
			built.of = map[recipe][]*sts.Client{}
		}
		clients = s.build(transport, nil)
		built.of[made] = clients
	}
	return clients, nil
}

// transport returns the process's transport for the certificates that are set.
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
	// The SDK's quota of retries is not used: a minute of faults would use it up,
	// and at one fetch in 45 minutes it would stay empty for hours. The pacer limits
	// how often STS is asked while it fails.
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

// AssumeRoleWithWebIdentity calls the STS operation of that name. With a second
// region, optFns may be called for both at the same time. [Limits] among them
// apply to both regions together. If there are none, no pacer is used.
func (c *Client) AssumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput, optFns ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	regions, err := c.Regions()
	if err != nil {
		return nil, err
	}
	optFns = append(optFns[:len(optFns):len(optFns)], unpaced) // has no effect after other Limits
	if len(regions) == 1 {
		return regions[0].AssumeRoleWithWebIdentity(ctx, in, optFns...)
	}
	return hedge(ctx, regions[0], regions[1], in, optFns)
}
