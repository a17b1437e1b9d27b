//go:build go1.25

package vercelaws

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc"
)

// A refusal is given again for a second, to the moment, and then STS is asked.
func TestHowLongARefusalIsGivenAgain(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		s.set(always(codeError("AccessDenied")))
		ctx := oidc.ContextWithToken(t.Context(), mint(t, "a"))
		refused := func(calls int) {
			t.Helper()
			_, err := p.Retrieve(ctx)
			var e *AssumeRoleError
			require.ErrorAs(t, err, &e)
			require.Equal(t, calls, s.count())
		}
		refused(1)
		time.Sleep(time.Second - time.Nanosecond)
		refused(1)
		time.Sleep(time.Nanosecond)
		refused(2)
	})
}

// A token that STS refuses, and accepts after the trust policy was mended, is
// again its request's first choice.
func TestATokenThatIsAcceptedAfterAll(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		ctx := fromRequest(mint(t, "a"))
		s.set(always(codeError("AccessDenied")))
		_, err := p.Retrieve(ctx)
		require.Error(t, err)
		s.set(nil)
		time.Sleep(time.Second)
		_, err = p.Retrieve(ctx)
		require.NoError(t, err)

		fromRequest(mint(t, "another"))
		p.Invalidate()
		_, err = p.Retrieve(ctx)
		require.NoError(t, err)
		assert.Equal(t, s.tokens[0], s.tokens[len(s.tokens)-1])
	})
}
