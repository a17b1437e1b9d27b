package pggateway

import (
	"errors"
	"fmt"

	"github.com/vercelaws/vercelaws/ststest"
)

// DSQL takes what Aurora DSQL does, a presigned "DbConnect" URL. Unlike RDS's it
// names no user; admin needs another action. See
// https://docs.aws.amazon.com/aurora-dsql/latest/userguide/SECTION_authentication-token.html.
type DSQL struct {
	STS     *ststest.Server // issued the sessions that sign passwords
	Region  string          // the cluster's
	RoleARN string          // the role that may dsql:DbConnect, but not dsql:DbConnectAdmin
	Host    string          // by which clients know the cluster
}

// Check implements [Passwords]. The identity is the password itself.
func (d DSQL) Check(user, password string) (string, error) {
	if err := d.check(user, password); err != nil {
		return "", fmt.Errorf("unable to accept connection, access denied: %w", err)
	}
	return password, nil
}

func (d DSQL) check(user, password string) error {
	action := "DbConnect"
	if user == "admin" {
		action = "DbConnectAdmin"
	}
	session, _, err := verify(d.STS, password, d.Host, d.Region, "dsql", action)
	if err == nil && (session.RoleARN != d.RoleARN || action != "DbConnect") {
		err = errors.New("the role may not connect so")
	}
	return err
}
