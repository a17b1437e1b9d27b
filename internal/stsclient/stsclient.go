// Package stsclient is how STS is reached: the settings in the environment,
// the limits of an attempt, the connection, and a second region.
//
// It does not link the SDK's config package. Linking that costs a process about
// a fifth more processor time until it has its first credentials, and 25 % more
// binary.
package stsclient

import (
	"context"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Options are what a [Client] needs to know beside the environment.
type Options struct {
	// RoleARN is the role to be assumed. Its partition gives the region where
	// the environment gives none.
	RoleARN string

	// FallbackRegion is asked where the first region does not answer in a
	// second, or faults. Empty: no other region is asked.
	FallbackRegion string

	// Override changes the client of each region before it is used. It is for
	// tests, which have both regions on loopback; o.Region says which it is.
	Override func(o *sts.Options)
}

// Client asks STS in one region, or in two. It keeps to [Limits] by itself.
// Its methods are safe for concurrent use.
type Client struct {
	options Options

	mu     sync.Mutex
	region []*sts.Client // the first, and the second if there is one; nil: not yet built; guarded by mu
}

// New returns a Client, and reads nothing yet: the environment is read when the
// Client is used first.
func New(o Options) *Client { return &Client{options: o} }

// Regions returns the clients of the regions, in the order in which they are
// asked: one, or two with a FallbackRegion. A failure is not remembered, since
// the environment may be mended.
func (c *Client) Regions() ([]*sts.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.region != nil {
		return c.region, nil
	}
	settings, err := read(c.options)
	if err != nil {
		return nil, err
	}
	c.region, err = settings.clients(c.options)
	return c.region, err
}

// AssumeRoleWithWebIdentity is the operation of that name. With a second
// region, optFns may run at the same time for both. [Limits] among them are for
// both together; without, they are those without an allowance.
func (c *Client) AssumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput, optFns ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	regions, err := c.Regions()
	if err != nil {
		return nil, err
	}
	optFns = append(optFns[:len(optFns):len(optFns)], Limits(nil, nil)) // the first counts
	if len(regions) == 1 {
		return regions[0].AssumeRoleWithWebIdentity(ctx, in, optFns...)
	}
	return hedge(ctx, regions[0], regions[1], in, optFns)
}
