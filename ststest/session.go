package ststest

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
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

	// Region and Service are those for which the request was signed that Verify
	// looked at, such as "eu-west-1" and "s3". Sessions that come from elsewhere
	// have none.
	Region, Service string

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
	session, err := s.verify(r, "sts")
	if err != nil {
		return nil, err
	}
	return &callerIdentityAnswer{
		Result:   callerIdentity{Arn: session.AssumedRoleARN, UserID: session.userID(), Account: session.Account},
		Metadata: metadata{requestID()},
	}, nil
}

// Verify checks the Signature Version 4 of a request, in its Authorization
// header or its query, against the sessions that the server has issued, by the
// rules of AWS services in general, and S3's for S3: what is signed and how, the
// date, that the region exists, and that the body is the signed one, also where
// it comes in chunks. It is for tests with a service of their own. The request's
// body is read, and put back as it came. Errors are *[Error], with STS's codes,
// or S3's where the rule is S3's. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html.
//
// It cannot know which service and region the test stands for, nor what the role
// may do there: look at the Session's Service, Region and RoleARN. Checksums such
// as x-amz-checksum-crc32 are the service's to check.
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
