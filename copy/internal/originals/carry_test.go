package originals

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/original"
)

// TestCarried: what this library has made is read as the artifact that it is, and anything else is
// left to others; what cannot be read is an error.
func TestCarried(t *testing.T) {
	subject := imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageIndex, Digest: digest.FromString("list"), Size: 4}
	ours, err := original.OfSignature(subject, original.Signature{Of: digest.FromString("original"), Kind: original.Lookaside, Blob: []byte("signature")})
	require.NoError(t, err)
	forged := bytes.Replace(ours.Document.Bytes, []byte(`"schemaVersion":2`), []byte(`"schemaVersion": 2`), 1)
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		content []byte
		blob    error
		is      bool
		err     error
	}{
		"ours":               {content: ours.Document.Bytes, is: true},
		"other bytes":        {content: forged},
		"no manifest":        {content: []byte("no manifest")},
		"without a subject":  {content: []byte(`{"schemaVersion":2}`)},
		"blob is not there":  {content: ours.Document.Bytes, blob: endpoint.ErrNotFound, err: endpoint.ErrNotFound},
		"blob is not to get": {content: ours.Document.Bytes, blob: broken, err: broken},
	} {
		doc := endpoint.Document{Digest: digest.FromBytes(c.content), MediaType: imgspecv1.MediaTypeImageManifest, Bytes: c.content}
		from := Carried{
			Manifest: func(context.Context, digest.Digest) (endpoint.Document, error) { return doc, nil },
			Open: func(_ digest.Digest, b endpoint.Blob) endpoint.Opener {
				return func(context.Context) (io.ReadCloser, error) {
					for _, p := range ours.Parts() {
						if p.Descriptor.Digest == b.Digest && c.blob == nil {
							return io.NopCloser(bytes.NewReader(p.Content)), nil
						}
					}
					return nil, c.blob
				}
			},
		}
		a, err := from.read(t.Context(), attach.Attachment{Subject: subject.Digest, Descriptor: imgspecv1.Descriptor{Digest: doc.Digest}})
		require.ErrorIs(t, err, c.err, name)
		assert.Equal(t, c.is, a != nil, name)
		if a != nil {
			assert.Equal(t, ours.Document, a.Document, name)
		}
	}
	from := Carried{Manifest: func(context.Context, digest.Digest) (endpoint.Document, error) { return endpoint.Document{}, broken }}
	_, err = from.read(t.Context(), attach.Attachment{})
	require.ErrorIs(t, err, broken)
}
