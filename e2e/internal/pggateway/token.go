package pggateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/vercelaws/vercelaws/ststest"
)

// verify recomputes the signature of a password that is a presigned URL, once
// its claims are as they must be.
func verify(sts *ststest.Server, password, host, region, service, action string) (ststest.Session, url.Values, error) {
	r, err := http.NewRequest(http.MethodGet, "https://"+password, nil)
	if err != nil {
		return ststest.Session{}, nil, errors.New("the password is not a presigned URL")
	}
	query := r.URL.Query()
	scope := strings.Split(query.Get("X-Amz-Credential"), "/")
	switch {
	case r.Host != host:
		return ststest.Session{}, nil, fmt.Errorf("the token is for %s", r.Host)
	case query.Get("Action") != action:
		return ststest.Session{}, nil, fmt.Errorf("the token's action is %q, not %s", query.Get("Action"), action)
	case query.Get("X-Amz-Expires") != "900":
		return ststest.Session{}, nil, errors.New("the token does not live 15 minutes")
	case len(scope) != 5 || scope[2] != region || scope[3] != service:
		return ststest.Session{}, nil, errors.New("the token is for another region or service")
	}
	session, err := sts.Verify(r)
	return session, query, err
}
