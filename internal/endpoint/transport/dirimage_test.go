package transport

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// TestDirectoryIsReadAsUpstreamReadsIt holds all that can be asked of a directory against what
// upstream answers.
func TestDirectoryIsReadAsUpstreamReadsIt(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	dir := t.TempDir()
	copyOnce(t, f, layoutSource(t, f, imagetest.Top).Reference(), dirRef(t, dir), system(t, ""))
	put := func(name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	other := digest.SHA512.FromString("content")
	put("sha512-"+other.Encoded(), "content")
	put("sha512-"+other.Encoded()+".manifest.json", "content")
	put("sha512-"+other.Encoded()+".signature-1", "other")
	put(f.Digest("amd64").Encoded()+".signature-1", "simple")
	put("signature-1", "simple")
	put("signature-2", "\x00sigstore-json\n"+`{"mimeType":"a/b","payload":"eA==","annotations":{}}`)
	top := f.Digest(imagetest.Top)
	digests := append([]digest.Digest{"", top, other, digestA, "sha256:a", "../x"}, append(f.Manifests(imagetest.Top), f.Blobs(imagetest.Top)...)...)
	for _, version := range []string{"", "Directory Transport Version: 1.0\n", "Directory Transport Version: 1.2\n", "Directory Transport Version: 9.9\n", "Directory Transport Version: x"} {
		t.Run(version, func(t *testing.T) {
			if version == "" {
				require.NoError(t, os.Remove(filepath.Join(dir, directoryVersion)))
			} else {
				put(directoryVersion, version)
			}
			theirs, wantErr := dirRef(t, dir).NewImageSource(t.Context(), nil)
			ours, err := openDirectoryImage(t.Context(), dirRef(t, dir), nil)
			if wantErr != nil {
				assert.Equal(t, wantErr, err)
				return
			}
			require.NoError(t, err)
			for _, d := range digests {
				assert.Equal(t, answers(t, theirs, d), answers(t, ours, d), d)
			}
			require.NoError(t, ours.Close())
		})
	}
}

// answers are what a directory has for a digest, "" for all of it.
func answers(t *testing.T, src types.ImageSource, d digest.Digest) (all []string) {
	instance := &d
	if d == "" {
		instance = nil
	}
	content, mediaType, err := src.GetManifest(t.Context(), instance)
	all = append(all, string(content), mediaType, fmt.Sprint(err != nil, isFileNotFound(err)))
	sigs, err := readSignatures(t.Context(), src, instance)
	if err == nil {
		blobs, failed := endpoint.SignatureBlobs(sigs)
		all, err = append(all, fmt.Sprintf("%q", blobs)), failed
	}
	all = append(all, fmt.Sprint(err != nil))
	r, size, err := src.GetBlob(t.Context(), types.BlobInfo{Digest: d, Size: -1}, none.NoCache)
	if err != nil {
		return append(all, fmt.Sprint(isFileNotFound(err)))
	}
	blob, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return append(all, string(blob), fmt.Sprint(size))
}

// TestDirectoryIsReadStraight: one opened source serves all readers, and keeps no signature from
// whoever it is handed over to.
func TestDirectoryIsReadStraight(t *testing.T) {
	f := imagetest.Platforms(2, 2, 100)
	dir := t.TempDir()
	copyOnce(t, f, layoutSource(t, f, imagetest.Top).Reference(), dirRef(t, dir), system(t, ""))
	sigstore := "\x00sigstore-json\n" + `{"mimeType":"a/b","payload":"eA==","annotations":{}}`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "signature-1"), []byte(sigstore), 0o600))
	src := openSource(t, dirRef(t, dir), nil)
	assert.True(t, src.pool.shared)
	checkSource(t, f, src, imagetest.Top)

	sigs, err := endpoint.ReadSignatures(t.Context(), src.HandOver(), nil)
	require.NoError(t, err)
	assert.Equal(t, 1, sigs.Len(), "upstream's copy sees them all")
	assert.True(t, src.HandOver().Reference().Transport() == directory.Transport)
}

// TestDirectoriesTellNoSecrets: what is in the place of the version may be a link to anything.
func TestDirectoriesTellNoSecrets(t *testing.T) {
	f := imagetest.Platforms(1, 1, 100)
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("token"), 0o600))
	dir := t.TempDir()
	copyOnce(t, f, layoutSource(t, f, imagetest.Top).Reference(), dirRef(t, dir), system(t, ""))
	version := filepath.Join(dir, directoryVersion)
	require.NoError(t, os.Remove(version))
	require.NoError(t, os.Symlink(secret, version))
	_, err := OpenSource(t.Context(), dirRef(t, dir), nil)
	assert.ErrorContains(t, err, version+" states no version of a directory")
	assert.NotContains(t, err.Error(), "token")
}

// TestDirectoriesFillNoMemory: files with holes cost nothing where they are.
func TestDirectoriesFillNoMemory(t *testing.T) {
	f := imagetest.Platforms(1, 1, 100)
	for name, says := range map[string]string{
		directoryVersion:  "version has more than 64 bytes",
		directoryManifest: "manifest.json has more than",
		"signature-1":     "signature-* have more than",
		f.Digest("amd64").Encoded() + ".manifest.json": ".manifest.json has more than",
		f.Digest("amd64").Encoded() + ".signature-1":   ".signature-* have more than",
	} {
		dir := t.TempDir()
		copyOnce(t, f, layoutSource(t, f, imagetest.Top).Reference(), dirRef(t, dir), system(t, ""))
		file, err := os.Create(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NoError(t, errors.Join(file.Truncate(1<<40), file.Close()))
		src, err := OpenSource(t.Context(), dirRef(t, dir), nil)
		if err == nil {
			_, ofChild := src.Manifest(t.Context(), f.Digest("amd64"))
			_, signed := src.Signatures(t.Context(), f.Digest(imagetest.Top))
			_, childSigned := src.Signatures(t.Context(), f.Digest("amd64"))
			err = errors.Join(ofChild, signed, childSigned, src.Close())
		}
		assert.ErrorContains(t, err, says)
	}
}
