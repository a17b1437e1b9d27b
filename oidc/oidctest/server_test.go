package oidctest

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestIssuersOfAServer(t *testing.T) {
	s := &Server{URL: "http://127.0.0.1:4012"}
	assert.True(t, s.isIssuer("http://127.0.0.1:4012"))
	assert.True(t, s.isIssuer("http://127.0.0.1:4012/acme"))
	assert.False(t, s.isIssuer("http://127.0.0.1:40123/acme"), "another server's")
}
