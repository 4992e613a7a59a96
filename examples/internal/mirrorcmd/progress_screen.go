package mirrorcmd

import (
	"fmt"
	"io"
	"strings"
)

// A screen draws lines on a terminal, over those that it drew before. It asks for the size each time, so that a terminal may be
// resized at any moment: lines are cut to its width, and those that do not fit are counted in the last one.
type screen struct {
	w    io.Writer
	size func() (columns, rows int, err error)

	drawn []int // widths of the lines that are there
}

// Sizes of a terminal that does not tell.
const (
	defaultColumns = 80
	defaultRows    = 24
)

// draw replaces what is there; nothing is left of it if there are no lines.
func (s *screen) draw(lines []string) {
	columns, rows, err := s.size()
	if err != nil || columns <= 0 || rows <= 0 {
		columns, rows = defaultColumns, defaultRows
	}
	lines = fit(lines, columns, rows)
	var b strings.Builder
	if up := min(s.height(columns), rows-1); up > 0 {
		// Row by row: what is erased at once from the top of the screen on, some terminals keep.
		fmt.Fprintf(&b, "\x1b[%dA\r%s\x1b[%dA", up, strings.Repeat("\x1b[K\n", up), up)
	}
	s.drawn = s.drawn[:0]
	for _, line := range lines {
		b.WriteString(line + "\n")
		s.drawn = append(s.drawn, len([]rune(line)))
	}
	_, _ = io.WriteString(s.w, b.String()) // a terminal that is gone shows nothing
}

// print writes a line where the picture is, which goes below it when it is drawn again.
func (s *screen) print(line string) {
	s.draw(nil)
	_, _ = io.WriteString(s.w, line+"\n") // as in draw
}

// height is the number of rows that what was drawn takes now: a terminal that became narrower has broken lines.
func (s *screen) height(columns int) int {
	rows := 0
	for _, width := range s.drawn {
		rows += max(1, (width+columns-1)/columns)
	}
	return rows
}

// fit cuts lines to a terminal. One row stays free for the cursor.
func fit(lines []string, columns, rows int) []string {
	most := max(rows-1, 1)
	if hidden := len(lines) - most; hidden > 0 {
		if most > 1 {
			lines = append(append([]string{}, lines[:most-1]...), fmt.Sprintf("  and %d more", hidden+1))
		} else {
			lines = lines[:1]
		}
	}
	cut := make([]string, len(lines))
	for i, line := range lines {
		runes := []rune(line)
		cut[i] = string(runes[:min(len(runes), max(columns-1, 1))])
	}
	return cut
}
