package ststest

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const (
	algorithm = "AWS4-HMAC-SHA256"
	amzDate   = "20060102T150405Z"
)

// regions are those that AWS had when this was released. See
// https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html.
const regions = "af-south-1 ap-east-1 ap-east-2 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-south-2 " +
	"ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-6 ap-southeast-7 " +
	"ca-central-1 ca-west-1 cn-north-1 cn-northwest-1 eu-central-1 eu-central-2 eu-isoe-west-1 eu-north-1 eu-south-1 " +
	"eu-south-2 eu-west-1 eu-west-2 eu-west-3 eusc-de-east-1 il-central-1 me-central-1 me-south-1 me-west-1 mx-central-1 " +
	"sa-east-1 sa-west-1 us-east-1 us-east-2 us-gov-east-1 us-gov-west-1 us-iso-east-1 us-iso-west-1 us-isob-east-1 " +
	"us-isob-west-1 us-isof-east-1 us-isof-south-1 us-west-1 us-west-2"

// signature is the signature of a request, with its parameters.
type signature struct {
	inQuery                           bool // and not in the header Authorization
	accessKeyID, day, region, service string
	scope                             string   // day/region/service/aws4_request
	headers                           []string // that are signed
	signature, token, date            string
	at                                time.Time // date
	valid                             time.Duration
	key                               []byte // derived from the secret key for the scope
}

// parseSignature reads the signature of a request. It refuses a signature that AWS
// would refuse whatever the keys are, with AWS's messages where those are public.
// See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html.
func parseSignature(r *http.Request, regionExists func(string) bool) (*signature, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, refuse("IncompleteSignature", "the query is malformed: %v", err)
	}
	sig := &signature{inQuery: query.Has("X-Amz-Algorithm") || query.Has("X-Amz-Credential") || query.Has("X-Amz-Signature")}
	authorization := joined(r.Header, "Authorization")
	said := query
	if !sig.inQuery {
		kind, rest, _ := strings.Cut(authorization, " ")
		if !strings.HasPrefix(kind, "AWS4-") {
			return nil, forbidden("MissingAuthenticationToken", "Request is missing Authentication Token")
		}
		said = url.Values{"X-Amz-Algorithm": {kind}, "X-Amz-Date": {joined(r.Header, "X-Amz-Date")}, "X-Amz-Security-Token": {joined(r.Header, "X-Amz-Security-Token")}}
		for field := range strings.SplitSeq(rest, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
			said.Add("X-Amz-"+name, value)
		}
	}
	scope := strings.Split(said.Get("X-Amz-Credential"), "/")
	if len(scope) == 5 {
		sig.accessKeyID, sig.day, sig.region, sig.service = scope[0], scope[1], scope[2], scope[3]
		sig.scope = strings.Join(scope[1:], "/")
	}
	seen := map[string]bool{}
	for name, values := range said {
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, "x-amz-") && (seen[lower] || len(values) > 1) {
			return nil, sig.malformed("'%s' is there twice", name)
		}
		seen[lower] = true
	}
	for _, name := range []string{"Algorithm", "Credential", "SignedHeaders", "Signature", "Date"} {
		if said.Get("X-Amz-"+name) == "" {
			return nil, sig.malformed("the request's signature lacks '%s'", name)
		}
	}
	sig.signature, sig.token, sig.date = said.Get("X-Amz-Signature"), said.Get("X-Amz-Security-Token"), said.Get("X-Amz-Date")
	sig.headers = strings.Split(said.Get("X-Amz-SignedHeaders"), ";")
	sig.at, err = time.Parse(amzDate, sig.date)
	switch {
	case sig.inQuery && authorization != "" && sig.isS3():
		return nil, refuse("InvalidArgument", "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified")
	case sig.inQuery && authorization != "":
		return nil, forbidden("SignatureDoesNotMatch", "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.")
	case said.Get("X-Amz-Algorithm") != algorithm:
		return nil, sig.malformed("Unsupported AWS 'algorithm': '%s' (only AWS4-HMAC-SHA256 for now).", said.Get("X-Amz-Algorithm"))
	case len(scope) != 5:
		return nil, sig.malformed("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%s'", said.Get("X-Amz-Credential"))
	case err != nil:
		return nil, sig.malformed("Date must be in ISO-8601 'basic format'. Got '%s'.", sig.date)
	case sig.day != sig.date[:8]:
		return nil, sig.outOfScope("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.", sig.day, sig.date[:8], sig.date)
	case !regionExists(sig.region):
		return nil, sig.outOfScope("Credential should be scoped to a valid region, not '%s'.", sig.region)
	case !slices.IsSorted(sig.headers):
		return nil, sig.malformed("SignedHeaders must be in alphabetical order, not '%s'", said.Get("X-Amz-SignedHeaders"))
	case scope[4] != "aws4_request":
		return nil, sig.outOfScope("Credential should be scoped with a valid terminator: 'aws4_request', not '%s'.", scope[4])
	}
	if err := sig.life(said.Get("X-Amz-Expires")); err != nil {
		return nil, err
	}
	return sig, sig.coverage(r.Header)
}

func joined(h http.Header, name string) string { return strings.Join(h.Values(name), ",") }

// isS3 reports whether the service has S3's rules for signatures. All others have
// the general rules of AWS. See
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html.
func (sig *signature) isS3() bool {
	return slices.Contains([]string{"s3", "s3express", "s3-object-lambda", "s3-outposts"}, sig.service)
}

// malformed is the error for a signature that cannot be read. For S3 it is also the
// error for a scope that does not fit the request.
func (sig *signature) malformed(format string, args ...any) *Error {
	code := "IncompleteSignature"
	if sig.isS3() {
		code = "AuthorizationHeaderMalformed"
	}
	if sig.isS3() && sig.inQuery {
		code = "AuthorizationQueryParametersError"
	}
	return refuse(code, format, args...)
}

// outOfScope is the error for a credential scope that does not fit the request. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html.
func (sig *signature) outOfScope(format string, args ...any) *Error {
	if sig.isS3() {
		return sig.malformed(format, args...)
	}
	return forbidden("SignatureDoesNotMatch", format, args...)
}

// life sets how long a request is valid after its date. That is five minutes
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html), and 15
// for S3 (https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html).
// A presigned URL is valid for as long as its X-Amz-Expires says, which for S3 must
// be there
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html).
// For STS a presigned URL is valid for 15 minutes, whatever X-Amz-Expires says;
// Amazon EKS relies on that (https://github.com/kubernetes-sigs/aws-iam-authenticator).
func (sig *signature) life(expires string) error {
	sig.valid = 5 * time.Minute
	if sig.isS3() || sig.inQuery {
		sig.valid = 15 * time.Minute
	}
	if !sig.inQuery || sig.service == "sts" || expires == "" && !sig.isS3() {
		return nil
	}
	seconds, err := strconv.Atoi(expires)
	if err != nil || seconds < 1 || seconds > 604_800 {
		return sig.malformed("X-Amz-Expires must be a number of seconds, from 1 to a week (604800)")
	}
	sig.valid = time.Duration(seconds) * time.Second
	return nil
}

// coverage refuses a signature that does not cover the host and every header
// whose name begins with x-amz-.
func (sig *signature) coverage(h http.Header) error {
	for _, name := range append([]string{"Host"}, slices.Sorted(maps.Keys(h))...) {
		lower := strings.ToLower(name)
		switch must := lower == "host" || strings.HasPrefix(lower, "x-amz-"); {
		case !must || slices.Contains(sig.headers, lower):
		case sig.isS3():
			return forbidden("AccessDenied", "There were headers present in the request which were not signed: %s", lower)
		default:
			return forbidden("SignatureDoesNotMatch", "'%s' must be a 'SignedHeader' in the AWS Authorization.", name)
		}
	}
	return nil
}

// inTime refuses a request that comes too early or too late.
func (sig *signature) inTime(now time.Time) error {
	skew := 5 * time.Minute
	if sig.isS3() {
		skew = 15 * time.Minute
	}
	early, late := now.Add(skew).Before(sig.at), now.After(sig.at.Add(sig.valid))
	clock := func(t time.Time) string { return t.UTC().Format(amzDate) }
	switch {
	case !early && !late:
		return nil
	case sig.isS3() && sig.inQuery:
		return forbidden("AccessDenied", "Request has expired")
	case sig.isS3():
		return forbidden("RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")
	case early:
		return forbidden("SignatureDoesNotMatch", "Signature not yet current: %s is still later than %s (%s + 5 min.)", sig.date, clock(now.Add(skew)), clock(now))
	default:
		return forbidden("SignatureDoesNotMatch", "Signature expired: %s is now earlier than %s (%s - %g min.)", sig.date, clock(now.Add(-sig.valid)), clock(now), sig.valid.Minutes())
	}
}

// check computes the signature again and compares it. It also checks the body,
// which can be read again afterwards.
func (sig *signature) check(r *http.Request, creds aws.Credentials) error {
	body, err := readBody(r)
	if err != nil {
		return err
	}
	said, actual := joined(r.Header, "X-Amz-Content-Sha256"), hash(body)
	if sig.inQuery {
		said = cmp.Or(said, r.URL.Query().Get("X-Amz-Content-Sha256"))
	}
	switch {
	case !sig.isS3() && said != "" && said != actual: // no hash at all, or one for chunks, is S3's alone
		return errMismatch
	case !sig.isS3():
		said = actual
	case said == "" && sig.inQuery:
		said = "UNSIGNED-PAYLOAD"
	case said == "":
		return refuse("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
	}
	sig.key = []byte("AWS4" + creds.SecretAccessKey)
	for part := range strings.SplitSeq(sig.scope, "/") {
		sig.key = sum(sig.key, part)
	}
	if !sig.matches(sig.signature, algorithm, hash(sig.canonical(r, said))) {
		return errMismatch
	}
	switch chunked := strings.HasPrefix(said, "STREAMING-"); {
	case chunked:
		return sig.checkChunks(r, body, said)
	case said != "UNSIGNED-PAYLOAD" && said != actual:
		return refuse("XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.")
	}
	return nil
}

var errMismatch = &Error{
	Code:    "SignatureDoesNotMatch",
	Message: "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
	Status:  http.StatusForbidden,
}

// canonical is the canonical request.
func (sig *signature) canonical(r *http.Request, payload string) string {
	uri := r.URL.Path
	if !sig.isS3() { // for S3 a path stands for itself, and is encoded once
		uri = path.Clean("/" + r.URL.EscapedPath())
		if strings.HasSuffix(r.URL.Path, "/") && uri != "/" {
			uri += "/"
		}
	}
	query := url.Values{}
	for name, values := range r.URL.Query() {
		for _, value := range values {
			query[escape(name)] = append(query[escape(name)], escape(value))
		}
	}
	if sig.inQuery {
		query.Del("X-Amz-Signature")
	}
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(query)) {
		for _, value := range slices.Sorted(slices.Values(query[name])) {
			pairs = append(pairs, name+"="+value)
		}
	}
	lines := []string{r.Method, cmp.Or(strings.ReplaceAll(escape(uri), "%2F", "/"), "/"), strings.Join(pairs, "&")}
	for _, name := range sig.headers {
		var values []string
		for _, value := range r.Header.Values(name) {
			values = append(values, strings.Join(strings.Fields(value), " "))
		}
		switch {
		case name == "host":
			values = []string{r.Host}
		case name == "content-length" && values == nil:
			values = []string{strconv.FormatInt(r.ContentLength, 10)}
		}
		lines = append(lines, name+":"+strings.Join(values, ","))
	}
	return strings.Join(append(lines, "", strings.Join(sig.headers, ";"), payload), "\n")
}

// escape encodes all but A-Z, a-z, 0-9, "-", ".", "_" and "~", as Signature
// Version 4 wants it.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func hash(s string) string { sum := sha256.Sum256([]byte(s)); return hex.EncodeToString(sum[:]) }

func sum(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// matches reports whether got signs a string of the kind.
func (sig *signature) matches(got, kind string, parts ...string) bool {
	text := strings.Join(append([]string{kind, sig.date, sig.scope}, parts...), "\n")
	return hmac.Equal([]byte(got), []byte(hex.EncodeToString(sum(sig.key, text))))
}

// checkChunks checks a body that came in chunks, each with a signature of its
// own or none, and with a trailer or none, which may have one, too. See
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html.
// Checksums in a trailer are not checked.
func (sig *signature) checkChunks(r *http.Request, body, said string) error {
	said, trailing := strings.CutSuffix(said, "-TRAILER")
	signed := said == "STREAMING-"+algorithm+"-PAYLOAD"
	if !signed && (said != "STREAMING-UNSIGNED-PAYLOAD" || !trailing) {
		return refuse("InvalidRequest", "The value of x-amz-content-sha256 header is invalid.")
	}
	length, err := strconv.Atoi(joined(r.Header, "X-Amz-Decoded-Content-Length"))
	if err != nil {
		return &Error{Code: "MissingContentLength", Message: "You must provide the Content-Length HTTP header.", Status: http.StatusLengthRequired}
	}
	before := sig.signature
	for last := false; !last; {
		line, rest, _ := strings.Cut(body, "\r\n")
		size, own, _ := strings.Cut(line, ";")
		own = strings.TrimPrefix(own, "chunk-signature=")
		n, err := strconv.ParseUint(size, 16, 31)
		if err != nil || n > uint64(len(rest)) {
			return errIncomplete
		}
		if signed && !sig.matches(own, algorithm+"-PAYLOAD", before, hash(""), hash(rest[:n])) {
			return errMismatch
		}
		before, body, last, length = own, rest[n:], n == 0, length-int(n)
		if !last && !strings.HasPrefix(body, "\r\n") {
			return errIncomplete
		}
		body = strings.TrimPrefix(body, "\r\n")
	}
	if length != 0 || trailing != strings.Contains(body, ":") || !trailing && body != "" {
		return errIncomplete
	}
	if !signed || !trailing {
		return nil
	}
	trailer, own, _ := strings.Cut(body, "x-amz-trailer-signature:")
	trailer = strings.ReplaceAll(strings.TrimRight(trailer, "\r\n")+"\n", "\r\n", "\n")
	if !sig.matches(strings.TrimSpace(own), algorithm+"-TRAILER", before, hash(trailer)) {
		return errMismatch
	}
	return nil
}

var errIncomplete = &Error{Code: "IncompleteBody", Message: "The request body terminated unexpectedly", Status: http.StatusBadRequest}
