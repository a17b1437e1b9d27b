//go:build go1.25 && !walljump && !race

package model

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var jumpHistories = flag.String("jumps", "5000", "number of histories that TestHistoriesWithClockJumps plays")

// Times under testing/synctest have no monotonic reading, and its wall clock
// cannot be set. So the histories of the module model are played once more with
// a package time of their own, whose Now has both clocks and can set them apart.
func TestHistoriesWithClockJumps(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the standard library anew")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-timeout=7m", "-overlay", overlayTime(t), "-tags=walljump", ".", "-rapid.checks="+*jumpHistories, "-rapid.seed="+flag.Lookup("rapid.seed").Value.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// overlayTime returns an overlay file for the go command in which time.Now adds
// what time.SetTestWallOffset was given.
func overlayTime(t *testing.T) string {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		t.Skipf("no source of package time: %v", err)
	}
	const reads = "\tsec, nsec, mono := runtimeNow()\n"
	begin := strings.Index(string(source), "\nfunc Now() Time {\n"+reads)
	if begin < 0 {
		t.Fatal("time.Now is not as it was; see to it that the offset is added to sec and nsec")
	}
	changed := strings.Replace(string(source)[begin:], reads, reads+`	if mono == 0 { // under fake time
		mono = runtimeNano()
	}
	if testWallOffset != 0 {
		moved := int64(nsec) + int64(testWallOffset)
		sec += moved / 1e9
		if moved %= 1e9; moved < 0 {
			sec, moved = sec-1, moved+1e9
		}
		nsec = int32(moved)
	}
`, 1)
	changed = string(source)[:begin] + changed + `
// testWallOffset is what Now adds to the wall clock.
var testWallOffset Duration

// SetTestWallOffset sets the wall clock apart from the monotonic one by d. It
// must not run beside Now.
func SetTestWallOffset(d Duration) { testWallOffset = d }

// TestWallOffset is what it was given last.
func TestWallOffset() Duration { return testWallOffset }
`
	dir := t.TempDir()
	replacement, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {original: replacement}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{replacement: changed, overlay: string(list)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return overlay
}
