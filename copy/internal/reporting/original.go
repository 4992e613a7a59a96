package reporting

import (
	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/copy/report"
	"github.com/sparsecopy/sparsecopy/internal/original"
)

// stored is what was stored of an original.
type stored struct {
	forms map[digest.Digest]digest.Digest // of artifacts, by the digests that the plan has for them
	kept  []digest.Digest                 // the manifests of signatures that are kept as they were
}

// Original notes the digests of the artifacts of an original that were stored, by those that the
// plan has for them, and of the signatures that are kept as they were, too. It is called once.
func (r *Collector) Original(forms map[digest.Digest]digest.Digest, kept []digest.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.original = stored{forms, kept}
	r.report.ManifestsCopied += len(forms) + len(kept)
}

// Vouched notes what the keys did. It is called once.
func (r *Collector) Vouched(said report.VouchedReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Vouched = &said
	for _, b := range said.Bundles {
		if b.Outcome == report.Copied {
			r.report.ManifestsCopied++
		}
	}
}

// report says what became of what was planned of an original, nil for nothing.
func (s stored) report(p *plan.OriginalPlan) *report.OriginalReport {
	if p == nil {
		return nil
	}
	out := &report.OriginalReport{List: p.List, Reason: p.Reason}
	out.Digest, out.Form, out.Outcome = s.artifact(p.Digest, p.Artifact(), p.Present, p.Plain)
	for _, sp := range p.Signatures {
		r := report.OriginalSignatureReport{Of: sp.Of, Kind: string(sp.Kind)}
		r.Digest, r.Form, r.Outcome = s.artifact(sp.Digest, sp.Artifact(), sp.Present, sp.Plain)
		out.Signatures = append(out.Signatures, r)
	}
	return out
}

// artifact says what became of one artifact, which has the digest d if it is not a plain image: its
// digest at the destination, its form, and what happened to it.
func (s stored) artifact(d digest.Digest, a original.Artifact, present, plain bool) (digest.Digest, report.OriginalForm, report.Outcome) {
	as, done := s.forms[d]
	switch {
	case d == "":
		return "", "", ""
	case present && plain:
		return original.Plain(a).Document.Digest, report.PlainForm, report.Present
	case present:
		return d, report.ArtifactForm, report.Present
	case done && as != d:
		return as, report.PlainForm, report.Copied
	case done:
		return d, report.ArtifactForm, report.Copied
	}
	return d, "", ""
}
