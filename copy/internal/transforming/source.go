package transforming

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

var (
	errReading = errors.New("the reference was opened for writing")
	errWriting = errors.New("the reference was opened for reading")
	errNoList  = errors.New("the image is in no list")
)

// A sourceRef is a reference that opens what is open already.
type sourceRef struct {
	types.ImageReference
	ends *ends
}

func (r *sourceRef) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	return &source{r}, nil
}

func (r *sourceRef) NewImageDestination(context.Context, *types.SystemContext) (types.ImageDestination, error) {
	return nil, errWriting
}

// A source is one image, which has no signatures.
type source struct{ ref *sourceRef }

func (s *source) Reference() types.ImageReference { return s.ref }
func (s *source) Close() error                    { return nil }
func (s *source) HasThreadSafeGetBlob() bool      { return true }

func (s *source) GetManifest(_ context.Context, instance *digest.Digest) ([]byte, string, error) {
	if instance != nil {
		return nil, "", errNoList
	}
	doc := s.ref.ends.image.Document
	return doc.Bytes, doc.MediaType, nil
}

func (s *source) GetSignatures(context.Context, *digest.Digest) ([][]byte, error) { return nil, nil }

func (s *source) LayerInfosForCopy(context.Context, *digest.Digest) ([]types.BlobInfo, error) {
	return nil, nil
}

// GetBlob opens a layer, once it may be worked on, or the config.
func (s *source) GetBlob(ctx context.Context, info types.BlobInfo, _ types.BlobInfoCache) (io.ReadCloser, int64, error) {
	e := s.ref.ends
	b := endpoint.Blob{Digest: info.Digest, Size: info.Size, MediaType: info.MediaType}
	if err := b.Digest.Validate(); err != nil {
		return nil, 0, e.fail(fmt.Errorf("digest %q: %w", b.Digest, err))
	}
	if b.Digest == e.config {
		b.Config = true
		if b.Size < 0 || b.Size > maxConfig {
			return nil, 0, e.fail(&Error{Op: "reading config", Object: b.Digest.String(), Err: fmt.Errorf("it has %d bytes, more than %d", b.Size, maxConfig)})
		}
		r, err := e.openConfig(ctx, b)
		return r, b.Size, err
	}
	open := e.begin(b).Open
	if len(info.URLs) > 0 {
		open = e.foreign.opener(info)
	}
	l, err := e.openLayer(ctx, b, open)
	if err != nil {
		return nil, 0, e.fail(err)
	}
	return l, b.Size, nil
}

// openConfig opens the config, which is read at once.
func (e *ends) openConfig(ctx context.Context, b endpoint.Blob) (io.ReadCloser, error) {
	read := func() ([]byte, error) { return e.readAll(ctx, b, e.begin(b).Open) }
	if e.configRead != nil {
		read = func() ([]byte, error) { return e.configRead.wait(ctx) }
	}
	content, err := read()
	if err != nil {
		return nil, e.fail(err)
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}
