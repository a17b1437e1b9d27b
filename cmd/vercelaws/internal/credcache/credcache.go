// Package credcache keeps credentials between the runs of a command, in files that
// only the user can read. Runs at the same time share one fetch.
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
	// lockLimit is how long to wait for another run. The library fetches for
	// 10 seconds at most.
	lockLimit = 15 * time.Second
	// fileLimit bounds how much of a file is read.
	fileLimit = 64 << 10 // 64 KiB
	// oldest is the age at which a file is deleted. STS gives credentials for 12
	// hours at most.
	oldest = 13 * time.Hour
)

// Entry is the locked file with the credentials of one identity in one role. While
// it is open, other runs wait for it.
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

// Open waits for the lock of the identity's file, and takes it. It is an error in a
// deployment or build, and if other users can access the folder or the file.
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

// Close unlocks the file.
func (e *Entry) Close() error { return e.file.Close() }

// Retrieve returns the kept credentials. If there are none, or if they are in the
// last quarter of their life, it calls fetch and keeps the result. If fetch fails,
// it returns the kept ones, unless they have expired.
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

// read returns the kept credentials, and whether they are valid. They are not if
// the clock was set back to before they were issued.
func (e *Entry) read(now time.Time) (kept entry, alive bool) {
	err := json.NewDecoder(io.NewSectionReader(e.file, 0, fileLimit)).Decode(&kept)
	whole := kept.AccessKeyID != "" && kept.SecretAccessKey != "" && kept.SessionToken != ""
	return kept, err == nil && whole && !now.Before(kept.Issued) && now.Before(kept.Expires)
}

// write keeps credentials. If that fails, nothing is kept. It also deletes files
// whose credentials have expired.
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
