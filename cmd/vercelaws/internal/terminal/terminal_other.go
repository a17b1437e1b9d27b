//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package terminal

import "os"

// width is not known here.
func width(*os.File) int { return 0 }

// InForeground is not known here, so every signal is passed on.
func InForeground() bool { return false }
