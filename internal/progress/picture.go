package progress

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sparsecopy/sparsecopy/internal/prose"
)

// A bar is what is shown of a blob in flight.
type bar struct {
	label  string
	offset int64 // bytes read; a stream that is too long has more than size
	size   int64 // negative if unknown
}

// Widths, in columns, of what is between the brackets of a bar. If there is no room for the least,
// there are only numbers.
const (
	minBarWidth = 8
	maxBarWidth = 40
)

// picture returns the lines that show heads, and bars below them, on a terminal of the given size.
// All are in ASCII. They fit, with a row for the cursor below and a column for it behind them: the
// last one counts the bars for which there is no room, unless that is the row of a head. On a
// single row there is nothing but the cursor.
func picture(heads []string, bars []bar, columns, rows int) []string {
	most := rows - 1
	if most < 1 {
		return nil
	}
	lines := slices.Clone(heads)
	for _, b := range bars {
		lines = append(lines, b.line(columns-1))
	}
	if hidden := len(lines) - (most - 1); hidden > 1 && most > len(heads) {
		lines = append(lines[:most-1], fmt.Sprintf("... and %d more", hidden))
	}
	lines = lines[:min(len(lines), most)]
	for i, line := range lines {
		lines[i] = line[:min(len(line), max(columns-1, 1))]
	}
	return lines
}

// line shows b in so many columns, or more if they are few.
func (b bar) line(columns int) string {
	if b.size < 0 {
		return b.label + " " + prose.Bytes(b.offset)
	}
	offset := min(b.offset, b.size)
	counts := fmt.Sprintf("%10s / %10s", prose.Bytes(offset), prose.Bytes(b.size))
	width := min(columns-len(b.label)-len(" [] ")-len(counts), maxBarWidth)
	if width < minBarWidth {
		return b.label + " " + prose.Bytes(offset) + " / " + prose.Bytes(b.size)
	}
	filled := 0
	if b.size > 0 {
		filled = int(float64(offset) / float64(b.size) * float64(width))
	}
	return b.label + " [" + strings.Repeat("=", filled) + strings.Repeat(" ", width-filled) + "] " + counts
}

// replacement returns what puts lines in the place of a picture at the end of a terminal, with the
// cursor below them. The rows of the picture are erased one by one: what is erased at once, some
// terminals keep.
func replacement(old, lines []string, columns, rows int) string {
	var b strings.Builder
	if up := min(rowsOf(old, columns), rows-1); up > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r%s\x1b[%dA", up, strings.Repeat("\x1b[K\n", up), up)
	}
	for _, line := range lines {
		b.WriteString(line + "\n")
	}
	return b.String()
}

// rowsOf returns how many rows lines take on a terminal that may have become narrower since they
// were drawn: then it has broken them.
func rowsOf(lines []string, columns int) int {
	rows := 0
	for _, line := range lines {
		rows += max(1, (len(line)+columns-1)/columns)
	}
	return rows
}
