package vercelaws

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vercelaws/vercelaws/oidc"
)

// The limits of AssumeRoleWithWebIdentity's parameters, from
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html.
const (
	minRoleARN     = 20
	maxRoleARN     = 2048
	minDuration    = 900 * time.Second
	maxDuration    = 43_200 * time.Second
	maxPolicy      = 2048
	maxPolicyARNs  = 10
	maxSessionName = 64

	defaultDuration = 3600 * time.Second // where none is given

	maxAudience = 2048 // no limit of STS's; see oidc.Exchange
)

// validate says what STS, or the exchange, would refuse whatever the token is.
func validate(roleARN string, o Options) error {
	if problem := problemOf(roleARN); problem != "" {
		return &ConfigError{"role ARN", "the role ARN " + problem}
	}
	wrong := func(option, problem string, args ...any) error {
		option = "Options." + option
		return &ConfigError{option, option + " " + fmt.Sprintf(problem, args...)}
	}
	switch {
	case o.Duration != 0 && (o.Duration < minDuration || o.Duration > maxDuration):
		return wrong("Duration", "is %s; STS takes %s to %s", o.Duration, minDuration, maxDuration)
	case o.Duration%time.Second != 0:
		return wrong("Duration", "is %s; STS counts in whole seconds", o.Duration)
	case o.ExpiryWindow > cmp.Or(o.Duration, defaultDuration)/5*3:
		return wrong("ExpiryWindow", "is %s, more than three fifths of Options.Duration, which is %s; shorten it or have the credentials live longer", o.ExpiryWindow, cmp.Or(o.Duration, defaultDuration))
	case len(o.Audience) > maxAudience:
		return wrong("Audience", "has %d characters; at most %d make sense", len(o.Audience), maxAudience)
	case strings.ContainsFunc(o.Audience, spaceOrControl):
		return wrong("Audience", "is %q, with a space or control character", shorten(o.Audience))
	case o.JTI != "" && o.Audience == "":
		return wrong("JTI", "is set without Options.Audience; it is a claim of exchanged tokens")
	case o.Policy != nil && (*o.Policy == "" || utf8.RuneCountInString(*o.Policy) > maxPolicy):
		return wrong("Policy", "has %d characters; STS takes 1 to %d", utf8.RuneCountInString(*o.Policy), maxPolicy)
	case len(o.PolicyARNs) > maxPolicyARNs:
		return wrong("PolicyARNs", "has %d policies; STS takes at most %d", len(o.PolicyARNs), maxPolicyARNs)
	case o.RoleSessionName != "" && !validSessionName(o.RoleSessionName):
		return wrong("RoleSessionName", "is %q; STS takes 2 to %d characters of A-Z, a-z, 0-9 and _+=,.@-", shorten(o.RoleSessionName), maxSessionName)
	}
	return nil
}

// problemOf says what no STS accepts in a role ARN. It is no stricter, because
// S3-compatible stores have role ARNs that AWS would not have.
func problemOf(arn string) string {
	problem := ""
	switch {
	case arn == "":
		return "is empty; set AWS_ROLE_ARN in the Vercel project's environment variables to the role's ARN, such as arn:aws:iam::123456789012:role/web"
	case strings.ContainsFunc(arn, spaceOrControl):
		problem = "has a space or control character"
	case !strings.HasPrefix(arn, "arn:"):
		problem = `does not begin with "arn:"`
	case !strings.Contains(arn, ":role/"):
		problem = `has no ":role/"`
	case len(arn) < minRoleARN || len(arn) > maxRoleARN:
		problem = fmt.Sprintf("has %d characters; STS takes %d to %d", len(arn), minRoleARN, maxRoleARN)
	default:
		return ""
	}
	return fmt.Sprintf("%q %s", shorten(arn), problem)
}

func spaceOrControl(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

// shorten keeps a wrong value readable in an error.
func shorten(s string) string {
	const most = 128
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// shortenAll does so for a list, of which it keeps the beginning.
func shortenAll(list []string) []string {
	const most = 4
	var out []string
	for i, s := range list {
		if i == most {
			return append(out, "…")
		}
		out = append(out, shorten(s))
	}
	return out
}

// sessionNameFor names a session after the token's project and environment, in
// STS's alphabet and length. A long project's name is cut, so that the
// environment stays.
func sessionNameFor(t oidc.Token) string {
	name, environment := "vercel", ""
	if t.Project != "" {
		name += "-" + t.Project
	}
	if t.Environment != "" {
		environment = "-" + t.Environment
	}
	name, environment = inAlphabet(name), inAlphabet(environment)
	environment = environment[:min(len(environment), max(maxSessionName/2, maxSessionName-len(name)))]
	return name[:min(len(name), maxSessionName-len(environment))] + environment
}

func inAlphabet(name string) string {
	return strings.Map(func(r rune) rune {
		if inSessionName(r) {
			return r
		}
		return '-'
	}, name)
}

func validSessionName(s string) bool {
	return len(s) >= 2 && len(s) <= maxSessionName && !strings.ContainsFunc(s, func(r rune) bool { return !inSessionName(r) })
}

func inSessionName(r rune) bool {
	return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_+=,.@-", r))
}
