package naming

import (
	"context"

	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
)

// A TagList is the tags of a repository, as its registry lists them.
type TagList = registry.TagList

// TagsOptions are the choices of Tags. The zero value is useful, and so is a nil *TagsOptions.
type TagsOptions struct {
	// SystemContext is the configuration; nil means the defaults.
	SystemContext *types.SystemContext
	// Side says for which end of a copy the tags are wanted. A source's are listed where it is
	// read: registries.conf may rewrite the name and name mirrors, of which the first that lists
	// any tag is believed. A destination's are listed at the repository itself. "" means
	// that of a source.
	Side failure.Side
}

// Tags lists all tags of the repository that ref names, whose own tag or digest does not matter. It
// reads page after page as long as the registry says that there is another one, and fails rather
// than return a part of the list. Requests are retried as those of a copy are. A page on another
// host is read without credentials.
//
// Only references of the transport docker have tags that can be listed. The error is a
// *copy.Error; it wraps a *copy.RegistryError where the registry refused.
func (r *Registries) Tags(ctx context.Context, ref types.ImageReference, options *TagsOptions) (*TagList, error) {
	if options == nil {
		options = &TagsOptions{}
	}
	side := failure.SourceSide
	if options.Side == failure.DestinationSide {
		side = failure.DestinationSide
	}
	list, err := registry.Tags(ctx, ref, side == failure.DestinationSide, options.SystemContext, r.shared)
	if err != nil {
		return nil, failure.New("listing the tags of", side, transports.ImageName(ref), err)
	}
	return list, nil
}

// IsDigestTag reports whether a tag is named after a digest, as those of cosign (sha256-<hex>.sig,
// .att, .sbom), of the referrers tag schema (sha256-<hex>) and others are. What they name belongs
// to what has that digest, and is copied with it (DigestTags and Referrers of copy.Options), so
// patterns for tags should leave them alone.
func IsDigestTag(tag string) bool { return digesttag.Is(tag) }
