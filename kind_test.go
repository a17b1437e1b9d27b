package vercelaws

import (
	"errors"
	"net/http"
	"testing"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/stretchr/testify/assert"

	"github.com/vercelaws/vercelaws/internal/stsclient"
)

// answered is an STS error as the SDK gives it.
func answered(status int, code string) error {
	return &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}},
		Err:      &smithy.GenericAPIError{Code: code},
	}
}

func TestKindOf(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want failureKind
	}{
		"no answer":                {errors.New("no route"), serviceFault},
		"an answer without a code": {answered(403, "UnknownError"), serviceFault},
		"a server error":           {answered(500, "AccessDenied"), serviceFault},
		"throttled":                {answered(400, "Throttling"), serviceFault},
		"429":                      {answered(429, "Slow"), serviceFault},
		"no keys":                  {answered(400, "IDPCommunicationError"), serviceFault},
		"called the server's":      {&smithy.GenericAPIError{Code: "New", Fault: smithy.FaultServer}, serviceFault},
		"refused":                  {answered(403, "AccessDenied"), tokenRefused},
		"refused by MinIO":         {answered(400, "InvalidParameterValue"), tokenRefused},
		"a new code":               {answered(400, "SomethingNew"), tokenRefused},
		"a new code, no answer":    {&smithy.GenericAPIError{Code: "New"}, serviceFault},
		"a session policy":         {answered(400, "MalformedPolicyDocument"), requestRefused},
		"a large session policy":   {answered(400, "PackedPolicyTooLargeException"), requestRefused},
		// To the way to STS it is the region's fault, and another may do; to
		// the tokens it is a refusal, and none will do.
		"not opted in":      {answered(403, "OptInRequired"), requestRefused},
		"a disabled region": {answered(403, "RegionDisabledException"), requestRefused},
	} {
		assert.Equal(t, test.want, kindOf(test.err), name)
	}
	assert.True(t, stsclient.IsFault(answered(403, "RegionDisabledException")))
}
