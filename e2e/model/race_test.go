//go:build go1.25 && race

package model

// checks is less where each history takes ten times as long.
const checks = "500"
