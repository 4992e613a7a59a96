// Package spelling finds what somebody may have meant.
package spelling

// Nearest returns the one of known that is most like text, the first of equals; "" if none is alike
// in half of its letters.
func Nearest(text string, known []string) string {
	best, least := "", len(text)/2+1
	for _, k := range known {
		if d := distance(text, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of letters to be inserted, removed, replaced, or swapped with their
// neighbor, to make b of a. Long texts are far from everything.
func distance(a, b string) int {
	const long = 64
	if len(a) > long || len(b) > long {
		return long
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, last, row = last, row, before
		row[0] = i + 1
		for j := range len(b) {
			replaced := last[j]
			if a[i] != b[j] {
				replaced++
			}
			row[j+1] = min(replaced, row[j]+1, last[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
