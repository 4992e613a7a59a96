// Package syncfile reads the file of mirror sync: which images a mirror is to have, and how each is
// copied. docs/sync.md describes the format.
//
// Parse checks all that can be known without a registry and returns a File; every problem names the
// file and the line. An Image of the file stands for one copy, or, if it has tags, for one copy of
// each tag that matches: Copies returns them.
package syncfile
