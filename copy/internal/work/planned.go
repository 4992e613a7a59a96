package work

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/internal/known"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/progress"
)

// A Knowledge is what is known when a plan is carried out.
type Knowledge struct {
	Source known.Source
	There  known.Destination
	// Foreign is set if the destination leaves layers with URLs where they are.
	Foreign bool
}

// Planned returns what is to be copied, in the order of the plan: images, and blobs that lists
// name.
func (k Knowledge) Planned(p *plan.Plan) (images []Image, entries []endpoint.Blob, err error) {
	sizes := Sizes{}
	for _, d := range p.Copies {
		doc, ok := k.Source.Document(d)
		if !ok {
			return nil, nil, fmt.Errorf("manifest %s was not read", d)
		}
		image, err := k.Image(doc)
		if err != nil {
			return nil, nil, err
		}
		if err := sizes.Add(image.Blobs); err != nil {
			return nil, nil, failure.New("reading manifest", failure.SourceSide, d.String(), err)
		}
		image.Later = p.Image != nil
		images = append(images, image)
	}
	if err := sizes.AddEntries(p); err != nil {
		return nil, nil, failure.New("reading list", failure.SourceSide, p.List.Digest.String(), err)
	}
	return images, Entries(p), nil
}

// Image returns what it takes to copy one image.
func (k Knowledge) Image(doc endpoint.Document) (Image, error) {
	image, err := k.Source.Image(doc)
	if err != nil {
		return Image{}, failure.New("parsing manifest", failure.SourceSide, doc.Digest.String(), err)
	}
	if image == nil { // a plan that wants one is upstream's
		return Image{}, failure.New("copying", failure.SourceSide, doc.Digest.String(), errors.New("a Docker schema 1 image is not copied natively"))
	}
	return Image{
		Doc: doc, Subject: image.Subject, Blobs: Blobs(image, k.Foreign),
		Stored: k.There.Present[doc.Digest] || k.There.Stored[doc.Digest],
	}, nil
}

// Documents returns what it takes to copy what is attached: images, in the order of documents, and
// lists by their digests.
func (k Knowledge) Documents(documents []attach.Stored) ([]Image, map[digest.Digest]endpoint.Document, error) {
	var images []Image
	lists := map[digest.Digest]endpoint.Document{}
	for _, doc := range documents {
		if doc.IsList() {
			lists[doc.Digest] = doc.Document
			continue
		}
		image, err := k.Image(doc.Document)
		if err != nil {
			return nil, nil, err
		}
		image.Later = doc.ByTag
		image.Begins = progress.Line{Text: fmt.Sprintf("Copying %s, which is attached to %s", doc.Digest, doc.Subject)}
		images = append(images, image)
	}
	return images, lists, nil
}

// Nested calls list for each list below a plan's, and image for each image of late, in an order in
// which none comes before what it needs. The first error ends it.
func Nested(p *plan.Plan, late map[digest.Digest]Image, image func(Image) error, list func(*plan.ListPlan) error) error {
	lists := map[digest.Digest]*plan.ListPlan{}
	p.List.Walk(func(l *plan.ListPlan) {
		if l != p.List {
			lists[l.Result] = l
		}
	})
	all := p.List.NestedLists()
	for _, d := range p.Wanted() {
		if _, waits := late[d]; waits {
			all = append(all, d)
		}
	}
	needs := func(d digest.Digest) []digest.Digest {
		if l := lists[d]; l != nil {
			return l.Needs()
		}
		return []digest.Digest{late[d].Subject}
	}
	return inOrder(all, needs, func(d digest.Digest) error {
		if l := lists[d]; l != nil {
			return list(l)
		}
		return image(late[d])
	})
}

// Attached calls list for each of lists that are attached, and image for each image of late, in an
// order in which none comes before what it needs. The first error ends it.
func Attached(lists map[digest.Digest]endpoint.Document, late map[digest.Digest]Image, image func(Image) error, list func(endpoint.Document) error) error {
	needs := func(d digest.Digest) []digest.Digest {
		if doc, ok := lists[d]; ok {
			subject, children := attach.Subject(doc)
			return append(children, subject)
		}
		return []digest.Digest{late[d].Subject}
	}
	all := append(slices.Sorted(maps.Keys(lists)), slices.Sorted(maps.Keys(late))...)
	return inOrder(all, needs, func(d digest.Digest) error {
		if doc, ok := lists[d]; ok {
			return list(doc)
		}
		return image(late[d])
	})
}

// inOrder calls do for each of all, after what it needs. The first error ends it.
func inOrder(all []digest.Digest, needs func(digest.Digest) []digest.Digest, do func(digest.Digest) error) error {
	for _, d := range attach.InOrder(all, needs) {
		if err := do(d); err != nil {
			return err
		}
	}
	return nil
}
