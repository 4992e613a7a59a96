package naming

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
)

// TagOptions are the choices of Tag. The zero value is useful, and so is a nil *TagOptions.
type TagOptions struct {
	// SystemContext is the configuration; nil means the defaults.
	SystemContext *types.SystemContext
	// IfAbsent refuses to change a tag that names something else: the error wraps a *TakenError.
	// Nobody else must write the tag at the same time: registries have no such condition.
	IfAbsent bool
}

// A Tagged says what became of a tag.
type Tagged struct {
	Tag string
	// Digest is what it names now.
	Digest digest.Digest
	// Replaced is what it named before; "" if that was nothing, or the same.
	Replaced digest.Digest
	// Written is set unless it named that already.
	Written bool
}

// A TakenError says that a tag names something else than it was to.
type TakenError struct {
	Tag    string
	Digest digest.Digest // what it names
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("tag %s names %s already", e.Tag, e.Digest)
}

// Tag makes a tag of the repository that ref names, at a registry, name what ref names: the same
// bytes, with the same digest. Nothing else is written: what a list names, and what a sparse one
// lacks, is there, or not, as it was. A tag that names it already is not written. Mirrors of
// registries.conf do not matter: the repository itself is asked, and written to.
func (r *Registries) Tag(ctx context.Context, ref types.ImageReference, tag string, options *TagOptions) (Tagged, error) {
	var o TagOptions
	if options != nil {
		o = *options
	}
	to, err := taggedIn(ref, tag)
	if err != nil {
		return Tagged{}, failure.New("tagging in", failure.DestinationSide, transports.ImageName(ref), err)
	}
	doc, err := r.read(ctx, ref, o.SystemContext)
	if err != nil {
		return Tagged{}, err
	}
	was, err := r.read(ctx, to, o.SystemContext)
	if err != nil && !errors.Is(err, endpoint.ErrNotFound) {
		return Tagged{}, err
	}
	out := Tagged{Tag: tag, Digest: doc.Digest}
	if was.Digest == doc.Digest {
		return out, nil
	}
	out.Replaced, out.Written = was.Digest, true
	if o.IfAbsent && was.Digest != "" {
		err = &TakenError{tag, was.Digest}
	} else {
		err = r.put(ctx, to, doc, o.SystemContext)
	}
	if err != nil {
		return Tagged{}, failure.New("writing", failure.DestinationSide, transports.ImageName(to), err)
	}
	return out, nil
}

// taggedIn returns a reference to a tag in the repository of ref.
func taggedIn(ref types.ImageReference, tag string) (types.ImageReference, error) {
	name := ref.DockerReference()
	if name == nil || ref.Transport().Name() != docker.Transport.Name() {
		return nil, errors.New("it is no repository of a registry")
	}
	tagged, err := reference.WithTag(reference.TrimNamed(name), tag)
	if err != nil {
		return nil, fmt.Errorf("tag %q: %w", tag, err)
	}
	return docker.NewReference(tagged)
}

// read reads what ref names at its own repository.
func (r *Registries) read(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) (endpoint.Document, error) {
	src, err := registry.OpenOwn(ctx, ref, sys, r.shared)
	if err != nil {
		return endpoint.Document{}, failure.New("reading", failure.DestinationSide, transports.ImageName(ref), err)
	}
	defer src.Close() // nothing was written
	return src.Top(), nil
}

// put makes ref name doc, all of which is there.
func (r *Registries) put(ctx context.Context, ref types.ImageReference, doc endpoint.Document, sys *types.SystemContext) error {
	dst, err := registry.OpenDestination(ctx, ref, sys, r.shared)
	if err != nil {
		return err
	}
	return errors.Join(dst.PutTop(ctx, doc, nil), dst.Close())
}
