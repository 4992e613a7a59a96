package attach

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A SignatureImage is a sigstore attachment: the image that a tag named after a digest names, with
// a layer for each signature of what has that digest.
type SignatureImage struct {
	tag   string
	doc   endpoint.Document
	blobs map[endpoint.Blob][]byte // the payloads, of which signatures may share one, and the config
}

// SignatureImageOf returns the sigstore attachment of subject that has the given signatures, of
// which there must be some.
func SignatureImageOf(subject digest.Digest, signatures []endpoint.AttachableSignature) (*SignatureImage, error) {
	s := &SignatureImage{tag: digesttag.Name(subject, digesttag.Signatures), blobs: map[endpoint.Blob][]byte{}}
	if s.tag == "" {
		return nil, fmt.Errorf("%s is too long for the tag of its signatures", subject)
	}
	image := imgspecv1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageManifest}
	layers := make([]manifest.Descriptor, len(signatures))
	for i, sig := range signatures {
		image.Layers = append(image.Layers, sig.Layer)
		layers[i] = manifest.Descriptor{Digest: sig.Layer.Digest}
		s.add(sig.Layer, sig.Payload, false)
	}
	config, err := layersConfig(layers)
	if err != nil {
		return nil, err
	}
	image.Config = imgspecv1.Descriptor{
		MediaType: imgspecv1.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config)),
	}
	s.add(image.Config, config, true)
	content, err := json.Marshal(image)
	if err != nil {
		return nil, err
	}
	s.doc = endpoint.Document{Digest: digest.FromBytes(content), MediaType: image.MediaType, Bytes: content}
	return s, nil
}

func (s *SignatureImage) add(d imgspecv1.Descriptor, content []byte, config bool) {
	s.blobs[endpoint.Blob{Digest: d.Digest, Size: d.Size, MediaType: d.MediaType, Config: config}] = content
}

// A BlobStore takes blobs.
type BlobStore interface {
	PutBlob(ctx context.Context, b endpoint.Blob, open endpoint.Opener) (endpoint.PutResult, error)
}

// A SignatureStore is a repository that takes sigstore attachments.
type SignatureStore interface {
	BlobStore
	// SendBlob is PutBlob for a blob that is not there although the repository has said that it is.
	SendBlob(ctx context.Context, b endpoint.Blob, open endpoint.Opener) error
	// UpdateTag is that of endpoint.ReferrerDestination.
	UpdateTag(ctx context.Context, tag string, update func(endpoint.Document) (endpoint.Document, error)) error
}

// PutBlobs stores what the attachment consists of, all at the same time. Nothing of that is
// visible: what is signed need not be there yet.
func (s *SignatureImage) PutBlobs(ctx context.Context, to BlobStore) error {
	group, groupCtx := errgroup.WithContext(ctx)
	for b, content := range s.blobs {
		group.Go(func() error {
			_, err := to.PutBlob(groupCtx, b, opener(content))
			return err
		})
	}
	return group.Wait()
}

// Put stores what PutBlobs does, and makes the tag name the signatures beside those that it names
// already: these stay. What they cannot be added to stays as well, and is an error. Before the tag
// is written, it calls stored, which waits until what is signed is there, and may be called again.
func (s *SignatureImage) Put(ctx context.Context, to SignatureStore, stored func() error) error {
	var blobs errgroup.Group
	blobs.Go(func() error { return s.PutBlobs(ctx, to) })
	put := func() error {
		return to.UpdateTag(ctx, s.tag, func(there endpoint.Document) (endpoint.Document, error) {
			if err := cmp.Or(blobs.Wait(), stored()); err != nil {
				return there, err
			}
			merged := Merge(s.tag, there, s.doc)
			if merged.Replaced {
				return there, fmt.Errorf("tag %s names %s (%s), to which signatures cannot be added", s.tag, there.Digest, there.Type())
			}
			return merged.Doc, putConfig(ctx, to, merged.Config)
		})
	}
	send := func(b endpoint.Blob) error { return to.SendBlob(ctx, b, opener(s.blobs[b])) }
	err := endpoint.SendLost(slices.Collect(maps.Keys(s.blobs)), put, send)
	_ = blobs.Wait() // if the tag could not be read
	return err
}

// opener opens content that is held.
func opener(content []byte) endpoint.Opener {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
}

// putConfig stores the config of a manifest that is merged, nil if it needs none.
func putConfig(ctx context.Context, to BlobStore, config []byte) error {
	if config == nil {
		return nil
	}
	blob := endpoint.Blob{
		Digest: digest.FromBytes(config), Size: int64(len(config)),
		MediaType: imgspecv1.MediaTypeImageConfig, Config: true,
	}
	_, err := to.PutBlob(ctx, blob, opener(config))
	return err
}
