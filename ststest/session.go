package ststest

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Session is a session that the server has opened, with its credentials.
type Session struct {
	AccessKeyID    string
	RoleARN        string
	Name           string // the role session name
	AssumedRoleARN string
	Account        string
	Subject        string // of the token; empty if there was none
	Expires        time.Time

	// Region and Service are set by Verify: the region and service for which the
	// request was signed, such as "eu-west-1" and "s3".
	Region, Service string

	// The following fields are set by AssumeRole. The tags are those of the call
	// and the transitive ones of the session SourceARN.
	SourceARN         string // the assumed role that called AssumeRole
	ExternalID        string
	Tags              map[string]string // not to be changed
	TransitiveTagKeys []string          // the tags that are passed on to the next session

	role    *role
	revoked bool
	secret  func() (secretAccessKey, sessionToken string) // a function, so that nothing prints it
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

// Session returns the session with the access key, also one that has expired or
// was revoked.
func (s *Server) Session(accessKeyID string) (Session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session := s.sessions[accessKeyID]
	if session == nil {
		return Session{}, false
	}
	return *session, true
}

// Revoke ends a session. Its credentials are rejected from then on.
func (s *Server) Revoke(accessKeyID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if session := s.sessions[accessKeyID]; session != nil {
		session.revoked = true
	}
}

// RevokeAll ends all sessions that were opened so far.
func (s *Server) RevokeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, session := range s.sessions {
		session.revoked = true
	}
}

func (s *Server) callerIdentity(r *http.Request) (*callerIdentityAnswer, error) {
	session, err := s.verify(r, "sts")
	if err != nil {
		return nil, err
	}
	return &callerIdentityAnswer{
		Result:   callerIdentity{Arn: session.AssumedRoleARN, UserID: session.userID(), Account: session.Account},
		Metadata: metadata{requestID()},
	}, nil
}

// Verify checks the Signature Version 4 of a request, in its Authorization header
// or its query, and returns the session whose credentials signed it. It is for
// tests with a service of their own. It checks the form of the signature, the
// signed headers, the date, that the region exists, and that the body is the signed
// one, also if it comes in chunks. The rules are those of AWS services in general,
// and S3's for S3. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html.
// The request's body is read, and can be read again. Errors are *[Error], with
// STS's codes, or S3's for a rule of S3's.
//
// Verify does not know the test's service and region, nor what the role may do
// there: check the Session's Service, Region and RoleARN. It does not check
// checksums such as x-amz-checksum-crc32.
func (s *Server) Verify(r *http.Request) (Session, error) { return s.verify(r, "") }

// verify is Verify for a service, or for any.
func (s *Server) verify(r *http.Request, service string) (Session, error) {
	signed, err := parseSignature(r, func(region string) bool {
		return slices.Contains(strings.Fields(regions), region) || slices.Contains(s.options.Regions, region)
	})
	if err != nil {
		return Session{}, err
	}
	if service != "" && signed.service != service {
		return Session{}, forbidden("SignatureDoesNotMatch", "Credential should be scoped to correct service: '%s'.", service)
	}
	session, err := s.alive(signed.accessKeyID)
	if err != nil {
		return Session{}, err
	}
	if err := signed.inTime(s.options.Now()); err != nil {
		return Session{}, err
	}
	creds := session.Credentials()
	if signed.token != creds.SessionToken {
		return Session{}, forbidden("InvalidClientTokenId", "The security token included in the request is invalid.")
	}
	if err := signed.check(r, creds); err != nil {
		return Session{}, err
	}
	session.Region, session.Service = signed.region, signed.service
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
