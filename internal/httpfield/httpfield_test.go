package httpfield

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCutQuoted(t *testing.T) {
	for s, want := range map[string]struct {
		value, rest string
		ok          bool
	}{
		`a" b`:       {"a", " b", true},
		`a\"b\\c",d`: {`a"b\c`, ",d", true},
		`"`:          {"", "", true},
		`a`:          {}, `a\`: {}, ``: {},
	} {
		value, rest, ok := CutQuoted(s)
		assert.Equal(t, want.value, value, "%q", s)
		assert.Equal(t, want.rest, rest, "%q", s)
		assert.Equal(t, want.ok, ok, "%q", s)
	}
}

func TestCutToken(t *testing.T) {
	for s, want := range map[string]string{"Bearer realm": "Bearer", "a=b": "a", "ä": "", "": "", "a-b_c!": "a-b_c!"} {
		token, rest := CutToken(s)
		assert.Equal(t, want, token, "%q", s)
		assert.Equal(t, s, token+rest)
	}
}

func TestSkip(t *testing.T) {
	assert.Equal(t, ", a", SkipSpace(" \t, a"))
	assert.Equal(t, "a ,", SkipSeparators(" \t,, a ,"))
}
