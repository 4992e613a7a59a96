package transport

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// registryEnd writes to a registry.
type registryEnd struct {
	plainEnd
	ref types.ImageReference
	sys *types.SystemContext
}

func openRegistry(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) (end, error) {
	dest, err := ref.NewImageDestination(ctx, sys)
	if err != nil {
		return nil, err
	}
	return &registryEnd{plainEnd: plainEnd{dest: dest}, ref: ref, sys: sys}, nil
}

// putBlob does not look for the blob: upstream asks with a HEAD of its own whenever it knows the
// digest.
func (e *registryEnd) putBlob(ctx context.Context, b endpoint.Blob, open endpoint.Opener) (reused bool, err error) {
	return e.handBlob(ctx, b, open)
}

func (e *registryEnd) top(ctx context.Context) (digest.Digest, error) {
	if reference.IsNameOnly(e.ref.DockerReference()) {
		return "", errUnknown // to be stored by digest, under no tag
	}
	d, err := e.digestOf(ctx, e.ref)
	if errors.Is(err, errNoDigest) {
		return "", errUnknown
	}
	return d, err
}

func (e *registryEnd) hasManifest(ctx context.Context, d digest.Digest) (bool, error) {
	ref, err := withDigest(e.ref, d)
	if err != nil {
		return false, err
	}
	_, err = e.digestOf(ctx, ref)
	switch {
	case err == nil, errors.Is(err, errNoDigest):
		return true, nil
	case saysManifestNotFound(err):
		return false, nil
	}
	return false, err
}

func saysManifestNotFound(err error) bool {
	refusal := registryRefusal(err)
	return refusal != nil && endpoint.SaysNotFound(refusal, true)
}

// errNoDigest is the error for a registry that has the manifest, but does not state its digest.
var errNoDigest = errors.New("the registry does not state the manifest's digest")

// digestOf asks the registry itself for the digest of what ref names. Opening a source of ref might
// ask a mirror.
func (e *registryEnd) digestOf(ctx context.Context, ref types.ImageReference) (digest.Digest, error) {
	ref, err := docker.NewReference(ref.DockerReference()) // GetDigest wants its own type, ref may be a caller's
	if err != nil {
		return "", err
	}
	d, err := docker.GetDigest(ctx, e.sys, ref)
	switch {
	case errors.Is(err, digest.ErrDigestInvalidFormat), errors.Is(err, digest.ErrDigestInvalidLength), errors.Is(err, digest.ErrDigestUnsupported):
		return "", errNoDigest // GetDigest parses the header of a successful answer only
	}
	return d, err
}

// putTop stores the signatures before the tag, so that nobody sees an unsigned tag.
func (e *registryEnd) putTop(ctx context.Context, doc endpoint.Document, sigs endpoint.Signatures, commit types.UnparsedImage) error {
	tagged := false
	switch named := e.ref.DockerReference().(type) {
	case reference.Canonical:
		if named.Digest() != doc.Digest {
			return mismatch("the manifest's digest", named.Digest(), doc.Digest)
		}
	case reference.NamedTagged:
		tagged = true
	}
	if !tagged || sigs.Len() > 0 {
		if err := e.dest.PutManifest(ctx, doc.Bytes, &doc.Digest); err != nil {
			return err
		}
		if err := sigs.Put(ctx, e.dest, &doc.Digest); err != nil {
			return err
		}
	}
	if tagged {
		if err := e.dest.PutManifest(ctx, doc.Bytes, nil); err != nil {
			return err
		}
	}
	return e.dest.Commit(ctx, commit)
}
