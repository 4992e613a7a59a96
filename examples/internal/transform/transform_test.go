package transform

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
)

func TestMain(m *testing.M) { os.Exit(hermetictest.Main(m.Run)) }

// TestNothingInTheClear: ocicrypt passes over recipients of GnuPG where that is not installed.
func TestNothingInTheClear(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	s := Settings{Prefix: "--", EncryptionKeys: []string{"pgp:team@example.com"}}
	err := s.Apply(&copy.Options{})
	var problem *Problem
	require.ErrorAs(t, err, &problem)
	assert.Equal(t, EncryptionKey, problem.Setting)
	assert.EqualError(t, err, "--encryption-key (number 1): nothing can be encrypted for pgp:team@example.com; pgp: needs GnuPG on this machine")
}

// TestKeptSecrets: what may be a passphrase is in no error.
func TestKeptSecrets(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("no key"), 0o600))
	for _, key := range []string{file + ":s3cret", file + ":pass=s3cret", file + "x:s3cret", file + ":file=" + file + "x"} {
		s := Settings{DecryptionKeys: []string{key}}
		err := s.Apply(&copy.Options{})
		require.ErrorContains(t, err, DecryptionKey+" (number 1): ", key)
		assert.NotContains(t, err.Error(), "s3cret", key)
	}
}
