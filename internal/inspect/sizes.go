package inspect

import (
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/prose"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A statement says how large a manifest or list is.
type statement struct {
	size    int64         // in bytes
	list    digest.Digest // that states it; "" for the destination's list of referrers
	subject digest.Digest // of a referrer; "" for an entry of a list
}

// noteEntries notes the sizes that a list states, if doc is one. One that states none is believed.
func (v *verifier) noteEntries(doc endpoint.Document) {
	list, err := manifest.Parse(doc.Bytes, doc.MediaType)
	if err != nil {
		return // whoever made the plan has read it
	}
	for _, in := range list.Instances() {
		v.noteSize(in.Digest, statement{size: in.Size, list: doc.Digest})
	}
}

// noteReferrers notes the sizes that the destination's list of referrers states.
func (v *verifier) noteReferrers(subject digest.Digest, there []imgspecv1.Descriptor) {
	for _, r := range there {
		v.noteSize(r.Digest, statement{size: r.Size, subject: subject})
	}
}

func (v *verifier) noteSize(d digest.Digest, s statement) {
	if s.size <= 0 {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stated[d] = append(v.stated[d], s)
}

// checkSize holds a manifest or list that is there against all that is stated about it: there are
// clients that refuse one of another size. What a list states is its publisher's fault, which a
// copy changes nothing of.
func (v *verifier) checkSize(doc endpoint.Document) {
	v.mu.Lock()
	stated := v.stated[doc.Digest]
	v.mu.Unlock()
	for _, s := range stated {
		switch size := int64(len(doc.Bytes)); {
		case s.size == size:
		case s.subject != "":
			v.violated(v.want.Images[s.subject], aReferrer, doc.Digest, "it has %d bytes, and the destination lists it with %d", size, s.size)
		default:
			v.warn("%s has %d bytes, and the list %s, as it was published, states %d: some clients refuse it",
				prose.Short(doc.Digest), size, prose.Short(s.list), s.size)
		}
	}
}
