package manifest_test

import (
	"errors"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// noDocuments is for lists without nested ones.
func noDocuments(digest.Digest) ([]byte, error) { return nil, errors.New("no such document") }

// TestStrippedFromEverySelection strips the lists of testdata by every selection.
func TestStrippedFromEverySelection(t *testing.T) {
	for _, file := range listFiles(t) {
		original := readFile(t, file)
		n := len(mustParse(t, original).Instances())
		for selection := range 1 << n {
			list := mustParse(t, original)
			var removed []int
			for i := n - 1; i >= 0; i-- {
				if selection&(1<<i) == 0 {
					require.NoError(t, list.EditInstances(deletes(i)))
					removed = append([]int{i}, removed...)
				}
			}
			removal, err := manifest.StrippedFrom(serialize(t, list), original, noDocuments)
			require.NoError(t, err, "%s, %b", file, selection)
			assert.Equal(t, n, removal.Entries)
			if removal.Ambiguous {
				assert.Len(t, removal.Removed, len(removed))
				continue
			}
			var got []int
			for _, e := range removal.Removed {
				got = append(got, e.Index)
			}
			assert.Equal(t, removed, got, "%s, %b", file, selection)
		}
	}
}
