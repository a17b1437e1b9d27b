package doctor

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/vercelaws/vercelaws/internal/stsenv"
)

const (
	// clockWarning is what the library allows a local clock to be fast.
	clockWarning = time.Minute
	// clockFailure is what AWS allows a signature's time to be off. See
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html.
	clockFailure = 5 * time.Minute
)

// checkSTS finds the endpoint that a provider uses, how long it takes to
// answer, and how far the local clock is from its clock.
func (e *examination) checkSTS(ctx context.Context) Check {
	c := Check{Name: "sts", Status: Failed, ToDo: []string{"check AWS_REGION, AWS_ENDPOINT_URL_STS, ~/.aws/config and the network"}}
	cfg, err := stsenv.Config(ctx)
	if err != nil {
		c.Summary = "the environment's AWS settings do not load: " + e.clean(err)
		return c
	}
	e.config, e.hasSTS = cfg, true
	client := sts.NewFromConfig(cfg)
	endpoint, err := stsenv.URL(ctx, client)
	if err != nil {
		c.Summary = "no endpoint: " + e.clean(err)
		return c
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, endpoint.String(), nil)
	if err != nil {
		c.Summary = e.clean(err)
		return c
	}
	start := time.Now()
	response, err := client.Options().HTTPClient.Do(request)
	took := time.Since(start)
	if err != nil {
		c.Summary = fmt.Sprintf("%s does not answer: %s", endpoint.Redacted(), e.clean(err))
		return c
	}
	response.Body.Close()
	c.Status, c.ToDo = OK, nil
	c.Summary = fmt.Sprintf("%s in %s answers within %s", endpoint.Redacted(), cfg.Region, took.Round(time.Millisecond))
	judgeClock(&c, response.Header.Get("Date"), start.Add(took/2))
	return c
}

// judgeClock compares the local time at which an answer was made to the time
// that the answer says (RFC 9110, section 6.6.1, to the second).
func judgeClock(c *Check, date string, local time.Time) {
	there, err := http.ParseTime(date)
	if err != nil {
		c.Details = append(c.Details, "it sends no date to compare the clock to")
		return
	}
	off := local.Sub(there).Round(time.Second)
	direction := "ahead of"
	if off < 0 {
		off, direction = -off, "behind"
	}
	switch {
	case off <= 2*time.Second: // the date's resolution, and the way
		c.Details = append(c.Details, "the local clock agrees with it")
		return
	case off > clockFailure:
		c.Status = Failed
	case off > clockWarning:
		c.Status = Warning
	}
	c.Details = append(c.Details, fmt.Sprintf("the local clock is %s %s it", off, direction))
	if c.Status != OK {
		c.ToDo = append(c.ToDo, "set the local clock: AWS refuses requests signed by one that is 5 minutes off")
	}
}
