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

// distance is the number of letters to be inserted, removed or replaced to make b of a. Long texts
// are far from everything.
func distance(a, b string) int {
	const long = 64
	if len(a) > long || len(b) > long {
		return long
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
