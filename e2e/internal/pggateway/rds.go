package pggateway

import (
	"errors"
	"fmt"

	"github.com/vercelaws/vercelaws/ststest"
)

// RDS takes what RDS does, a presigned "connect" URL. See
// https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html.
type RDS struct {
	STS      *ststest.Server // issued the sessions that sign passwords
	Region   string          // the database's
	RoleARN  string          // the role that may rds-db:connect
	Endpoint string          // host:port by which clients know the database
}

// Check implements [Passwords]. The identity is the access key.
func (d RDS) Check(user, password string) (string, error) {
	session, err := d.check(user, password)
	if err != nil {
		return "", fmt.Errorf("PAM authentication failed for user %q: %w", user, err)
	}
	return session.AccessKeyID, nil
}

func (d RDS) check(user, password string) (ststest.Session, error) {
	session, query, err := verify(d.STS, password, d.Endpoint, d.Region, "rds-db", "connect")
	switch {
	case err != nil:
		return ststest.Session{}, err
	case query.Get("DBUser") != user:
		return ststest.Session{}, fmt.Errorf("the token is for the user %s", query.Get("DBUser"))
	case session.RoleARN != d.RoleARN:
		return ststest.Session{}, errors.New("the role may not connect")
	}
	return session, nil
}
