package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/terminal"
)

// command is one of the program's commands.
type command struct {
	name    string // of one word, or two
	summary string // one line for the list of commands

	arguments bool // it takes arguments beside flags
	program   bool // its arguments are a program's command line, with flags of its own

	// setup adds the command's flags, and returns what runs it once they are set.
	setup func(c *command, fs *flag.FlagSet) action
}

// action runs a command with the arguments that are not flags.
type action func(ctx context.Context, args []string, s streams) error

// flags returns the command's flags, and the action that runs it. The flag set
// prints nothing: start prints its errors.
func (c *command) flags() (*flag.FlagSet, action) {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	return fs, c.setup(c, fs)
}

// start reads args and runs the command. Flags may stand after arguments, but
// not after those of a program.
func (c *command) start(ctx context.Context, args []string, s streams) error {
	fs, run := c.flags()
	var rest []string
	for {
		err := fs.Parse(args)
		switch {
		case errors.Is(err, flag.ErrHelp):
			c.printHelp(s.out)
			return nil
		case err != nil:
			return c.misuse("%s", c.explain(fs, err))
		case c.program:
			return run(ctx, fs.Args(), s)
		case fs.NArg() == 0:
			return run(ctx, rest, s)
		case !c.arguments:
			return c.misuse("%s takes flags only, so what is %q%s", c.name, fs.Arg(0), didYouMean(fs.Arg(0), c.words(fs)))
		}
		rest, args = append(rest, fs.Arg(0)), fs.Args()[1:]
	}
}

// words are the words that can follow the command's name.
func (c *command) words(fs *flag.FlagSet) (words []string) {
	for _, other := range commands {
		if word, ok := strings.CutPrefix(other.name, c.name+" "); ok {
			words = append(words, word)
		}
	}
	fs.VisitAll(func(f *flag.Flag) { words = append(words, "--"+f.Name) })
	return words
}

// misuse returns the error for a mistake in c's command line.
func (c *command) misuse(format string, args ...any) error {
	return &usageError{command: c.name, message: fmt.Sprintf(format, args...)}
}

// explain rewrites the errors of package flag, which has no types for them.
func (c *command) explain(fs *flag.FlagSet, err error) string {
	message := err.Error()
	if name, ok := strings.CutPrefix(message, "flag provided but not defined: -"); ok {
		return fmt.Sprintf("%s has no flag --%s%s", c.name, name, didYouMean(name, c.words(fs)))
	}
	if name, ok := strings.CutPrefix(message, "flag needs an argument: -"); ok {
		if f := fs.Lookup(name); f != nil {
			value, usage := flag.UnquoteUsage(f)
			return fmt.Sprintf("--%s needs a value: --%s %s (%s)", name, name, value, usage)
		}
	}
	return strings.ReplaceAll(message, "flag -", "--")
}

// texts are the help of each command without its flags: the usage, an example, and
// what it does.
//
//go:embed help
var texts embed.FS

// printHelp writes the help of the command, wrapped to the terminal.
func (c *command) printHelp(w io.Writer) {
	text, err := texts.ReadFile("help/" + strings.ReplaceAll(c.name, " ", "-") + ".txt")
	if err != nil {
		panic(err) // each command has one
	}
	fmt.Fprint(w, terminal.Wrap(terminal.Flow(string(text)), terminal.Width(w), 0))
	var rows [][2]string
	fs, _ := c.flags()
	fs.VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		rows = append(rows, [2]string{strings.TrimSpace("--" + f.Name + " " + value), usage})
	})
	if len(rows) > 0 {
		fmt.Fprintln(w, "\nflags:")
		printTable(w, rows)
	}
}

// list is a flag that takes several values: repeated, or with commas.
type list []string

// String returns the values with commas.
func (l *list) String() string { return strings.Join(*l, ",") }

// Set adds values.
func (l *list) Set(value string) error {
	for _, v := range strings.Split(value, ",") {
		if v = strings.TrimSpace(v); v == "" {
			return errors.New("it has an empty name")
		}
		*l = append(*l, v)
	}
	return nil
}

// lifetime is a flag that takes a duration of whole seconds.
type lifetime time.Duration

// String returns the duration, or nothing for none.
func (l *lifetime) String() string {
	if *l == 0 {
		return ""
	}
	return time.Duration(*l).String()
}

// Set reads a duration. The library checks its limits.
func (l *lifetime) Set(value string) error {
	d, err := time.ParseDuration(value)
	switch {
	case err == nil && d%time.Second == 0:
		*l = lifetime(d)
		return nil
	case err == nil:
		return errors.New("STS counts in whole seconds")
	}
	if _, err := strconv.ParseFloat(value, 64); err == nil {
		return fmt.Errorf("it has no unit; write %ss, %sm or %sh", value, value, value)
	}
	return errors.New("it is not a duration such as 15m or 1h30m")
}
