package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/credserver"
	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/failure"
)

var serveCommand = &command{
	name:    "serve",
	summary: "serve the role's credentials to programs of this machine",
	setup:   setupServe,
}

// leastToken is the least length of a token that the user chose.
const leastToken = 16

func setupServe(c *command, fs *flag.FlagSet) action {
	var role roleFlags
	var arns list
	var port int
	fs.Var(&arns, "role-arn", "a role to assume, as an `ARN`; can be repeated; by default AWS_ROLE_ARN")
	role.addSession(fs)
	fs.IntVar(&port, "port", 0, "the `port` on 127.0.0.1; by default one that is free")
	return func(ctx context.Context, _ []string, s streams) error {
		token := os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN")
		if token != "" && len(token) < leastToken {
			return c.misuse("AWS_CONTAINER_AUTHORIZATION_TOKEN is set, and has less than %d characters", leastToken)
		}
		if len(arns) == 0 {
			arns = list{os.Getenv("AWS_ROLE_ARN")}
		}
		var paths []string
		for _, arn := range arns {
			path := rolePath(arn)
			if slices.Contains(paths, path) {
				return c.misuse("--role-arn is given more than once for the path %s", path)
			}
			paths = append(paths, path)
		}
		roles := map[string]credserver.Retrieve{}
		for i, path := range paths {
			role.arn = arns[i]
			with, err := role.assume(ctx, c)
			if err != nil {
				return err
			}
			if _, err := with.credentials(ctx); err != nil {
				return err
			}
			roles[path] = with.credentials
		}
		server, err := credserver.Start(credserver.Options{Port: port, Token: token, Roles: roles})
		if err != nil {
			return fmt.Errorf("no endpoint: %w", err)
		}
		defer server.Close()
		for i, path := range paths {
			variables := server.Environ(path)
			if len(paths) > 1 {
				fmt.Fprintf(s.out, "# %s\n", arns[i])
			}
			fmt.Fprintf(s.out, "%s\n\n", strings.Join(variables, "\n"))
		}
		fmt.Fprintln(s.err, "vercelaws: serving until this is interrupted")
		<-ctx.Done()
		return nil
	}
}

// rolePath is where the credentials of a role are: /123456789012/web.
func rolePath(arn string) string {
	_, account := failure.Account(arn)
	_, name, _ := strings.Cut(arn, ":role/")
	return "/" + cmp.Or(account, "credentials") + "/" + name
}
