package work

import (
	"errors"
	"fmt"

	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/internal/known"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
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
