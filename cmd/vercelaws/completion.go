package main

import (
	"context"
	"embed"
	"flag"
	"fmt"
	"slices"
	"strings"
)

var completionCommand = &command{
	name:    "completion",
	summary: "write what has a shell complete commands and flags",
	program: true, // the words to complete have flags
	setup: func(c *command, _ *flag.FlagSet) action {
		return func(_ context.Context, args []string, s streams) error {
			if len(args) > 0 && args[0] == "words" {
				for _, word := range complete(args[1:]) {
					fmt.Fprintln(s.out, word)
				}
				return nil
			}
			if len(args) != 1 || !slices.Contains(shells, args[0]) {
				return c.misuse("completion takes the name of a shell: %s", strings.Join(shells, ", "))
			}
			script, err := scripts.ReadFile("completion/vercelaws." + args[0])
			if err == nil {
				_, err = s.out.Write(script)
			}
			return err
		}
	},
}

var shells = []string{"bash", "zsh", "fish"}

// scripts ask this command for what can follow. Where that is nothing, the shell
// completes the names of files.
//
//go:embed completion
var scripts embed.FS

// complete returns what the last of the words can be, by what it begins with.
func complete(words []string) (found []string) {
	if len(words) == 0 {
		return nil
	}
	last := words[len(words)-1]
	before := words[:len(words)-1]
	var known []string
	c, rest := find(before)
	switch {
	case c != nil:
		fs, _ := c.flags()
		known = c.words(fs)
		if len(rest) > 0 {
			known = slices.DeleteFunc(known, func(word string) bool { return word[0] != '-' })
			name := rest[len(rest)-1]
			if f := fs.Lookup(strings.TrimPrefix(name, "--")); f != nil && !isSwitch(f) {
				known = flagValues[name]
			}
		}
		if c.name == "completion" {
			known = shells
		}
	case len(before) == 0:
		for _, c := range commands {
			known = append(known, strings.Fields(c.name)[0])
		}
		known = slices.Compact(append(known, "help"))
	}
	for _, word := range known {
		if strings.HasPrefix(word, last) && !slices.Contains(rest, "--") {
			found = append(found, word)
		}
	}
	return found
}

// isSwitch reports whether a flag takes no value.
func isSwitch(f *flag.Flag) bool {
	_, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok
}

// flagValues are the values of flags that have few.
var flagValues = map[string][]string{
	"--format":             formatNames(),
	"--environment":        standardEnvironments,
	"--expect-environment": standardEnvironments,
	"--fail-on":            {"low", "medium", "high", "critical"},
}
