package postgres

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
)

// account is the user that the server runs as; nil means the one we are.
type account struct{ uid, gid int }

// serverAccount returns who the server can run as.
func serverAccount() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL refuses to run as root, and the user it would run as is missing: %w", err)
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	return &account{uid, gid}, errors.Join(uidErr, gidErr)
}

// own gives files to the account.
func (a *account) own(names ...string) error {
	if a == nil {
		return nil
	}
	for _, name := range names {
		if err := os.Chown(name, a.uid, a.gid); err != nil {
			return err
		}
	}
	return nil
}

// run has cmd run as the account, in a folder that it can read, and with
// nothing of PostgreSQL's settings from the environment of the tests.
func (a *account) run(cmd *exec.Cmd, folder string) {
	cmd.Dir = folder
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + folder, "LC_ALL=C"}
	if a != nil {
		a.become(cmd)
	}
}
