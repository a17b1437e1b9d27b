//go:build go1.25 && !race

package model

const checks = "5000"
