package ststest

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Session is credentials that the server has issued.
type Session struct {
	AccessKeyID    string
	RoleARN        string
	Name           string // the role session name
	AssumedRoleARN string
	Account        string
	Subject        string // of the token; empty if there was none
	Expires        time.Time

	// What follows is of sessions that were opened with AssumeRole. The tags are
	// those that it was given, and those that the session SourceARN handed on.
	SourceARN         string // the assumed role that asked for this one
	ExternalID        string
	Tags              map[string]string // not to be changed
	TransitiveTagKeys []string          // the tags that this session hands on

	role    *role
	revoked bool
	secret  func() (secretAccessKey, sessionToken string) // a function, so that nothing prints it
}

func newSession(accessKeyID, secretAccessKey, sessionToken string) *Session {
	return &Session{
		AccessKeyID: accessKeyID,
		secret:      func() (string, string) { return secretAccessKey, sessionToken },
	}
}

// Credentials returns the session's keys, for tests that check signatures
// themselves.
func (s Session) Credentials() aws.Credentials {
	if s.secret == nil {
		return aws.Credentials{}
	}
	secret, token := s.secret()
	return aws.Credentials{AccessKeyID: s.AccessKeyID, SecretAccessKey: secret, SessionToken: token, CanExpire: true, Expires: s.Expires, AccountID: s.Account}
}

func (s Session) userID() string { return "AROAEXAMPLE:" + s.Name }

func (s Session) xml(fault Fault) *xmlCredentials {
	c := s.Credentials()
	if fault.EmptyCredentials {
		c = aws.Credentials{}
	}
	return &xmlCredentials{c.AccessKeyID, c.SecretAccessKey, c.SessionToken, s.Expires.Format(time.RFC3339)}
}

// Session returns the session with the access key, dead or alive.
func (s *Server) Session(accessKeyID string) (Session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session := s.sessions[accessKeyID]
	if session == nil {
		return Session{}, false
	}
	return *session, true
}

// Revoke makes a session's credentials dead at once.
func (s *Server) Revoke(accessKeyID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if session := s.sessions[accessKeyID]; session != nil {
		session.revoked = true
	}
}

// RevokeAll makes all credentials that were issued so far dead at once.
func (s *Server) RevokeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, session := range s.sessions {
		session.revoked = true
	}
}

func (s *Server) callerIdentity(r *http.Request) (*callerIdentityAnswer, error) {
	session, err := s.Verify(r)
	if err != nil {
		return nil, err
	}
	return &callerIdentityAnswer{
		Result:   callerIdentity{Arn: session.AssumedRoleARN, UserID: session.userID(), Account: session.Account},
		Metadata: metadata{requestID()},
	}, nil
}

// Verify checks the Signature Version 4 of a request, in its Authorization
// header or its query, against the sessions that the server has issued. It is
// for tests with a service of their own. The request's body is read and put
// back. Errors are *[Error] with the codes that AWS services answer. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html.
func (s *Server) Verify(r *http.Request) (Session, error) {
	signed, err := parseSignature(r)
	if err != nil {
		return Session{}, err
	}
	session, err := s.alive(signed.accessKeyID)
	if err != nil {
		return Session{}, err
	}
	creds := session.Credentials()
	if signed.token != creds.SessionToken {
		return Session{}, forbidden("InvalidClientTokenId", "The security token included in the request is invalid.")
	}
	now := s.options.Now()
	if now.Before(signed.at.Add(-15*time.Minute)) || now.After(signed.at.Add(signed.valid)) {
		return Session{}, forbidden("SignatureDoesNotMatch", "Signature expired: %s is not within the allowed time of %s", signed.at.Format(amzDate), now.UTC().Format(amzDate))
	}
	want, err := signed.recompute(r, creds)
	if err != nil {
		return Session{}, err
	}
	if subtle.ConstantTimeCompare([]byte(want), []byte(signed.signature)) != 1 {
		return Session{}, forbidden("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
	}
	return session, nil
}

func (s *Server) alive(accessKeyID string) (Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session := s.sessions[accessKeyID]
	switch {
	case session == nil, session.revoked, s.roles[session.RoleARN] != session.role:
		return Session{}, forbidden("InvalidClientTokenId", "The security token included in the request is invalid.")
	case !s.options.Now().Before(session.Expires):
		return Session{}, forbidden("ExpiredToken", "The security token included in the request is expired")
	}
	return *session, nil
}

func forbidden(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Status: http.StatusForbidden}
}

const amzDate = "20060102T150405Z"

// signature is what a request says of its own signature.
type signature struct {
	accessKeyID, region, service string
	headers                      []string
	signature, token             string
	at                           time.Time
	valid                        time.Duration
	inQuery                      bool
}

func parseSignature(r *http.Request) (signature, error) {
	incomplete := forbidden("IncompleteSignature", "the request's signature is not complete")
	var sig signature
	var credential, headers, date string
	if query := r.URL.Query(); query.Get("X-Amz-Signature") != "" {
		sig.inQuery = true
		credential, headers, date = query.Get("X-Amz-Credential"), query.Get("X-Amz-SignedHeaders"), query.Get("X-Amz-Date")
		sig.signature, sig.token = query.Get("X-Amz-Signature"), query.Get("X-Amz-Security-Token")
		seconds, err := strconv.Atoi(query.Get("X-Amz-Expires"))
		if err != nil || seconds < 1 || seconds > 604_800 {
			return sig, incomplete
		}
		sig.valid = time.Duration(seconds) * time.Second
	} else {
		fields, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
		if !ok {
			return sig, forbidden("MissingAuthenticationToken", "Request is missing Authentication Token")
		}
		for field := range strings.SplitSeq(fields, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
			switch name {
			case "Credential":
				credential = value
			case "SignedHeaders":
				headers = value
			case "Signature":
				sig.signature = value
			}
		}
		date, sig.token, sig.valid = r.Header.Get("X-Amz-Date"), r.Header.Get("X-Amz-Security-Token"), 15*time.Minute
	}
	scope := strings.Split(credential, "/")
	at, err := time.Parse(amzDate, date)
	if len(scope) != 5 || scope[4] != "aws4_request" || err != nil || !strings.HasPrefix(date, scope[1]) {
		return sig, incomplete
	}
	sig.accessKeyID, sig.region, sig.service, sig.at = scope[0], scope[2], scope[3], at
	sig.headers = strings.Split(headers, ";")
	return sig, nil
}

// recompute signs the request again, as the SDK does, and returns the
// signature.
func (sig signature) recompute(r *http.Request, creds aws.Credentials) (string, error) {
	again := &http.Request{Method: r.Method, Host: r.Host, Header: http.Header{}, URL: &url.URL{
		Scheme: "https", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery,
	}}
	for _, name := range sig.headers {
		switch name {
		case "host":
		case "content-length":
			again.ContentLength = r.ContentLength
		default:
			again.Header[http.CanonicalHeaderKey(name)] = slices.Clone(r.Header.Values(name))
		}
	}
	options := func(o *v4.SignerOptions) { o.DisableURIPathEscaping = sig.service == "s3" }
	if sig.inQuery {
		query := again.URL.Query()
		for _, name := range []string{"Algorithm", "Credential", "Date", "SignedHeaders", "Security-Token", "Signature"} {
			query.Del("X-Amz-" + name)
		}
		again.URL.RawQuery = query.Encode()
		hash := emptyHash
		if sig.service == "s3" {
			hash = "UNSIGNED-PAYLOAD"
		}
		signedURL, _, err := v4.NewSigner(options).PresignHTTP(r.Context(), creds, again, hash, sig.service, sig.region, sig.at, options)
		if err != nil {
			return "", err
		}
		parsed, err := url.Parse(signedURL)
		if err != nil {
			return "", err
		}
		return parsed.Query().Get("X-Amz-Signature"), nil
	}
	hash, err := payloadHash(r)
	if err != nil {
		return "", err
	}
	if err := v4.NewSigner(options).SignHTTP(r.Context(), creds, again, hash, sig.service, sig.region, sig.at, options); err != nil {
		return "", err
	}
	_, signed, _ := strings.Cut(again.Header.Get("Authorization"), "Signature=")
	return signed, nil
}

// emptyHash is the SHA-256 of nothing.
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// payloadHash is the hash that the signature covers: what the request says, if
// it is one of the values that stand for no hash, or that of the body.
func payloadHash(r *http.Request) (string, error) {
	if said := r.Header.Get("X-Amz-Content-Sha256"); said == "UNSIGNED-PAYLOAD" || strings.HasPrefix(said, "STREAMING-") {
		return said, nil
	}
	if r.Body == nil {
		return emptyHash, nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return "", err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:]), nil
}
