package mirrorcmd

import (
	"context"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/naming"
)

// A taggedRepo is a repository from which something may be removed. It is asked itself, and not its
// mirrors of registries.conf.
type taggedRepo struct {
	copier *copy.Copier
	sys    *types.SystemContext
	name   reference.Named

	digests  map[string]digest.Digest // of all tags, after resolve
	warnings []string                 // about what was asked
}

// newTaggedRepo is the repository of what is named.
func newTaggedRepo(copier *copy.Copier, sys *types.SystemContext, named reference.Named) *taggedRepo {
	return &taggedRepo{copier: copier, sys: sys, name: reference.TrimNamed(named)}
}

// list lists the tags.
func (r *taggedRepo) list(ctx context.Context) ([]string, error) {
	any, err := docker.NewReference(reference.TagNameOnly(r.name))
	if err != nil {
		return nil, err
	}
	list, err := r.copier.Tags(ctx, any, &copy.TagsOptions{SystemContext: r.sys, Side: copy.DestinationSide})
	if err != nil {
		return nil, err
	}
	r.warnings = list.Warnings
	return list.Tags, nil
}

// resolve asks what tags name.
func (r *taggedRepo) resolve(ctx context.Context, tags []string) (err error) {
	r.digests, err = askEach(ctx, listsAtOnce, tags, func(tag string) (digest.Digest, error) {
		ref, err := atTag(r.name, tag)
		if err != nil {
			return "", err
		}
		named, err := r.copier.Registries().Digest(ctx, ref, &naming.Options{SystemContext: r.sys, Side: copy.DestinationSide})
		return named, aboutTag(tag, err)
	})
	return err
}

// read reads manifests and lists.
func (r *taggedRepo) read(ctx context.Context, digests []digest.Digest) ([]copy.Document, []error) {
	docs, errs := make([]copy.Document, len(digests)), make([]error, len(digests))
	eachOf(ctx, listsAtOnce, len(digests), func(i int) {
		docs[i], errs[i] = r.manifest(ctx, digests[i])
	})
	return docs, errs
}

func (r *taggedRepo) manifest(ctx context.Context, d digest.Digest) (copy.Document, error) {
	ref, err := r.at(d)
	if err != nil {
		return copy.Document{}, err
	}
	return r.copier.ReadManifest(ctx, ref, r.options())
}

func (r *taggedRepo) at(d digest.Digest) (types.ImageReference, error) {
	named, err := reference.WithDigest(r.name, d)
	if err != nil {
		return nil, err
	}
	return docker.NewReference(named)
}

func (r *taggedRepo) options() *copy.ReadOptions {
	return &copy.ReadOptions{SystemContext: r.sys, Side: copy.DestinationSide}
}
