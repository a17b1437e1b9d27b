// Command roles is a service that acts in its customers' accounts, in each by a
// role that the customer made for it and entered here.
//
//	PUT /role   the ARN of the customer's role
//	GET /role   who the service is in the customer's account
//
// CUSTOMERS has the customers' IDs by their API keys, in JSON: {"key": "7f3a"}.
// A request has its key in Authorization, as "Bearer key".
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
)

func main() {
	var keys map[string]string
	if err := json.Unmarshal([]byte(os.Getenv("CUSTOMERS")), &keys); err != nil {
		log.Fatal("CUSTOMERS: ", err)
	}
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(":"+cmp.Or(os.Getenv("PORT"), "3000"), newService(cfg, keys).routes()))
}

// service keeps its records in memory, where a real one has a database.
type service struct {
	cfg       aws.Config
	customers map[string]string // the customer's ID by API key
	roles     *vercelaws.Providers

	mu     sync.Mutex        // guards what follows
	roleOf map[string]string // the role's ARN by customer ID
	owner  map[string]string // the customer's ID by role ARN; it never changes
}

func newService(cfg aws.Config, customers map[string]string) *service {
	s := &service{cfg: cfg, customers: customers, roleOf: map[string]string{}, owner: map[string]string{}}
	s.roles = vercelaws.NewProviders(func(roleARN string, o *vercelaws.Options) {
		o.RoleSessionName = sessionName(s.ownerOf(roleARN))
	})
	return s
}

// sessionName is the name under which the service assumes a customer's role, and
// no other customer's.
func sessionName(customer string) string { return "customer-" + customer }

func (s *service) ownerOf(roleARN string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owner[roleARN]
}

func (s *service) roleOfCustomer(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roleOf[id]
}

// save gives the customer a role that no other has.
func (s *service) save(id, roleARN string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if owner, taken := s.owner[roleARN]; taken && owner != id {
		return errors.New("that role is another customer's")
	}
	s.owner[roleARN], s.roleOf[id] = id, roleARN
	return nil
}

var errOpen = errors.New("the role's trust policy does not demand the sts:RoleSessionName")

// checkTrust looks at what the trust policy of a role demands that the customer
// enters: the role must admit the customer's session name, and not another. A role
// that admits any name would serve whoever enters its ARN.
func checkTrust(ctx context.Context, id, roleARN string) error {
	if err := try(ctx, roleARN, sessionName(id)); err != nil {
		return err
	}
	err := try(ctx, roleARN, sessionName("nobody")) // of the same form, so that customer-* is found out
	var refused *vercelaws.AssumeRoleError
	switch {
	case err == nil:
		return errOpen
	case errors.As(err, &refused) && refused.Code == "AccessDenied":
		return nil
	}
	return err
}

// forCustomer tells whether the customer can mend what checkTrust found. The rest
// is this service's own, or passes.
func forCustomer(err error) bool {
	var config *vercelaws.ConfigError
	var refused *vercelaws.AssumeRoleError
	return errors.Is(err, errOpen) ||
		errors.As(err, &config) && config.Setting == "role ARN" ||
		errors.As(err, &refused) && !refused.Temporary()
}

func try(ctx context.Context, roleARN, sessionName string) error {
	_, err := vercelaws.NewProvider(roleARN, func(o *vercelaws.Options) {
		o.RoleSessionName = sessionName
	}).Retrieve(ctx)
	return err
}

func (s *service) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /role", s.signedIn(s.putRole))
	mux.HandleFunc("GET /role", s.signedIn(s.getRole))
	return oidc.Middleware(mux)
}

// signedIn gives h the ID of the customer whose API key the request has.
func (s *service) signedIn(h func(w http.ResponseWriter, r *http.Request, id string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		key, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		id, ok := s.customers[key]
		if !ok {
			http.Error(w, "sign in first", http.StatusUnauthorized)
			return
		}
		h(w, r, id)
	}
}

func (s *service) putRole(w http.ResponseWriter, r *http.Request, id string) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 2048))
	if err != nil {
		http.Error(w, "too long for an ARN", http.StatusBadRequest)
		return
	}
	roleARN := strings.TrimSpace(string(text))
	if err := checkTrust(r.Context(), id, roleARN); err != nil {
		log.Print(err)
		if !forCustomer(err) {
			http.Error(w, "cannot try the role now", http.StatusBadGateway)
			return
		}
		http.Error(w, "have the role's trust policy demand the sts:RoleSessionName "+sessionName(id), http.StatusBadRequest)
		return
	}
	if err := s.save(id, roleARN); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *service) getRole(w http.ResponseWriter, r *http.Request, id string) {
	roleARN := s.roleOfCustomer(id)
	if roleARN == "" {
		http.Error(w, "enter a role first", http.StatusNotFound)
		return
	}
	client := sts.NewFromConfig(s.cfg, func(o *sts.Options) { o.Credentials = s.roles.For(roleARN) })
	out, err := client.GetCallerIdentity(r.Context(), nil)
	if err != nil {
		log.Print(err)
		http.Error(w, "your role does not admit us", http.StatusBadGateway)
		return
	}
	fmt.Fprintln(w, *out.Arn)
}
