package bench

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pairs is how often each program runs for one figure.
const pairs = 41

// What the library may cost beside stscreds.
const (
	maxInstructions = 1.12
	maxSize         = 1.14
)

// jsProvider is Vercel's own provider, for Node.
const jsProvider = "@vercel/oidc-aws-credentials-provider@3.3.9"

// program is a command that prints the key of its first credentials.
type program struct {
	args      []string
	cpu, wall []float64 // of each run, in milliseconds
}

// run runs the program once, as a process of its own.
func (p *program) run(b *testing.B, env []string) {
	b.Helper()
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Env = env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	start := time.Now()
	out, err := cmd.Output()
	wall := time.Since(start)
	require.NoError(b, err, stderr.String())
	require.True(b, strings.HasPrefix(string(out), "ASIA"), "%q", out)
	p.wall = append(p.wall, wall.Seconds()*1000)
	p.cpu = append(p.cpu, (cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()).Seconds()*1000)
}

// BenchmarkProcess is a whole process from its start to its first credentials,
// with STS on loopback: the library against the SDK's stscreds without its
// config package, each run in turn with the other. Beside it stands the
// JavaScript provider, where there is npm.
//
// The ratios are medians of those of the pairs. Times are figures for a person:
// a busy machine changes them. What does not depend on the machine must hold: the
// stripped binary is at most maxSize of stscreds' and, where valgrind is there, the
// process takes at most maxInstructions of its instructions.
func BenchmarkProcess(b *testing.B) {
	r := newRig(b)
	dir := b.TempDir()
	build := func(name string) *program {
		path := filepath.Join(dir, name)
		out, err := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "./process/"+name).CombinedOutput()
		require.NoError(b, err, string(out))
		return &program{args: []string{path}}
	}
	ours, theirs := build("vercelaws"), build("stscreds")
	// AWS_CA_BUNDLE is not passed on: where it is set, reading it takes longest.
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "VERCEL=1", "VERCEL_OIDC_TOKEN=" + r.token,
		"AWS_REGION=us-east-1", "AWS_ROLE_ARN=" + role, "AWS_ENDPOINT_URL_STS=" + r.sts.URL}

	b.Run("stscreds", func(b *testing.B) {
		for b.Loop() {
			inTurn(b, env, ours, theirs)
		}
		report(b, ours, theirs)
	})
	b.Run("size", func(b *testing.B) {
		b.ReportMetric(size(b, ours)/1e6, "MB")
		atMost(b, maxSize, size(b, ours)/size(b, theirs), "size-ratio")
	})
	b.Run("instructions", func(b *testing.B) {
		count := instructions(b, env, ours)
		b.ReportMetric(count/1e6, "million")
		atMost(b, maxInstructions, count/instructions(b, env, theirs), "instructions-ratio")
	})
	b.Run("js", func(b *testing.B) {
		js := installJS(b, dir)
		for b.Loop() {
			inTurn(b, env, ours, js)
		}
		report(b, ours, js)
	})
}

// inTurn runs both programs in pairs, and each is first in half of them.
func inTurn(b *testing.B, env []string, ours, theirs *program) {
	b.Helper()
	*ours, *theirs = program{args: ours.args}, program{args: theirs.args}
	ours.run(b, env) // warms the disk's cache
	theirs.run(b, env)
	*ours, *theirs = program{args: ours.args}, program{args: theirs.args}
	for i := range pairs {
		first, second := ours, theirs
		if i%2 == 1 {
			first, second = theirs, ours
		}
		first.run(b, env)
		second.run(b, env)
	}
}

func report(b *testing.B, ours, theirs *program) {
	b.ReportMetric(ratio(ours.cpu, theirs.cpu), "cpu-ratio")
	b.ReportMetric(ratio(ours.wall, theirs.wall), "wall-ratio")
	b.ReportMetric(median(ours.wall), "ms")
	b.ReportMetric(median(theirs.wall), "ms-peer")
	b.ReportMetric(0, "ns/op")
}

// ratio is the median of the ratios of the pairs.
func ratio(ours, theirs []float64) float64 {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / theirs[i]
	}
	return median(ratios)
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}

func size(b *testing.B, p *program) float64 {
	info, err := os.Stat(p.args[0])
	require.NoError(b, err)
	return float64(info.Size())
}

func atMost(b *testing.B, most, ratio float64, unit string) {
	b.Helper()
	b.ReportMetric(ratio, unit)
	b.ReportMetric(0, "ns/op")
	if ratio > most {
		b.Errorf("%s is %.4f; it may be %.3f", unit, ratio, most)
	}
}

// instructions is how many a run of the program takes, its threads together: the
// median of some runs. The collector and preemption are off: when they set in is
// a matter of time, and callgrind does not live through a signal to another thread.
func instructions(b *testing.B, env []string, p *program) float64 {
	b.Helper()
	valgrind, err := exec.LookPath("valgrind")
	if err != nil {
		b.Skip("no valgrind: instructions are not counted")
	}
	const runs = 5
	var counts []float64
	for range runs {
		cmd := exec.Command(valgrind, append([]string{"--tool=callgrind", "--callgrind-out-file=/dev/null"}, p.args...)...)
		cmd.Env = append(env[:len(env):len(env)], "GOMAXPROCS=1", "GOGC=off", "GODEBUG=asyncpreemptoff=1")
		out, err := cmd.CombinedOutput()
		require.NoError(b, err, string(out))
		found := collected.FindSubmatch(out)
		require.NotNil(b, found, string(out))
		count, err := strconv.ParseFloat(string(found[1]), 64)
		require.NoError(b, err)
		counts = append(counts, count)
	}
	return median(counts)
}

// collected is where callgrind says what it counted.
var collected = regexp.MustCompile(`Collected : ([0-9]+)`)

// installJS installs the JavaScript provider from npm's registry.
func installJS(b *testing.B, dir string) *program {
	b.Helper()
	for _, needed := range []string{"npm", "node"} {
		if _, err := exec.LookPath(needed); err != nil {
			b.Skipf("no %s: the JavaScript provider is not measured", needed)
		}
	}
	script := filepath.Join(dir, "js", "first.mjs")
	require.NoError(b, os.MkdirAll(filepath.Dir(script), 0o755))
	require.NoError(b, os.WriteFile(script, []byte(`import { awsCredentialsProvider } from '@vercel/oidc-aws-credentials-provider';
const creds = await awsCredentialsProvider({ roleArn: process.env.AWS_ROLE_ARN })();
console.log(creds.accessKeyId);
`), 0o644))
	install := exec.Command("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", filepath.Dir(script), jsProvider)
	if out, err := install.CombinedOutput(); err != nil {
		b.Skipf("npm cannot install %s, which is not measured: %v\n%s", jsProvider, err, out)
	}
	return &program{args: []string{"node", script}}
}
