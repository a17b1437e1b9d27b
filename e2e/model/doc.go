// Package model holds no code but a test: it plays random histories against
// providers and caches under fake time, and checks after every step what
// package refresh and package vercelaws promise. There are two providers, a
// third role that is assumed with the first's credentials, a provider whose
// tokens are exchanged, and two that act for other parties by tokens of the
// program's choice. Many providers and exchanges ask at once, and services reject
// credentials. It is a module of its own because the library does not depend on
// the package that draws the histories.
//
// Ten thousand histories are played, and five thousand more in which the wall
// clock jumps. They are the same each time, so a failure comes from the latest
// change. To look for unknown faults (seed 0 is a random one):
//
//	go test . -rapid.seed=0 -rapid.checks=100000 -jumps=50000
package model
