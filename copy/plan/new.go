package plan

import (
	"fmt"
	"math"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// New decides what a copy will do. It does no I/O, and the same input gives the same plan, whatever
// the order of selectors.
//
// Errors are those of the documents (*manifest.ParseError, *LimitError, *UnreadError), of lists
// that would be too large (*manifest.EditError, *manifest.ParseError), and of the decisions:
// *OptionsError, *RequiredError, *NoMatchError, *MissingError, *EmptyError, *CannotModifyError,
// *SparseRefusedError, *WidenError; the first of these that applies, in this order.
func New(in Input) (*Plan, error) {
	if err := in.Choices.Validate(); err != nil {
		return nil, err
	}
	if err := in.normalize(); err != nil {
		return nil, err
	}
	p, err := planCopy(&in)
	if err != nil {
		return nil, err
	}
	if err := checkRejected(&in, p); err != nil {
		return nil, err
	}
	if p, err = decideWay(&in, p); err != nil {
		return nil, err
	}
	if err := checkAmbiguous(&in, p); err != nil {
		return nil, err
	}
	return p, nil
}

// planCopy plans what is copied, whoever does the work.
func planCopy(in *Input) (*Plan, error) {
	if !manifest.IsListMediaType(in.Top.MediaType) {
		return planSingle(in)
	}
	if err := in.Parse(); err != nil {
		return nil, err
	}
	if in.Choices.ImageListSelection == CopySystemImage && !in.Tree.HasBlobs() {
		return planSystem(in)
	}
	return planMulti(in)
}

// newPlan returns the part of a plan that every kind of copy has.
func newPlan(in *Input) *Plan {
	return &Plan{
		Schema: Schema, Source: in.Source, Destination: in.Destination,
		Way: Native, Asked: in.Choices.SparseManifestListAction, Action: KeepSparseManifestList, Copies: []digest.Digest{},
	}
}

// tally fills in what p needs to move at most, and warns of what parsers may read differently in
// what is carried as it is.
func tally(in *Input, p *Plan) error {
	images := slices.Clone(p.Copies)
	for _, a := range p.ToAttach() {
		doc := in.Tree.documents[a.Digest]
		if !doc.isList() {
			images = append(images, a.Digest)
			continue
		}
		list, err := doc.list()
		if err != nil {
			return fmt.Errorf("list %s: %w", a.Digest, err)
		}
		warnOfRemarks(p, a.Digest, list.Remarks())
	}
	carried := len(images)
	for _, t := range p.Transforms() {
		images = append(images, t.Digest)
	}
	p.contents = map[digest.Digest]int64{}
	seen := map[digest.Digest]bool{}
	count := func(d digest.Digest, size int64) {
		if !seen[d] {
			seen[d] = true
			p.Blobs++
			p.Bytes = AddSize(p.Bytes, size)
		}
	}
	for _, ip := range p.BlobEntries() {
		if !ip.Present {
			count(ip.Digest, ip.Size)
		}
	}
	for _, a := range p.Original.toWrite() {
		for _, part := range a.Parts() {
			count(part.Descriptor.Digest, part.Descriptor.Size)
		}
	}
	for i, d := range images {
		image, err := in.Tree.Image(d)
		if err != nil {
			return fmt.Errorf("manifest %s: %w", d, err)
		}
		if image == nil {
			p.Unread++
			continue
		}
		if i < carried {
			warnOfRemarks(p, d, image.Remarks)
		}
		var content int64
		for b := range image.Blobs() {
			count(b.Digest, b.Size)
			content = AddSize(content, b.Size)
		}
		p.contents[d] = content
	}
	return nil
}

// AddSize adds sizes in bytes, which strangers state. It returns the largest number instead of one
// that is too large.
func AddSize(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
