// Package minio starts MinIO, which is an STS and an S3 in one process. It
// verifies a web identity token's signature, expiry and audience with the keys
// that the token's issuer serves.
//
// Settings: https://min.io/docs/minio/linux/reference/minio-server/settings/iam/openid.html
package minio

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/vercelaws/vercelaws/e2e/internal/checkout"
	"github.com/vercelaws/vercelaws/e2e/internal/process"
)

// startTime is how long MinIO may take until it serves.
const startTime = time.Minute

// Server is a running MinIO.
type Server struct {
	URL      string // of both STS and S3
	RoleARN  string // the role that tokens of the issuer may assume: everything on every bucket
	User     string // the root user's access key id
	Password string // the root user's secret access key

	process *process.Process
	folder  string
}

// Start starts MinIO on a free port of the loopback interface and waits until
// it serves. The issuer must serve already, because MinIO reads its
// configuration and keys at once. Tokens must be for the audience.
func Start(ctx context.Context, issuer, audience string) (*Server, error) {
	program, err := binary(ctx)
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "minio-*")
	if err != nil {
		return nil, err
	}
	s := &Server{User: "root", Password: rand.Text(), folder: folder}
	cmd := exec.Command(program, "server", "--address", "127.0.0.1:0", filepath.Join(folder, "data"))
	// Only this environment, so that no MINIO_ setting of the machine counts.
	cmd.Env = []string{
		"HOME=" + folder,
		"MINIO_ROOT_USER=" + s.User,
		"MINIO_ROOT_PASSWORD=" + s.Password,
		"MINIO_IDENTITY_OPENID_CONFIG_URL=" + issuer + "/.well-known/openid-configuration",
		"MINIO_IDENTITY_OPENID_CLIENT_ID=" + audience,
		"MINIO_IDENTITY_OPENID_ROLE_POLICY=readwrite",
		"MINIO_BROWSER=off", // its console would listen on every interface
		"MINIO_UPDATE=off",
	}
	if s.process, err = process.Start(cmd, folder); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := s.process.WaitUntil(ctx, func() bool { return s.ready(ctx) }); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

var (
	apiLine  = regexp.MustCompile(`API: (http://127\.0\.0\.1:\d+)`)
	roleLine = regexp.MustCompile(`IAM Roles: (arn:minio:iam:::role/\S+)`)
)

// ready reads from MinIO's log where it listens and what the role is called,
// and asks MinIO whether it serves.
func (s *Server) ready(ctx context.Context) bool {
	log := s.process.Output()
	api, role := apiLine.FindStringSubmatch(log), roleLine.FindStringSubmatch(log)
	if api == nil || role == nil {
		return false
	}
	s.URL, s.RoleARN = api[1], role[1]
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/minio/health/ready", nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// Stop ends MinIO and removes its data.
func (s *Server) Stop() error {
	return errors.Join(s.process.Stop(syscall.SIGTERM), os.RemoveAll(s.folder))
}

// pinned finds in e2e/minio/go.mod the version that the Makefile builds.
var pinned = regexp.MustCompile(`github\.com/minio/minio (v\S+)`)

// binary finds the program that the Makefile builds: in .cache at the
// repository's root, in a folder named for its version.
func binary(ctx context.Context) (string, error) {
	root, err := checkout.Root(ctx)
	if err != nil {
		return "", err
	}
	gomod, err := os.ReadFile(filepath.Join(root, "e2e", "minio", "go.mod"))
	if err != nil {
		return "", err
	}
	version := pinned.FindSubmatch(gomod)
	if version == nil {
		return "", errors.New("e2e/minio/go.mod names no version of MinIO")
	}
	program := filepath.Join(root, ".cache", "minio", string(version[1]), "minio")
	if _, err := os.Stat(program); err != nil {
		return "", fmt.Errorf("MinIO is not built: run 'make minio' at the repository's root (about two minutes, once): %w", err)
	}
	return program, nil
}
