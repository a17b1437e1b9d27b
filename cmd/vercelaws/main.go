// Vercelaws is the command beside the library of the same name: it shows the
// library at work, writes the AWS side of the federation, says why a token is
// refused, and lends a Vercel deployment's identity to other programs.
//
//	go run github.com/vercelaws/vercelaws/cmd/vercelaws@latest help
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
)

// The exit statuses of every command.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// streams are where a command reads and writes. Nothing is ever coloured, so
// terminals, pipes and NO_COLOR are all alike.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// command is one of the program's commands.
type command struct {
	name    string
	usage   string // the arguments, as in "[flags]"
	summary string // one line for the list of commands
	help    string // what to know beside the flags
	run     func(ctx context.Context, c *command, args []string, s streams) error
}

// commands returns all commands, in the order of the help.
func commands() []*command {
	return []*command{demoCommand, doctorCommand, trustPolicyCommand, credentialProcessCommand, execCommand}
}

// errFailed ends a command that has already said what is wrong.
var errFailed = errors.New("failed")

// usageError is a mistake in the command line.
type usageError struct {
	command string // "" for the program as a whole
	message string
}

// Error is what is wrong with the command line.
func (e *usageError) Error() string { return e.message }

// hint says where the help is.
func (e *usageError) hint() string {
	return strings.Join(strings.Fields("run vercelaws "+e.command+" --help"), " ") + " for help"
}

func main() {
	// A command that is told to stop still says so, with its exit status. A
	// program that exec runs gets the signals itself.
	ctx, stop := context.WithCancel(context.Background())
	if signals := heeded(os.Interrupt, syscall.SIGTERM); len(signals) > 0 {
		ctx, stop = signal.NotifyContext(ctx, signals...)
	}
	status := run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(status)
}

// heeded returns those of the signals that were not ignored when this program
// was started, as nohup does: they stay ignored, for its child too.
func heeded(signals ...os.Signal) []os.Signal {
	return slices.DeleteFunc(signals, signal.Ignored)
}

// run runs the command that args name, and returns the exit status.
func run(ctx context.Context, args []string, s streams) int {
	err := dispatch(ctx, args, s)
	var usage *usageError
	var exit *childExit
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		sameEnd(exit.signal)
		return exit.status
	case errors.As(err, &usage):
		fmt.Fprintf(s.err, "vercelaws: %s\n%s\n", usage.message, usage.hint())
		return exitUsage
	case !errors.Is(err, errFailed):
		fmt.Fprintf(s.err, "vercelaws: %s\n", err)
	}
	return exitFailed
}

func dispatch(ctx context.Context, args []string, s streams) error {
	if len(args) == 0 {
		printOverview(s.err)
		return &usageError{message: "no command"}
	}
	name, rest := args[0], args[1:]
	if name == "help" && len(rest) > 0 {
		name, rest = rest[0], []string{"--help"}
	}
	switch name {
	case "help", "-h", "-help", "--help":
		printOverview(s.out)
		return nil
	case "version", "-version", "--version":
		_, err := fmt.Fprintln(s.out, version())
		return err
	}
	var names []string
	for _, c := range commands() {
		if c.name == name {
			return c.run(ctx, c, rest, s)
		}
		names = append(names, c.name)
	}
	return &usageError{message: fmt.Sprintf("there is no command %q%s", name, didYouMean("", name, names))}
}

// version names the command, the version of its module, and the Go that built
// it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "vercelaws, of an unknown version"
	}
	return fmt.Sprintf("vercelaws %s, built with %s", cmp.Or(info.Main.Version, "(devel)"), info.GoVersion)
}

func printOverview(w io.Writer) {
	fmt.Fprint(w, "usage: vercelaws command [flags]\n\nAWS credentials from a Vercel deployment's OIDC token.\n\ncommands:\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-20s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\nvercelaws command --help says more about each; vercelaws --version says which this is.\n")
}
