package main

import (
	"context"
	"time"

	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/demo"
)

// demoLimit bounds a demo that hangs; it takes well under a second.
const demoLimit = 20 * time.Second

var demoCommand = &command{
	name:    "demo",
	summary: "show on this machine how a token becomes AWS credentials",
	help: `Starts an OIDC issuer and an STS on loopback, sends requests to a handler as
Vercel would, and tells what happens. It needs no account and no network, and
ignores the AWS and Vercel settings of the environment. Exit status 1 if a step
does not do what it says.`,
	run: func(ctx context.Context, c *command, args []string, s streams) error {
		fs := c.flags()
		if done, err := c.parse(fs, args, s); done || err != nil {
			return err
		}
		if err := c.noArguments(fs); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, demoLimit)
		defer cancel()
		return demo.Run(ctx, s.out)
	},
}
