package registrytest

import (
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

func TestCollect(t *testing.T) {
	c := start(t, Options{})
	put := func(ref, content string) digest.Digest { return c.PutManifest("a", ref, imageType, []byte(content)) }
	ref := func(content string) string { return digest.FromString(content).String() }
	first, late := child(put(ref("{}"), "{}"), "amd64"), child(digest.FromString("{ }"), "arm64")
	body := list(first, late)
	require.Equal(t, 201, c.putList(body).StatusCode)
	put(late.Digest.String(), "{ }")
	require.Equal(t, 201, c.putList(body).StatusCode, "which links nothing")
	tagged := put("tag", "{  }")
	put(ref("{   }"), "{   }")

	c.Collect("a")
	require.ElementsMatch(t, []digest.Digest{first.Digest, digest.FromString(body), tagged}, c.Manifests("a"))

	put(late.Digest.String(), "{ }")
	c.PutManifest("a", "kept", imageType, []byte("{ }"))
	c.Collect("a")
	require.Contains(t, c.Manifests("a"), late.Digest)

	c.DeleteTag("a", "v1")
	c.Collect("a")
	require.ElementsMatch(t, []digest.Digest{late.Digest, tagged}, c.Manifests("a"))
	require.Equal(t, 201, c.putList(list(child(late.Digest, "arm64"))).StatusCode)
	c.DeleteTag("a", "kept")
	c.Collect("a")
	require.Contains(t, c.Manifests("a"), late.Digest, "which was there first")
	require.Equal(t, imgspecv1.MediaTypeImageIndex, func() string { _, mt, _ := c.Manifest("a", "v1"); return mt }())
}
