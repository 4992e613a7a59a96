// Package httpfield reads the parts that the values of HTTP headers are made of.
package httpfield

import "strings"

// CutQuoted reads up to the closing quote of s, which follows the opening one, and resolves quoted
// pairs. ok reports whether there is one.
func CutQuoted(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			i++
			if i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

// CutToken reads the token at the beginning of s, which is "" if there is none. RFC 9110, section
// 5.6.2.
func CutToken(s string) (token, rest string) {
	end := strings.IndexFunc(s, func(r rune) bool { return !isTokenRune(r) })
	if end < 0 {
		return s, ""
	}
	return s[:end], s[end:]
}

func isTokenRune(r rune) bool {
	return r > ' ' && r < 0x7f && !strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
}

// SkipSpace is s from the first character on that is no space.
func SkipSpace(s string) string { return strings.TrimLeft(s, " \t") }

// SkipSeparators is s from the first character on that is neither a space nor a comma.
func SkipSeparators(s string) string { return strings.TrimLeft(s, " \t,") }
