package plan

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// TestOriginalProperties makes plans of random lists with and without the original, which changes
// nothing else: where one is attached, it proves what is written, and where none is, nothing could.
func TestOriginalProperties(t *testing.T) {
	seed := worldSeed()
	proven, unproven, refused := 0, 0, 0
	for i := range uint64(400) {
		w := &transformWorld{planWorld: planWorld{random: rand.New(rand.NewPCG(seed, i)), in: Input{
			Documents: map[digest.Digest]Document{}, Missing: map[digest.Digest]bool{}, Present: map[digest.Digest]bool{},
			PresentBlobs: map[digest.Digest]bool{}, MissingBlobs: map[digest.Digest]bool{},
		}}}
		w.build()
		if w.chance(30) {
			w.transform()
		}
		without, err := New(w.in)
		in := w.in
		in.Choices.AttachOriginal = true
		with, withErr := New(in)
		assert.Equal(t, err, withErr)
		if err == nil {
			for p, q := without, with; p != nil; p, q = p.IfRefused, q.IfRefused {
				checkOriginal(t, p, q, &proven, &unproven)
			}
			if w.checkSigned(t, in, with) {
				refused++
			}
		}
		if t.Failed() {
			t.Fatalf("world %d; to see it again: go test ./copy/plan -run TestOriginalProperties -plan-seed %d\n%+v\n%+v\n%s", i, seed, w.in.Choices, w.in.Way, w.in.Top.Bytes)
		}
	}
	enough(t, proven, 20, "too few of the random lists are stripped")
	enough(t, unproven, 5, "too few of them change otherwise")
	enough(t, refused, 5, "too few of them must not")
}

// checkOriginal holds a plan with the original against the one without.
func checkOriginal(t *testing.T, without, with *Plan, proven, unproven *int) {
	plain := *with
	plain.Original, plain.Blobs, plain.Bytes, plain.Warnings, plain.IfRefused = nil, without.Blobs, without.Bytes, without.Warnings, without.IfRefused
	assert.Equal(t, without, &plain)
	o, l := with.Original, with.List
	if l.Result == l.Digest {
		assert.Nil(t, o)
		return
	}
	require.NotNil(t, o)
	if o.Reason != "" {
		assert.Equal(t, append(slices.Clone(without.Warnings), "the original is not attached: "+o.Reason), with.Warnings)
		assert.Equal(t, []int64{int64(without.Blobs), without.Bytes}, []int64{int64(with.Blobs), with.Bytes})
		if l.Result != "" {
			*unproven++
			_, err := proof(l, nil)
			assert.Error(t, err)
		}
		return
	}
	*proven++
	a := o.Artifact()
	got, err := original.Read(a.Document, func(d imgspecv1.Descriptor) ([]byte, error) {
		for _, part := range a.Parts() {
			if part.Descriptor.Digest == d.Digest {
				return part.Content, nil
			}
		}
		return nil, errors.New("not there")
	})
	require.NoError(t, err)
	assert.Equal(t, l.Result, got.Stripped)
	removal, err := proof(l, &got)
	require.NoError(t, err)
	var stripped, removed []digest.Digest
	for _, ip := range l.Instances {
		if ip.Entry == StripEntry {
			stripped = append(stripped, ip.Digest)
		}
	}
	for _, entry := range removal.Removed {
		removed = append(removed, entry.Digest)
	}
	if removal.Ambiguous { // such as two nested lists of which the same is left
		assert.Len(t, removed, len(stripped))
	} else {
		assert.ElementsMatch(t, stripped, removed)
	}
	more := with.Blobs - without.Blobs
	assert.Contains(t, []int{len(a.Layers), len(a.Parts())}, more, "artifacts in the list may have the same config")
}

// proof proves the list that is written by the one at the source, or by what was read of that if it
// is not nil, and by what is written nested in it.
func proof(l *ListPlan, by *original.Original) (manifest.Removal, error) {
	documents := map[digest.Digest][]byte{}
	var gather func(*ListPlan)
	gather = func(l *ListPlan) {
		documents[l.Result] = l.result
		if by == nil {
			documents[l.Digest] = l.node.Bytes
		}
		for _, ip := range l.Instances {
			if ip.Nested != nil {
				gather(ip.Nested)
			}
		}
	}
	gather(l)
	top := l.node.Bytes
	if by != nil {
		top = by.Top().Bytes
		for _, doc := range by.Documents {
			documents[doc.Digest] = doc.Bytes
		}
	}
	return manifest.StrippedFrom(l.result, top, func(d digest.Digest) ([]byte, error) {
		if doc, ok := documents[d]; ok {
			return doc, nil
		}
		return nil, errors.New("not read")
	})
}

// checkSigned signs the list at the source of a plan: it may change if and only if all signatures
// travel along. It reports whether it must not change.
func (w *transformWorld) checkSigned(t *testing.T, in Input, with *Plan) (refused bool) {
	if with.Asked != StripSparseManifestList || with.List.Result == with.List.Digest {
		return false
	}
	in.SignedLists = map[digest.Digest]int{with.List.Digest: 1}
	in.OriginalSignatures = []OriginalSignature{signatureOf(original.Lookaside, "a"), signatureOf(original.Referrer, "b")}
	if w.chance(20) {
		in.OriginalSignatures = in.OriginalSignatures[1:]
	}
	p, err := New(in)
	if with.Original.Reason != "" || len(in.OriginalSignatures) == 1 {
		var cannot *CannotModifyError
		assert.ErrorAs(t, err, &cannot)
		return true
	}
	require.NoError(t, err)
	assert.Equal(t, with.Void, p.Void, "nothing is void that travels along")
	assert.Len(t, p.Original.Signatures, 2)
	assert.Equal(t, with.Original.Digest, p.Original.Digest)
	return false
}

// signatureOf returns a signature of the list at the source, which is told from others by a text.
func signatureOf(kind original.Kind, text string) OriginalSignature {
	if kind == original.Lookaside {
		return OriginalSignature{Kind: kind, Blob: []byte(text)}
	}
	layer := fmt.Sprintf("%-9s", text)
	image := imageOf(imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeEmptyJSON, layer)
	blobs := map[digest.Digest][]byte{}
	for _, blob := range []string{"{}", layer + "0"} {
		blobs[digest.FromString(blob)] = []byte(blob)
	}
	return OriginalSignature{Kind: kind, Document: Document{Digest: digest.FromBytes(image), Bytes: image}, Blobs: blobs}
}
