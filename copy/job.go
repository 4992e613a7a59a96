package copy

import (
	"fmt"
	"sync"

	"github.com/sparsecopy/sparsecopy/copy/plan"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// A job is one copy, from the second step to the last.
type job struct {
	*ends

	compare bool // look at the destination before planning

	in   plan.Input // what is known so far
	plan *Plan
	// top is what the destination named when it was compared; "" if nothing, or if it did not tell, which topKnown says.
	top      digest.Digest
	topKnown bool
	// there are the images whose manifests the destination has although they are copied: under CheckBlobs.
	there map[digest.Digest]bool
	// misdeclared is set if the source declares a document that was read to be something else than it is; guarded by mu while
	// manifests are read.
	misdeclared bool
	held        int64 // bytes of the manifests that were fetched; guarded by mu
	// absent is what the source said about what is missing; guarded by mu while manifests are read.
	absent map[digest.Digest]error
	// untold are the manifests of which the destination did not tell whether it has them, and why; guarded by mu while it is asked.
	untold map[digest.Digest]error
	// support is what is known of the destination's view of sparse lists, nil until it matters.
	support    *SparseSupport
	supportErr error // why support is not known, nil if it is
	// settled is set if everything that the plan names is at the destination already, but perhaps for what is attached.
	settled bool
	// late are the images whose manifests are stored with the lists, because their subjects are such.
	late map[digest.Digest]imageCopy
	// unnamed is set once what the destination's reference is to name has been stored by its digest only.
	unnamed *endpoint.Document
	// judged are the images that the policy allows.
	judged map[digest.Digest]bool
	// signatures of what was read, by digest; absent where there is nothing to carry.
	mu         sync.Mutex
	signatures map[digest.Digest]endpoint.Signatures // guarded by mu
	reused     map[digest.Digest]bool                // blobs that the destination said it had; guarded by mu
	// carried are the signatures that travel as what a digest tag names, by what they sign and by attach.LayerKey.
	carried map[digest.Digest]map[string]bool
	// unlistable are what is copied whose referrers cannot be listed at the destination, which was said; guarded by mu.
	unlistable map[digest.Digest]bool
}

func newJob(e *ends, o opened) *job {
	j := &job{
		ends: e, compare: o.compared, top: o.destinationTop, topKnown: o.destinationTold,
		judged:     map[digest.Digest]bool{},
		there:      map[digest.Digest]bool{},
		untold:     map[digest.Digest]error{},
		absent:     map[digest.Digest]error{},
		signatures: map[digest.Digest]endpoint.Signatures{},
		unlistable: map[digest.Digest]bool{},
		reused:     map[digest.Digest]bool{},
	}
	j.in = plan.Input{
		Source: e.srcName, Destination: e.dstName, Digest: o.top.Digest, DestinationTop: o.destinationTop,
		Documents: map[digest.Digest]Document{}, Missing: map[digest.Digest]bool{}, Present: map[digest.Digest]bool{},
		PresenceUnknown: map[digest.Digest]bool{}, Stored: j.there,
		SignedLists: map[digest.Digest]int{}, SignaturesUnknown: map[digest.Digest]bool{}, DestinationDigest: digestOf(e.destRef), Choices: e.choices,
	}
	j.in.Top = j.hold(o.top)
	return j
}

// document returns what was read for d.
func (j *job) document(d digest.Digest) (Document, error) {
	if d == j.in.Digest {
		return j.in.Top, nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	doc, ok := j.in.Documents[d]
	if !ok {
		return Document{}, fmt.Errorf("manifest %s was not read", d)
	}
	return doc, nil
}
