package manifest

import (
	"fmt"
	"strconv"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestEscapes reads every escape sequence of one unit, in both cases, and pairs around the borders
// of the surrogates.
func TestEscapes(t *testing.T) {
	read := func(text string) (string, error) {
		s := &scanner{src: `"` + text + `"`}
		got, err := s.string("a string")
		if err == nil {
			require.Equal(t, len(s.src), s.pos, text)
		}
		return got, err
	}
	for unit := range 0x10000 {
		for _, text := range []string{fmt.Sprintf(`\u%04x`, unit), fmt.Sprintf(`\u%04X`, unit)} {
			got, err := read(text)
			if utf16.IsSurrogate(rune(unit)) {
				require.ErrorContains(t, err, "half of a surrogate pair", text)
				continue
			}
			require.NoError(t, err, text)
			require.Equal(t, string(rune(unit)), got, text)
		}
	}
	borders := []rune{0xd7ff, 0xd800, 0xd801, 0xdbfe, 0xdbff, 0xdc00, 0xdc01, 0xdffe, 0xdfff, 0xe000}
	for _, high := range borders {
		for _, low := range borders {
			text := fmt.Sprintf(`\u%04x\u%04x`, high, low)
			got, err := read(text)
			switch pair := utf16.DecodeRune(high, low); {
			case pair != '\ufffd':
				require.NoError(t, err, text)
				assert.Equal(t, string(pair), got, text)
			case utf16.IsSurrogate(high) || utf16.IsSurrogate(low):
				assert.ErrorContains(t, err, "half of a surrogate pair", text)
			default:
				assert.NoError(t, err, text)
			}
		}
	}
}

// TestHexEscape has every byte in every place.
func TestHexEscape(t *testing.T) {
	for at := range 4 {
		for c := range 256 {
			digits := []byte("0000")
			digits[at] = byte(c)
			want := -1
			if n, err := strconv.ParseUint(string(digits), 16, 32); err == nil {
				want = int(n)
			}
			require.Equal(t, want, (&scanner{src: `x\u` + string(digits)}).hexEscape(1), "%q", digits)
		}
	}
	for _, text := range []string{``, `\`, `\u`, `\u000`, `\U0000`, `/u0000`} {
		assert.Equal(t, -1, (&scanner{src: text}).hexEscape(0), text)
	}
}
