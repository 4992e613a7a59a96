package main

import (
	"fmt"
	"io"
	"strings"
)

// A narrator tells the story and keeps count of what was checked.
type narrator struct {
	w      io.Writer
	held   int
	failed []string
}

// say prints a line.
func (n *narrator) say(format string, args ...any) { fmt.Fprintf(n.w, format+"\n", args...) }

// step prints the heading of a part.
func (n *narrator) step(format string, args ...any) { fmt.Fprintf(n.w, "\n"+format+"\n", args...) }

// quote prints what somebody else said, long lines wrapped.
func (n *narrator) quote(text string) {
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		for _, part := range wrap(line) {
			fmt.Fprintf(n.w, "  | %s\n", part)
		}
	}
}

// wrap breaks a line at spaces, if it is much longer than lines of a table with two columns of
// digests.
func wrap(line string) []string {
	const width = 120
	var parts []string
	for len(line) > width+width/4 {
		i := strings.LastIndex(line[:width], " ")
		if i <= 0 {
			break
		}
		parts, line = append(parts, line[:i]), line[i+1:]
	}
	return append(parts, line)
}

// check notes a claim, and whether it holds.
func (n *narrator) check(holds bool, format string, args ...any) {
	claim := fmt.Sprintf(format, args...)
	if holds {
		n.held++
		fmt.Fprintf(n.w, "  ok   %s\n", claim)
		return
	}
	n.failed = append(n.failed, claim)
	fmt.Fprintf(n.w, "  FAIL %s\n", claim)
}

// checkNoError notes a claim that holds unless there is an error.
func (n *narrator) checkNoError(err error, format string, args ...any) {
	if err != nil {
		format, args = format+": %v", append(args, err)
	}
	n.check(err == nil, format, args...)
}

// verdict is nil if all claims held.
func (n *narrator) verdict() error {
	if len(n.failed) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d checks failed: %s", len(n.failed), len(n.failed)+n.held, strings.Join(n.failed, "; "))
}
