package copy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReasonsHaveNamesHere: whatever reason and kind a plan has, who reads it needs no other
// package.
func TestReasonsHaveNamesHere(t *testing.T) {
	aliases, err := os.ReadFile("aliases.go")
	require.NoError(t, err)
	names, err := filepath.Glob("plan/*.go")
	require.NoError(t, err)
	constant := regexp.MustCompile(`(?m)^(?:\t|const )((?:Reason|Kind)[A-Z]\w*) +(?:ReasonCode )?= `)
	found := 0
	for _, name := range names {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, match := range constant.FindAllStringSubmatch(string(text), -1) {
			found++
			assert.Truef(t, regexp.MustCompile(`= +plan\.`+match[1]+`\b`).Match(aliases), "%s of %s", match[1], name)
		}
	}
	assert.Greater(t, found, 20)
}

// TestStripReasonsHaveNamesHere: a program need not write down why a strip is not proven.
func TestStripReasonsHaveNamesHere(t *testing.T) {
	here, err := os.ReadFile("stripreasons.go")
	require.NoError(t, err)
	reasons, err := os.ReadFile("internal/trust/errors.go")
	require.NoError(t, err)
	found := regexp.MustCompile(`(?m)^\t(\w+) +Reason = "`).FindAllStringSubmatch(string(reasons), -1)
	for _, match := range found {
		assert.Regexp(t, `StripReason`+match[1]+` += trust\.`+match[1]+`\n`, string(here))
	}
	assert.Greater(t, len(found), 30)
}
