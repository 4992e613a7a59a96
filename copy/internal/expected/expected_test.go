package expected

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/inspect"
	"github.com/sparsecopy/sparsecopy/internal/original"
)

// TestOriginalIsExpected in either form, where the list changes, and nothing that is kept for other
// tools.
func TestOriginalIsExpected(t *testing.T) {
	a, b := digest.FromString("a"), digest.FromString("b")
	entry := func(d digest.Digest) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":3}`, imgspecv1.MediaTypeImageManifest, d)
	}
	list := []byte(`{"schemaVersion":2,"manifests":[` + entry(a) + `,` + entry(b) + `]}`)
	image := fmt.Appendf(nil, `{"schemaVersion":2,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[]}`, imgspecv1.MediaTypeEmptyJSON, digest.FromString("{}"))
	signature := plan.OriginalSignature{
		Kind: original.Referrer, Document: plan.Document{Digest: digest.FromBytes(image), Bytes: image},
		Blobs: map[digest.Digest][]byte{digest.FromString("{}"): []byte("{}")},
	}
	p, err := plan.New(plan.Input{
		Top: plan.Document{Bytes: list}, OriginalSignatures: []plan.OriginalSignature{signature},
		Documents:   map[digest.Digest]plan.Document{signature.Document.Digest: signature.Document},
		Attachments: []plan.Attachment{{Subject: digest.FromBytes(list), Digest: signature.Document.Digest}},
		Choices: plan.Choices{
			ImageListSelection: plan.CopySpecificImages, Instances: []digest.Digest{a}, AttachOriginal: true,
			SparseManifestListAction: plan.AutoSparseManifestList,
		},
	})
	require.NoError(t, err)
	require.Equal(t, plan.Copy, p.IfRefused.Attached[0].Decision)
	want := Of(p, &plan.Choices{})
	assert.Len(t, want.Attached, 1, "the list stays as it is, and with it what is attached")
	var either []inspect.Attached
	for _, artifact := range p.IfRefused.Original.Artifacts() {
		either = append(either, inspect.Attached{
			Subject: p.IfRefused.Digest, Digest: artifact.Document.Digest, ArtifactType: artifact.Descriptor().ArtifactType,
			Or: original.Plain(artifact).Document.Digest,
		})
	}
	assert.Len(t, either, 2)
	assert.Equal(t, either, want.Else.Attached)
}
