package doctor

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/awsconfig"
	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/failure"
	"github.com/vercelaws/vercelaws/internal/scrub"
	"github.com/vercelaws/vercelaws/internal/stsclient"
)

const (
	// clockWarning is by how much the local clock may be ahead for the library.
	clockWarning = time.Minute
	// clockFailure is by how much a signature's time may be off for AWS. See
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html.
	clockFailure = 5 * time.Minute
)

// way is a client and endpoint of STS, and the answer of the endpoint.
type way struct {
	client *sts.Client
	to     *url.URL

	date string // of the answer
	at   time.Time
	took time.Duration
	err  error // there was none
}

// String describes the endpoint and region, and whether it answers.
func (w *way) String() string {
	where := fmt.Sprintf("%s in %s", strings.TrimSuffix(w.to.Redacted(), "/"), scrub.Text(w.client.Options().Region, "", 100))
	if w.err != nil {
		return fmt.Sprintf("%s does not answer: %s", where, scrub.Text(w.err.Error(), "", 600))
	}
	return fmt.Sprintf("%s answers within %s", where, w.took.Round(time.Millisecond))
}

func newWay(client *sts.Client) (*way, error) {
	to, err := stsclient.Endpoint(context.Background(), client) // sends nothing
	return &way{client: client, to: to}, err
}

// ask sends a request without a token, and records the time of the answer.
func (w *way) ask(ctx context.Context) {
	start := time.Now()
	response, err := stsclient.Head(ctx, w.client)
	w.took = time.Since(start)
	w.at = start.Add(w.took / 2)
	if w.err = err; err == nil {
		w.date = response.Header.Get("Date")
	}
}

// checkSTS finds the endpoints that a provider uses and the one that this
// command uses, how long they take to answer, and how far the local clock is
// from theirs.
func (e *examination) checkSTS(ctx context.Context) Check {
	c := Check{Name: "sts", Status: OK}
	library, err := e.libraryWays(&c)
	if err != nil {
		c.fail("the library has no way to STS: "+failure.Of(err).Words, "mend the variable or the flag that it names")
	}
	own, err := e.ownWay(ctx)
	if err != nil {
		c.fail("the AWS settings do not load: "+e.clean(err), "check the environment and ~/.aws/config")
	}

	all := library
	apart := own != nil && (len(library) == 0 || own.to.String() != library[0].to.String())
	if apart {
		all = append(slices.Clip(library), own)
	}
	var wg sync.WaitGroup
	for _, w := range all {
		wg.Add(1)
		go func() {
			defer wg.Done()
			w.ask(ctx)
		}()
	}
	wg.Wait()

	judgeLibrary(&c, library)
	if !apart && len(library) == 2 && library[0].err != nil && library[1].err == nil {
		e.config.Region = e.FallbackRegion // for the checks after this one
	}
	if apart {
		c.Details = append(c.Details, "this command reads the shared config file too, and asks another endpoint: "+own.String())
		if own.err != nil {
			c.fail("", "check ~/.aws/config and the network")
		} else if len(library) > 0 {
			c.warn("set in the environment what the shared config file says: the library does not read that file")
		}
	}
	for _, w := range all {
		if w.err == nil {
			judgeClock(&c, w.date, w.at)
			break
		}
	}
	return c
}

// judgeLibrary says which of the library's regions answer.
func judgeLibrary(c *Check, ways []*way) {
	var said []string
	silent := 0
	for _, w := range ways {
		said = append(said, w.String())
		if w.err != nil {
			silent++
		}
	}
	c.summarize(strings.Join(said, "; "))
	switch {
	case silent == 0:
	case silent == len(ways):
		c.fail("", "check AWS_REGION, AWS_ENDPOINT_URL_STS and the network")
	case ways[0].err != nil:
		c.warn("find out why the first region does not answer: each fetch of credentials waits a second for it")
	default:
		c.warn("see what keeps the second region away (a proxy, a VPC endpoint), or choose another: it cannot stand in for the first")
	}
}

// libraryWays are those of a provider without Options.Client. It adds the settings
// to the check's details.
func (e *examination) libraryWays(c *Check) (ways []*way, err error) {
	o := stsclient.Options{RoleARN: e.RoleARN, FallbackRegion: e.FallbackRegion, Override: e.override}
	settings, err := stsclient.Resolve(o)
	if err != nil {
		return nil, err
	}
	c.Details = append(c.Details, told(settings)...)
	switch {
	case settings.Elsewhere.Value != "":
		c.warn(fmt.Sprintf("%s is %s, which is of another partition than the role, so STS is asked in %s: give the clients of AWS services a region of the role's partition, or see that the role ARN is right",
			settings.Elsewhere.From, failure.Quote(settings.Elsewhere.Value), settings.Region.Value))
	case settings.Region.From == "":
		c.warn("set AWS_REGION: the clients of most AWS services do nothing without it")
	}
	if vercel := optIn[settings.Region.Value]; vercel != "" && settings.Endpoint.From == "" {
		c.Details = append(c.Details, fmt.Sprintf("%s (Vercel's %s) is an opt-in region: STS refuses there, with RegionDisabledException, until the role's account enables it; --fallback-region is asked then", settings.Region.Value, vercel))
	}
	for _, w := range stsclient.Warnings() {
		c.warn(w + "; this command reads it")
	}
	clients, err := stsclient.New(o).Regions()
	if err != nil {
		return nil, err
	}
	for _, client := range clients {
		w, err := newWay(client)
		if err != nil {
			return nil, err
		}
		ways = append(ways, w)
	}
	return ways, nil
}

// optIn are Vercel's regions in which an account's STS is off at first. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_enable-regions.html
// and https://vercel.com/docs/regions.
var optIn = map[string]string{"ap-east-1": "hkg1", "af-south-1": "cpt1"}

// told are the settings of the library, a line each.
func told(s stsclient.Settings) []string {
	lines := []string{"without Options.Client, the library takes:"}
	add := func(name, value, from string) {
		lines = append(lines, fmt.Sprintf("  %-11s  %s, %s", name, value, from))
	}
	yes := map[bool]string{true: "yes", false: "no"}
	why := "of the role's partition: no region is set"
	if s.Elsewhere.From != "" {
		why = "of the role's partition: " + s.Elsewhere.From + " is of another"
	}
	add("region", s.Region.Value, origin(s.Region.From, why))
	add("endpoint", s.Endpoint.Value, origin(s.Endpoint.From, "the region's"))
	if s.FallbackRegion != "" {
		add("fallback", s.FallbackRegion, s.FallbackEndpoint)
	}
	add("FIPS", yes[s.FIPS.Value], origin(s.FIPS.From, "by default"))
	add("dual-stack", yes[s.DualStack.Value], origin(s.DualStack.From, "by default"))
	add("retry mode", s.RetryMode.Value, origin(s.RetryMode.From, "by default"))
	attempts := fmt.Sprint(s.MaxAttempts.Value)
	if s.MaxAttempts.Value < 0 {
		attempts = "no limit"
	}
	add("attempts", attempts, origin(s.MaxAttempts.From, "by default"))
	roots := "the system's"
	if s.CAFile.Value != "" {
		roots = "only those in " + failure.Quote(s.CAFile.Value)
	}
	add("CA", roots, origin(s.CAFile.From, "by default"))
	if s.AppID.Value != "" {
		add("app ID", failure.Quote(s.AppID.Value), origin(s.AppID.From, ""))
	}
	return lines
}

// origin says where a setting comes from.
func origin(variable, otherwise string) string {
	if variable == "" {
		return otherwise
	}
	return "from " + variable
}

// ownWay is that of this command.
func (e *examination) ownWay(ctx context.Context) (*way, error) {
	cfg, err := awsconfig.Load(ctx)
	if err != nil {
		return nil, err
	}
	if cfg.Region == "" || cfg.BaseEndpoint == nil && stsclient.IsElsewhere(cfg.Region, e.RoleARN) {
		cfg.Region = stsclient.DefaultRegion(e.RoleARN)
	}
	client := e.client(cfg)
	own, err := newWay(client)
	if err != nil {
		return nil, err
	}
	e.config, e.hasSTS = cfg, true
	return own, nil
}

// client is an STS client of this command.
func (e *examination) client(cfg aws.Config) *sts.Client {
	if e.override != nil {
		return sts.NewFromConfig(cfg, e.override)
	}
	return sts.NewFromConfig(cfg)
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
	if off > clockWarning {
		c.ToDo = append(c.ToDo, "set the local clock: AWS refuses requests signed by one that is 5 minutes off")
	}
}
