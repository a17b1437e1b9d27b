package stsclient

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// hedgeAfter is how long the first region is waited for before the second is
// asked too.
const hedgeAfter = time.Second

// answer is what a region says.
type answer struct {
	out *sts.AssumeRoleWithWebIdentityOutput
	err error
}

// hedge asks the first region, and the second too once the first has faulted or
// has not answered in time. The first success or refusal ends both.
func hedge(ctx context.Context, first, second *sts.Client, in *sts.AssumeRoleWithWebIdentityInput, optFns []func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends who has lost
	ask := func(client *sts.Client) <-chan answer {
		answers := make(chan answer, 1) // who has lost is not read
		go func() {
			out, err := client.AssumeRoleWithWebIdentity(ctx, in, optFns...)
			answers <- answer{out, err}
		}()
		return answers
	}

	timer := time.NewTimer(hedgeAfter)
	defer timer.Stop()
	fromFirst := ask(first)
	select {
	case a := <-fromFirst:
		if !IsFault(a.err) || ctx.Err() != nil {
			return a.out, a.err
		}
		b := <-ask(second)
		return both(first, second, a, b)
	case <-timer.C:
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

// both is the outcome where each region has answered and at least one faulted.
// Where both did, the error is the first's, with the words of the second: that
// STS is disabled there, for one, must not stand for an outage here.
func both(first, second *sts.Client, a, b answer) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	switch {
	case !IsFault(a.err):
		return a.out, a.err
	case !IsFault(b.err):
		return b.out, b.err
	}
	return nil, fmt.Errorf("%s: %w; %s: %v", first.Options().Region, a.err, second.Options().Region, b.err)
}
