package vercelaws

import (
	"container/list"
	"runtime"
	"sync"
	"weak"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// maxProviders is how many roles a Providers keeps by itself.
const maxProviders = 10_000

// Providers gives the provider of each of many roles, for a program that acts in
// its customers' accounts. A provider that is made anew for each request asks STS
// for each request; this one is made once for a role.
//
// The 10,000 roles that were asked for last are kept, each with its
// credentials, some 5 KiB. A role's provider that somebody else still holds, in a
// client for one, is kept as well, so that there never are two. All share one
// transport.
//
// # Whose role it is
//
// AssumeRoleWithWebIdentity has no external ID. So a customer who enters the ARN
// of another customer's role would be given that account: the confused deputy
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html).
// Never take a role ARN on a request's word. Look it up by the customer whom you
// have authenticated, take no ARN from two customers, and have each customer's
// trust policy demand something that your program uses for that customer alone:
// a sts:RoleSessionName, which [Options.RoleSessionName] sets, or an audience,
// which [Options.Audience] sets. The example of [Providers.For] shows it.
type Providers struct {
	optFns []func(roleARN string, o *Options)

	mu     sync.Mutex                                    // guards what follows
	recent list.List                                     // of role; the one asked for last in front
	known  map[string]*list.Element                      // into recent, by role ARN
	held   map[string]weak.Pointer[aws.CredentialsCache] // every one that lives, by role ARN
}

// role is an element of Providers.recent.
type role struct {
	arn      string
	provider *aws.CredentialsCache
}

// NewProviders returns a Providers without any. The functions set the options of
// each role's provider, as those of [NewProvider] do. They may depend on the role
// alone: all who ask for it get the same provider. They are called outside of any
// lock, and may be called more than once for a role.
func NewProviders(optFns ...func(roleARN string, o *Options)) *Providers {
	return &Providers{
		optFns: optFns,
		known:  map[string]*list.Element{},
		held:   map[string]weak.Pointer[aws.CredentialsCache]{},
	}
}

// For returns the provider of the role: the same one for the same role, also to
// callers at the same time. Errors are those of [NewProvider]'s, at the first
// Retrieve. It is safe for concurrent use.
func (p *Providers) For(roleARN string) *aws.CredentialsCache {
	if provider := p.keep(roleARN, nil); provider != nil {
		return provider
	}
	return p.keep(roleARN, NewProvider(roleARN, func(o *Options) {
		for _, fn := range p.optFns {
			fn(roleARN, o)
		}
	}))
}

// keep returns the provider that there is of the role, or made if there is none.
func (p *Providers) keep(roleARN string, made *aws.CredentialsCache) *aws.CredentialsCache {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.known[roleARN]; e != nil {
		p.recent.MoveToFront(e)
		return e.Value.(role).provider
	}
	provider := p.held[roleARN].Value()
	if provider == nil {
		if made == nil {
			return nil
		}
		provider = made
		p.held[roleARN] = weak.Make(made)
		runtime.AddCleanup(made, p.forget, roleARN)
	}
	p.known[roleARN] = p.recent.PushFront(role{roleARN, provider})
	if p.recent.Len() > maxProviders {
		delete(p.known, p.recent.Remove(p.recent.Back()).(role).arn)
	}
	return provider
}

// forget runs when a provider is gone. There may be a new one of its role.
func (p *Providers) forget(roleARN string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held[roleARN].Value() == nil {
		delete(p.held, roleARN)
	}
}
