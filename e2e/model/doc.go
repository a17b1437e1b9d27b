// Package model holds no code but a test: it plays random histories against
// providers and caches under fake time, and checks after every step what
// package refresh and package vercelaws promise. It is a module of its own
// because what draws the histories is no dependency of the library.
//
// Ten thousand histories are played, and five thousand more in which the wall
// clock jumps. More, or others:
//
//	go test . -rapid.checks=100000 -jumps=50000
//	go test . -rapid.seed=1
package model
