package copy

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/internal/originals"
	"github.com/sparsecopy/sparsecopy/copy/internal/refusals"
	"github.com/sparsecopy/sparsecopy/copy/internal/signing"
	"github.com/sparsecopy/sparsecopy/copy/internal/work"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A storer stores manifests, lists and signatures by their digests at a destination that is open,
// as the plan of a survey wants it. Its methods may run concurrently, and must be called without a
// slot of the budget.
type storer struct {
	*ends
	survey
	signing  *signing.Copy
	original *originals.Store // for Options.AttachOriginal
}

// openStorer opens the destination, unless it is open, and makes sure that it stores what there is
// to carry.
func openStorer(ctx context.Context, e *ends, s survey) (*storer, error) {
	err := e.openDestination(ctx)
	if err != nil {
		return nil, err
	}
	work.TellRecorder(e.dst, s.source.Top.Digest, s.plan, &e.choices)
	to := &storer{ends: e, survey: s, signing: e.signingFor(s.source, s.there)}
	if err := cmp.Or(to.signing.Check(ctx), e.vouchingFor(s).Check(ctx)); err != nil {
		return nil, failure.New("copying signatures to", DestinationSide, e.dstName, err)
	}
	if len(s.plan.ToAttach()) > 0 {
		if _, err := attachedTo(e); err != nil {
			return nil, err
		}
	}
	access.MountAcross(e.dst, e.src)
	to.original, err = newOriginalStore(to)
	return to, err
}

// The Ops of errors about the manifest of an instance, and about a list.
const (
	writingManifest = "writing manifest"
	writingList     = "writing list"
)

// work is what is known of what is to be stored.
func (s *storer) work() work.Knowledge {
	return work.Knowledge{Source: s.source, There: s.there, Foreign: access.Transports[s.to].Foreign}
}

// manifest is manifestOf.
func (s *storer) manifest(ctx context.Context, d digest.Digest) (endpoint.Document, error) {
	return manifestOf(ctx, s.ends, s.survey, d)
}

// manifestOf returns the manifest or list with digest d: what became of an image, or one of the
// source, as it was read before or as it is read now.
func manifestOf(ctx context.Context, e *ends, s survey, d digest.Digest) (endpoint.Document, error) {
	if doc, ok := s.there.Result(d); ok {
		return doc, nil
	}
	return e.reader().Manifest(ctx, s.source, d)
}

// putImage stores the manifest of a child, and its signatures.
func (s *storer) putImage(ctx context.Context, doc endpoint.Document) error {
	s.progress.Line("Writing manifest to image destination")
	return s.putSigned(ctx, doc, func() error {
		err := s.store(ctx, doc)
		if endpoint.RefusesType(err) && s.plan.Attests(doc.Digest) {
			err = fmt.Errorf("%w; this is an attestation, which Attestations can leave behind", err)
		}
		if err != nil {
			return failure.New(writingManifest, DestinationSide, doc.Digest.String(), refusals.OfType(err, doc, s.plan, s.source))
		}
		s.reporter.Update(func(r *Report) { r.ManifestsCopied++ })
		return nil
	})
}

// putSigned stores a manifest or list by its digest by calling put, and its signatures, if it has
// any.
func (s *storer) putSigned(ctx context.Context, doc endpoint.Document, put func() error) error {
	return failure.Signing(s.signing.Store(ctx, doc, put))
}

// putSignatures stores the signatures of a manifest or list that is there, if it has any.
func (s *storer) putSignatures(ctx context.Context, doc endpoint.Document) error {
	return s.putSigned(ctx, doc, func() error { return nil })
}

// store stores a manifest or list; one that is added to a list which is there by the tag that keeps
// it, so that it is never without.
func (s *storer) store(ctx context.Context, doc endpoint.Document) error {
	return s.put(ctx, doc, func() error {
		dst, ok := s.dst.(endpoint.ReferrerDestination)
		if !ok || !slices.Contains(s.plan.Widened, doc.Digest) {
			return s.dst.PutManifest(ctx, doc)
		}
		is := func(endpoint.Document) (endpoint.Document, error) { return doc, nil }
		return dst.UpdateTag(ctx, plan.ChildTag(doc.Digest), is)
	})
}

// storeAgain stores a manifest that the destination says it does not have, if it can still be read:
// else the list will be refused again.
func (s *storer) storeAgain(ctx context.Context, d digest.Digest) error {
	again, err := s.manifest(ctx, d)
	if err != nil {
		logrus.Debugf("what the destination has lost cannot be read again: %v", err)
		return nil
	}
	if err := s.store(ctx, again); err != nil {
		return failure.New("writing manifest again", DestinationSide, d.String(), err)
	}
	return nil
}

// put stores doc by calling put. If the destination refuses it because it lacks its subject, and
// the plan copies that, the subject is put and doc is tried once more; if the plan does not, the
// error is a *SubjectError. Blobs that the destination said were there, and says are not, are sent:
// see sendLost.
func (s *storer) put(ctx context.Context, doc endpoint.Document, put func() error) error {
	err := inflight.One(ctx, s.budget, func() error { return s.sendLost(ctx, doc, put) })
	subject := attach.RefusedSubject(err, doc)
	if subject == "" {
		return err
	}
	if !s.plan.Brings(subject) {
		return &SubjectError{Digest: doc.Digest, Subject: subject, Refusal: err}
	}
	lost, readErr := s.manifest(ctx, subject)
	if readErr != nil {
		return fmt.Errorf("%w (and reading the subject again: %w)", err, readErr)
	}
	again := inflight.One(ctx, s.budget, func() error {
		return s.sendLost(ctx, lost, func() error { return s.dst.PutManifest(ctx, lost) })
	})
	if again != nil {
		return fmt.Errorf("%w (and writing the subject again: %w)", err, again)
	}
	return inflight.One(ctx, s.budget, put)
}

// sendLost stores doc by calling put, and what the registry lacks for it all the same, if the
// source has that: see endpoint.SendLost. It must be called with a slot of the budget.
func (s *storer) sendLost(ctx context.Context, doc endpoint.Document, put func() error) error {
	dst, direct := s.dst.(*registry.Destination)
	if _, made := s.there.Result(doc.Digest); made || !direct || manifest.IsListMediaType(doc.MediaType) {
		return put()
	}
	image, err := s.work().Image(doc)
	if err != nil {
		return err
	}
	return endpoint.SendLost(image.Blobs, put, func(b endpoint.Blob) error {
		send := func() error { return dst.SendBlob(ctx, b, s.opener(s.source, doc.Digest, b, nil)) }
		if err := endpoint.Twice(send); err != nil {
			return err
		}
		s.reporter.BlobAgain(b)
		return nil
	})
}
