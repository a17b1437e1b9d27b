//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package terminal

import (
	"os"
	"syscall"
	"unsafe"
)

// width returns how many columns a terminal has, or 0. See tty_ioctl(4).
func width(file *os.File) int {
	var size struct{ rows, columns, x, y uint16 }
	if !ask(file, syscall.TIOCGWINSZ, unsafe.Pointer(&size)) {
		return 0
	}
	return int(size.columns)
}

// InForeground reports whether the keys of the terminal go to this program's
// process group, which its children share.
func InForeground() bool {
	terminal, err := os.Open("/dev/tty") // there is none without a terminal
	if err != nil {
		return false
	}
	defer terminal.Close()
	var group int32
	return ask(terminal, syscall.TIOCGPGRP, unsafe.Pointer(&group)) && int(group) == syscall.Getpgrp()
}

func ask(file *os.File, request uintptr, answer unsafe.Pointer) bool {
	_, _, failed := syscall.Syscall(syscall.SYS_IOCTL, file.Fd(), request, uintptr(answer))
	return failed == 0
}
