package endpoint_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// FuzzMergeReferrers merges into whatever a registry has under a referrers tag: what is listed
// there stays in its order, what is new comes behind it, once, and merging again changes nothing.
func FuzzMergeReferrers(f *testing.F) {
	f.Add([]byte(nil), "a", "b", int64(1))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[]}`), "a", "a", int64(0))
	f.Add([]byte(`{ "manifests" : [ {"digest":"`+digest.FromString("a")+`","size":3,"mediaType":"x","unknown":1.50} ], "schemaVersion":2}`), "a", "b", int64(7))
	f.Add([]byte("<html>"), "", "", int64(-1))
	f.Fuzz(func(t *testing.T, index []byte, one, two string, size int64) {
		var added []imgspecv1.Descriptor
		for _, content := range []string{one, two} {
			added = append(added, imgspecv1.Descriptor{
				MediaType: imgspecv1.MediaTypeImageManifest, Digest: digest.FromString(content), Size: size, ArtifactType: content,
			})
		}
		merged, changed, err := endpoint.MergeReferrers(index, added)
		if err != nil {
			return
		}
		before := listed(t, index)
		want := before
		for _, a := range added {
			if !slices.Contains(want, a.Digest) {
				want = append(want, a.Digest)
			}
		}
		require.Equal(t, want, listed(t, merged))
		require.Equal(t, len(want) > len(before), changed)
		again, changed, err := endpoint.MergeReferrers(merged, added)
		require.NoError(t, err)
		require.False(t, changed)
		require.True(t, bytes.Equal(merged, again))
	})
}

// listed are the digests in an index; an empty one stands for none.
func listed(t *testing.T, index []byte) []digest.Digest {
	if len(index) == 0 {
		return nil
	}
	list, err := manifest.Parse(index, imgspecv1.MediaTypeImageIndex)
	require.NoError(t, err)
	var all []digest.Digest
	for _, in := range list.Instances() {
		all = append(all, in.Digest)
	}
	return all
}
