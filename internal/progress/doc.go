// Package progress shows people how far copies have come, and tells programs.
//
// A Copy (copy.go) takes what one copy tells of itself, and a Blob what is told of a blob: lines go to
// the writer that the caller gave, events to his channel. If the writer is a terminal, blobs in flight
// are drawn on it as bars: terminal.go lets the copies of the process share it, picture.go says what is
// to be seen. Package terminaltest has terminals for tests.
package progress
