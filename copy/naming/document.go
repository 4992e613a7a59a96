package naming

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inspect"
	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// maxConfig is the number of bytes that a config may have.
const maxConfig = 4 << 20

// DocumentOptions are the choices of Manifest and Config. The zero value is useful, and so is a nil
// *DocumentOptions.
type DocumentOptions struct {
	// SystemContext is the configuration; nil means the defaults.
	SystemContext *types.SystemContext
	// Side is as in Options.
	Side failure.Side
	// Platform, if not nil, chooses an image of a list, also in the lists that it names. It must
	// not exclude anything. Of several images for the same platform it is the first, as for
	// everybody who pulls.
	Platform *plan.InstancePlatformFilter
}

// An AmbiguousError says that what was asked for is one image, and several may be meant.
type AmbiguousError struct {
	Platforms []string // that they are for, in the order of the list
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("it is a list of several images: choose the platform, one of %s", strings.Join(e.Platforms, ", "))
}

// Manifest reads the manifest or list that ref names, or the manifest of the image for Platform.
// What it returns has been verified against its Digest.
//
// Causes of its errors are a *copy.NoMatchError where there is no such image, and an
// *AmbiguousError where there are several, for different platforms.
func (r *Registries) Manifest(ctx context.Context, ref types.ImageReference, options *DocumentOptions) (manifest.Document, error) {
	return r.document(ctx, ref, options, func(ctx context.Context, src endpoint.Source, o *DocumentOptions) (manifest.Document, error) {
		if o.Platform == nil {
			return src.Top(), nil
		}
		return image(ctx, src, o.Platform)
	})
}

// Config reads the config of the image that ref names, or of that for Platform: its bytes, which
// have been verified against its Digest, and the media type that the manifest states. A list of one
// image stands for that.
//
// Causes of its errors are those of Manifest, and an *AmbiguousError for a list of several images
// where no Platform is given.
func (r *Registries) Config(ctx context.Context, ref types.ImageReference, options *DocumentOptions) (manifest.Document, error) {
	return r.document(ctx, ref, options, func(ctx context.Context, src endpoint.Source, o *DocumentOptions) (manifest.Document, error) {
		doc, err := image(ctx, src, o.Platform)
		if err != nil {
			return manifest.Document{}, err
		}
		return configOf(ctx, src, doc)
	})
}

// document opens what ref names and reads something of it.
func (r *Registries) document(
	ctx context.Context, ref types.ImageReference, options *DocumentOptions,
	read func(context.Context, endpoint.Source, *DocumentOptions) (manifest.Document, error),
) (manifest.Document, error) {
	var o DocumentOptions
	if options != nil {
		o = *options
	}
	at, side := place(ref, o.Side)
	src, _, err := access.OpenSource(ctx, at, o.SystemContext, r.shared)
	if err != nil {
		return manifest.Document{}, failure.New(failure.Opening, side, transports.ImageName(ref), err)
	}
	defer src.Close() // nothing was written
	doc, err := read(ctx, src, &o)
	if err != nil {
		return manifest.Document{}, failure.New("reading", side, transports.ImageName(ref), err)
	}
	return doc, nil
}

// image returns the manifest of the image that filter takes, of whichever there is if that is nil.
func image(ctx context.Context, src endpoint.Source, filter *plan.InstancePlatformFilter) (manifest.Document, error) {
	tree, err := treeOf(ctx, src)
	if err != nil {
		return manifest.Document{}, err
	}
	if tree.List() == nil {
		return src.Top(), checkPlatform(ctx, src, tree, filter)
	}
	d, err := choose(tree.Images(), filter)
	if err != nil {
		return manifest.Document{}, err
	}
	doc, err := src.Manifest(ctx, d)
	if err != nil {
		return manifest.Document{}, fmt.Errorf("image %s of the list: %w", d, err)
	}
	return doc, nil
}

// treeOf reads the lists that what src names leads to. Those that are missing stay out.
func treeOf(ctx context.Context, src endpoint.Source) (*plan.Tree, error) {
	tree, err := plan.ParseTree(src.Top(), src.Top().Digest, nil)
	missing := map[digest.Digest]bool{}
	for err == nil {
		unread := slices.DeleteFunc(slices.Clone(tree.Unread()), func(d digest.Digest) bool { return missing[d] })
		if len(unread) == 0 {
			return tree, nil
		}
		lists := map[digest.Digest]manifest.Document{}
		for _, d := range unread {
			doc, err := src.Manifest(ctx, d)
			switch {
			case errors.Is(err, endpoint.ErrNotFound):
				missing[d] = true
			case err != nil:
				return nil, fmt.Errorf("list %s: %w", d, err)
			default:
				lists[d] = doc
			}
		}
		tree, err = tree.With(lists)
	}
	return nil, err
}

// choose returns the digest of the first of images that filter takes, all of which are for one
// platform.
func choose(images []manifest.Instance, filter *plan.InstancePlatformFilter) (digest.Digest, error) {
	var first digest.Digest
	var matching, offered []string
	for _, image := range images {
		name := platform.Format(image.Platform)
		if !slices.Contains(offered, name) {
			offered = append(offered, name)
		}
		if !takes(filter, image.Platform) {
			continue
		}
		if first == "" {
			first = image.Digest
		}
		if !slices.Contains(matching, name) {
			matching = append(matching, name)
		}
	}
	switch len(matching) {
	case 0:
		return "", noMatch(filter, offered)
	case 1:
		return first, nil
	}
	return "", &AmbiguousError{matching}
}

// checkPlatform fails if filter does not take a single image.
func checkPlatform(ctx context.Context, src endpoint.Source, tree *plan.Tree, filter *plan.InstancePlatformFilter) error {
	if filter == nil {
		return nil
	}
	image, err := tree.Image(src.Top().Digest)
	switch {
	case err != nil:
		return err
	case image == nil:
		return errors.New("it is a Docker schema 1 image, whose platform is not known")
	}
	stated, err := inspect.ReadPlatform(ctx, image, func(b endpoint.Blob) endpoint.Opener { return verified(src, b) })
	if err != nil || takes(filter, stated) {
		return err
	}
	return noMatch(filter, []string{platform.Format(stated)})
}

// takes reports whether filter takes a platform; nil takes everything.
func takes(filter *plan.InstancePlatformFilter, p *imgspecv1.Platform) bool {
	return filter == nil || platform.Pattern(*filter).Matches(p)
}

func noMatch(filter *plan.InstancePlatformFilter, offered []string) error {
	if filter == nil {
		return errors.New("the list names no image")
	}
	return &plan.NoMatchError{Asked: []string{filter.String()}, Offered: offered}
}

// configOf reads the config of an image.
func configOf(ctx context.Context, src endpoint.Source, doc manifest.Document) (manifest.Document, error) {
	image, err := manifest.ParseImage(doc.Bytes, doc.MediaType)
	if err != nil {
		return manifest.Document{}, err
	}
	config := endpoint.BlobsOf(image)[0]
	if config.Size > maxConfig {
		return manifest.Document{}, fmt.Errorf("config %s has %d bytes, more than the limit of %d", config.Digest, config.Size, maxConfig)
	}
	stream, err := verified(src, config)(ctx)
	if err != nil {
		return manifest.Document{}, err
	}
	defer stream.Close()
	content, err := io.ReadAll(stream)
	return manifest.Document{MediaType: config.MediaType, Digest: config.Digest, Bytes: content}, err
}

// verified opens a blob that is verified while it is read.
func verified(src endpoint.Source, b endpoint.Blob) endpoint.Opener {
	failed := func(err error) error { return fmt.Errorf("config %s: %w", b.Digest, err) }
	return func(ctx context.Context) (io.ReadCloser, error) {
		stream, err := endpoint.ReadHeld(src)(ctx, b)
		if err != nil {
			return nil, failed(err)
		}
		return endpoint.Verified(stream, b, nil, failed), nil
	}
}
