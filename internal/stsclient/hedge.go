package stsclient

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// hedgeAfter is how long the first region has to answer before the second is asked
// too.
const hedgeAfter = time.Second

// answer is the outcome of the operation in one region.
type answer struct {
	out *sts.AssumeRoleWithWebIdentityOutput
	err error
}

// hedge asks the first region. If that fails with a fault, or does not answer in
// time, it asks the second too. The first success or refusal is returned, and ends
// the other call.
func hedge(ctx context.Context, first, second *sts.Client, in *sts.AssumeRoleWithWebIdentityInput, optFns []func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ask := func(client *sts.Client) <-chan answer {
		answers := make(chan answer, 1) // the slower region's answer is dropped
		go func() {
			out, err := client.AssumeRoleWithWebIdentity(ctx, in, optFns...)
			answers <- answer{out, err}
		}()
		return answers
	}

	fromFirst := ask(first)
	select {
	case a := <-fromFirst:
		if !IsFault(a.err) || ctx.Err() != nil {
			return a.out, a.err
		}
		return both(first, second, a, <-ask(second))
	case <-time.After(hedgeAfter):
	}
	fromSecond := ask(second)
	select {
	case a := <-fromFirst:
		if !IsFault(a.err) {
			return a.out, a.err
		}
		return both(first, second, a, <-fromSecond)
	case b := <-fromSecond:
		if !IsFault(b.err) {
			return b.out, b.err
		}
		return both(first, second, <-fromFirst, b)
	}
}

// both returns the outcome after both regions have answered and at least one has
// failed with a fault. If both have, the error wraps that of the first region alone,
// and holds the second's as text: that STS is disabled in the second region must
// not look like the reason for an outage of the first.
func both(first, second *sts.Client, a, b answer) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	switch {
	case !IsFault(a.err):
		return a.out, a.err
	case !IsFault(b.err):
		return b.out, b.err
	}
	return nil, fmt.Errorf("%s: %w; %s: %v", first.Options().Region, a.err, second.Options().Region, b.err)
}
