package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// flags returns an empty set of flags for c. It says nothing by itself: parse
// turns its errors into answers.
func (c *command) flags() *flag.FlagSet {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	return fs
}

// parse reads args. It reports done if that was all there is to do, because
// help was asked for. Arguments that are not flags are left in fs.Args.
func (c *command) parse(fs *flag.FlagSet, args []string, s streams) (done bool, err error) {
	err = fs.Parse(args)
	switch {
	case err == nil:
		return false, nil
	case errors.Is(err, flag.ErrHelp):
		c.printHelp(s.out, fs)
		return true, nil
	}
	return false, c.misuse("%s", c.explain(fs, err))
}

// noArguments refuses arguments that are not flags.
func (c *command) noArguments(fs *flag.FlagSet) error {
	if fs.NArg() == 0 {
		return nil
	}
	return c.misuse("%s takes flags only, so what is %q%s", c.name, fs.Arg(0), didYouMean("--", fs.Arg(0), names(fs)))
}

// misuse returns the error for a mistake in c's command line.
func (c *command) misuse(format string, args ...any) error {
	return &usageError{command: c.name, message: fmt.Sprintf(format, args...)}
}

// explain rewrites the errors of package flag, which has no types for them.
func (c *command) explain(fs *flag.FlagSet, err error) string {
	message := err.Error()
	if name, ok := strings.CutPrefix(message, "flag provided but not defined: -"); ok {
		return fmt.Sprintf("%s has no flag --%s%s", c.name, name, didYouMean("--", name, names(fs)))
	}
	if name, ok := strings.CutPrefix(message, "flag needs an argument: -"); ok {
		if f := fs.Lookup(name); f != nil {
			value, usage := flag.UnquoteUsage(f)
			return fmt.Sprintf("--%s needs a value: --%s %s (%s)", name, name, value, usage)
		}
	}
	return strings.ReplaceAll(message, "flag -", "--")
}

func (c *command) printHelp(w io.Writer, fs *flag.FlagSet) {
	fmt.Fprintf(w, "usage: %s\n\n%s\n", strings.TrimSpace("vercelaws "+c.name+" "+c.usage), c.help)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	first := true
	fs.VisitAll(func(f *flag.Flag) {
		if first {
			fmt.Fprint(t, "\nflags:\n")
			first = false
		}
		value, usage := flag.UnquoteUsage(f)
		fmt.Fprintf(t, "  --%s\t%s\n", strings.TrimSpace(f.Name+" "+value), usage)
	})
	_ = t.Flush()
}

func names(fs *flag.FlagSet) (names []string) {
	fs.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	return names
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

// Set reads a duration. What it may be is for the library to say.
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
