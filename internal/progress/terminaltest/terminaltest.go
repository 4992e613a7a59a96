// Package terminaltest has terminals for tests: a Model, which says what is to be seen, and a
// Pseudo terminal of the system with a Model at its other side.
package terminaltest

import (
	"bytes"
	"fmt"
	"strings"
)

// A Model understands what copies write to terminals, and nothing else. Text that scrolls away
// stays in it; a terminal that is resized breaks no lines anew.
//
// It must not be used concurrently.
type Model struct {
	Columns, Rows int      // what the terminal has now
	Unknown       []string // what it did not understand
	Moved         bool     // the cursor went up

	lines    [][]byte // the last rows of them are on the screen
	row, col int      // of the cursor, which is in a line
	pending  []byte   // the beginning of a control sequence
}

// Write shows text. It never fails.
func (m *Model) Write(text []byte) (int, error) {
	for _, c := range text {
		m.put(c)
	}
	return len(text), nil
}

func (m *Model) put(c byte) {
	switch {
	case len(m.pending) > 0 || c == '\x1b':
		m.pending = append(m.pending, c)
		if len(m.pending) > 1 && ('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z') {
			m.control(string(m.pending))
			m.pending = nil
		}
	case c == '\r':
		m.col = 0
	case c == '\n': // the system makes this of it
		m.row, m.col = m.row+1, 0
	case c < ' ' || c > '~':
		m.Unknown = append(m.Unknown, fmt.Sprintf("%q", c))
	default:
		if m.col == m.Columns {
			m.row, m.col = m.row+1, 0
		}
		for len(m.lines) <= m.row {
			m.lines = append(m.lines, nil)
		}
		for len(m.lines[m.row]) <= m.col {
			m.lines[m.row] = append(m.lines[m.row], ' ')
		}
		m.lines[m.row][m.col] = c
		m.col++
	}
	for len(m.lines) <= m.row {
		m.lines = append(m.lines, nil)
	}
}

func (m *Model) control(sequence string) {
	var up int
	switch {
	case sequence == "\x1b[K":
		m.lines[m.row] = m.lines[m.row][:min(m.col, len(m.lines[m.row]))]
	case strings.HasSuffix(sequence, "A") && scanned(sequence, &up):
		m.row = max(m.row-up, len(m.lines)-m.Rows, 0)
		m.Moved = true
	default:
		m.Unknown = append(m.Unknown, fmt.Sprintf("%q", sequence))
	}
}

func scanned(sequence string, up *int) bool {
	_, err := fmt.Sscanf(sequence, "\x1b[%dA", up)
	return err == nil
}

// Text is what was ever on the screen and was not erased, as far as the cursor, and what is below
// it.
func (m *Model) Text() string {
	if len(m.lines) == 0 {
		return ""
	}
	return string(bytes.Join(m.lines[:m.row+1], []byte("\n"))) + string(bytes.Join(m.lines[m.row+1:], nil))
}

// Row is the cursor's row, from 0 for the first line that was ever written.
func (m *Model) Row() int { return m.row }
