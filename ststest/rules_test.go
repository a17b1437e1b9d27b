package ststest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/ststest"
)

const amzDate = "20060102T150405Z"

// signing is how a request is signed, and what becomes of it afterwards.
type signing struct {
	method, url, body string
	service, region   string
	at                time.Time
	hash              string // of the payload; if empty, the body's
	header            map[string]string
	presign           bool
	after             func(*http.Request)
}

// sign signs a request with the SDK's signer, as a server gets it.
func sign(t *testing.T, creds aws.Credentials, s signing) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), s.method, s.url, strings.NewReader(s.body))
	require.NoError(t, err)
	for name, value := range s.header {
		r.Header.Set(name, value)
	}
	hash := s.hash
	if hash == "" {
		hash = sha256Of(s.body)
	}
	options := func(o *v4.SignerOptions) { o.DisableURIPathEscaping = s.service == "s3" }
	if s.presign {
		signed, header, err := v4.NewSigner().PresignHTTP(t.Context(), creds, r, hash, s.service, s.region, s.at, options)
		require.NoError(t, err)
		r = httptest.NewRequestWithContext(t.Context(), s.method, signed, strings.NewReader(s.body))
		for name, values := range header {
			if name != "Host" {
				r.Header[name] = values
			}
		}
	} else {
		require.NoError(t, v4.NewSigner().SignHTTP(t.Context(), creds, r, hash, s.service, s.region, s.at, options))
	}
	if s.after != nil {
		s.after(r)
	}
	return r
}

func setQuery(r *http.Request, change func(url.Values)) {
	query := r.URL.Query()
	change(query)
	r.URL.RawQuery = query.Encode()
}

func authorization(old, new string) func(*http.Request) {
	return func(r *http.Request) {
		before := r.Header.Get("Authorization")
		r.Header.Set("Authorization", strings.Replace(before, old, new, 1))
	}
}

func signedWith(t *testing.T, optFns ...func(*ststest.Options)) (*ststest.Server, aws.Credentials) {
	t.Helper()
	issuer, server := setUp(t, optFns...)
	out, err := assume(t, server, issuer.Mint())
	require.NoError(t, err)
	creds, err := static(out).Retrieve(t.Context())
	require.NoError(t, err)
	return server, creds
}

// Each case is a request that an AWS service refuses, or takes.
func TestVerifyRules(t *testing.T) {
	server, creds := signedWith(t, func(o *ststest.Options) { o.Regions = []string{"xx-new-1"} })
	now := time.Now()
	db := signing{method: http.MethodPost, url: "https://dynamodb.eu-west-1.amazonaws.com/", body: "{}", service: "dynamodb", region: "eu-west-1", at: now, header: map[string]string{"X-Amz-Target": "DynamoDB_20120810.ListTables"}}
	put := signing{method: http.MethodPut, url: "https://photos.s3.eu-west-1.amazonaws.com/2026/snow.jpg", body: "snow", service: "s3", region: "eu-west-1", at: now, header: map[string]string{"X-Amz-Content-Sha256": sha256Of("snow")}}
	get := signing{method: http.MethodGet, url: "https://photos.s3.eu-west-1.amazonaws.com/2026/snow.jpg?X-Amz-Expires=60", service: "s3", region: "eu-west-1", at: now, hash: "UNSIGNED-PAYLOAD", presign: true}
	post := db
	post.presign = true
	type change = func(*signing)
	for _, c := range []struct {
		name   string
		base   signing
		change change
		want   string // "" if it passes
		says   string
	}{
		{"header", db, nil, "", ""},
		{"header, S3", put, nil, "", ""},
		{"URL, S3", get, nil, "", ""},
		{"URL", post, nil, "", ""},
		{"URL without a life, not S3", post, func(s *signing) { s.at = now.Add(-14 * time.Minute) }, "", ""},
		{"a minute early", db, func(s *signing) { s.at = now.Add(time.Minute) }, "", ""},
		{"14 minutes old, S3", put, func(s *signing) { s.at = now.Add(-14 * time.Minute) }, "", ""},
		{"ten minutes early, S3", put, func(s *signing) { s.at = now.Add(10 * time.Minute) }, "", ""},
		{"a path that ends in a slash", db, func(s *signing) { s.url += "a%20b/c/" }, "", ""},
		{"a URL for one body", get, func(s *signing) {
			s.method, s.body, s.hash, s.url = http.MethodPut, "snow", sha256Of("snow"), s.url+"&X-Amz-Content-Sha256="+sha256Of("snow")
		}, "", ""},
		{"a URL for another body", get, func(s *signing) {
			s.method, s.body, s.hash, s.url = http.MethodPut, "rain", sha256Of("snow"), s.url+"&X-Amz-Content-Sha256="+sha256Of("snow")
		}, "XAmzContentSHA256Mismatch", ""},
		{"a region that the test knows", db, func(s *signing) { s.region = "xx-new-1" }, "", ""},

		{"no authentication", db, func(s *signing) { s.after = func(r *http.Request) { r.Header.Del("Authorization") } }, "MissingAuthenticationToken", ""},
		{"bearer", db, func(s *signing) { s.after = func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") } }, "MissingAuthenticationToken", ""},
		{"an unsigned x-amz header", db, func(s *signing) { s.after = func(r *http.Request) { r.Header.Set("X-Amz-Meta-A", "b") } }, "SignatureDoesNotMatch", "'X-Amz-Meta-A' must be a 'SignedHeader'"},
		{"an unsigned x-amz header, S3", put, func(s *signing) { s.after = func(r *http.Request) { r.Header.Set("X-Amz-Acl", "public-read") } }, "AccessDenied", "not signed: x-amz-acl"},
		{"an unsigned x-amz header, URL", get, func(s *signing) { s.after = func(r *http.Request) { r.Header.Set("X-Amz-Acl", "public-read") } }, "AccessDenied", "not signed"},
		{"a region that does not exist", db, func(s *signing) { s.region = "us-east-9" }, "SignatureDoesNotMatch", "Credential should be scoped to a valid region, not 'us-east-9'."},
		{"a region that does not exist, S3", put, func(s *signing) { s.region = "us-east-9" }, "AuthorizationHeaderMalformed", "us-east-9"},
		{"two regions", db, func(s *signing) { s.region = "us-east-1 us-east-2" }, "SignatureDoesNotMatch", "valid region"},
		{"another body", db, func(s *signing) { s.after = func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("[]")) } }, "SignatureDoesNotMatch", ""},
		{"another body, S3", put, func(s *signing) { s.after = func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("rain")) } }, "XAmzContentSHA256Mismatch", ""},
		{"another body, URL", post, func(s *signing) { s.after = func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("[]")) } }, "SignatureDoesNotMatch", ""},
		{"no x-amz-content-sha256, S3", put, func(s *signing) { s.header = nil }, "InvalidRequest", "x-amz-content-sha256"},
		{"an unsigned payload", db, func(s *signing) {
			s.hash, s.header = "UNSIGNED-PAYLOAD", map[string]string{"X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD"}
		}, "SignatureDoesNotMatch", ""},
		{"another x-amz-content-sha256", db, func(s *signing) {
			s.hash, s.header = sha256Of(s.body), map[string]string{"X-Amz-Content-Sha256": sha256Of("[]")}
		}, "SignatureDoesNotMatch", ""},
		{"its x-amz-content-sha256", db, func(s *signing) { s.header = map[string]string{"X-Amz-Content-Sha256": sha256Of(s.body)} }, "", ""},
		{"an unsigned payload, S3", put, func(s *signing) {
			s.hash, s.header = "UNSIGNED-PAYLOAD", map[string]string{"X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD"}
		}, "", ""},
		{"chunks that are none", put, func(s *signing) {
			s.hash = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
			s.header = map[string]string{"X-Amz-Content-Sha256": s.hash, "X-Amz-Decoded-Content-Length": "4"}
		}, "IncompleteBody", ""},
		{"signed chunks that are none", put, func(s *signing) {
			s.hash = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
			s.header = map[string]string{"X-Amz-Content-Sha256": s.hash, "X-Amz-Decoded-Content-Length": "4"}
		}, "IncompleteBody", ""},
		{"chunks without a signature", put, func(s *signing) {
			s.hash, s.body = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "4\r\nsnow\r\n0\r\n\r\n"
			s.header = map[string]string{"X-Amz-Content-Sha256": s.hash, "X-Amz-Decoded-Content-Length": "4"}
		}, "SignatureDoesNotMatch", ""},
		{"chunks", put, func(s *signing) {
			s.hash, s.body = "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "3\r\nsno\r\n1\r\nw\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
			s.header = map[string]string{"X-Amz-Content-Sha256": s.hash, "X-Amz-Decoded-Content-Length": "4"}
		}, "", ""},
		{"chunks that run together", put, func(s *signing) {
			s.hash, s.body = "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "4\r\nsnow0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
			s.header = map[string]string{"X-Amz-Content-Sha256": s.hash, "X-Amz-Decoded-Content-Length": "4"}
		}, "IncompleteBody", ""},
		{"chunks of another length", put, func(s *signing) {
			s.hash, s.body = "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "4\r\nsnow\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
			s.header = map[string]string{"X-Amz-Content-Sha256": s.hash, "X-Amz-Decoded-Content-Length": "5"}
		}, "IncompleteBody", ""},
		{"chunks without their length", put, func(s *signing) {
			s.hash, s.body = "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
			s.header = map[string]string{"X-Amz-Content-Sha256": s.hash}
		}, "MissingContentLength", ""},
		{"an unknown kind of chunks", put, func(s *signing) {
			s.hash = "STREAMING-UNSIGNED-PAYLOAD"
			s.header = map[string]string{"X-Amz-Content-Sha256": s.hash}
		}, "InvalidRequest", ""},
		{"no algorithm", get, func(s *signing) {
			s.after = func(r *http.Request) { setQuery(r, func(q url.Values) { q.Del("X-Amz-Algorithm") }) }
		}, "AuthorizationQueryParametersError", "Algorithm"},
		{"another algorithm", db, func(s *signing) { s.after = authorization("SHA256", "SHA1") }, "IncompleteSignature", "AWS4-HMAC-SHA1"},
		{"a parameter twice", get, func(s *signing) {
			s.after = func(r *http.Request) { setQuery(r, func(q url.Values) { q.Add("X-Amz-Expires", "604800") }) }
		}, "AuthorizationQueryParametersError", "twice"},
		{"a parameter twice, by case", get, func(s *signing) {
			s.after = func(r *http.Request) { setQuery(r, func(q url.Values) { q.Set("x-amz-expires", "604800") }) }
		}, "AuthorizationQueryParametersError", "twice"},
		{"a field twice", db, func(s *signing) { s.after = authorization("Signature=", "Signature=0, Signature=") }, "IncompleteSignature", "twice"},
		{"query and header", get, func(s *signing) {
			s.after = func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }
		}, "InvalidArgument", "Only one auth mechanism allowed"},
		{"query and header, not S3", post, func(s *signing) {
			s.after = func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }
		}, "SignatureDoesNotMatch", "Found both"},
		{"SignedHeaders without the host", db, func(s *signing) { s.after = authorization("host;", "") }, "SignatureDoesNotMatch", "'Host' must be a 'SignedHeader'"},
		{"SignedHeaders without another", db, func(s *signing) { s.after = authorization("content-length;", "") }, "SignatureDoesNotMatch", "we calculated"},
		{"SignedHeaders out of order", db, func(s *signing) { s.after = authorization("content-length;host", "host;content-length") }, "IncompleteSignature", "alphabetical"},
		{"SignedHeaders with more", db, func(s *signing) { s.after = authorization("content-length;", "content-length;content-type;") }, "SignatureDoesNotMatch", "we calculated"},
		{"a scope of another day", db, func(s *signing) {
			s.after = authorization(now.UTC().Format("20060102"), now.Add(-24*time.Hour).UTC().Format("20060102"))
		}, "SignatureDoesNotMatch", "Date in Credential scope does not match"},
		{"a scope of a year", db, func(s *signing) {
			s.after = authorization(now.UTC().Format("20060102"), now.UTC().Format("2006"))
		}, "SignatureDoesNotMatch", "Date in Credential scope does not match"},
		{"another terminator", db, func(s *signing) { s.after = authorization("aws4_request", "aws5_request") }, "SignatureDoesNotMatch", "valid terminator"},
		{"a short scope", db, func(s *signing) { s.after = authorization("/aws4_request", "") }, "IncompleteSignature", "5 slash-delimited elements"},
		{"14 minutes old", db, func(s *signing) { s.at = now.Add(-14 * time.Minute) }, "SignatureDoesNotMatch", "Signature expired"},
		{"six minutes early", db, func(s *signing) { s.at = now.Add(6 * time.Minute) }, "SignatureDoesNotMatch", "Signature not yet current"},
		{"16 minutes old, S3", put, func(s *signing) { s.at = now.Add(-16 * time.Minute) }, "RequestTimeTooSkewed", ""},
		{"16 minutes early, S3", put, func(s *signing) { s.at = now.Add(16 * time.Minute) }, "RequestTimeTooSkewed", ""},
		{"an old URL", get, func(s *signing) { s.at = now.Add(-61 * time.Second) }, "AccessDenied", "Request has expired"},
		{"an old URL without a life, not S3", post, func(s *signing) { s.at = now.Add(-16 * time.Minute) }, "SignatureDoesNotMatch", "Signature expired"},
		{"a URL without a life", get, func(s *signing) { s.url = strings.TrimSuffix(s.url, "?X-Amz-Expires=60") }, "AuthorizationQueryParametersError", "X-Amz-Expires"},
		{"a URL for more than a week", get, func(s *signing) { s.url += "4801" }, "AuthorizationQueryParametersError", "a week"},
		{"another path", get, func(s *signing) { s.after = func(r *http.Request) { r.URL.Path = "/other" } }, "SignatureDoesNotMatch", "we calculated"},
		{"another method", db, func(s *signing) { s.after = func(r *http.Request) { r.Method = http.MethodPut } }, "SignatureDoesNotMatch", "we calculated"},
		{"another host", db, func(s *signing) {
			s.after = func(r *http.Request) { r.Host = "dynamodb.us-east-1.amazonaws.com" }
		}, "SignatureDoesNotMatch", "we calculated"},
		{"a date header twice", db, func(s *signing) {
			s.after = func(r *http.Request) { r.Header.Add("X-Amz-Date", now.UTC().Format(amzDate)) }
		}, "IncompleteSignature", "Date"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := c.base
			if c.change != nil {
				c.change(&s)
			}
			r := sign(t, creds, s)
			session, err := server.Verify(r)
			if c.want == "" {
				require.NoError(t, err)
				assert.Equal(t, [2]string{s.service, s.region}, [2]string{session.Service, session.Region})
				body, err := io.ReadAll(r.Body)
				require.NoError(t, err)
				assert.Equal(t, s.body, string(body), "it is put back")
				return
			}
			var refused *ststest.Error
			require.ErrorAs(t, err, &refused)
			assert.Equal(t, c.want, refused.Code, err)
			assert.Contains(t, refused.Message, c.says)
			assert.Contains(t, []int{400, 403, 411}, refused.Status)
		})
	}
}

// A server is asked in ways in which the SDK's client does not.
func TestRawCalls(t *testing.T) {
	server, creds := signedWith(t)
	const action = "Action=GetCallerIdentity&Version=2011-06-15"
	ask := signing{method: http.MethodPost, url: server.URL + "/", body: action, service: "sts", region: "eu-west-1", at: time.Now(), header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}}
	get := ask
	get.method, get.body, get.url = http.MethodGet, "", server.URL+"/?"+action
	for _, c := range []struct {
		name   string
		base   signing
		change func(*signing)
		want   string
	}{
		{"POST", ask, nil, ""},
		{"GET", get, nil, ""},
		{"GET, presigned", get, func(s *signing) { s.presign = true }, ""},
		{"GET, presigned for a minute, which STS does not heed", get, func(s *signing) {
			s.presign, s.at, s.url = true, s.at.Add(-14*time.Minute), s.url+"&X-Amz-Expires=60"
		}, ""},
		{"GET, presigned for an hour, after 16 minutes", get, func(s *signing) {
			s.presign, s.at, s.url = true, s.at.Add(-16*time.Minute), s.url+"&X-Amz-Expires=3600"
		}, "SignatureDoesNotMatch"},
		{"GET, unsigned", get, func(s *signing) { s.after = func(r *http.Request) { r.Header.Del("Authorization") } }, "MissingAuthenticationToken"},
		{"GET, wrongly signed", get, func(s *signing) { s.after = authorization("Signature=", "Signature=0") }, "SignatureDoesNotMatch"},
		{"PUT", ask, func(s *signing) { s.method = http.MethodPut }, "InvalidAction"},
		{"DELETE", get, func(s *signing) { s.method = http.MethodDelete }, "InvalidAction"},
		{"HEAD", get, func(s *signing) { s.method = http.MethodHead }, ""},
		{"no action", get, func(s *signing) { s.url = server.URL }, "MissingAction"},
		{"another service", ask, func(s *signing) { s.service = "iam" }, "SignatureDoesNotMatch"},
		{"another version", ask, func(s *signing) { s.body = "Action=GetCallerIdentity&Version=2010-05-08" }, "InvalidAction"},
		{"no version", ask, func(s *signing) { s.body = "Action=GetCallerIdentity" }, "InvalidAction"},
		{"a region that does not exist", ask, func(s *signing) { s.region = "us-east-9" }, "SignatureDoesNotMatch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := c.base
			if c.change != nil {
				c.change(&s)
			}
			r := sign(t, creds, s)
			r.RequestURI = "" // httptest set it
			response, err := server.Client().Do(r)
			require.NoError(t, err)
			defer response.Body.Close()
			var answer struct {
				Arn  string `xml:"GetCallerIdentityResult>Arn"`
				Code string `xml:"Error>Code"`
			}
			if r.Method == http.MethodHead {
				assert.Equal(t, 400, response.StatusCode)
				assert.NotEmpty(t, response.Header.Get("Date"))
				return
			}
			require.NoError(t, xml.NewDecoder(response.Body).Decode(&answer))
			assert.Equal(t, c.want, answer.Code)
			assert.Equal(t, c.want == "", response.StatusCode == http.StatusOK)
			assert.Equal(t, c.want == "", answer.Arn != "")
		})
	}
}

// A client that connects ahead with HEAD is no call, and plays no fault.
func TestHeadIsNoCall(t *testing.T) {
	_, server := setUp(t)
	server.SetFault(func(c ststest.Call) ststest.Fault { t.Errorf("asked for a fault of %+v", c); return ststest.Fault{} })
	response, err := server.Client().Head(server.URL)
	require.NoError(t, err)
	response.Body.Close()
	assert.Zero(t, server.Calls(""))
}

func TestTokenRules(t *testing.T) {
	issuer, server := setUp(t)
	other := oidctest.NewServer()
	defer other.Close()
	const foreign = "arn:aws:iam::210987654321:role/web"
	server.AddRole(ststest.Role{ARN: foreign, TrustPolicy: trust(t, issuer, "production")}) // names the provider of 123456789012
	server.AddRole(ststest.Role{ARN: foreign + "2", TrustPolicy: strings.ReplaceAll(trust(t, issuer, "production"), "123456789012", "210987654321")})
	now := time.Now()
	claim := func(name string, value any) string {
		return issuer.Mint(func(c *oidctest.Claims) { c.Extra = map[string]any{name: value} })
	}
	type input = sts.AssumeRoleWithWebIdentityInput
	policy := func(text string) func(*input) { return func(in *input) { in.Policy = &text } }
	arns := func(arns ...string) func(*input) {
		return func(in *input) {
			for _, arn := range arns {
				in.PolicyArns = append(in.PolicyArns, types.PolicyDescriptorType{Arn: aws.String(arn)})
			}
		}
	}
	statement := func(s string) func(*input) {
		return policy(`{"Version":"2012-10-17","Statement":[` + s + `]}`)
	}
	for _, c := range []struct {
		name, token string
		change      func(*input)
		want        string
	}{
		{"a minute past its end", issuer.Mint(func(c *oidctest.Claims) { c.Expiry = now.Add(-time.Minute) }), nil, ""},
		{"issued a minute from now", claim("iat", now.Add(time.Minute).Unix()), nil, ""},
		{"nbf 0", claim("nbf", 0), nil, ""},
		{"provider of the role's account", issuer.Mint(), func(in *input) { in.RoleArn = aws.String(foreign + "2") }, ""},
		{"another server's, with this one's issuer", other.Mint(func(c *oidctest.Claims) { c.Issuer = issuer.Issuer() }), nil, "InvalidIdentityToken"},
		{"float exp", claim("exp", float64(now.Unix())+3600.5), nil, "InvalidIdentityToken"},
		{"text exp", claim("exp", "2000000000"), nil, "InvalidIdentityToken"},
		{"float iat", claim("iat", float64(now.Unix())+.5), nil, "InvalidIdentityToken"},
		{"issued in an hour", claim("iat", now.Add(time.Hour).Unix()), nil, "InvalidIdentityToken"},
		{"never issued", claim("iat", nil), nil, "InvalidIdentityToken"},
		{"Exp for exp", issuer.Mint(func(c *oidctest.Claims) { c.Extra = map[string]any{"exp": nil, "Exp": now.Add(time.Hour).Unix()} }), nil, "InvalidIdentityToken"},
		{"provider of another account", issuer.Mint(), func(in *input) { in.RoleArn = aws.String(foreign) }, "AccessDenied"},
		{"role of a short account", issuer.Mint(), func(in *input) { in.RoleArn = aws.String("arn:aws:iam::1234:role/web") }, "ValidationError"},
		{"a long role", issuer.Mint(), func(in *input) {
			in.RoleArn = aws.String("arn:aws:iam::123456789012:role/" + strings.Repeat("a", 2048))
		}, "ValidationError"},
		{"ProviderId", issuer.Mint(), func(in *input) { in.ProviderId = aws.String("www.amazon.com") }, "ValidationError"},

		{"a policy", issuer.Mint(), statement(`{"Sid":"a","Effect":"Allow","Action":"s3:Get*","Resource":["arn:aws:s3:::photos/*"],"Condition":{"Bool":{"aws:SecureTransport":"true"}}}`), ""},
		{"a policy of one statement", issuer.Mint(), policy(`{"Statement":{"Effect":"Deny","NotAction":["s3:*"],"NotResource":"*"}}`), ""},
		{"policy: not JSON", issuer.Mint(), policy(`{"Statement"`), "MalformedPolicyDocument"},
		{"policy: no statement", issuer.Mint(), policy(`{"Version":"2012-10-17"}`), "MalformedPolicyDocument"},
		{"policy: empty", issuer.Mint(), policy(`{"Version":"2012-10-17","Statement":[]}`), "MalformedPolicyDocument"},
		{"policy: text", issuer.Mint(), policy(`"Statement"`), "MalformedPolicyDocument"},
		{"policy: version", issuer.Mint(), policy(`{"Version":"2026-01-01","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`), "MalformedPolicyDocument"},
		{"policy: statement in lower case", issuer.Mint(), policy(`{"statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`), "MalformedPolicyDocument"},
		{"policy: principal", issuer.Mint(), statement(`{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}`), "MalformedPolicyDocument"},
		{"policy: effect", issuer.Mint(), statement(`{"Effect":"allow","Action":"*","Resource":"*"}`), "MalformedPolicyDocument"},
		{"policy: no action", issuer.Mint(), statement(`{"Effect":"Allow","Resource":"*"}`), "MalformedPolicyDocument"},
		{"policy: two actions", issuer.Mint(), statement(`{"Effect":"Allow","Action":"*","NotAction":"*","Resource":"*"}`), "MalformedPolicyDocument"},
		{"policy: action without service", issuer.Mint(), statement(`{"Effect":"Allow","Action":"GetObject","Resource":"*"}`), "MalformedPolicyDocument"},
		{"policy: no resource", issuer.Mint(), statement(`{"Effect":"Allow","Action":"*"}`), "MalformedPolicyDocument"},
		{"policy: resource", issuer.Mint(), statement(`{"Effect":"Allow","Action":"*","Resource":"photos"}`), "MalformedPolicyDocument"},
		{"policy: condition", issuer.Mint(), statement(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":[]}`), "MalformedPolicyDocument"},
		{"policy: unknown element", issuer.Mint(), statement(`{"Effect":"Allow","Action":"*","Resource":"*","Comment":"x"}`), "MalformedPolicyDocument"},
		{"managed policies", issuer.Mint(), arns("arn:aws:iam::aws:policy/ReadOnlyAccess", "arn:aws:iam::123456789012:policy/mine"), ""},
		{"managed policy: no ARN", issuer.Mint(), arns("ReadOnlyAccess"), "ValidationError"},
		{"managed policy: a role", issuer.Mint(), arns("arn:aws:iam::123456789012:role/web"), "ValidationError"},
		{"managed policy: another account", issuer.Mint(), arns("arn:aws:iam::210987654321:policy/theirs"), "ValidationError"},
		{"managed policies: eleven", issuer.Mint(), arns(strings.Fields(strings.Repeat("arn:aws:iam::aws:policy/a ", 11))...), "ValidationError"},
		{"policies together too long", issuer.Mint(), func(in *input) {
			statement(`{"Effect":"Allow","Action":"*","Resource":"*"}` + strings.Repeat(" ", 1900))(in)
			arns("arn:aws:iam::aws:policy/" + strings.Repeat("a", 120))(in)
		}, "PackedPolicyTooLarge"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.change == nil {
				c.change = func(*input) {}
			}
			_, err := assume(t, server, c.token, c.change)
			if c.want == "" {
				assert.NoError(t, err)
				return
			}
			require.Error(t, err)
			assert.Equal(t, c.want, code(t, err), err)
		})
	}
}

// Two refusals whose words tell them from others with their code.
func TestWords(t *testing.T) {
	issuer, server := setUp(t)
	stranger := oidctest.NewServer()
	defer stranger.Close()
	_, err := assume(t, server, stranger.Mint())
	assert.ErrorContains(t, err, "No OpenIDConnect provider found in your account for "+stranger.Issuer())
	_, err = assume(t, server, issuer.Mint(), func(in *sts.AssumeRoleWithWebIdentityInput) {
		in.Policy = aws.String(`{"Statement":{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}}`)
	})
	assert.ErrorContains(t, err, "Policy document should not specify a principal.")
}

// Keys count only where the issuer itself says so.
func TestKeysOfAnotherIssuer(t *testing.T) {
	issuer, server := setUp(t)
	for name, c := range map[string]struct {
		status   int
		issuer   string // in discovery; if empty, the address
		admitted bool
	}{
		"its own":                     {200, "", true},
		"discovery of another":        {200, issuer.Issuer(), false},
		"discovery that is not there": {404, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			var own string
			front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				says := c.issuer
				if says == "" {
					says = own
				}
				w.WriteHeader(c.status)
				fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, says, issuer.Issuer()+"/.well-known/jwks")
			}))
			defer front.Close()
			own = front.URL
			server.AddProvider(own, issuer.Audience())
			_, err := assume(t, server, issuer.Mint(func(c *oidctest.Claims) { c.Issuer = own }))
			require.Error(t, err, "the role trusts the issuer's own tokens alone")
			want := "Couldn't retrieve verification key"
			if c.admitted {
				want = "Not authorized to perform"
			}
			assert.ErrorContains(t, err, want)
		})
	}
}

// STS could not fetch the issuer's keys for a while.
func TestFirst(t *testing.T) {
	issuer, server := setUp(t)
	server.SetFault(ststest.First(2, ststest.Down()["verification key"]))
	for range 2 {
		_, err := assume(t, server, issuer.Mint())
		require.Error(t, err)
		assert.Equal(t, "InvalidIdentityToken", code(t, err))
		assert.ErrorContains(t, err, "Couldn't retrieve verification key from your identity provider")
	}
	_, err := assume(t, server, issuer.Mint())
	assert.NoError(t, err)
}

// The SDK's own list of regions is in a package that this one cannot import.
func TestRegionsAreThoseOfTheSDK(t *testing.T) {
	server, creds := signedWith(t)
	file, err := os.ReadFile(filepath.Join(sdkFolder(t), "internal", "endpoints", "awsrulesfn", "partitions.json"))
	require.NoError(t, err)
	names := regexp.MustCompile(`"([a-z]+(?:-[a-z]+)+-\d)" ?:`).FindAllSubmatch(file, -1)
	require.Greater(t, len(names), 40)
	for _, name := range names {
		_, err := server.Verify(sign(t, creds, signing{method: http.MethodGet, url: "https://service.test/", service: "service", region: string(name[1]), at: time.Now()}))
		assert.NoError(t, err, string(name[1]))
	}
}

func sdkFolder(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2").Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

func sha256Of(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
