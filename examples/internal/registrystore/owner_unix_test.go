//go:build unix

package registrystore

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestForeignOwner: only root writes what the owner of a storage cannot change.
func TestForeignOwner(t *testing.T) {
	storage := t.TempDir()
	assert.Empty(t, foreignOwner(storage, 1000))
	assert.Empty(t, foreignOwner(filepath.Join(storage, "none"), 0))
	if os.Geteuid() != 0 {
		assert.NotEmpty(t, foreignOwner(storage, 0))
		return
	}
	assert.Empty(t, foreignOwner(storage, 0))
	require.NoError(t, os.Chown(storage, 54321, 54321))
	assert.Equal(t, "#54321", foreignOwner(storage, 0))
}

// TestALockIsTheOwners: what root locks, the user of the server can lock afterwards.
func TestALockIsTheOwners(t *testing.T) {
	storage := t.TempDir()
	owner := os.Geteuid()
	if owner == 0 {
		owner = 54321
		require.NoError(t, os.Chown(storage, owner, owner))
	}
	lock, err := TakeLock(storage, "a test")
	require.NoError(t, err)
	require.NoError(t, lock.Release())
	for _, name := range []string{"", lockFile, holderFile} {
		uid, _, known := ownerOf(filepath.Join(storage, OwnDirectory, name))
		require.True(t, known)
		assert.Equal(t, owner, uid, name)
	}
}
