package ststest

import (
	"bytes"
	"crypto/rand"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Error is an error as STS answers it.
type Error struct {
	Code    string // such as "AccessDenied"
	Message string
	Status  int // the HTTP status
}

// Error returns the code and the message.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

func refuse(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Status: http.StatusBadRequest}
}

func forbidden(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Status: http.StatusForbidden}
}

// readForm reads the parameters of a call from the query and, with POST, the
// body, which is put back as it was signed.
func readForm(r *http.Request) (url.Values, error) {
	form, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || r.Method != http.MethodPost {
		return form, err
	}
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	posted, err := url.ParseQuery(body)
	maps.Copy(form, posted)
	return form, err
}

// readBody reads a request's body, and puts it back.
func readBody(r *http.Request) (string, error) {
	if r.Body == nil {
		return "", nil
	}
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	return string(body), err
}

func writeError(w http.ResponseWriter, now time.Time, echo string, e *Error) {
	sender := "Sender"
	if e.Status >= 500 {
		sender = "Receiver"
	}
	type detail struct{ Type, Code, Message string }
	write(w, now, e.Status, struct {
		XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
		Error     detail
		RequestID string `xml:"RequestId"`
	}{Error: detail{sender, e.Code, e.Message + echo}, RequestID: requestID()}, false)
}

func write(w http.ResponseWriter, now time.Time, status int, v any, truncated bool) {
	b, err := xml.Marshal(v)
	if err != nil {
		panic(err) // our own types
	}
	w.Header().Set("Content-Type", "text/xml")
	w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
	w.Header().Set("X-Amzn-RequestId", requestID())
	if truncated {
		// The length of the whole, so that the client can tell.
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		b = b[:len(b)/2]
	}
	w.WriteHeader(status)
	_, _ = io.Copy(w, bytes.NewReader(b))
}

func requestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// metadata is what every answer ends with.
type metadata struct {
	RequestID string `xml:"RequestId"`
}

// roleAnswer answers AssumeRoleWithWebIdentity and AssumeRole, which has none of
// the token's fields.
type roleAnswer struct {
	XMLName  xml.Name
	Result   roleResult
	Metadata metadata `xml:"ResponseMetadata"`
}

type roleResult struct {
	XMLName                     xml.Name
	SubjectFromWebIdentityToken string `xml:",omitempty"`
	Audience                    string `xml:",omitempty"`
	Provider                    string `xml:",omitempty"`
	AssumedRoleUser             assumedRoleUser
	Credentials                 *xmlCredentials
}

func (s Session) answer(action string, fault Fault, result roleResult) *roleAnswer {
	result.XMLName.Local = action + "Result"
	result.AssumedRoleUser = assumedRoleUser{Arn: s.AssumedRoleARN, AssumedRoleID: s.userID()}
	c := s.Credentials()
	if fault.EmptyCredentials {
		c = aws.Credentials{}
	}
	result.Credentials = &xmlCredentials{c.AccessKeyID, c.SecretAccessKey, c.SessionToken, s.Expires.Format(time.RFC3339)}
	return &roleAnswer{xml.Name{Space: "https://sts.amazonaws.com/doc/2011-06-15/", Local: action + "Response"}, result, metadata{requestID()}}
}

type assumedRoleUser struct {
	Arn           string
	AssumedRoleID string `xml:"AssumedRoleId"`
}

type xmlCredentials struct {
	AccessKeyID     string `xml:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      string
}

type callerIdentityAnswer struct {
	XMLName  xml.Name       `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
	Result   callerIdentity `xml:"GetCallerIdentityResult"`
	Metadata metadata       `xml:"ResponseMetadata"`
}

type callerIdentity struct {
	Arn     string
	UserID  string `xml:"UserId"`
	Account string
}
