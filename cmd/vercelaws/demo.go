package main

import (
	"context"
	"flag"
	"time"

	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/demo"
)

// demoLimit bounds a demo that hangs; it takes well under a second.
const demoLimit = 20 * time.Second

var demoCommand = &command{
	name:    "demo",
	summary: "show on this machine how a token becomes AWS credentials",
	setup: func(*command, *flag.FlagSet) action {
		return func(ctx context.Context, _ []string, s streams) error {
			ctx, cancel := context.WithTimeout(ctx, demoLimit)
			defer cancel()
			return demo.Run(ctx, s.out)
		}
	},
}
