package mirrorcmd

import (
	"cmp"
	"math"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/examples/internal/state"
)

// platformsOf returns the images that a report of a copy that succeeded is about. before are those
// of an earlier copy, which knew the sizes of what was there already.
func platformsOf(report *copy.Report, before []state.Platform) []state.Platform {
	sizes := map[digest.Digest]state.Platform{}
	for _, p := range before {
		sizes[p.Digest] = p
	}
	marks := marksIn(report)
	var all []state.Platform
	for _, in := range report.Instances {
		if in.Nested || in.Relation.Follows() || isBlobKind(in) {
			continue
		}
		p := state.Platform{
			Platform: describe(in, nil), Status: platformStatus(in, report.Action), Digest: in.Digest, Size: sizes[in.Digest].Size,
		}
		if report.Plan != nil {
			p.Size = cmp.Or(report.Plan.ContentSize(in.Digest), p.Size)
		}
		if p.Status == state.PlatformMirrored {
			p.Signed = marks[in.Digest].signed || marks[in.List].signed || marks[report.SourceDigest].signed || sizes[in.Digest].Signed || signatures(report) > 0
			p.Attested = marks[in.Digest].attested || marks[in.List].attested
		}
		all = append(all, p)
	}
	return all
}

// isBlobKind reports whether an instance is no manifest: part of a build cache.
func isBlobKind(in copy.InstanceReport) bool {
	return in.Relation == "" && in.Kind != "" && in.Platform == "" && in.Kind != copy.KindArtifact
}

// platformStatus is what the mirror has of an instance after a copy that succeeded.
func platformStatus(in copy.InstanceReport, action copy.SparseManifestListAction) state.PlatformStatus {
	switch {
	case in.Missing:
		return state.PlatformMissing
	case in.Outcome != copy.Skipped:
		return state.PlatformMirrored
	case in.Entry == copy.Stripped, in.Entry == "" && action == copy.StripSparseManifestList:
		return state.PlatformStripped
	}
	return state.PlatformKept
}

// marks say what is attached to an image or list at the mirror.
type marks struct{ signed, attested bool }

// marksIn returns the marks of what a report names.
func marksIn(report *copy.Report) map[digest.Digest]marks {
	all := map[digest.Digest]marks{}
	for _, in := range report.Instances {
		if subject := cmp.Or(in.Subject, in.AttestationOf); in.AttestationOf != "" && in.Outcome != copy.Skipped {
			m := all[subject]
			m.attested = true
			all[subject] = m
		}
	}
	for _, a := range report.Attached {
		if a.Outcome == copy.Skipped {
			continue
		}
		m, kind := all[a.Subject], attachedKind(a)
		m.signed, m.attested = m.signed || isSignature(kind), m.attested || isAttestation(kind)
		all[a.Subject] = m
	}
	return all
}

// isSignature reports whether what is attached is a signature, by what it is called.
func isSignature(kind string) bool {
	return kind == ".sig" || strings.HasPrefix(kind, "application/vnd.dev.cosign.artifact.sig.") ||
		strings.HasPrefix(kind, "application/vnd.dev.sigstore.bundle.") || kind == "application/vnd.cncf.notary.signature"
}

// isAttestation reports whether what is attached says something about an image.
func isAttestation(kind string) bool {
	if kind == ".att" || kind == ".sbom" {
		return true
	}
	for _, word := range []string{"in-toto", "attestation", ".artifact.att.", "spdx", "cyclonedx", "sbom"} {
		if strings.Contains(kind, word) {
			return true
		}
	}
	return false
}

// provenBy reports whether a copy has left what proves that the publisher of a stripped list has
// signed its original.
func provenBy(report *copy.Report) bool {
	o := report.Original
	return o != nil && o.Reason == "" && o.Digest != "" && len(o.Signatures) > 0
}

// sizeOf is the size of what the mirror has.
func sizeOf(platforms []state.Platform) (size int64) {
	for _, p := range platforms {
		if p.Status == state.PlatformMirrored {
			size = plan.AddSize(size, p.Size)
		}
	}
	return size
}

// notCopied estimates the size of the platforms that nobody selected: their manifests are not read,
// so that each counts as the others do on average.
func notCopied(platforms []state.Platform) int64 {
	var known, left int64
	var size int64
	for _, p := range platforms {
		switch {
		case p.Status == state.PlatformMirrored && p.Size > 0:
			known++
			size = plan.AddSize(size, p.Size)
		case p.Status == state.PlatformKept, p.Status == state.PlatformStripped:
			left++
		}
	}
	if known == 0 || size/known > math.MaxInt64/max(left, 1) {
		return 0
	}
	return size / known * left
}

// presentBytes is the size of what a copy needed and did not move, because it was there.
func presentBytes(report *copy.Report) int64 {
	if report.Plan == nil {
		return 0
	}
	return max(0, report.Plan.Bytes-report.BytesCopied)
}
