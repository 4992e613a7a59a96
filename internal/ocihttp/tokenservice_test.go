package ocihttp

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSeconds(t *testing.T) {
	for text, want := range map[string]seconds{
		`300`: 300, `"300"`: 300, `" 3.5 "`: 3.5, `1e2`: 100, `null`: 0, `"soon"`: 0, `""`: 0, `{}`: 0, `"NaN"`: 0, `1e999`: 0, `-5`: -5, `true`: 0, `[1]`: 0,
	} {
		var s seconds
		require.NoError(t, s.UnmarshalJSON([]byte(text)))
		assert.Equal(t, want, s, text)
	}
}
