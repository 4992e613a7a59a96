package audit

import "strconv"

// counted writes a number of things: "1 tag", "2 tags".
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}
