//go:build go1.25 && !walljump

package model

import "time"

const canJump = false

var jumps int

func offset() time.Duration { return 0 }

func setOffset(time.Duration) {}
