package earlier

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/internal/known"
	"github.com/sparsecopy/sparsecopy/copy/internal/originals"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// schema is part of each fingerprint, so that those of other releases are others if this one wants
// something else.
const schema = "sparsecopy.wanted/v1"

// attachment is what is wanted of something that is attached.
type attachment struct {
	Subject, Digest   digest.Digest
	ArtifactType, Tag string
}

// Wanted returns a fingerprint of everything that a plan of what was read wants at the destination:
// lists, images, blobs that lists name, what is attached, originals, and the signatures of the
// source. Plans that want the same have the same one, whatever the destination has already.
//
// It is "" if not all of that is known, or it may be something else the next time although the
// source says the same: if images are transformed, something is missing at the source, or somebody
// else does the work.
func Wanted(p *plan.Plan, source known.Source) digest.Digest {
	if p == nil || p.Way != plan.Native || p.Digest == "" || len(source.Unknown) > 0 || transforms(p) || len(missingOf(p)) > 0 {
		return ""
	}
	return fingerprint(p, source)
}

// fingerprint is Wanted of a plan of which all is known.
func fingerprint(p *plan.Plan, source known.Source) digest.Digest {
	signatures, err := signaturesOf(source)
	if err != nil {
		return ""
	}
	wanted := struct {
		Schema          string
		Digest          digest.Digest
		Images, Lists   []digest.Digest
		Blobs, Original []digest.Digest
		Attached        []attachment
		Signatures      map[digest.Digest][]digest.Digest // of their bytes, by what is signed
	}{
		Schema: schema, Digest: p.Digest,
		Images: slices.Sorted(slices.Values(p.Stored())), Lists: slices.Sorted(slices.Values(p.Lists())),
		Attached: attachmentsOf(p), Signatures: signatures,
	}
	for _, b := range p.BlobEntries() {
		wanted.Blobs = append(wanted.Blobs, b.Digest)
	}
	for _, a := range p.Original.Artifacts() {
		wanted.Original = append(wanted.Original, a.Document.Digest)
	}
	slices.Sort(wanted.Blobs)
	slices.Sort(wanted.Original)
	text, err := json.Marshal(wanted)
	if err != nil {
		return ""
	}
	return digest.FromBytes(text)
}

// transforms reports whether images of the plan are not carried as they are, or others are added.
func transforms(p *plan.Plan) bool {
	other := len(p.Transforms())+len(p.Transformed()) > 0
	if p.List != nil {
		p.List.Walk(func(l *plan.ListPlan) { other = other || len(l.Variants) > 0 })
	}
	return other
}

// missingOf returns the distinct instances that a plan leaves out because they are missing at the
// source, in first-seen order.
func missingOf(p *plan.Plan) []digest.Digest {
	var missing []digest.Digest
	if p.List == nil {
		return nil
	}
	p.List.Walk(func(l *plan.ListPlan) {
		for _, ip := range l.Instances {
			if ip.Missing && !slices.Contains(missing, ip.Digest) {
				missing = append(missing, ip.Digest)
			}
		}
	})
	return missing
}

// Attached returns what a plan attaches to a list of its original, in the form that the destination
// takes most likely.
func Attached(p *plan.Plan, dst endpoint.Destination) []digest.Digest {
	var all []digest.Digest
	for _, a := range p.Original.Artifacts() {
		all = append(all, originals.Forms(dst)[0].Of(a).Document.Digest)
	}
	return all
}

// attachmentsOf returns what is attached by a plan, sorted.
func attachmentsOf(p *plan.Plan) []attachment {
	var all []attachment
	for _, a := range p.Attached {
		if a.Decision == plan.Copy {
			all = append(all, attachment{a.Subject, a.Digest, a.ArtifactType, a.Tag})
		}
	}
	slices.SortFunc(all, func(a, b attachment) int {
		return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Tag, b.Tag))
	})
	return all
}

// signaturesOf returns the digests of the signatures that were read, sorted.
func signaturesOf(source known.Source) (map[digest.Digest][]digest.Digest, error) {
	all := map[digest.Digest][]digest.Digest{}
	for d, signatures := range source.Signatures {
		blobs, err := endpoint.SignatureBlobs(signatures)
		if err != nil {
			return nil, err
		}
		for _, blob := range blobs {
			all[d] = append(all[d], digest.FromBytes(blob))
		}
		slices.Sort(all[d])
	}
	return all, nil
}
