package main

import (
	"context"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// endings is an STS client that keeps when the credentials end that it was
// given. A provider's own Expires is earlier: it says when the SDK in the same
// process should ask again. An SDK in another process plans its own refresh,
// and so needs the end.
type endings struct {
	client *sts.Client

	mu   sync.Mutex           // guards ends
	ends map[string]time.Time // by access key ID
}

// AssumeRoleWithWebIdentity asks STS.
func (e *endings) AssumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput, optFns ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	out, err := e.client.AssumeRoleWithWebIdentity(ctx, in, optFns...)
	if err == nil && out.Credentials != nil {
		e.add(aws.ToString(out.Credentials.AccessKeyId), aws.ToTime(out.Credentials.Expiration), time.Now())
	}
	return out, err
}

func (e *endings) add(accessKeyID string, end, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ends == nil {
		e.ends = map[string]time.Time{}
	}
	for id, other := range e.ends {
		if now.After(other) {
			delete(e.ends, id)
		}
	}
	e.ends[accessKeyID] = end
}

// of returns when the credentials end.
func (e *endings) of(creds aws.Credentials) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	if end, ok := e.ends[creds.AccessKeyID]; ok {
		return end
	}
	return creds.Expires
}
