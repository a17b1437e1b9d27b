// Package model holds no code but a test: it plays random histories against
// providers and caches under fake time, and checks after every step what
// package refresh and package vercelaws promise. There are two providers, a
// third role that is assumed with the first's credentials, a provider whose
// tokens are exchanged, and two that act for other parties by tokens of the
// program's choice. Crowds of providers and exchanges ask at once, and services
// call credentials dead. It is a module of its own because what draws the
// histories is no dependency of the library.
//
// Ten thousand histories are played, and five thousand more in which the wall
// clock jumps. They are the same each time, so that what fails is the change at
// hand. To look for what nobody knows yet (seed 0 is a random one):
//
//	go test . -rapid.seed=0 -rapid.checks=100000 -jumps=50000
package model
