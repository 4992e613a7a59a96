package originals

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
	"github.com/sparsecopy/sparsecopy/internal/original"
)

// A Place is where artifacts are stored.
type Place struct {
	endpoint.Destination
	Referrers endpoint.ReferrerDestination
	Budget    *semaphore.Weighted // counts everything in flight
	// Send stores a blob unless the destination has it. It is called with a slot of the budget.
	Send func(ctx context.Context, b endpoint.Blob, content []byte) error
}

// A Store stores the artifacts of one copy, all of which have the same subject. Its methods must
// not run concurrently.
type Store struct {
	to Place
	// stored are the forms in which artifacts have been stored, by the digests of what was to be
	// stored, and blobs those that have been.
	stored map[digest.Digest]original.Artifact
	blobs  map[digest.Digest]bool
	// unannounced have been stored, and are not known as referrers.
	unannounced []imgspecv1.Descriptor
	present     []original.Artifact // that were there before
}

// NewStore returns a Store of artifacts at to, none of which is stored yet but for those in
// present, in the form in which they are there.
func NewStore(to Place, present []original.Artifact) *Store {
	return &Store{to: to, stored: map[digest.Digest]original.Artifact{}, blobs: map[digest.Digest]bool{}, present: present}
}

// Ahead stores artifacts whose subject need not be there yet, and makes them known as its
// referrers. Where the destination refuses one, that is no error: it may want the subject first. It
// is left to Finish then, and so is making them known.
func (s *Store) Ahead(ctx context.Context, artifacts []original.Artifact) error {
	refused := false
	err := s.storeAll(ctx, artifacts, Forms(s.to.Destination)[0], func(a original.Artifact, err error) error {
		if !endpoint.RefusesPut(err) {
			return failed(a, err)
		}
		logrus.Debugf("%s is refused before its subject is there: %v", a.Document.Digest, err)
		refused = true
		return nil
	})
	if err != nil || refused {
		return err
	}
	return s.announce(ctx, artifacts)
}

// Finish stores those of artifacts that are not stored yet, whose subject is there, and makes them
// known. What the destination refuses for what it is, it gets once more in the other form. The
// error is an *attach.Error, of an *attach.OriginalRefusedError if both are refused.
func (s *Store) Finish(ctx context.Context, artifacts []original.Artifact) error {
	refusals := map[digest.Digest]refusal{}
	for _, as := range Forms(s.to.Destination) {
		err := s.storeAll(ctx, artifacts, as, func(a original.Artifact, err error) error {
			if !RefusesForm(err) || !isOurs(a) {
				return failed(a, err)
			}
			logrus.Debugf("%s is refused (as a plain image: %t): %v", a.Document.Digest, as == plain, err)
			refusals[a.Document.Digest] = refusals[a.Document.Digest].and(as, err)
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, a := range artifacts {
		if s.Lacks([]original.Artifact{a}) {
			return failed(a, refusals[a.Document.Digest].of(a))
		}
	}
	s.remember(refusals)
	return s.announce(ctx, artifacts)
}

// Lacks reports whether one of artifacts has not been stored.
func (s *Store) Lacks(artifacts []original.Artifact) bool {
	for _, a := range artifacts {
		if _, ok := s.stored[a.Document.Digest]; !ok {
			return true
		}
	}
	return false
}

// Forms returns the digests of what has been stored, by those of what was to be stored: they differ
// for what is stored as a plain image.
func (s *Store) Forms() map[digest.Digest]digest.Digest {
	forms := map[digest.Digest]digest.Digest{}
	for d, a := range s.stored {
		forms[d] = a.Document.Digest
	}
	return forms
}

// Check stores what is lacking of the blobs of artifacts that were there before, and makes these
// known as referrers, which they may not be: a copy may have failed before it had done so, and the
// tag that lists them may be gone.
func (s *Store) Check(ctx context.Context) error {
	if len(s.present) == 0 {
		return nil
	}
	if err := s.putBlobs(ctx, s.present); err != nil {
		return err
	}
	return s.announceAll(ctx, s.present[0].Subject())
}

// failed is the error of an artifact that was not stored.
func failed(a original.Artifact, err error) error {
	return &attach.Error{Op: "writing artifact", Object: a.Document.Digest.String(), Err: err}
}

// storeAll stores those of artifacts that are not stored yet in a form, after the blobs of all: one
// after the other, since of two that are put at the same time a registry may list only one (olareg
// 0.2.2). refused says what it means that one is not stored.
func (s *Store) storeAll(ctx context.Context, artifacts []original.Artifact, as Form, refused func(original.Artifact, error) error) error {
	var lacking, formed []original.Artifact
	for _, a := range artifacts {
		if _, ok := s.stored[a.Document.Digest]; !ok {
			lacking, formed = append(lacking, a), append(formed, as.Of(a))
		}
	}
	if err := s.putBlobs(ctx, formed); err != nil {
		return err
	}
	for i, a := range lacking {
		err := inflight.One(ctx, s.to.Budget, func() error { return s.put(ctx, formed[i]) })
		if err == nil {
			s.stored[a.Document.Digest] = formed[i]
			s.unannounced = append(s.unannounced, formed[i].Descriptor())
		} else if err := refused(a, err); err != nil {
			return err
		}
	}
	return nil
}

// put stores an artifact whose blobs are there. Blobs that the destination says it lacks all the
// same are sent once more.
func (s *Store) put(ctx context.Context, a original.Artifact) error {
	put := func() error { return s.to.PutManifest(ctx, a.Document) }
	sender, ok := s.to.Destination.(endpoint.BlobSender)
	if !ok {
		return put()
	}
	contents := map[endpoint.Blob][]byte{}
	for i, p := range a.Parts() {
		contents[blobOf(p, i == 0)] = p.Content
	}
	send := func(b endpoint.Blob) error { return sender.SendBlob(ctx, b, opener(contents[b])) }
	return endpoint.SendLost(slices.Collect(maps.Keys(contents)), put, send)
}

// blobOf returns a part as a blob: the config of an artifact, or a layer.
func blobOf(p original.Part, config bool) endpoint.Blob {
	d := p.Descriptor
	return endpoint.Blob{Digest: d.Digest, Size: d.Size, MediaType: d.MediaType, Config: config}
}

// opener opens content that is held.
func opener(content []byte) endpoint.Opener {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
}

// putBlobs stores the distinct blobs of artifacts that have not been stored, all at the same time.
func (s *Store) putBlobs(ctx context.Context, artifacts []original.Artifact) error {
	var blobs []endpoint.Blob
	contents := map[digest.Digest][]byte{}
	for _, a := range artifacts {
		for i, p := range a.Parts() {
			d := p.Descriptor.Digest
			if !s.blobs[d] && contents[d] == nil {
				blobs = append(blobs, blobOf(p, i == 0))
			}
			contents[d] = p.Content
		}
	}
	err := inflight.Each(ctx, s.to.Budget, blobs, func(ctx context.Context, b endpoint.Blob) error {
		return s.to.Send(ctx, b, contents[b.Digest])
	})
	for _, b := range blobs {
		s.blobs[b.Digest] = err == nil
	}
	return err
}

// announce makes what has been stored known as referrers of its subject.
func (s *Store) announce(ctx context.Context, artifacts []original.Artifact) error {
	if len(s.unannounced) == 0 {
		return nil
	}
	return s.announceAll(ctx, artifacts[0].Subject())
}

// announceAll makes what has been stored known as referrers of subject, and so what was there
// before, in the same request: see Check.
func (s *Store) announceAll(ctx context.Context, subject digest.Digest) error {
	all := slices.Clone(s.unannounced)
	for _, a := range s.present {
		all = append(all, a.Descriptor())
	}
	// Whoever merges them into what is listed already keeps the order, which must not depend on who
	// was stored first.
	slices.SortFunc(all, func(a, b imgspecv1.Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
	err := inflight.One(ctx, s.to.Budget, func() error {
		return attach.AnnounceCarriers(ctx, attach.Destination{Referrers: s.to.Referrers}, subject, all)
	})
	if err != nil {
		return err
	}
	s.unannounced = nil
	return nil
}
