package reading

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/internal/known"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// Lost returns l with what the source definitely does not have of what is to be copied: of entries,
// the blobs that lists name, if what is missing is skipped; and images whose manifests an earlier
// copy has read, and of whose blobs one is at neither end. Whoever reads the others sees it then.
// dst is nil if it is not open.
func (r *Reader) Lost(
	ctx context.Context, l known.Source, entries []endpoint.Blob, images []digest.Digest, dst endpoint.Destination,
) (known.Source, error) {
	src, sized := r.Source.(endpoint.SizedSource)
	if !sized {
		return l, nil
	}
	if r.Choices.MissingInstances == plan.SkipMissing {
		missing, err := endpoint.Missing(ctx, r.Budget, src, entries)
		if err != nil {
			return l, err
		}
		l.MissingBlobs = known.Merged(l.MissingBlobs, missing)
	}
	kept, ok := r.Source.(endpoint.Keeper)
	if !ok {
		return l, nil
	}
	images = slices.DeleteFunc(slices.Clone(images), func(d digest.Digest) bool { return l.Missing[d] != nil || !kept.Kept(d) })
	lost, err := r.lostImages(ctx, l, src, images, dst)
	l.Missing = known.Merged(l.Missing, lost)
	return l, err
}

// lostImages returns those of images that lack a blob at both ends.
func (r *Reader) lostImages(
	ctx context.Context, l known.Source, src endpoint.SizedSource, images []digest.Digest, dst endpoint.Destination,
) (map[digest.Digest]error, error) {
	owners := map[digest.Digest][]digest.Digest{}
	var blobs []endpoint.Blob
	for _, d := range images {
		image, err := l.Tree.Image(d)
		if err != nil {
			return nil, err
		}
		here, _ := endpoint.PlacesOf(image)
		for _, b := range here {
			if owners[b.Digest] == nil {
				blobs = append(blobs, b)
			}
			owners[b.Digest] = append(owners[b.Digest], d)
		}
	}
	missing, err := endpoint.Missing(ctx, r.Budget, src, blobs)
	if err != nil {
		return nil, err
	}
	blobs = slices.DeleteFunc(blobs, func(b endpoint.Blob) bool { return !missing[b.Digest] })
	var there map[digest.Digest]bool
	if dst != nil {
		if there, err = endpoint.Present(ctx, r.Budget, dst, blobs); err != nil {
			return nil, err
		}
	}
	lost := map[digest.Digest]error{}
	for _, b := range blobs {
		for _, d := range owners[b.Digest] {
			if !there[b.Digest] {
				lost[d] = fmt.Errorf("its blob %s: %w", b.Digest, endpoint.ErrNotFound)
			}
		}
	}
	return lost, nil
}
