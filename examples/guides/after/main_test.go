package main

import (
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"

	"github.com/vercelaws/vercelaws/examples/guides/internal/loopback"
)

// TestWorkGoesOnAfterTheAnswer holds S3's answer back until the request is over.
func TestWorkGoesOnAfterTheAnswer(t *testing.T) {
	bucket := loopback.NewBucket()
	answered := make(chan struct{})
	a := loopback.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-answered
		bucket.ServeHTTP(w, r)
	}))
	s := &site{client: s3.NewFromConfig(loopback.Config(t))}
	over := make(chan struct{})
	url := loopback.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		go func() {
			<-r.Context().Done() // as net/http ends it when the handler has returned
			close(over)
		}()
		s.routes().ServeHTTP(w, r)
	}))

	status, _ := a.Send(t, "POST", url+"/visits/home")
	assert.Equal(t, http.StatusAccepted, status)
	<-over
	close(answered)
	s.work.Wait()
	_, ok := bucket.Object("home")
	assert.True(t, ok)
	assert.Equal(t, loopback.RoleARN, a.Callers()[0].RoleARN)
}
