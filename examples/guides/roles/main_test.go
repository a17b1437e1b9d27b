package main

import (
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/examples/guides/internal/loopback"
	"github.com/vercelaws/vercelaws/ststest"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

const (
	shopRole = "arn:aws:iam::111111111111:role/for-service"
	blogRole = "arn:aws:iam::222222222222:role/for-service"
)

// account is the service with its customers, and the AWS of all of them. The
// trust policies of the shop's and the blog's roles demand what the guide says.
type account struct {
	*loopback.AWS
	t       *testing.T
	service *service
	url     string
}

func start(t *testing.T) *account {
	t.Helper()
	a := &account{AWS: loopback.Start(t, http.NotFoundHandler()), t: t}
	for role, name := range map[string]string{shopRole: "customer-7f3a", blogRole: "customer-c01d"} {
		a.AddRole(t, role, nameIs("StringEquals", name))
	}
	cfg, err := config.LoadDefaultConfig(t.Context())
	require.NoError(t, err)
	a.service = newService(cfg, map[string]string{"shop-key": "7f3a", "blog-key": "c01d", "bad-key": "bad"})
	a.url = loopback.Serve(t, a.service.routes()) + "/role"
	return a
}

func nameIs(operator string, names ...string) trustpolicy.Condition {
	return trustpolicy.Condition{Operator: operator, Key: "sts:RoleSessionName", Values: names}
}

func (a *account) put(key, role string) (status int) {
	a.t.Helper()
	status, _ = a.SendBody(a.t, "PUT", a.url, role, "Authorization", "Bearer "+key)
	return status
}

func (a *account) get(key string) (status int, body string) {
	a.t.Helper()
	return a.SendBody(a.t, "GET", a.url, "", "Authorization", "Bearer "+key)
}

func TestEachCustomerHasItsOwnAccount(t *testing.T) {
	a := start(t)
	require.Equal(t, http.StatusNoContent, a.put("shop-key", shopRole))
	require.Equal(t, http.StatusNoContent, a.put("blog-key", blogRole))
	before := a.Exchanged()
	for range 3 {
		for key, arn := range map[string]string{
			"shop-key": "arn:aws:sts::111111111111:assumed-role/for-service/customer-7f3a\n",
			"blog-key": "arn:aws:sts::222222222222:assumed-role/for-service/customer-c01d\n",
		} {
			status, body := a.get(key)
			require.Equal(t, http.StatusOK, status, body)
			assert.Equal(t, arn, body)
		}
	}
	assert.Equal(t, 2, a.Exchanged()-before, "one provider for a role, however many requests")

	status, _ := a.get("guess")
	assert.Equal(t, http.StatusUnauthorized, status)
	status, _ = a.get("bad-key")
	assert.Equal(t, http.StatusNotFound, status)
}

// TestAnotherCustomersRole has a customer enter the ARN of the shop's role.
func TestAnotherCustomersRole(t *testing.T) {
	a := start(t)
	assert.Equal(t, http.StatusBadRequest, a.put("bad-key", shopRole))
	require.NoError(t, a.service.save("bad", shopRole)) // a service that does not try it first
	status, body := a.get("bad-key")
	assert.Equal(t, http.StatusBadGateway, status, body)
}

// TestAnOutageIsNotTheCustomersFault has STS be down while a customer enters a
// role, and then up, for one whose ARN is none.
func TestAnOutageIsNotTheCustomersFault(t *testing.T) {
	a := start(t)
	a.STS.SetFault(ststest.Always(ststest.Fault{Status: http.StatusServiceUnavailable}))
	assert.Equal(t, http.StatusBadGateway, a.put("shop-key", shopRole))
	a.STS.SetFault(nil)
	assert.Equal(t, http.StatusBadRequest, a.put("shop-key", "for-service"))
}

// TestOneRoleHasOneOwner has a trust policy admit two customers: the provider of
// a role assumes it under its owner's name, whoever asks.
func TestOneRoleHasOneOwner(t *testing.T) {
	a := start(t)
	a.AddRole(t, shopRole, nameIs("StringEquals", "customer-7f3a", "customer-bad"))
	require.Equal(t, http.StatusNoContent, a.put("shop-key", shopRole))
	assert.Equal(t, http.StatusConflict, a.put("bad-key", shopRole))
	status, body := a.get("bad-key")
	assert.Equal(t, http.StatusNotFound, status, body)
}

// TestOpenRoleIsNotSaved has the shop's trust policy admit any customer's name,
// which would give its account to whoever enters the ARN: the confused deputy.
func TestOpenRoleIsNotSaved(t *testing.T) {
	for name, conditions := range map[string][]trustpolicy.Condition{
		"no condition":   nil,
		"any customer's": {nameIs("StringLike", "customer-*")},
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t)
			a.AddRole(t, shopRole, conditions...)
			for _, key := range []string{"bad-key", "shop-key"} {
				assert.Equal(t, http.StatusBadRequest, a.put(key, shopRole))
			}
			require.NoError(t, a.service.save("bad", shopRole)) // a service that does not try it first
			status, body := a.get("bad-key")
			assert.Equal(t, http.StatusOK, status)
			assert.Contains(t, body, "111111111111", "this is what the condition prevents")
		})
	}
}
