package copy

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/attached"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/internal/originals"
	"github.com/sparsecopy/sparsecopy/copy/internal/work"
	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
)

// attachedTo returns where the destination is told what is attached.
func attachedTo(e *ends) (attach.Destination, error) {
	referrers, err := endpoint.ReferrersTo(e.dst)
	if err != nil {
		err = e.choices.CannotAttach(fmt.Sprintf("the destination %s takes no attachments: %v", e.dstName, err))
	}
	return attach.Destination{Name: e.dstName, Referrers: referrers, Budget: e.budget}, err
}

// loadAttachments finds the referrers and digest tags of everything that the plan copies, and
// theirs in turn, and which of them the destination knows, if it is compared; and plans anew.
func loadAttachments(ctx context.Context, e *ends, s survey) (survey, error) {
	if !e.choices.Attaches() {
		return s, nil
	}
	if changer, ok := e.src.(endpoint.Changer); ok {
		s.source.Changed = changer.Changed()
	}
	found, err := findAttachments(ctx, e, s)
	if err != nil {
		return s, err
	}
	if s.source, err = s.source.WithAttachments(found); err != nil {
		return s, err
	}
	if s, err = e.replanned(s); err != nil {
		return s, err
	}
	if !access.Transports[e.to].Native { // a bundle has signatures in both forms: policies are asked about its images, too
		s.source.Carried = attach.CarriedBy(attached.Of(attached.MayBeCopied(s.plan)), s.source.Document)
		s.source.Signatures = s.source.Carried.Without(s.source.Signatures)
	}
	return compareAttachments(ctx, e, s)
}

// findAttachments warns of what could not be asked, or is no attachment.
func findAttachments(ctx context.Context, e *ends, s survey) (attach.Found, error) {
	src, err := e.reader().Attached(s.source)
	if err != nil {
		return attach.Found{}, e.choices.CannotAttach(fmt.Sprintf("the source %s does not tell what is attached: %v", e.srcName, err))
	}
	if s.there.Asked {
		if _, err := attachedTo(e); err != nil {
			return attach.Found{}, err
		}
	}
	subjects := slices.AppendSeq(slices.Clone(s.source.Changed), maps.Keys(s.plan.Subjects()))
	slices.Sort(subjects)
	found, err := attach.Find(ctx, src, attached.Choices(&e.choices, s.plan), subjects)
	for _, text := range found.Warnings {
		e.reporter.Warn(text)
	}
	return found, failure.Attaching(SourceSide, e.srcName, err)
}

// compareAttachments asks the destination which attachments of the plan it knows as what they are,
// and plans anew; not as long as it may be as an earlier copy has left it.
func compareAttachments(ctx context.Context, e *ends, s survey) (survey, error) {
	if !s.there.Asked || s.asEarlier {
		return s, nil
	}
	dst, err := attachedTo(e)
	if err != nil {
		return s, err
	}
	read := func(ctx context.Context, d digest.Digest) (endpoint.Document, error) {
		return e.reader().Manifest(ctx, s.source, d)
	}
	c, err := attach.Compare(ctx, dst, attached.Of(attached.MayBeCopied(s.plan)), read)
	warnNotListable(e, c.NotListable)
	for _, text := range c.Kept {
		e.reporter.Warn(text)
	}
	if err != nil {
		return s, err
	}
	manifests, err := endpoint.AskManifests(ctx, e.budget, e.dst, c.Manifests())
	if err != nil {
		return s, err
	}
	if e.o.CheckBlobs {
		if manifests, err = e.asks().Complete(ctx, s.source, manifests, c.Named()); err != nil {
			return s, err
		}
	}
	s.there = s.there.WithPresent(manifests)
	known := c.Known(s.there.Present)
	s.source.Attachments = slices.Clone(s.source.Attachments)
	for i, a := range s.source.Attachments {
		s.source.Attachments[i].Present = known[attach.Key{Subject: a.Subject, Digest: a.Digest, Tag: a.Tag}]
	}
	return e.replanned(s)
}

// warnNotListable warns of subjects whose referrers cannot be listed at the destination.
func warnNotListable(e *ends, subjects []*endpoint.NotListableError) {
	for _, no := range subjects {
		e.reporter.WarnOnce(fmt.Sprintf("%v; at %s they can be had by their digests only", no, e.dstName))
	}
}

// findListSignatures looks for signatures that are attached to lists which the plan changes. No
// answer fails the copy: the plan decides what they mean.
func findListSignatures(ctx context.Context, e *ends, s survey) (map[digest.Digest]ListSignatures, error) {
	lists := s.plan.Changing()
	if s.source.OriginalAsked || originals.Wanted(s.plan) { // whoever reads those of the list itself knows what there is
		lists = slices.DeleteFunc(lists, func(d digest.Digest) bool { return d == s.source.Top.Digest })
	}
	if len(lists) == 0 || e.o.RemoveSignatures || e.o.RemoveListSignatures || !access.Transports[e.from].Referrers {
		return s.source.ListSignatures, nil
	}
	return e.reader().ListSignatures(ctx, s.source, s.plan, lists)
}

// copyAttachments copies attachments, and makes them known at the destination, which may wait for
// PutTop or Flush.
func copyAttachments(ctx context.Context, to *storer, planned []AttachedPlan) error {
	if len(planned) == 0 {
		return nil
	}
	read := func(ctx context.Context, d digest.Digest) (endpoint.Document, error) {
		doc, err := to.manifest(ctx, d)
		if err != nil {
			err = failure.New("reading attachment", SourceSide, d.String(), err)
		}
		return doc, err
	}
	open := func(of digest.Digest, b endpoint.Blob) endpoint.Opener { return to.held(to.source, of, b) }
	carried, err := to.original.Carry(ctx, attached.Of(planned), originals.Carried{Manifest: read, Open: open})
	if err != nil {
		return failure.Attaching(DestinationSide, to.dstName, err)
	}
	to.reporter.Update(func(r *Report) { r.ManifestsCopied += len(carried) })
	planned = slices.DeleteFunc(slices.Clone(planned), func(a AttachedPlan) bool { return carried[a.Digest] })
	done := slices.Concat(to.plan.Stored(), to.plan.Lists())
	documents, err := attach.Documents(ctx, attached.Of(planned), done, read)
	if err != nil {
		return err
	}
	images, lists, err := to.work().Documents(documents)
	if err != nil {
		return err
	}
	if err := storeAttached(ctx, to, work.SubjectsFirst(images), lists); err != nil {
		return failure.RefusedAttachment(err, planned)
	}
	return announce(ctx, to, planned, read)
}

// storeAttached stores images, whose subjects come first, and lists, each after what it names.
func storeAttached(
	ctx context.Context, to *storer, images []work.Image, lists map[digest.Digest]endpoint.Document,
) error {
	late := work.WaitForLists(images, slices.Sorted(maps.Keys(lists)))
	if err := copyImages(ctx, to, images, nil); err != nil {
		return err
	}
	image := func(image work.Image) error { return to.putImage(ctx, image.Doc) }
	return work.Attached(lists, late, image, func(list endpoint.Document) error {
		err := attach.StoreList(list,
			func() error { return to.put(ctx, list, func() error { return to.dst.PutManifest(ctx, list) }) },
			func(child digest.Digest) error { return to.storeAgain(ctx, child) })
		if err != nil {
			return failure.New("writing attached list", DestinationSide, list.Digest.String(), err)
		}
		to.reporter.Update(func(r *Report) { r.ManifestsCopied++ })
		return nil
	})
}

// announce makes known what was copied: referrers by subject, the others by their tags.
func announce(ctx context.Context, to *storer, planned []AttachedPlan, read attach.Read) error {
	dst, err := attachedTo(to.ends)
	if err != nil {
		return err
	}
	store := attach.Store{Blobs: to.dst, Read: read, Put: to.sendLost}
	announced, err := attach.Announce(ctx, dst, store, attached.Of(planned))
	warnNotListable(to.ends, announced.NotListable)
	for _, text := range announced.Warnings {
		to.reporter.Warn(text)
	}
	to.reporter.Update(func(r *Report) { r.ManifestsCopied += announced.Tags })
	return failure.Attaching(DestinationSide, to.dstName, err)
}

// flushAttachments makes visible what the destination has been told and keeps to itself.
func flushAttachments(ctx context.Context, e *ends) error {
	dst, err := attachedTo(e)
	if err != nil {
		return err
	}
	if err := inflight.One(ctx, e.budget, func() error { return dst.Referrers.Flush(ctx) }); err != nil {
		return failure.New("publishing attachments at", DestinationSide, e.dstName, err)
	}
	return nil
}
