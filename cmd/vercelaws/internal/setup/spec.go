package setup

import (
	"slices"
	"strings"

	"github.com/vercelaws/vercelaws/trustpolicy"
)

// SpecOf returns the spec that admits tokens with these claims and no others.
// It is false if the subject is not one of Vercel's.
func SpecOf(issuer, subject string, audience []string) (spec trustpolicy.Spec, ok bool) {
	rest, ok := strings.CutPrefix(subject, "owner:")
	if !ok {
		return spec, false
	}
	team, rest, ok := strings.Cut(rest, ":project:")
	if !ok {
		return spec, false
	}
	project, environment, ok := strings.Cut(rest, ":environment:")
	if !ok {
		return spec, false
	}
	spec.Teams = []string{team}
	spec.Projects = []string{project}
	spec.Environments = []string{environment}
	base, inTeamMode := strings.CutSuffix(issuer, "/"+team)
	spec.Global = !inTeamMode
	if base != trustpolicy.GlobalIssuer {
		spec.BaseIssuer = base // of a test
	}
	if len(audience) > 0 && !slices.Contains(audience, trustpolicy.Audience(team)) {
		spec.Audience = audience[0]
	}
	return spec, true
}
