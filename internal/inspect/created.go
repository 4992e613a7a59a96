package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/internal/relation"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// Created returns when what src names was made, as far as that is stated. For a list, it is the
// time of the newest of its images for whose platforms wanted is true, or, if there is no such
// image, of the newest of all. An image's time is that in its config, or, as an artifact has none
// there, its annotation org.opencontainers.image.created. It is zero if nothing states any, and for
// times of builds that state a certain one so that they can be repeated: those before 2013, when
// nobody made images.
//
// Manifests and configs that are kept are used, also if src has them no longer: their bytes are all
// that matters. What a list names and src does not have has no time. limit bounds what is in
// flight.
func Created(
	ctx context.Context, src endpoint.Source, limit *semaphore.Weighted, wanted func(*imgspecv1.Platform) bool,
) (time.Time, error) {
	if !manifest.IsListMediaType(src.Top().MediaType) {
		return createdOf(ctx, src, src.Top())
	}
	images, err := imagesIn(ctx, src, wanted)
	if err != nil {
		return time.Time{}, err
	}
	var newest time.Time
	ask := func(ctx context.Context, d digest.Digest) (time.Time, error) {
		doc, err := src.Manifest(ctx, d)
		if err != nil {
			return time.Time{}, fmt.Errorf("manifest %s: %w", d, err)
		}
		return createdOf(ctx, src, doc)
	}
	err = inflight.Ask(ctx, limit, images, ask, func(_ digest.Digest, created time.Time, err error) error {
		if created.After(newest) {
			newest = created
		}
		if errors.Is(err, endpoint.ErrNotFound) {
			return nil
		}
		return err
	})
	return newest, err
}

// imagesIn returns the digests of the images in a list, and in lists that it names, that are
// wanted; of all if none is.
func imagesIn(ctx context.Context, src endpoint.Source, wanted func(*imgspecv1.Platform) bool) ([]digest.Digest, error) {
	root, err := listsOf(ctx, src)
	if err != nil {
		return nil, err
	}
	selected, all := map[digest.Digest]bool{}, map[digest.Digest]bool{}
	root.Walk(func(n *listtree.Node) {
		ties := relation.Of(n.Instances, nil)
		for i, in := range n.Instances {
			if in.IsList() || in.IsBlob() || ties[i].Relation.Follows() {
				continue
			}
			all[in.Digest] = true
			if wanted(in.Platform) {
				selected[in.Digest] = true
			}
		}
	})
	if len(selected) == 0 {
		selected = all
	}
	return slices.Sorted(maps.Keys(selected)), nil
}

// listsOf reads the lists that the list of src names. Those that are missing stay out.
func listsOf(ctx context.Context, src endpoint.Source) (*listtree.Node, error) {
	lists := map[digest.Digest]endpoint.Document{src.Top().Digest: src.Top()}
	b := listtree.Builder{Read: func(d digest.Digest) (string, []byte, bool) {
		doc, ok := lists[d]
		return doc.MediaType, doc.Bytes, ok
	}}
	missing := map[digest.Digest]bool{}
	for {
		tree, err := b.Build(src.Top().Digest)
		if err != nil {
			return nil, err
		}
		done := true
		for _, d := range tree.Unread {
			if missing[d] {
				continue
			}
			done = false
			switch doc, err := src.Manifest(ctx, d); {
			case errors.Is(err, endpoint.ErrNotFound):
				missing[d] = true
			case err != nil:
				return nil, fmt.Errorf("manifest %s: %w", d, err)
			default:
				lists[d] = doc
			}
		}
		if done {
			return tree.Root, nil
		}
	}
}

// createdOf returns when an image or artifact was made, zero if it does not say so.
func createdOf(ctx context.Context, src endpoint.Source, doc endpoint.Document) (time.Time, error) {
	if manifest.IsListMediaType(doc.MediaType) { // whatever the entry says
		return time.Time{}, nil
	}
	image, err := parseImage(doc)
	switch {
	case err != nil:
		return time.Time{}, err
	case image == nil:
		return createdSchema1(doc), nil
	}
	if !image.IsArtifact() {
		created, err := createdInConfig(ctx, src, endpoint.BlobsOf(image)[0])
		if err != nil || !created.IsZero() {
			return created, err
		}
	}
	return plausible(image.Annotations[imgspecv1.AnnotationCreated]), nil
}

// createdInConfig returns the time that a config states.
func createdInConfig(ctx context.Context, src endpoint.Source, config endpoint.Blob) (time.Time, error) {
	failed := func(err error) error { return fmt.Errorf("config %s: %w", config.Digest, err) }
	if config.Size > maxConfig {
		return time.Time{}, failed(fmt.Errorf("it has %d bytes, more than %d", config.Size, maxConfig))
	}
	stream, err := endpoint.ReadHeld(src)(ctx, config)
	if err != nil {
		return time.Time{}, failed(err)
	}
	verified := endpoint.Verified(stream, config, nil, failed)
	defer verified.Close()
	content, err := io.ReadAll(verified)
	if err != nil {
		return time.Time{}, err
	}
	return createdField(content), nil
}

// createdSchema1 returns the time that the newest layer of a Docker schema 1 manifest states.
func createdSchema1(doc endpoint.Document) time.Time {
	var m struct {
		History []struct {
			V1Compatibility string `json:"v1Compatibility"`
		} `json:"history"`
	}
	if json.Unmarshal(doc.Bytes, &m) != nil || len(m.History) == 0 {
		return time.Time{}
	}
	return createdField([]byte(m.History[0].V1Compatibility))
}

// createdField returns the time that a config states, zero if it is none.
func createdField(config []byte) time.Time {
	var c struct {
		Created string `json:"created"`
	}
	if json.Unmarshal(config, &c) != nil {
		return time.Time{}
	}
	return plausible(c.Created)
}

// firstImages is before which no image was made.
var firstImages = time.Date(2013, 1, 1, 0, 0, 0, 0, time.UTC)

// plausible reads a time, zero if it is none at which something was made.
func plausible(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.Before(firstImages) {
		return time.Time{}
	}
	return t
}
