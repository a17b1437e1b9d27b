package vercelaws

import (
	"context"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/vercelaws/vercelaws/internal/stsenv"
)

// connect opens a connection to STS and leaves it in the HTTP client's pool for
// the first operation. It sends a HEAD request for the root, which holds
// nothing of the user's; whatever the answer is, the connection is open. Its
// failure is nobody's loss: the first operation connects by itself.
func (l *lazyClient) connect() {
	ctx, cancel := context.WithTimeout(context.Background(), attemptLimit)
	defer cancel()
	c, err := l.sts(ctx)
	if err != nil {
		return
	}
	client, ok := c.(*sts.Client)
	if !ok {
		return
	}
	endpoint, err := stsenv.URL(ctx, client)
	if err != nil {
		return
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, endpoint.String(), nil)
	if err != nil {
		return
	}
	response, err := client.Options().HTTPClient.Do(request)
	if err != nil {
		return
	}
	response.Body.Close()
}
