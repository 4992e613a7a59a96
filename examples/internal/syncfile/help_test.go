package syncfile

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestEveryKeyIsInTheHelp holds the help against the keys that there are, both ways.
func TestEveryKeyIsInTheHelp(t *testing.T) {
	var keys []string
	for _, line := range helpLines {
		assert.NotEmpty(t, line.words)
		assert.LessOrEqual(t, len(line.words), 80, line.words)
		keys = append(keys, strings.Fields(line.keys)...)
	}
	assert.ElementsMatch(t, append(keysOf(settings), imageKeys...), keys)
	help := Help()
	for line := range strings.Lines(help) {
		assert.True(t, strings.HasPrefix(line, "    "), line)
		key := strings.Fields(line)[0]
		assert.True(t, slices.Contains(keys, key), line)
	}
	for _, key := range topKeys {
		assert.Contains(t, TopHelp, key)
	}
}
