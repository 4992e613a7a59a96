package originals

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/original"
)

// repository has tags and blobs, and no referrers.
type repository struct {
	tags  map[string]endpoint.Document
	blobs map[digest.Digest][]byte
	fails map[digest.Digest]error // blobs that cannot be read
}

func (r *repository) Referrers(context.Context, digest.Digest, string) ([]imgspecv1.Descriptor, error) {
	return nil, nil
}

func (r *repository) Tagged(_ context.Context, tag string) (endpoint.Document, error) {
	if doc, ok := r.tags[tag]; ok {
		return doc, nil
	}
	return endpoint.Document{}, endpoint.ErrNotFound
}

// sign makes a tag name a manifest with a layer, which says that it has size bytes; 0 for what it
// has.
func (r *repository) sign(tag, layer string, size int) digest.Digest {
	d := digest.FromString(layer)
	r.blobs[d], r.blobs[digest.FromString("{}")] = []byte(layer), []byte("{}")
	content := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[{"mediaType":"x","digest":%q,"size":%d}]}`,
		imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageConfig, digest.FromString("{}"), d, max(size, len(layer)))
	r.tags[tag] = endpoint.NewDocument(digest.FromString(content), imgspecv1.MediaTypeImageManifest, []byte(content))
	return d
}

// origin is where Find looks.
func (r *repository) origin() Origin {
	budget := semaphore.NewWeighted(1)
	return Origin{
		Attached: &attach.Source{
			Place:  attach.Place{Name: "the source", Referrers: r},
			Held:   func(digest.Digest) (endpoint.Document, bool) { return endpoint.Document{}, false },
			Budget: budget,
		},
		Budget: budget,
		Open: func(_ attach.Attachment, b endpoint.Blob) endpoint.Opener {
			return func(context.Context) (io.ReadCloser, error) {
				content, ok := r.blobs[b.Digest]
				switch {
				case r.fails[b.Digest] != nil:
					return nil, r.fails[b.Digest]
				case !ok:
					return nil, fmt.Errorf("no such blob: %w", endpoint.ErrNotFound)
				}
				return io.NopCloser(bytes.NewReader(content)), nil
			}
		},
	}
}

func TestFind(t *testing.T) {
	list := digest.FromString("list")
	sig, att := digesttag.Name(list, digesttag.Signatures), digesttag.Name(list, digesttag.Attestations)
	stored, err := endpoint.SignaturesFromBlobs(t.Context(), [][]byte{[]byte("\x00sigstore-json\n" + `{"mimeType":"x","payload":"e30="}`)})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		there  func(*repository)
		stored endpoint.Signatures
		kinds  []original.Kind
		warns  string // the only warning, in part; "" for none
	}{
		"nothing": {there: func(*repository) {}},
		"by tags": {
			there: func(r *repository) {
				r.sign(sig, "signature", 0)
				r.sign(att, "attestation", 0)
			},
			kinds: []original.Kind{original.TagAttestation, original.TagSignature},
		},
		"kept elsewhere": {there: func(*repository) {}, stored: stored, kinds: []original.Kind{original.Lookaside}},
		"read from the tag": {
			there:  func(r *repository) { r.sign(sig, "signature", 0) },
			stored: stored, kinds: []original.Kind{original.TagSignature},
		},
		"a blob is missing": {
			there: func(r *repository) { delete(r.blobs, r.sign(att, "attestation", 0)) },
			warns: "is missing",
		},
		"too large": {
			there: func(r *repository) { r.sign(att, "attestation", original.MaxPart+1) },
			warns: "is left out",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := &repository{tags: map[string]endpoint.Document{}, blobs: map[digest.Digest][]byte{}}
			c.there(r)
			at := r.origin()
			at.Stored = c.stored
			found, err := Find(t.Context(), at, list)
			require.NoError(t, err)
			var kinds []original.Kind
			for _, s := range found.Signatures {
				kinds = append(kinds, s.Kind)
				_, err := original.OfSignature(imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageIndex, Digest: list, Size: 1}, s)
				require.NoError(t, err, "it is complete")
			}
			assert.Equal(t, c.kinds, kinds)
			if c.warns == "" {
				assert.Empty(t, found.Warnings)
			} else if assert.Len(t, found.Warnings, 1) {
				assert.Contains(t, found.Warnings[0], c.warns)
			}
		})
	}
}

// TestFindFails: a signature that is there and cannot be read is not left out.
func TestFindFails(t *testing.T) {
	list := digest.FromString("list")
	r := &repository{tags: map[string]endpoint.Document{}, blobs: map[digest.Digest][]byte{}, fails: map[digest.Digest]error{}}
	broken := errors.New("broken")
	r.fails[r.sign(digesttag.Name(list, digesttag.Signatures), "signature", 0)] = broken
	_, err := Find(t.Context(), r.origin(), list)
	require.ErrorIs(t, err, broken)
}
