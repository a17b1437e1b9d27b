// Package testworld is what our tests run against in place of Vercel and AWS. Only
// tests import it.
package testworld

import (
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/ststest"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

// World is an issuer, and an STS with a role that admits the issuer's tokens.
type World struct {
	Issuer *oidctest.Server
	STS    *ststest.Server
	Policy string // the role's trust policy

	roleARN string
}

// New returns a world with the role. It is on loopback, or in memory, for tests
// with testing/synctest.
func New(roleARN string, inMemory bool, optFns ...func(*ststest.Options)) *World {
	issuer := oidctest.NewServer(func(o *oidctest.Options) { o.InMemory = inMemory })
	policy, err := trustpolicy.Build(trustpolicy.Spec{
		AccountID: ststest.Account, BaseIssuer: issuer.URL, Teams: []string{"acme"}, Projects: []string{"web"}, Environments: []string{"production"},
	})
	if err != nil {
		panic(err)
	}
	w := &World{Issuer: issuer, Policy: policy.String(), roleARN: roleARN, STS: ststest.NewServer(append(optFns, func(o *ststest.Options) {
		o.InMemory, o.HTTPClient = inMemory, issuer.Client()
	})...)}
	w.STS.AddProvider(issuer.Issuer(), issuer.Audience())
	w.STS.AddProvider(issuer.URL, issuer.Audience()) // the global issuer
	w.RecreateRole()
	return w
}

// RecreateRole deletes the role and makes it again.
func (w *World) RecreateRole() {
	w.STS.AddRole(ststest.Role{ARN: w.roleARN, TrustPolicy: w.Policy})
}

// Calls returns how many times STS was asked for credentials for a token.
func (w *World) Calls() int { return w.STS.Calls("AssumeRoleWithWebIdentity") }

// Close stops the servers.
func (w *World) Close() {
	w.STS.Close()
	w.Issuer.Close()
}
