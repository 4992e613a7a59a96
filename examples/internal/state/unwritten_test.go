package state

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWhatCannotBeWrittenWaits has a database that fails: changes are kept, are seen, and are not
// tried again with each one more.
func TestWhatCannotBeWrittenWaits(t *testing.T) {
	s, _, err := Open(filepath.Join(t.TempDir(), "state"))
	require.NoError(t, err)
	require.NoError(t, s.file.db.Close())
	failed := 0
	for n := range 5 * maxPending {
		if s.Put(Image{Destination: fmt.Sprint(n)}) != nil {
			failed++
		}
	}
	assert.Equal(t, 3, failed, "after 1,000, 2,000 and 4,000 changes")
	_, ok, err := s.Get("0")
	assert.True(t, ok)
	assert.NoError(t, err)
	assert.Error(t, s.Flush())

	works, err := openFile(filepath.Join(t.TempDir(), "other"), toWrite)
	require.NoError(t, err)
	s.file = works
	require.NoError(t, s.Flush())
	all, err := s.All()
	require.NoError(t, err)
	assert.Len(t, all, 5*maxPending)
	assert.Equal(t, maxPending, s.most)
	require.NoError(t, s.Close())
	assert.ErrorIs(t, s.Put(Image{Destination: "late"}), errClosed)
	assert.ErrorIs(t, s.Delete("late"), errClosed)
	assert.ErrorIs(t, s.Flush(), errClosed)
}
