package vouching

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore/pkg/signature"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/copy/internal/originals"
	"github.com/sparsecopy/sparsecopy/copy/internal/signing"
	"github.com/sparsecopy/sparsecopy/copy/internal/trust"
	"github.com/sparsecopy/sparsecopy/copy/internal/work"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/copy/report"
	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/internal/policy"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A Mirror vouches for what one copy strips.
type Mirror struct {
	Options
	Keys   *signing.Keys
	Origin types.ImageReference // as what the source is judged
	Policy policy.Judge
	Clock  clock.Clock // says when that was said
}

// A Site is a destination that has all that was copied, but for the tag.
type Site struct {
	Place  Place // nil if it cannot be read
	Budget *semaphore.Weighted
	// Sign has the keys sign images and lists, those that they have not signed yet.
	Sign func(ctx context.Context, digests []digest.Digest) error
	// Store stores artifacts, all of one subject, and makes them known as referrers of that.
	Store func(ctx context.Context, artifacts []original.Artifact) error
}

// Vouch has the keys sign what p leaves of a list, and say so, if the list at the source is judged
// to be signed, and proven to be what was stripped. Otherwise, the report says why not, and nothing
// is signed. That no bundle can be attached is no error, but in the report, too. An error is one of
// the site or of the keys, or context.Cause.
func (m *Mirror) Vouch(ctx context.Context, p *plan.Plan, at Site) (report.VouchedReport, error) {
	facts, whyNot, err := m.judge(ctx, p)
	if err != nil || whyNot != nil {
		return whyNot.report(), err
	}
	if err := at.Sign(ctx, slices.Concat(p.Stored(), p.Lists())); err != nil {
		return report.VouchedReport{}, err
	}
	bundles, whyNot, err := m.say(ctx, facts, at)
	said := whyNot.report()
	said.Judged, said.Bundles = facts.Judged, bundles
	return said, err
}

// A refusal is why nothing is signed, for programs and for people.
type refusal struct {
	code   report.VouchedCode
	reason string
}

func (r *refusal) report() report.VouchedReport {
	if r == nil {
		return report.VouchedReport{}
	}
	return report.VouchedReport{Code: r.code, Reason: r.reason}
}

// judge returns what can be said of the list that p strips, or why nothing can.
func (m *Mirror) judge(ctx context.Context, p *plan.Plan) (facts Facts, whyNot *refusal, err error) {
	switch {
	case p.Original == nil:
		return Facts{}, &refusal{report.NothingRemoved, "nothing was removed from a list: what its publisher has signed is there as it was"}, nil
	case p.Original.Reason != "":
		return Facts{}, &refusal{report.NotProvable, p.Original.Reason}, nil
	}
	travels, signatures, err := carriedBy(p.Original)
	if err != nil {
		return Facts{}, nil, err
	}
	stripped := work.DocumentOf(p.List)
	removal, err := manifest.StrippedFrom(stripped.Bytes, travels.Top().Bytes, documents(travels, p))
	if err != nil {
		return Facts{}, &refusal{report.NotProvable, fmt.Sprintf("%s is not proven to be what was left of %s: %v", stripped.Digest, p.Original.List, err)}, nil
	}
	verdict, err := trust.Judge(ctx, trust.Question{
		Origin: m.Origin, List: travels.Top(), Signatures: signatures, Policy: m.Policy, Bundles: m.BundleVerifier,
	})
	if refused, ok := errors.AsType[*trust.Error](err); ok {
		return Facts{}, &refusal{report.VouchedCode(refused.Reason), refused.Error()}, nil
	} else if err != nil {
		return Facts{}, nil, err
	}
	said, err := m.policy()
	if err != nil {
		return Facts{}, nil, err
	}
	facts = Facts{
		Stripped:   imgspecv1.Descriptor{MediaType: stripped.MediaType, Digest: stripped.Digest, Size: int64(len(stripped.Bytes))},
		Repository: m.Keys.Repository(), Original: p.Original.List, Removal: removal, Verifier: m.VerifierID, Policy: said,
	}
	for _, s := range verdict.Accepted() {
		facts.Judged = append(facts.Judged, s.Digest)
	}
	slices.Sort(facts.Judged) // a manifest may have several signatures
	facts.Judged = slices.Compact(facts.Judged)
	return facts, nil, nil
}

// policy returns what is said of the policy.
func (m *Mirror) policy() (Policy, error) {
	var judgedBy any
	if m.Policy.Context != nil {
		judgedBy = m.Policy.Context.Policy
	}
	return PolicyOf(judgedBy, m.PolicyURI, m.PolicyDigest)
}

// carriedBy returns what travels along, as whoever verifies it will read it.
func carriedBy(p *plan.OriginalPlan) (original.Original, []original.Signature, error) {
	o, err := original.Read(contentOf(p.Artifact()))
	if err != nil {
		return o, nil, err
	}
	var signatures []original.Signature
	for i := range p.Signatures {
		s, err := original.ReadSignature(contentOf(p.Signatures[i].Artifact()))
		if err != nil {
			return o, nil, err
		}
		signatures = append(signatures, s)
	}
	return o, signatures, nil
}

// contentOf returns an artifact as it is read.
func contentOf(a original.Artifact) (manifest.Document, func(imgspecv1.Descriptor) ([]byte, error)) {
	return a.Document, func(d imgspecv1.Descriptor) ([]byte, error) {
		for _, p := range a.Parts() {
			if p.Descriptor.Digest == d.Digest {
				return p.Content, nil
			}
		}
		return nil, endpoint.ErrNotFound
	}
}

// documents returns the lists that are nested in an original, and in what p leaves of it.
func documents(o original.Original, p *plan.Plan) func(digest.Digest) ([]byte, error) {
	lists := maps.Clone(work.Lists(p))
	for _, doc := range o.Documents {
		lists[doc.Digest] = doc
	}
	return func(d digest.Digest) ([]byte, error) {
		doc, ok := lists[d]
		if !ok {
			return nil, endpoint.ErrNotFound
		}
		return doc.Bytes, nil
	}
}

// say attaches to a stripped list what no bundle of ours says of it yet, if there is a key that
// makes bundles. It returns all that say it, or why there are none.
func (m *Mirror) say(ctx context.Context, f Facts, at Site) (bundles []report.VouchedBundle, whyNot *refusal, err error) {
	key, ours, err := m.Keys.Sigstore()
	if key == nil || err != nil {
		return nil, nil, err
	}
	done, err := m.Keys.TakeTurn(ctx, f.Stripped.Digest)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	bundles, lacking, err := m.words(ctx, f, at, key, ours)
	if err == nil && len(lacking) > 0 {
		err = at.Store(ctx, lacking)
	}
	if code := unsaid(err); code != "" {
		return nil, &refusal{code, fmt.Sprintf("no sigstore bundle is attached to %s: %v", f.Stripped.Digest, err)}, nil
	}
	return bundles, nil, err
}

// unsaid returns the code for an error of say that is only a reason for the report, "" for others.
func unsaid(err error) report.VouchedCode {
	switch {
	case errors.Is(err, errTooMany):
		return report.TooManyBundles
	case errors.Is(err, errTooLarge):
		return report.SummaryTooLarge
	case originals.RefusesForm(err):
		return report.BundlesRefused
	}
	return ""
}

// words returns the bundles that say f: those that are attached, and new ones, which are lacking.
func (m *Mirror) words(ctx context.Context, f Facts, at Site, key signature.Signer, ours []signature.Verifier) (all []report.VouchedBundle, lacking []original.Artifact, err error) {
	statements := Statements(f, m.Clock.Now())
	before := make([]digest.Digest, len(statements))
	if at.Place != nil {
		if before, err = Said(ctx, at.Budget, at.Place, f.Stripped.Digest, statements, ours); err != nil {
			return nil, nil, err
		}
	}
	for i, s := range statements {
		b := report.VouchedBundle{PredicateType: s.PredicateType, Digest: before[i], Outcome: report.Present}
		if b.Digest == "" {
			bundle, err := s.Sign(ctx, key)
			if err != nil {
				return nil, nil, err
			}
			a := Artifact(f.Stripped, s, bundle)
			b.Digest, b.Outcome = a.Document.Digest, report.Copied
			lacking = append(lacking, a)
		}
		all = append(all, b)
	}
	return all, lacking, nil
}
