package trustpolicy

import "strings"

// GlobalIssuer is the iss of tokens of a team in global issuer mode, and where
// the issuers of teams begin. See https://vercel.com/docs/oidc/reference.
const GlobalIssuer = "https://oidc.vercel.com"

// TeamIssuer returns the iss of tokens of a team in team issuer mode.
func TeamIssuer(team string) string { return GlobalIssuer + "/" + team }

// Audience returns the aud of a team's tokens before any exchange.
func Audience(team string) string { return "https://vercel.com/" + team }

// Subject returns the sub of the tokens of a project's deployments in an
// environment.
func Subject(team, project, environment string) string {
	return "owner:" + team + ":project:" + project + ":environment:" + environment
}

// ProviderARN returns the ARN of an account's IAM OIDC provider for an issuer.
// If partition is empty, it is "aws". See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns.
func ProviderARN(partition, accountID, issuer string) string {
	if partition == "" {
		partition = "aws"
	}
	return "arn:" + partition + ":iam::" + accountID + ":oidc-provider/" + issuerHost(issuer)
}

// ConditionContext returns the condition keys that IAM derives from a token, as
// Request.Context takes them: the issuer without its scheme, and ":sub" or
// ":aud". See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html#condition-keys-wif.
func ConditionContext(issuer, subject string, audience []string) map[string][]string {
	host := issuerHost(issuer)
	return map[string][]string{
		host + ":sub": {subject},
		host + ":aud": audience,
	}
}

// issuerHost is an issuer as IAM names it: without the scheme.
func issuerHost(issuer string) string {
	issuer = strings.TrimPrefix(issuer, "https://")
	return strings.TrimPrefix(issuer, "http://") // issuers of tests
}

// notOfToken reports whether a key is of the request and not of its token. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html.
func notOfToken(key string) bool {
	key = lowerASCII(key)
	return strings.HasPrefix(key, "aws:") || strings.HasPrefix(key, "sts:")
}
