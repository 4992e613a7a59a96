// Package work has what a copy executes as values: images with their blobs, the order in which
// their manifests are stored, and blobs that lists name. It says what a list is that a destination
// may refuse, and tells those destinations that keep a record what they are made of.
package work

import (
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/progress"
	"github.com/sparsecopy/sparsecopy/internal/sparsesupport"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// An Image is an image to be copied.
type Image struct {
	Doc     endpoint.Document
	Subject digest.Digest // that its manifest states, "" for none
	Blobs   []endpoint.Blob
	Begins  progress.Event // tells that it begins; nil if nothing does
	// Later is set if the manifest is written later, by others: it is what the destination's
	// reference, or a digest tag, will name, or its subject is a list.
	Later bool
	// Stored is set if the destination has the manifest, and only its blobs are checked.
	Stored bool
}

// SubjectsFirst returns images in an order in which none comes before its subject. Otherwise the
// order stays.
func SubjectsFirst(images []Image) []Image {
	at := map[digest.Digest]Image{}
	digests := make([]digest.Digest, len(images))
	for i, image := range images {
		at[image.Doc.Digest], digests[i] = image, image.Doc.Digest
	}
	ordered := make([]Image, 0, len(images))
	for _, d := range attach.InOrder(digests, func(d digest.Digest) []digest.Digest { return []digest.Digest{at[d].Subject} }) {
		ordered = append(ordered, at[d])
	}
	return ordered
}

// WaitForLists takes from images, whose subjects come first, the manifests that have to be stored
// after one of the given lists: their subjects are such lists, or others that wait.
func WaitForLists(images []Image, lists []digest.Digest) map[digest.Digest]Image {
	waits := map[digest.Digest]bool{}
	for _, d := range lists {
		waits[d] = true
	}
	late := map[digest.Digest]Image{}
	for i, image := range images {
		if waits[image.Subject] && !image.Later && !image.Stored {
			waits[image.Doc.Digest] = true
			late[image.Doc.Digest] = image
			images[i].Later = true
		}
	}
	return late
}

// Sizes are the sizes in bytes that documents have stated for blobs.
type Sizes map[digest.Digest]int64

// Add holds the sizes that a document states for blobs to those that others have stated: one of
// them lies, and which blob is copied must not depend on who comes first.
func (s Sizes) Add(blobs []endpoint.Blob) error {
	for _, b := range blobs {
		if size, ok := s[b.Digest]; ok && size != b.Size {
			return fmt.Errorf("it states %d bytes for %s, and another manifest %d", b.Size, b.Digest, size)
		}
		s[b.Digest] = b.Size
	}
	return nil
}

// AddEntries is Add for what the lists of a plan state for blobs that they name.
func (s Sizes) AddEntries(p *plan.Plan) (err error) {
	if p.List != nil {
		p.List.Walk(func(l *plan.ListPlan) { err = errors.Join(err, s.Add(EntriesOf(l))) })
	}
	return err
}

// Blobs returns the distinct blobs of an image, the config first, but for layers that are elsewhere
// if these stay there.
func Blobs(image *manifest.Image, foreignStay bool) []endpoint.Blob {
	if !foreignStay {
		return endpoint.BlobsOf(image)
	}
	here, _ := endpoint.PlacesOf(image)
	return here
}

// Entries returns the distinct blobs that the lists of a plan name in the place of manifests, but
// for those that are known to be at the destination.
func Entries(p *plan.Plan) []endpoint.Blob {
	var blobs []endpoint.Blob
	for _, ip := range p.BlobEntries() {
		if !ip.Present {
			blobs = append(blobs, entry(ip))
		}
	}
	return blobs
}

// EntriesOf returns the blobs that one list names in the place of manifests and that are copied, or
// at the destination.
func EntriesOf(l *plan.ListPlan) []endpoint.Blob {
	var blobs []endpoint.Blob
	for _, ip := range l.Instances {
		if ip.IsBlob() && ip.Decision == plan.Copy {
			blobs = append(blobs, entry(ip))
		}
	}
	return blobs
}

func entry(ip plan.InstancePlan) endpoint.Blob {
	return endpoint.Blob{Digest: ip.Digest, Size: ip.Size, MediaType: ip.MediaType}
}

// AsPut is l as a list that a destination may refuse.
func AsPut(l *plan.ListPlan) sparsesupport.List {
	put, leftOut := sparsesupport.List{Digest: l.Result}, map[digest.Digest]bool{}
	for _, d := range l.Absent {
		leftOut[d] = true
	}
	for _, ip := range l.Instances {
		if ip.Entry != plan.StripEntry {
			put.Add(ip.Result(), ip.MediaType, leftOut[ip.Digest])
		}
	}
	return put
}

// DocumentOf returns the list that is written.
func DocumentOf(l *plan.ListPlan) endpoint.Document {
	return endpoint.Document{Digest: l.Result, MediaType: l.ResultType, Bytes: l.Written()}
}

// Lists returns the lists of a plan as they are written, by their digests: those that are known.
func Lists(p *plan.Plan) map[digest.Digest]endpoint.Document {
	lists := map[digest.Digest]endpoint.Document{}
	if p.List != nil {
		p.List.Walk(func(l *plan.ListPlan) {
			if l.Result != "" {
				lists[l.Result] = DocumentOf(l)
			}
		})
	}
	return lists
}

// RefusesBlobs reports whether l was refused with err because it names blobs, as far as the answer,
// which is of the given kind, tells: everything else that it names is there. Distribution refuses
// such a list as if its blobs were absent.
func RefusesBlobs(l *plan.ListPlan, kind sparsesupport.Refusal, err error) bool {
	return l.NamesBlobs() && len(l.Absent) == 0 && (kind != sparsesupport.Otherwise || endpoint.RefusesType(err))
}

// BlobsRefused says that l was refused with err because it names blobs.
func BlobsRefused(l *plan.ListPlan, err error) *plan.BlobsRefusedError {
	refused := &plan.BlobsRefusedError{List: l.Result, Refusal: err}
	for _, ip := range l.Instances {
		switch {
		case !ip.IsBlob():
			continue
		case ip.Decision != plan.Copy:
			refused.LeftOut++
		}
		refused.Blobs++
	}
	return refused
}
