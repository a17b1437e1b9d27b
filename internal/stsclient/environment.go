package stsclient

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/vercelaws/vercelaws/internal/scrub"
)

// Setting is a value and the environment variable that sets it. From is "" if the
// value is the default.
type Setting[T any] struct {
	Value T
	From  string
}

// Settings are the settings with which STS is called. Each environment variable has
// the same meaning as in the SDK's config package.
type Settings struct {
	Region      Setting[string] // by default, one of the role's partition
	Endpoint    Setting[string] // URL; by default, the region's
	FIPS        Setting[bool]
	DualStack   Setting[bool]
	RetryMode   Setting[string] // "standard" or "adaptive"
	MaxAttempts Setting[int]    // of one operation in one region; below 0: no limit
	CAFile      Setting[string] // PEM file of the only roots that are trusted; "": the system's
	AppID       Setting[string] // goes into the User-Agent header

	// Elsewhere is the region that is set, if it is in another partition than the
	// role. It is not asked, since its STS does not know the role. Region is then
	// the default of the role's partition.
	Elsewhere Setting[string]

	FallbackRegion   string // Options.FallbackRegion
	FallbackEndpoint string // URL; "" without a FallbackRegion
}

// SettingError says what is wrong with a setting.
type SettingError struct {
	Setting string // a variable of the environment, or Options.FallbackRegion
	Problem string // a sentence that names the setting, and says what it must be
}

// Error returns the problem.
func (e *SettingError) Error() string { return e.Problem }

// wrong returns the error of a setting, whose problem begins with its name.
func wrong(setting, problem string, args ...any) error {
	return &SettingError{setting, setting + " " + fmt.Sprintf(problem, args...)}
}

// Resolve returns how a [Client] with these options reaches STS now. It sends
// nothing.
func Resolve(o Options) (Settings, error) {
	s, err := read(o)
	if err != nil {
		return Settings{}, err
	}
	regions, err := s.clients(o.Override)
	if err != nil {
		return Settings{}, err
	}
	for i, value := range []*string{&s.Endpoint.Value, &s.FallbackEndpoint}[:len(regions)] {
		to, err := Endpoint(context.Background(), regions[i])
		if err != nil {
			return Settings{}, err
		}
		*value = strings.TrimSuffix(to.String(), "/")
	}
	return s, nil
}

// Warnings returns a warning for each variable that is set, that the SDK's config
// package reads, and that has no effect here: those of the shared config file.
func Warnings() []string {
	var warnings []string
	for _, name := range []string{"AWS_PROFILE", "AWS_CONFIG_FILE"} {
		if os.Getenv(name) != "" {
			warnings = append(warnings, name+" is set, but the shared config file is not read: to have it read, load it with config.LoadDefaultConfig and set Options.Client to sts.NewFromConfig(cfg)")
		}
	}
	return warnings
}

// read reads the environment. It leaves Endpoint empty if the region decides it.
func read(o Options) (Settings, error) {
	var s Settings
	var errs [6]error
	s.Region = text("AWS_REGION", "AWS_DEFAULT_REGION")
	s.CAFile = text("AWS_CA_BUNDLE")
	s.AppID = text("AWS_SDK_UA_APP_ID")
	s.Endpoint, errs[0] = endpointURL()
	s.FIPS, errs[1] = boolean("AWS_USE_FIPS_ENDPOINT")
	s.DualStack, errs[2] = boolean("AWS_USE_DUALSTACK_ENDPOINT")
	s.RetryMode, errs[3] = retryMode("AWS_RETRY_MODE")
	s.MaxAttempts, errs[4] = attempts("AWS_MAX_ATTEMPTS")
	if s.Region.Value == "" {
		s.Region.Value = DefaultRegion(o.RoleARN)
	}
	switch region := withoutFIPS(s.Region.Value); {
	case s.Endpoint.Value == "" && IsElsewhere(region, o.RoleARN):
		// Vercel sets AWS_REGION to the function's own region, whatever the role.
		s.Elsewhere, s.Region = s.Region, Setting[string]{Value: DefaultRegion(o.RoleARN)}
	case region != s.Region.Value:
		s.FIPS = Setting[bool]{true, s.Region.From}
		s.Region.Value = region
	}
	errs[5] = s.conflict()
	if err := errors.Join(errs[:]...); err != nil {
		return Settings{}, err
	}
	if o.FallbackRegion == "" {
		return s, nil
	}
	s.FallbackRegion = o.FallbackRegion
	return s, s.checkFallback()
}

// text returns the first of the variables that is not empty.
func text(names ...string) Setting[string] {
	for _, name := range names {
		if value := os.Getenv(name); value != "" {
			return Setting[string]{value, name}
		}
	}
	return Setting[string]{}
}

func boolean(name string) (Setting[bool], error) {
	switch value := os.Getenv(name); {
	case value == "":
		return Setting[bool]{}, nil
	case strings.EqualFold(value, "true"):
		return Setting[bool]{true, name}, nil
	case strings.EqualFold(value, "false"):
		return Setting[bool]{false, name}, nil
	default:
		return Setting[bool]{}, bad(name, value, "it must be true or false")
	}
}

// endpointURL returns the endpoint that replaces the region's.
func endpointURL() (Setting[string], error) {
	ignored, err := boolean("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
	s := text("AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL")
	if err != nil || ignored.Value || s.Value == "" {
		return Setting[string]{}, err
	}
	u, err := url.Parse(s.Value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		// The value may hold a password, and is not shown.
		return Setting[string]{}, wrong(s.From, "is not a URL such as https://sts.eu-central-1.amazonaws.com")
	}
	return s, nil
}

func retryMode(name string) (Setting[string], error) {
	value := os.Getenv(name)
	if value == "" {
		return Setting[string]{Value: string(aws.RetryModeStandard)}, nil
	}
	if _, err := aws.ParseRetryMode(value); err != nil {
		return Setting[string]{}, bad(name, value, "it must be standard or adaptive")
	}
	return Setting[string]{value, name}, nil
}

func attempts(name string) (Setting[int], error) {
	value := os.Getenv(name)
	if value == "" {
		return Setting[int]{Value: retry.DefaultMaxAttempts}, nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return Setting[int]{}, bad(name, value, "it must be a whole number")
	}
	if n == 0 { // as if it were not set
		return Setting[int]{Value: retry.DefaultMaxAttempts}, nil
	}
	return Setting[int]{int(n), name}, nil
}

// bad returns the error of a variable that has a value that it cannot have.
func bad(name, value, must string) error {
	return wrong(name, "is %s; %s", scrub.Quote(value, 64), must)
}

// conflict returns an error if the region has no valid form, or if two settings
// exclude each other.
func (s Settings) conflict() error {
	for _, label := range strings.Split(s.Region.Value, ".") {
		if !smithyhttp.ValidHostLabel(label) || label[0] == '-' || label[len(label)-1] == '-' {
			return bad(s.Region.From, s.Region.Value, "it must be a region such as eu-central-1")
		}
	}
	if s.Endpoint.Value == "" {
		return nil
	}
	switch {
	case s.FIPS.Value:
		return wrong(s.FIPS.From, "asks for a FIPS endpoint, which only a region gives, and %s is set; unset one of them", s.Endpoint.From)
	case s.DualStack.Value:
		return wrong(s.DualStack.From, "asks for a dual-stack endpoint, which only a region gives, and %s is set; unset one of them", s.Endpoint.From)
	}
	return nil
}

// withoutFIPS returns the region of a name such as us-east-1-fips, with which the
// SDK asks for the region's FIPS endpoint.
func withoutFIPS(region string) string {
	return strings.NewReplacer("-fips-", "-", "fips-", "", "-fips", "").Replace(region)
}

// checkFallback returns an error if FallbackRegion cannot be asked in place of the
// first region.
func (s Settings) checkFallback() error {
	const fallback = "Options.FallbackRegion"
	first, second := s.Region.Value, s.FallbackRegion
	if s.Endpoint.Value != "" {
		return wrong(fallback, "is set, and so is %s: another region has no such endpoint, so unset one of them", s.Endpoint.From)
	}
	partition := partitionOf(second)
	if partition == "" {
		return wrong(fallback, "is %q, which is no region's name; it must be one such as eu-central-1", second)
	}
	if strings.EqualFold(first, second) {
		return wrong(fallback, "is %q, and so is the first region; name another, or none", second)
	}
	if of := partitionOf(first); of != "" && of != partition {
		return wrong(fallback, "is %q, in the partition %s, and the first region is %q, in %s; credentials of one are not valid in the other", second, partition, first, of)
	}
	return nil
}
