// Package mirrorserver runs a mirror for ever: it looks at each image when that is due, or when a
// registry says that somebody has pushed to it, and shows over HTTP what became of it.
//
// # Map
//
//	plan.go     Plan: what a mirror is to have, and how it is made so; whoever reads sync files has one
//	engine.go   Engine: does what is due, one copy at a time of each destination
//	pushes.go   Engine, as the queue of those who notify
//	server.go   Server: what is answered over HTTP, to whom
//	metrics.go  Metrics: the numbers at /metrics
//	watch.go    Watch: files that change
//	systemd.go  Supervisor: what systemd is told
//
// An Engine knows no registry, no file and no HTTP. Times are those of a clock, so that tests let
// days pass.
package mirrorserver
