package foreign

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLikely tells the shapes of real files apart, from each other and from ours.
func TestLikely(t *testing.T) {
	archives, err := filepath.Glob("testdata/real/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, archives)
	for _, name := range archives {
		archive, err := txtar.ParseFile(name)
		require.NoError(t, err)
		likely := Likely(archive.Files[0].Data)
		if assert.NotNil(t, likely, name) {
			assert.True(t, strings.HasPrefix(filepath.Base(name), likely.Name+"-"), "%s: %s", name, likely.Name)
		}
		for _, file := range archive.Files {
			if file.Name == "sync" {
				assert.Nil(t, Likely(file.Data), "%s: ours", name)
			}
		}
	}
	for _, content := range []string{"", "---\n", "a: [", "\x00", "version: 1\nimages: []\n", "- a\n- b\n", "kind: x\n", "a: &a [*a]\n", "images: {a: b}\n"} {
		assert.Nil(t, Likely([]byte(content)), content)
	}
}
