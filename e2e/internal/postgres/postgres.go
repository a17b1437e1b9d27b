// Package postgres starts PostgreSQL with a new, empty cluster.
package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vercelaws/vercelaws/e2e/internal/process"
)

// startTime is how long PostgreSQL may take until it serves.
const startTime = time.Minute

// superuser is the name of the user that a new cluster has.
const superuser = "admin"

// Server is a running PostgreSQL.
type Server struct {
	// DSN is the address of the database "postgres" with the superuser's name
	// and password, as pgx and libpq take it.
	DSN string

	process *process.Process
	folder  string
}

// Start makes a cluster in a temporary folder, starts PostgreSQL on a free port
// of the loopback interface and waits until it serves. PostgreSQL refuses to
// run as root: then it runs as the user "postgres".
func Start(ctx context.Context) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	programs, err := findPrograms(ctx)
	if err != nil {
		return nil, err
	}
	account, err := serverAccount()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "postgres-*")
	if err != nil {
		return nil, err
	}
	s := &Server{folder: folder}
	if err := s.start(ctx, programs, account); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, programs string, account *account) error {
	password := rand.Text()
	passwordFile := filepath.Join(s.folder, "password")
	if err := os.WriteFile(passwordFile, []byte(password+"\n"), 0o600); err != nil {
		return err
	}
	if err := account.own(s.folder, passwordFile); err != nil {
		return err
	}
	data := filepath.Join(s.folder, "data")
	initdb := exec.Command(filepath.Join(programs, "initdb"),
		"--pgdata", data, "--username", superuser, "--pwfile", passwordFile,
		"--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync")
	account.run(initdb, s.folder)
	if err := process.Run(ctx, initdb); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	postgres := exec.Command(filepath.Join(programs, "postgres"), "-D", data,
		"-c", "listen_addresses=127.0.0.1", "-p", strconv.Itoa(port),
		"-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "logging_collector=off")
	account.run(postgres, s.folder)
	if s.process, err = process.Start(postgres, s.folder); err != nil {
		return err
	}
	s.DSN = (&url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(superuser, password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		Path:     "postgres",
		RawQuery: "sslmode=disable",
	}).String()
	return s.process.WaitUntil(ctx, func() bool {
		return strings.Contains(s.process.Output(), "database system is ready to accept connections")
	})
}

// Stop ends PostgreSQL, its open connections too, and removes the cluster.
func (s *Server) Stop() error {
	var err error
	if s.process != nil {
		// What PostgreSQL calls a fast shutdown:
		// https://www.postgresql.org/docs/current/server-shutdown.html
		err = s.process.Stop(syscall.SIGINT)
	}
	return errors.Join(err, os.RemoveAll(s.folder))
}

// freePort returns a port that nothing listens on. PostgreSQL cannot choose one
// itself, so in theory another program may take it first.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// findPrograms returns the folder with PostgreSQL's server programs. Only
// clients may be installed, and PATH may have stand-ins, so it looks for both
// programs where PostgreSQL's own pg_config says, and where Debian has them.
func findPrograms(ctx context.Context) (string, error) {
	folders, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		folders = append([]string{strings.TrimSpace(string(out))}, folders...)
	}
	for _, folder := range folders {
		_, noInitdb := os.Stat(filepath.Join(folder, "initdb"))
		_, noPostgres := os.Stat(filepath.Join(folder, "postgres"))
		if noInitdb == nil && noPostgres == nil {
			return folder, nil
		}
	}
	return "", fmt.Errorf("PostgreSQL's server programs are not installed (looked in %q): run 'make postgres' at the repository's root as root, or install them", folders)
}
