package tagselect

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCombined(t *testing.T) {
	versions, err := Range(">=3.1 <4", RangeOptions{})
	require.NoError(t, err)
	slim, err := Regexp(".*-slim|3.*|4.*")
	require.NoError(t, err)
	old, err := Glob("3.1.*")
	require.NoError(t, err)
	both, neither := All(versions, slim, Not(old)), Not(Name("3.2.0"))

	for tag, want := range map[string]struct{ both, neither bool }{
		"3.2.0": {true, false}, "3.1.7": {false, true}, "4.0.0": {false, true}, "3.2.0-slim": {false, true}, "x": {false, true},
	} {
		assert.Equal(t, want.both, both.Takes(tag), tag)
		assert.Equal(t, want.neither, neither.Takes(tag), tag)
	}
	assert.Equal(t, `all of semver ">=3.1 <4" and regexp ".*-slim|3.*|4.*" and not "3.1.*"`, both.String())

	s := Selection{Patterns: []Pattern{both}}
	_, err = s.Match([]string{"3.2.0-slim", "3.1.0-slim", "4.0.0"})
	var nothing *NothingError
	require.ErrorAs(t, err, &nothing)
	assert.Equal(t, 1, nothing.Prereleases, "with pre-releases, 3.2.0-slim is within all")
}
