// Package state remembers what a mirror holds, between runs and while a server runs.
//
// A Store is a file with one Image for each destination: what was copied there, from what, how much
// of it was looked at and when, and what went wrong last. It makes nothing true. Whoever copies
// uses it to leave out questions, and whoever looks at a mirror to see what became of it: without
// the file, both start anew.
//
// What a state says of an image holds as long as the image is copied in the same way: see
// Image.Options.
package state
