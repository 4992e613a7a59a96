// Package progress shows people how far copies have come, and tells programs.
//
// A Copy (copy.go) takes the Events of one copy, and a Blob those about a blob (event.go). It hands
// them on to those who want them: people (people.go), who get lines, or bars on a terminal; the
// channel of a program (channel.go), which gets upstream's events; and an Overview (overview.go),
// which counts (tally.go) what several copies tell, and shows it. follow.go makes Events of
// upstream's, and watch.go counts what its copy moves.
//
// Whoever draws does so on a terminal (terminal.go), which is one for the whole process: picture.go
// says what is to be seen on it. Package terminaltest has terminals for tests.
package progress
