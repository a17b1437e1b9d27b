package credcache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// home gives the test a cache of its own, and returns the folder.
func home(t *testing.T) string {
	dir := t.TempDir()
	for _, name := range []string{"HOME", "XDG_CACHE_HOME", "LocalAppData"} {
		t.Setenv(name, dir)
	}
	for _, name := range []string{"VERCEL_ENV", "AWS_LAMBDA_FUNCTION_NAME"} {
		t.Setenv(name, "")
	}
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	return filepath.Join(cache, "vercelaws")
}

// fetched counts the fetches of credentials that live so long.
func fetched(calls *atomic.Int32, life time.Duration) func(context.Context) (aws.Credentials, error) {
	return func(context.Context) (aws.Credentials, error) {
		n := calls.Add(1)
		return aws.Credentials{AccessKeyID: fmt.Sprint("ASIA", n), SecretAccessKey: "secret", SessionToken: "session", Expires: time.Now().Add(life)}, nil
	}
}

func retrieve(t *testing.T, fetch func(context.Context) (aws.Credentials, error), identity ...string) (aws.Credentials, error) {
	e, err := Open(t.Context(), identity...)
	require.NoError(t, err)
	defer e.Close()
	return e.Retrieve(t.Context(), fetch)
}

func TestKeepsForOneIdentity(t *testing.T) {
	folder := home(t)
	var calls atomic.Int32
	first, err := retrieve(t, fetched(&calls, time.Hour), "role", "web")
	require.NoError(t, err)
	again, err := retrieve(t, fetched(&calls, time.Hour), "role", "web")
	require.NoError(t, err)
	assert.Equal(t, first.AccessKeyID, again.AccessKeyID)
	assert.True(t, again.CanExpire)
	assert.WithinDuration(t, first.Expires, again.Expires, 0)
	for _, other := range [][]string{{"role"}, {"role", "web", ""}, {"roleweb"}, {"web", "role"}, {`role","web`}} {
		creds, err := retrieve(t, fetched(&calls, time.Hour), other...)
		require.NoError(t, err)
		assert.NotEqual(t, first.AccessKeyID, creds.AccessKeyID, other)
	}
	if runtime.GOOS != "windows" {
		info, err := os.Stat(folder)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
		files, err := os.ReadDir(folder)
		require.NoError(t, err)
		for _, f := range files {
			info, err := f.Info()
			require.NoError(t, err)
			assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		}
	}
}

// Twenty runs at once are one fetch.
func TestRunsAtOnceShareAFetch(t *testing.T) {
	home(t)
	var calls atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			creds, err := retrieve(t, fetched(&calls, time.Hour), "role")
			assert.NoError(t, err)
			assert.Equal(t, "ASIA1", creds.AccessKeyID)
		}()
	}
	wg.Wait()
	assert.EqualValues(t, 1, calls.Load())
}

// What does not serve is passed over, and replaced.
func TestPassesOver(t *testing.T) {
	now := time.Now()
	whole := entry{"ASIAOLD", "secret", "session", now.Add(-time.Minute), now.Add(time.Hour)}
	change := func(f func(e *entry)) []byte {
		e := whole
		f(&e)
		text, err := json.Marshal(e)
		require.NoError(t, err)
		return text
	}
	for name, text := range map[string][]byte{
		"ended":                      change(func(e *entry) { e.Expires = now.Add(-time.Second) }),
		"the last quarter":           change(func(e *entry) { e.Issued = now.Add(-46 * time.Minute); e.Expires = now.Add(14 * time.Minute) }),
		"issued later than now":      change(func(e *entry) { e.Issued = now.Add(time.Hour); e.Expires = now.Add(2 * time.Hour) }),
		"no session token":           change(func(e *entry) { e.SessionToken = "" }),
		"no key":                     change(func(e *entry) { e.AccessKeyID = "" }),
		"cut short":                  change(func(*entry) {})[:40],
		"empty":                      nil,
		"something else":             []byte("[]"),
		"longer than any of ours":    append(make([]byte, fileLimit), change(func(*entry) {})...),
		"of another type in a field": []byte(`{"AccessKeyID": 7}`),
	} {
		t.Run(name, func(t *testing.T) {
			folder := home(t)
			e, err := Open(t.Context(), "role")
			require.NoError(t, err)
			path := e.file.Name()
			assert.Equal(t, folder, filepath.Dir(path))
			_, err = e.file.WriteAt(text, 0)
			require.NoError(t, err)
			require.NoError(t, e.Close())
			var calls atomic.Int32
			for range 2 {
				creds, err := retrieve(t, fetched(&calls, time.Hour), "role")
				require.NoError(t, err)
				assert.Equal(t, "ASIA1", creds.AccessKeyID)
			}
		})
	}
	folder := home(t)
	e, err := Open(t.Context(), "role")
	require.NoError(t, err)
	e.write(whole)
	require.NoError(t, e.Close())
	require.DirExists(t, folder)
	creds, err := retrieve(t, func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, errors.New("asked") }, "role")
	require.NoError(t, err, "this one serves, so the others were passed over for their fault")
	assert.Equal(t, "ASIAOLD", creds.AccessKeyID)
}

// A fetch that fails leaves the kept ones to their end.
func TestFailureLeavesWhatLives(t *testing.T) {
	home(t)
	failed := errors.New("STS is away")
	fails := func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, failed }
	_, err := retrieve(t, fails, "role")
	require.ErrorIs(t, err, failed)
	e, err := Open(t.Context(), "role")
	require.NoError(t, err)
	e.write(entry{"ASIAOLD", "secret", "session", time.Now().Add(-59 * time.Minute), time.Now().Add(time.Minute)})
	require.NoError(t, e.Close())
	creds, err := retrieve(t, fails, "role")
	require.NoError(t, err)
	assert.Equal(t, "ASIAOLD", creds.AccessKeyID)
}

func TestOpenRefuses(t *testing.T) {
	for name, value := range map[string]string{"VERCEL_ENV": "preview", "AWS_LAMBDA_FUNCTION_NAME": "f"} {
		folder := home(t)
		t.Setenv(name, value)
		_, err := Open(t.Context(), "role")
		assert.ErrorContains(t, err, "deployment")
		assert.NoDirExists(t, folder)
	}
	folder := home(t)
	t.Setenv("VERCEL_ENV", "development")
	e, err := Open(t.Context(), "role")
	require.NoError(t, err)

	// While one run has the place, another waits no longer than it has time.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = Open(ctx, "role")
	assert.ErrorContains(t, err, "another run has ")
	require.NoError(t, e.Close())
	e, err = Open(t.Context(), "role")
	require.NoError(t, err, "the one that gave up has left nothing locked")
	name := e.file.Name()
	require.NoError(t, e.Close())

	if runtime.GOOS == "windows" {
		return // others do not get into the folder of a user's profile
	}
	for _, path := range []string{name, folder} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.NoError(t, os.Chmod(path, info.Mode().Perm()|0o040))
		_, err = Open(t.Context(), "role")
		assert.ErrorContains(t, err, "of yours alone")
		require.NoError(t, os.Chmod(path, info.Mode().Perm()))
		if os.Geteuid() == 0 {
			require.NoError(t, os.Chown(path, 65534, -1))
			_, err = Open(t.Context(), "role")
			assert.ErrorContains(t, err, "of yours alone")
			require.NoError(t, os.Chown(path, 0, -1))
		}
	}
	elsewhere := t.TempDir()
	require.NoError(t, os.RemoveAll(folder))
	require.NoError(t, os.Symlink(elsewhere, folder))
	_, err = Open(t.Context(), "role")
	assert.ErrorContains(t, err, "not a folder of yours alone")
	require.NoError(t, os.Remove(folder))
	require.NoError(t, os.WriteFile(folder, nil, 0o600))
	_, err = Open(t.Context(), "role")
	assert.Error(t, err)
}

// What nobody has use for any more does not pile up.
func TestOldFilesGo(t *testing.T) {
	folder := home(t)
	var calls atomic.Int32
	for _, identity := range []string{"old", "young"} {
		_, err := retrieve(t, fetched(&calls, time.Hour), identity)
		require.NoError(t, err)
		if identity == "old" {
			files, err := os.ReadDir(folder)
			require.NoError(t, err)
			past := time.Now().Add(-oldest - time.Minute)
			require.NoError(t, os.Chtimes(filepath.Join(folder, files[0].Name()), past, past))
			require.NoError(t, os.WriteFile(filepath.Join(folder, "mine.txt"), nil, 0o600))
			require.NoError(t, os.Chtimes(filepath.Join(folder, "mine.txt"), past, past))
		}
	}
	files, err := os.ReadDir(folder)
	require.NoError(t, err)
	assert.Len(t, files, 2, "the young one, and what is not ours")
}
