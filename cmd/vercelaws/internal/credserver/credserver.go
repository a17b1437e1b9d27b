// Package credserver gives AWS credentials to other programs on this machine,
// by the container credentials protocol that every AWS SDK and tool speaks. See
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html.
package credserver

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const (
	readLimit  = 5 * time.Second  // for a request, which comes from this machine
	writeLimit = 30 * time.Second // for an answer; the library takes 10 seconds at most
	headLimit  = 8 << 10          // bytes of a request's head
)

// Retrieve gives credentials. Their Expires is what is answered as the
// Expiration.
type Retrieve = func(context.Context) (aws.Credentials, error)

// Options say what is served.
type Options struct {
	Roles map[string]Retrieve // by path, such as /credentials
	Port  int                 // 0: one that is free
	Token string              // "": a new one
}

// Server answers on a port of the loopback interface.
type Server struct {
	host  string        // what a request's Host must be
	token func() string // what its Authorization must be; a function, so that nothing prints it
	roles map[string]Retrieve
	http  *http.Server
}

// Start starts a server.
func Start(o Options) (*Server, error) {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", o.Port))
	if err != nil {
		return nil, err
	}
	token := cmp.Or(o.Token, rand.Text()) // 130 bits
	s := &Server{
		host:  listener.Addr().String(),
		token: func() string { return token },
		roles: o.Roles,
	}
	s.http = &http.Server{
		Handler:           s,
		ReadTimeout:       readLimit,
		WriteTimeout:      writeLimit,
		MaxHeaderBytes:    headLimit,
		ReadHeaderTimeout: readLimit,
		ConnContext:       withConn,
		ErrorLog:          log.New(io.Discard, "", 0), // the standard error is the program's
	}
	go func() { _ = s.http.Serve(newPendingListener(listener, pendingLimit())) }()
	return s, nil
}

// Close ends the server and its connections at once.
func (s *Server) Close() { _ = s.http.Close() }

// Environ returns the variables with which an AWS SDK gets the credentials at this
// path.
func (s *Server) Environ(path string) []string {
	return []string{
		"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://" + s.host + path,
		"AWS_CONTAINER_AUTHORIZATION_TOKEN=" + s.token(),
	}
}

// answer is the protocol's. An SDK asks again some minutes before Expiration.
type answer struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	Expiration      time.Time // RFC 3339
}

// refusal is the answer without credentials. SDKs show its text.
type refusal struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// ServeHTTP gives the credentials to requests that have the token, and to no
// others. It also checks the Host, against DNS rebinding: a web page whose name
// resolves to this address sends that name.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	retrieve := s.roles[r.URL.Path]
	switch {
	case r.Host != s.host:
		deny(w, http.StatusMisdirectedRequest, "Host", "this is not the host that was asked for")
	case retrieve == nil || r.URL.RawPath != "" || r.URL.RawQuery != "":
		deny(w, http.StatusNotFound, "Path", "there is nothing here")
	case r.Method != http.MethodGet:
		deny(w, http.StatusMethodNotAllowed, "Method", "use GET")
	case !s.authorized(r):
		deny(w, http.StatusUnauthorized, "Token", "the Authorization header is not AWS_CONTAINER_AUTHORIZATION_TOKEN")
	default:
		markAuthenticated(r)
		serve(w, r, retrieve)
	}
}

func (s *Server) authorized(r *http.Request) bool {
	values := r.Header["Authorization"]
	return len(values) == 1 && subtle.ConstantTimeCompare([]byte(values[0]), []byte(s.token())) == 1
}

func serve(w http.ResponseWriter, r *http.Request, retrieve Retrieve) {
	creds, err := retrieve(r.Context())
	if err != nil {
		deny(w, http.StatusBadGateway, "NoCredentials", err.Error())
		return
	}
	write(w, http.StatusOK, answer{creds.AccessKeyID, creds.SecretAccessKey, creds.SessionToken, creds.Expires.UTC().Truncate(time.Second)})
}

func deny(w http.ResponseWriter, status int, code, message string) {
	write(w, status, refusal{code, message})
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
