// Vercelaws is the command of the library of the same name. It demonstrates the
// library, writes the OIDC provider and role for AWS, says why a token is refused,
// and gives the role's credentials to other programs.
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

	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/terminal"
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

// commands are all commands, in the order of the help.
var commands []*command

func init() { // completion looks at them
	commands = []*command{
		demoCommand, doctorCommand, trustPolicyCommand, trustPolicyCheckCommand,
		credentialProcessCommand, execCommand, serveCommand, completionCommand,
	}
}

// find returns the command that args begin with, and the other args.
func find(args []string) (found *command, rest []string) {
	for _, c := range commands {
		words := strings.Fields(c.name)
		if len(args) >= len(words) && slices.Equal(args[:len(words)], words) {
			found, rest = c, args[len(words):] // trust-policy check after trust-policy
		}
	}
	return found, rest
}

// errFailed ends a command that has already printed what is wrong.
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
	// After an interrupt, a command still prints its error and sets the exit
	// status. A program that exec runs gets the signals itself.
	ctx, stop := context.WithCancel(context.Background())
	if signals := heeded(os.Interrupt, syscall.SIGTERM); len(signals) > 0 {
		ctx, stop = signal.NotifyContext(ctx, signals...)
	}
	status := run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(status)
}

// heeded returns those of the signals that were not ignored when this program
// was started. Signals that were, as under nohup, stay ignored, for its child too.
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
	unknown := args[0]
	switch args[0] {
	case "help", "-h", "-help", "--help":
		if len(args) == 1 {
			printOverview(s.out)
			return nil
		}
		c, rest := find(args[1:])
		if c != nil && len(rest) == 0 {
			c.printHelp(s.out)
			return nil
		}
		unknown = strings.Join(args[1:], " ")
	case "version", "-version", "--version":
		_, err := fmt.Fprintln(s.out, version())
		return err
	default:
		if c, rest := find(args); c != nil {
			return c.start(ctx, rest, s)
		}
	}
	var names []string
	for _, c := range commands {
		names = append(names, c.name)
	}
	return &usageError{message: fmt.Sprintf("there is no command %q%s", unknown, didYouMean(unknown, names))}
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
	var rows [][2]string
	for _, c := range commands {
		rows = append(rows, [2]string{c.name, c.summary})
	}
	printTable(w, rows)
	fmt.Fprintln(w, "\n"+terminal.Wrap("vercelaws command --help says more about each; vercelaws --version says which this is.", terminal.Width(w), 0))
}

// printTable writes names, each with its description beside it.
func printTable(w io.Writer, rows [][2]string) {
	column := 0
	for _, row := range rows {
		column = max(column, len(row[0])+4)
	}
	for _, row := range rows {
		fmt.Fprintf(w, "  %-*s%s\n", column-2, row[0], terminal.Wrap(row[1], terminal.Width(w), column))
	}
}
