package bundle

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

func init() { transports.Register(Transport) }

// Transport is the transport of images in bundles. The text of its references is bundle:PATH:NAME,
// with a NAME such as docker.io/library/alpine:3 or quay.io/a/b@sha256:….
var Transport types.ImageTransport = bundleTransport{}

type bundleTransport struct{}

func (bundleTransport) Name() string { return "bundle" }

// ParseReference implements types.ImageTransport. Nothing is opened.
func (bundleTransport) ParseReference(s string) (types.ImageReference, error) {
	volume := len(filepath.VolumeName(s)) // a drive letter has a colon, too
	path, name, found := strings.Cut(s[volume:], ":")
	if !found || path == "" {
		return nil, fmt.Errorf("bundle reference %q is not PATH:NAME", s)
	}
	named, err := parseName(name)
	if err != nil {
		return nil, fmt.Errorf("bundle reference %q: the image's full reference: %w", s, err)
	}
	return &bundleReference{path: s[:volume] + path, named: named}, nil
}

// ValidatePolicyConfigurationScope implements types.ImageTransport.
func (bundleTransport) ValidatePolicyConfigurationScope(scope string) error {
	if !filepath.IsAbs(scope) {
		return fmt.Errorf("scope %q is no absolute path of a bundle", scope)
	}
	return nil
}

// A bundleReference is an image in a bundle.
type bundleReference struct {
	path   string
	named  reference.Named // with a tag or a digest
	bundle *Bundle         // that is open; nil if it has to be opened
	writer *Writer         // that makes the bundle; nil if nobody does
}

var _ endpoint.Native = (*bundleReference)(nil)

func (r *bundleReference) Transport() types.ImageTransport { return Transport }

func (r *bundleReference) StringWithinTransport() string { return r.path + ":" + r.named.String() }

// DockerReference implements types.ImageReference. There is none: what a bundle has under the name
// of a digest may be a list that was stripped, and policies for docker are asked by another
// reference, see the package comment.
func (r *bundleReference) DockerReference() reference.Named { return nil }

func (r *bundleReference) PolicyConfigurationIdentity() string {
	path, err := filepath.Abs(r.path)
	if err != nil {
		return ""
	}
	return path + ":" + r.named.String()
}

func (r *bundleReference) PolicyConfigurationNamespaces() []string {
	path, err := filepath.Abs(r.path)
	if err != nil {
		return nil
	}
	namespaces := []string{path}
	for parent := filepath.Dir(path); parent != path; path, parent = parent, filepath.Dir(parent) {
		namespaces = append(namespaces, parent)
	}
	return namespaces
}

func (r *bundleReference) NewImage(ctx context.Context, sys *types.SystemContext) (types.ImageCloser, error) {
	src, err := r.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	img, err := image.FromSource(ctx, sys, src)
	if err != nil {
		return nil, errors.Join(err, src.Close())
	}
	return img, nil
}

// NewImageSource implements types.ImageReference, for others than package copy.
func (r *bundleReference) NewImageSource(ctx context.Context, sys *types.SystemContext) (types.ImageSource, error) {
	src, err := r.openSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	return &imageSource{source: src, ref: r}, nil
}

// NewImageDestination implements types.ImageReference.
func (r *bundleReference) NewImageDestination(context.Context, *types.SystemContext) (types.ImageDestination, error) {
	return nil, errors.New("bundles hold images as they are at their source, and are made by this library's package copy only")
}

// DeleteImage implements types.ImageReference.
func (r *bundleReference) DeleteImage(context.Context, *types.SystemContext) error {
	return errors.New("images in bundles cannot be deleted")
}

// OpenSource implements endpoint.Native.
func (r *bundleReference) OpenSource(ctx context.Context, sys *types.SystemContext) (endpoint.SizedSource, error) {
	src, err := r.openSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	return src, nil
}

func (r *bundleReference) openSource(ctx context.Context, sys *types.SystemContext) (*source, error) {
	b := r.bundle
	if b == nil {
		var err error
		if b, err = Open(ctx, r.path, nil); err != nil {
			return nil, err
		}
	}
	src, err := newSource(ctx, b, r.named, sys)
	switch {
	case r.bundle != nil:
	case err != nil:
		err = errors.Join(err, b.Close())
	default:
		src.closing = b.Close
	}
	return src, err
}

// OpenDestination implements endpoint.Native.
func (r *bundleReference) OpenDestination(ctx context.Context, _ *types.SystemContext) (endpoint.Destination, error) {
	if r.bundle != nil {
		return nil, errors.New("the bundle is complete: images cannot be added to it")
	}
	w, single := r.writer, false
	if w == nil {
		var err error
		if w, err = Create(r.path, nil); err != nil {
			return nil, err
		}
		single = true
	}
	if err := w.begin(); err != nil {
		return nil, err
	}
	return newDestination(w, r, single), nil
}
