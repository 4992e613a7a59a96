package trust

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/internal/policy"
	"github.com/sparsecopy/sparsecopy/internal/turns"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// Options are the choices of Verify.
type Options struct {
	// Origin is the reference under which the publisher's list is known: that of the image which
	// was mirrored. It must be given. It is never read: it is the identity that the policy judges.
	// If it has a digest, only the list with that digest will do.
	Origin types.ImageReference
	// Policy judges simple signatures and cosign's tags. One that accepts the list without any
	// signature proves nothing. Nil if only bundles count.
	Policy *signature.PolicyContext
	// Bundles verifies sigstore bundles. Nil if only the policy counts. If both are given, what
	// either accepts is signed, unless the policy rejects everything from the origin.
	Bundles BundleVerifier
	// SystemContext is the configuration of the destination; nil means the defaults.
	SystemContext *types.SystemContext
}

// Means are what a verification shares with others.
type Means struct {
	Turns *turns.Turns[*signature.PolicyContext]
	Limit *semaphore.Weighted // of what is in flight
	Name  string              // of the place whose list is verified, for people
}

// Verify finds out whether the list at a place is proven to be its publisher's, with entries taken
// out. dst is nil if its reference names nothing. Only the list is read, those nested in it, and
// what carries its original with the signatures of that.
//
// There may be several originals from which the same entries remain: it is proven if one of them
// is. Otherwise, the verification has what came nearest, and the error is an *Error. Any other
// error comes without a verification: it is an *inspect.ReadError about something without which
// there is no telling, or one about temporary files, or context.Cause.
func Verify(ctx context.Context, dst endpoint.Source, o Options, m Means) (*Verification, error) {
	found := &Verification{Schema: Schema, Destination: m.Name, Origin: transports.ImageName(o.Origin)}
	err := verify(ctx, dst, o, m, found)
	switch refused, ok := errors.AsType[*Error](err); {
	case ok:
		found.Reason, found.Problem = refused.Reason, refused.Error()
		return found, refused
	case err != nil:
		return nil, err
	}
	found.Proven = true
	return found, nil
}

func verify(ctx context.Context, dst endpoint.Source, o Options, m Means, found *Verification) error {
	switch {
	case o.Policy == nil && o.Bundles == nil:
		return &Error{Reason: NobodyJudges}
	case dst == nil:
		return &Error{Reason: Absent, Detail: found.Destination}
	}
	list := dst.Top()
	found.List = list.Digest
	if !manifest.IsListMediaType(list.Type()) {
		return &Error{Reason: NotAList, List: list.Digest}
	}
	r := &reader{dst: dst, limit: m.Limit}
	q := Question{Origin: o.Origin, Policy: policy.Judge{Turns: m.Turns, Context: o.Policy}, Bundles: o.Bundles}
	carriers, err := r.carriers(ctx)
	if err != nil {
		return err
	}
	found.Warnings = carriers.Warnings
	originals := inRole(carriers, original.RoleOriginal)
	if len(originals) == 0 {
		return noOriginal(list.Digest, carriers)
	}
	best, err := tryEach(ctx, r, q, originals, inRole(carriers, original.RoleSignature))
	if err != nil {
		return err
	}
	best.note(found)
	if best.failure != nil {
		return best.failure
	}
	return nil
}

// tryEach tries to prove the list at a place by one carrier of an original after the other, until
// one proves it, and returns the attempt that came nearest. What cannot be read of one keeps none
// of the others from proving it; if none does, that is the error.
func tryEach(ctx context.Context, r *reader, q Question, originals, signatures []attach.Carrier) (best attempt, err error) {
	var untold error
	for _, carrier := range originals {
		a, err := try(ctx, r, q, carrier, signatures)
		switch {
		case ctx.Err() != nil:
			return best, context.Cause(ctx)
		case err != nil:
			untold = cmp.Or(untold, err)
		case a.failure == nil:
			return a, nil
		case best.failure == nil || a.nearer(best):
			best = a
		}
	}
	return best, untold
}

func inRole(carriers attach.Carriers, role original.Role) []attach.Carrier {
	return slices.DeleteFunc(slices.Clone(carriers.Found), func(c attach.Carrier) bool { return c.Role != role })
}

// noOriginal says why there is no original.
func noOriginal(list digest.Digest, carriers attach.Carriers) *Error {
	switch {
	case carriers.Unknown:
		return &Error{Reason: OriginalUnknown, List: list, Detail: strings.Join(carriers.Warnings, "; ")}
	case len(carriers.Foreign) > 0:
		return &Error{Reason: OriginalOfAnother, List: list, Object: carriers.Foreign[0], Detail: "it refers to something else"}
	}
	return &Error{Reason: NoOriginal, List: list}
}

// A stage is how far an attempt came.
type stage int

const (
	reading stage = iota
	proving
	judging
)

// An attempt is what came of proving a list by one carrier.
type attempt struct {
	carrier  digest.Digest
	original original.Original
	removal  *manifest.Removal
	verdict  Verdict

	stage   stage
	failure *Error // nil if it is proven
}

// nearer reports whether a came nearer to a proof than b, which failed.
func (a attempt) nearer(b attempt) bool {
	switch {
	case a.failure == nil || a.stage != b.stage:
		return a.failure == nil || a.stage > b.stage
	case a.stage == judging:
		return slices.Index(nearest, a.failure.Reason) < slices.Index(nearest, b.failure.Reason)
	}
	return false // the one with the lower digest came first
}

// note puts what was found into a verification.
func (a attempt) note(found *Verification) {
	found.Carrier, found.Plain, found.Claim = a.carrier, a.original.Plain, a.original.Claim
	if len(a.original.Documents) > 0 {
		found.Original = a.original.Top().Digest
	}
	found.Removal, found.Signatures = a.removal, a.verdict.Signatures
}

// failed returns the attempt as one that failed at a stage. An error that is no *Error says that
// there is no telling.
func (a attempt) failed(at stage, err error) (attempt, error) {
	refused, ok := errors.AsType[*Error](err)
	if !ok {
		return a, err
	}
	a.stage, a.failure = at, refused
	return a, nil
}

// try tries to prove the list at a place by one carrier of an original, with those of signatures. q
// lacks what they carry.
func try(ctx context.Context, r *reader, q Question, carrier attach.Carrier, signatures []attach.Carrier) (attempt, error) {
	a := attempt{carrier: carrier.Digest}
	var err error
	if a.original, err = r.original(ctx, carrier); err != nil {
		return a.failed(reading, err)
	}
	if a.removal, err = prove(ctx, r, a.original, carrier.Digest); err != nil {
		return a.failed(proving, err)
	}
	if a.verdict, err = judge(ctx, r, q, a.original.Top(), signatures); err != nil {
		return a.failed(judging, err)
	}
	return a, nil
}

// prove holds the list at a place against an original.
func prove(ctx context.Context, r *reader, o original.Original, carrier digest.Digest) (*manifest.Removal, error) {
	list, top := r.dst.Top(), o.Top()
	var unread error
	removal, err := manifest.StrippedFrom(list.Bytes, top.Bytes, func(d digest.Digest) ([]byte, error) {
		doc, err := r.document(ctx, o, d)
		if err != nil && !errors.Is(err, endpoint.ErrNotFound) {
			unread = cmp.Or(unread, err)
		}
		return doc, err
	})
	if unread != nil {
		return nil, unread
	}
	if err != nil {
		return nil, unproven(list, top, carrier, err)
	}
	return &removal, nil
}

// judge asks q of an original and the signatures that came along.
func judge(ctx context.Context, r *reader, q Question, top manifest.Document, carriers []attach.Carrier) (Verdict, error) {
	read, err := r.signatures(ctx, top.Digest, carriers)
	if err != nil {
		return Verdict{}, err
	}
	q.List, q.Signatures = top, read.sound
	verdict, err := Judge(ctx, q)
	verdict.Signatures = append(verdict.Signatures, read.broken...)
	refused, ok := errors.AsType[*Error](err)
	switch {
	case ok && read.untold != nil:
		return Verdict{}, read.untold
	case ok && read.others > 0:
		err = r.fail(TooManySignatures, fmt.Sprintf("%d, and none of the first %d is accepted", maxSignatures+read.others, maxSignatures))
	case ok && refused.Reason == NoSignature && len(read.broken) > 0:
		first := read.broken[0]
		err = &Error{Reason: SignatureUnreadable, List: top.Digest, Object: first.Digest, Detail: first.Problem}
	}
	return verdict, err
}

// differences says for each kind of difference from the original why there is no proof.
var differences = map[manifest.Difference]Reason{
	manifest.EntryAltered: EntryAltered, manifest.EntryAdded: EntryAdded, manifest.OrderChanged: OrderChanged,
	manifest.NestedUnproven: NestedUnproven, manifest.LayoutChanged: LayoutChanged, manifest.RestChanged: RestChanged,
	manifest.DocumentMissing: NestedMissing, manifest.StrippedUnreadable: ListUnreadable, manifest.OriginalUnreadable: OriginalUnreadable,
	manifest.LimitExceeded: TooMuch,
}

// unproven puts the error of manifest.StrippedFrom into the words of this package.
func unproven(list, top manifest.Document, carrier digest.Digest, err error) error {
	e := &Error{Reason: EntryAltered, List: list.Digest, Object: carrier, Err: err}
	difference, ok := errors.AsType[*manifest.DifferenceError](err)
	if !ok {
		return err
	}
	e.Reason = differences[difference.Kind]
	for within := difference; within != nil; within, _ = errors.AsType[*manifest.DifferenceError](within.Err) {
		if within.Kind == manifest.DocumentMissing {
			e.Reason = NestedMissing
		}
	}
	is, was := entriesOf(list), entriesOf(top)
	switch {
	case e.Reason != EntryAltered && e.Reason != EntryAdded:
	case len(is) > 1 && !slices.ContainsFunc(is, func(in manifest.Instance) bool {
		return slices.ContainsFunc(was, func(of manifest.Instance) bool { return of.Digest == in.Digest })
	}):
		e.Reason = OriginalOfAnother
	case difference.Original >= 0:
		e.Reason, e.Detail = altered(is[difference.Entry], was[difference.Original])
	}
	return e
}

// entriesOf returns the entries of a list, none of what is no list.
func entriesOf(doc manifest.Document) []manifest.Instance {
	list, err := manifest.Parse(doc.Bytes, doc.Type())
	if err != nil {
		return nil
	}
	return list.Instances()
}

// altered says what is other in an entry than it was.
func altered(is, was manifest.Instance) (Reason, string) {
	name := func(in manifest.Instance) string { return platform.Format(in.Platform) }
	switch {
	case is.Digest != was.Digest:
		return EntryDigest, fmt.Sprintf("the entry for %s names %s, and the original's %s", name(is), is.Digest, was.Digest)
	case name(is) != name(was):
		return EntryPlatform, fmt.Sprintf("the entry of %s says %s, and the original's %s", is.Digest, name(is), name(was))
	}
	return EntryAltered, fmt.Sprintf("the entry of %s", is.Digest)
}
