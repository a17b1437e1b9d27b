package process

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
)

// watch is a shell that kills a program if the tests end early, by a panic, a
// timeout or SIGKILL. Its standard input is a pipe from the tests, which closes
// when they end. The program has a process group of its own, and the shell kills
// that group.
type watch struct {
	shell *exec.Cmd
	pipe  io.WriteCloser
}

// watchScript reads the number of the process group, then the word that all is
// well. Its arguments are the folders to remove.
const watchScript = `read -r group || exit 0
read -r word && exit 0
kill -s KILL -- "-$group"
for folder; do rm -rf "$folder"; done`

// startWatch starts a watch, which has nothing to kill yet.
func startWatch(folders []string) (*watch, error) {
	w := &watch{shell: exec.Command("sh", append([]string{"-c", watchScript, "watch"}, folders...)...)}
	inOwnGroup(w.shell) // what is meant for the tests' group must not end it
	var err error
	if w.pipe, err = w.shell.StdinPipe(); err != nil {
		return nil, err
	}
	return w, w.shell.Start()
}

// over names the process group.
func (w *watch) over(group int) { fmt.Fprintln(w.pipe, group) }

// end ends the watch. The program has ended, or was never started.
func (w *watch) end() error {
	fmt.Fprint(w.pipe, "\n\n") // one line is enough where the group was named
	return errors.Join(w.pipe.Close(), w.shell.Wait())
}
