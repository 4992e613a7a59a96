package inspect

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/transports"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// An Original says in what the original of a stripped list travels along with it.
type Original struct {
	List digest.Digest // the stripped list
	// Artifacts are attached to the list, and are byte for byte what this library makes of what is
	// in them. Sorted by their digests.
	Artifacts []OriginalArtifact
	// Tags name lists of Artifacts that list nothing else. Sorted by their names. None where
	// referrers are listed by the registry itself.
	Tags []OriginalTag
	// Warnings are for people: what could not be asked, and what is listed and left out.
	Warnings []string
}

// An OriginalArtifact has a list as its publisher signed it, or one signature of that.
type OriginalArtifact struct {
	Digest digest.Digest
	Role   original.Role
}

// An OriginalTag names a list of artifacts.
type OriginalTag struct {
	Tag    string
	Digest digest.Digest // of the list
}

// FindOriginal finds the artifacts in which the original of the list that src names travels along.
// Others that are of the same types are not among them, nor is one of which a blob is missing; and
// there are none where nothing can be attached. The error says that something could not be read.
// limit bounds what is in flight.
func FindOriginal(ctx context.Context, src endpoint.Source, limit *semaphore.Weighted) (*Original, error) {
	list := src.Top()
	out := &Original{List: list.Digest}
	referrers, _ := endpoint.ReferrersAt(src)
	if referrers == nil || !list.IsList() {
		return out, nil
	}
	carriers, err := attach.FindCarriers(ctx, attach.Source{
		Place: attach.Place{Name: transports.ImageName(src.Reference()), Referrers: referrers, Manifest: src.Manifest}, Budget: limit,
		Held: func(digest.Digest) (endpoint.Document, bool) { return endpoint.Document{}, false },
	}, list.Digest)
	if err != nil {
		return nil, err
	}
	out.Warnings = carriers.Warnings
	ours := func(ctx context.Context, c attach.Carrier) (bool, error) { return isOurs(ctx, src, c) }
	if err := inflight.Ask(ctx, limit, carriers.Found, ours, func(c attach.Carrier, is bool, err error) error {
		if is {
			out.Artifacts = append(out.Artifacts, OriginalArtifact{c.Digest, c.Role})
		}
		return err
	}); err != nil {
		return nil, err
	}
	slices.SortFunc(out.Artifacts, func(a, b OriginalArtifact) int { return cmp.Compare(a.Digest, b.Digest) })
	return out, out.findTags(ctx, referrers, limit)
}

// isOurs reports whether this library would make the same artifact of what is in it.
func isOurs(ctx context.Context, src endpoint.Source, c attach.Carrier) (bool, error) {
	var unread error
	blob := func(d imgspecv1.Descriptor) ([]byte, error) {
		content, err := endpoint.ReadUnverified(ctx, src, endpoint.Blob{Digest: d.Digest, Size: d.Size, MediaType: d.MediaType})
		if err != nil && !errors.Is(err, endpoint.ErrNotFound) {
			unread = err
		}
		return content, err
	}
	list := src.Top()
	again, err := original.Remake(imgspecv1.Descriptor{MediaType: list.Type(), Digest: list.Digest, Size: int64(len(list.Bytes))}, c.Document, blob)
	return err == nil && again.Document.Digest == c.Digest, unread
}

// findTags finds the tags that list o.Artifacts and nothing else.
func (o *Original) findTags(ctx context.Context, referrers endpoint.ReferrerSource, limit *semaphore.Weighted) error {
	if len(o.Artifacts) == 0 {
		return nil
	}
	tags := slices.DeleteFunc([]string{endpoint.ReferrersTag(o.List), digesttag.Name(o.List, digesttag.Originals)}, func(tag string) bool { return tag == "" })
	err := inflight.Ask(ctx, limit, tags, referrers.Tagged, func(tag string, doc endpoint.Document, err error) error {
		switch {
		case errors.Is(err, endpoint.ErrNotFound), errors.Is(err, endpoint.ErrUnknown):
			return nil
		case err != nil:
			return err
		case o.isAllOf(doc):
			o.Tags = append(o.Tags, OriginalTag{tag, doc.Digest})
		}
		return nil
	})
	slices.SortFunc(o.Tags, func(a, b OriginalTag) int { return cmp.Compare(a.Tag, b.Tag) })
	return err
}

// isAllOf reports whether doc is an index of some of o.Artifacts, and of nothing else.
func (o *Original) isAllOf(doc endpoint.Document) bool {
	list, err := manifest.Parse(doc.Bytes, imgspecv1.MediaTypeImageIndex)
	if err != nil || len(list.Instances()) == 0 {
		return false
	}
	return !slices.ContainsFunc(list.Instances(), func(in manifest.Instance) bool {
		return !slices.ContainsFunc(o.Artifacts, func(a OriginalArtifact) bool { return a.Digest == in.Digest })
	})
}
