// Package credcache keeps credentials between the runs of a command, in files of
// the user's alone. Runs at the same time share one fetch.
package credcache

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/rogpeppe/go-internal/lockedfile"

	"github.com/vercelaws/vercelaws/internal/deployment"
)

const (
	// lockLimit is how long another run is waited for. The library fetches for
	// 10 seconds at most.
	lockLimit = 15 * time.Second
	// fileLimit bounds what is read of a file.
	fileLimit = 64 << 10 // 64 KiB
	// oldest is how long a file is left that nobody wrote to. STS gives
	// credentials for 12 hours at most.
	oldest = 13 * time.Hour
)

// Entry is a place for the credentials of one identity in one role. While it is
// open, no other run has it.
type Entry struct {
	file *lockedfile.File
}

// entry is what the file holds.
type entry struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	Issued, Expires time.Time
}

// Open waits for the place that the identity has, and takes it. There is none in
// a deployment or build, and none in a folder or file that others can reach.
func Open(ctx context.Context, identity ...string) (*Entry, error) {
	if deployment.Variable() != "" {
		return nil, errors.New("this is a deployment or build")
	}
	folder, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	folder = filepath.Join(folder, "vercelaws")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	if info, err := os.Lstat(folder); err != nil || !info.IsDir() || !private(info) {
		return nil, fmt.Errorf("%s is not a folder of yours alone", folder)
	}
	key, err := json.Marshal(identity)
	if err != nil {
		return nil, err
	}
	name := filepath.Join(folder, fmt.Sprintf("%x.json", sha256.Sum256(key)))

	type opened struct {
		file *lockedfile.File
		err  error
	}
	done := make(chan opened)
	ctx, cancel := context.WithTimeout(ctx, lockLimit)
	defer cancel()
	go func() {
		file, err := lockedfile.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		select {
		case done <- opened{file, err}:
		case <-ctx.Done():
			if err == nil {
				_ = file.Close()
			}
		}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return nil, o.err
		}
		if info, err := o.file.Stat(); err != nil || !info.Mode().IsRegular() || !private(info) {
			_ = o.file.Close()
			return nil, fmt.Errorf("%s is not a file of yours alone", name)
		}
		return &Entry{o.file}, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("another run has %s for too long", name)
	}
}

// Close lets others have the place.
func (e *Entry) Close() error { return e.file.Close() }

// Retrieve returns the credentials that are kept, or those that fetch gives,
// which are then kept. In the last quarter of their life the kept ones are only
// for where fetch fails. Expires is when they end.
func (e *Entry) Retrieve(ctx context.Context, fetch func(context.Context) (aws.Credentials, error)) (aws.Credentials, error) {
	now := time.Now()
	kept, alive := e.read(now)
	if alive && kept.Expires.Sub(now) > kept.Expires.Sub(kept.Issued)/4 {
		return kept.credentials(), nil
	}
	creds, err := fetch(ctx)
	if err == nil {
		e.write(entry{creds.AccessKeyID, creds.SecretAccessKey, creds.SessionToken, now, creds.Expires})
		return creds, nil
	}
	if alive {
		return kept.credentials(), nil
	}
	return aws.Credentials{}, err
}

func (e entry) credentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: e.AccessKeyID, SecretAccessKey: e.SecretAccessKey, SessionToken: e.SessionToken, Expires: e.Expires, CanExpire: true}
}

// read returns what is kept, and whether it lives. It does not where the clock
// was set back to before it was made.
func (e *Entry) read(now time.Time) (kept entry, alive bool) {
	err := json.NewDecoder(io.NewSectionReader(e.file, 0, fileLimit)).Decode(&kept)
	whole := kept.AccessKeyID != "" && kept.SecretAccessKey != "" && kept.SessionToken != ""
	return kept, err == nil && whole && !now.Before(kept.Issued) && now.Before(kept.Expires)
}

// write keeps credentials. Where that fails, nothing is kept. Files that nobody
// has use for any more go.
func (e *Entry) write(kept entry) {
	text, err := json.Marshal(kept)
	if err == nil {
		err = e.file.Truncate(0)
	}
	if err == nil {
		_, err = e.file.WriteAt(text, 0)
	}
	if err != nil {
		_ = e.file.Truncate(0)
	}
	folder := filepath.Dir(e.file.Name())
	files, _ := os.ReadDir(folder)
	for _, f := range files {
		if info, err := f.Info(); err == nil && strings.HasSuffix(f.Name(), ".json") && time.Since(info.ModTime()) > oldest {
			_ = os.Remove(filepath.Join(folder, f.Name()))
		}
	}
}
