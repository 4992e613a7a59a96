package signing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/signature/signer"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A Subject is what is signed: a list, or the manifest of an image.
type Subject struct {
	endpoint.Document
	// Config reads the config of an image.
	Config func(context.Context, endpoint.Blob) ([]byte, error)
	// New is set if the destination is known not to have had it before this copy.
	New bool
}

// held is what is needed of a subject to sign it.
type held struct {
	endpoint.Document
	layers []digest.Digest // of an image
	config []byte          // of an image
}

// hold reads the config of an image.
func (s *Subject) hold(ctx context.Context) (held, error) {
	h := held{Document: s.Document}
	if s.IsList() {
		return h, nil
	}
	image, err := manifest.ParseImage(s.Bytes, s.MediaType)
	if err != nil {
		return h, err
	}
	for _, layer := range image.Layers {
		h.layers = append(h.layers, layer.Digest)
	}
	h.config, err = s.Config(ctx, endpoint.BlobsOf(image)[0])
	return h, err
}

// maxConfig is the number of bytes that a config may have which is held: what upstream's copy
// reads.
const maxConfig = 4 << 20

func readConfig(ctx context.Context, config endpoint.Blob, open endpoint.Opener) ([]byte, error) {
	if config.Size > maxConfig {
		return nil, fmt.Errorf("config %s has %d bytes, more than %d", config.Digest, config.Size, maxConfig)
	}
	r, err := open(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// sign returns what by makes of h. Only upstream's copy can ask a Signer for anything: it copies h,
// from memory, into a temporary directory in which all layers are already, as empty files. The
// config it verifies.
func (h *held) sign(ctx context.Context, by *signer.Signer, identity reference.Named) (_ endpoint.Signatures, err error) {
	temp, err := os.MkdirTemp("", "sparsecopy-sign-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	dir := filepath.Join(temp, "signed")
	ref, err := directory.NewReference(dir)
	if err != nil {
		return nil, err
	}
	dst, err := ref.NewImageDestination(ctx, nil) // before there is anything in it that it would erase
	if err != nil {
		return nil, err
	}
	for _, d := range h.layers {
		if err := os.WriteFile(filepath.Join(dir, layerFile(d)), nil, 0o600); err != nil {
			return nil, err
		}
	}
	accepting, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}, // it has been judged
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, accepting.Destroy()) }()
	opened := &openedRef{ImageReference: ref, src: &memory{h, ref}, dst: dst}
	_, err = upstream.Image(ctx, accepting, opened, opened, &upstream.Options{
		Signers: []*signer.Signer{by}, SignIdentity: identity, PreserveDigests: true,
		ImageListSelection: upstream.CopySpecificImages, // none of them
		DestinationCtx:     &types.SystemContext{BlobInfoCacheDir: filepath.Join(temp, "cache")},
	})
	if err != nil {
		return nil, err
	}
	src, err := ref.NewImageSource(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	return endpoint.ReadSignatures(ctx, src, nil)
}

// layerFile is how a dir: directory calls a layer. d must be valid.
func layerFile(d digest.Digest) string {
	if d.Algorithm() == digest.Canonical {
		return d.Encoded()
	}
	return d.Algorithm().String() + "-" + d.Encoded()
}

// openedRef is a reference whose ends are open already.
type openedRef struct {
	types.ImageReference
	src types.ImageSource
	dst types.ImageDestination
}

func (r *openedRef) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	return r.src, nil
}

func (r *openedRef) NewImageDestination(context.Context, *types.SystemContext) (types.ImageDestination, error) {
	return r.dst, nil
}

// memory is a source that has a document, and of its blobs the config only.
type memory struct {
	*held
	ref types.ImageReference
}

func (m *memory) Reference() types.ImageReference { return m.ref }

func (m *memory) Close() error { return nil }

func (m *memory) HasThreadSafeGetBlob() bool { return true }

func (m *memory) GetManifest(context.Context, *digest.Digest) ([]byte, string, error) {
	return m.Bytes, m.MediaType, nil
}

func (m *memory) GetBlob(context.Context, types.BlobInfo, types.BlobInfoCache) (io.ReadCloser, int64, error) {
	return io.NopCloser(bytes.NewReader(m.config)), int64(len(m.config)), nil
}

func (m *memory) GetSignatures(context.Context, *digest.Digest) ([][]byte, error) { return nil, nil }

func (m *memory) LayerInfosForCopy(context.Context, *digest.Digest) ([]types.BlobInfo, error) {
	return nil, nil
}
