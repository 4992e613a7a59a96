package copy

import (
	"context"

	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/naming"
)

// A TagList is the tags of a repository, as its registry lists them.
type TagList = naming.TagList

// TagsOptions are the choices of Tags. The zero value is useful, and so is a nil *TagsOptions.
type TagsOptions = naming.TagsOptions

// Tags is Tags of naming.Registries: it lists all tags of the repository that ref names.
func Tags(ctx context.Context, ref types.ImageReference, options *TagsOptions) (*TagList, error) {
	c := newOneShot(CopierOptions{})
	defer func() { _ = c.Close() }() // closes connections that nobody uses any more
	return c.Tags(ctx, ref, options)
}

// IsDigestTag is naming.IsDigestTag: it reports whether a tag is named after a digest.
func IsDigestTag(tag string) bool { return naming.IsDigestTag(tag) }
