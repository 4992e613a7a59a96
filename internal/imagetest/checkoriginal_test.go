package imagetest

import (
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// TestInspectOriginal damages a list whose original travels along.
func TestInspectOriginal(t *testing.T) {
	f := Platforms(3, 1, 100)
	whole, mediaType := f.Document(Top)
	list, err := manifest.Parse(whole, mediaType)
	require.NoError(t, err)
	require.NoError(t, list.EditInstances([]manifest.ListEdit{{ListOperation: manifest.ListOpDelete, DeleteIndex: 2}}))
	stripped, err := list.Serialize()
	require.NoError(t, err)
	top := digest.FromBytes(stripped)
	originalOf := func(name string) original.Artifact {
		content, mediaType := f.Document(name)
		return original.Of(imgspecv1.Descriptor{MediaType: mediaType, Digest: top, Size: int64(len(stripped))},
			[]manifest.Document{{Digest: f.Digest(name), MediaType: mediaType, Bytes: content}}, "")
	}
	put := func(m *memory, a original.Artifact) {
		m.manifests[a.Document.Digest] = stored{mediaType: a.Document.MediaType, content: a.Document.Bytes}
		for _, p := range a.Parts() {
			m.blobs[p.Descriptor.Digest] = stored{content: p.Content}
		}
	}
	f.List("other", Entries("arm64", "amd64"))
	want := Want{Fixture: f, Original: Top}
	for name, c := range map[string]struct {
		damage func(*memory)
		want   Want
		says   string
	}{
		"whole":         {func(*memory) {}, want, ""},
		"plain":         {func(m *memory) { *m = *f.inMemory(); put(m, original.Plain(originalOf(Top))) }, want, ""},
		"not wanted":    {func(*memory) {}, Want{Fixture: f}, "travels along 1 times, with 0 signatures; want 0 and 0"},
		"none":          {func(m *memory) { *m = *f.inMemory() }, want, "travels along 0 times"},
		"of another":    {func(m *memory) { *m = *f.inMemory(); put(m, originalOf("other")) }, want, "it has the original other"},
		"proves less":   {func(m *memory) { *m = *f.inMemory(); put(m, originalOf("other")) }, Want{Fixture: f, Original: "other"}, "artifact sha256:"},
		"document lost": {func(m *memory) { delete(m.blobs, f.Digest(Top)) }, want, "is not in the store"},
		"optional":      {func(m *memory) { *m = *f.inMemory() }, Want{Fixture: f, Original: Top, OriginalSignatures: 1, OriginalOptional: true}, ""},
		"too many":      {func(m *memory) { put(m, original.Plain(originalOf(Top))) }, Want{Fixture: f, Original: Top, OriginalOptional: true}, "travels along 2 times"},
		"no signature":  {func(*memory) {}, Want{Fixture: f, Original: Top, OriginalSignatures: 1}, "want 1 and 1"},
	} {
		t.Run(name, func(t *testing.T) {
			m := f.inMemory()
			put(m, originalOf(Top))
			c.damage(m)
			m.manifests[top] = stored{mediaType: mediaType, content: stripped}
			m.top.Digest = top
			violations := Inspect(m, c.want)
			if c.says == "" {
				assert.Empty(t, violations)
				return
			}
			require.NotEmpty(t, violations)
			assert.Contains(t, violations[0], c.says)
		})
	}
}
