// Package reading reads the source of a copy: manifests and lists within limits, signatures, what
// the policy has to say of images, and what is attached (attached.go). What was read is a
// known.Source.
package reading

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/internal/known"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
	"github.com/sparsecopy/sparsecopy/internal/inspect"
	"github.com/sparsecopy/sparsecopy/internal/policy"
)

// A Reader reads one source. Its methods may run concurrently.
type Reader struct {
	Source endpoint.Source
	Name   string // for people
	// Elsewhere is where attachments are besides, nil for nowhere.
	Elsewhere *attach.Place
	Choices   *plan.Choices
	Policy    policy.Judge
	Budget    *semaphore.Weighted // counts everything in flight
	// Open returns an Opener of a blob that the manifest with digest owner names.
	Open func(l known.Source, owner digest.Digest, b endpoint.Blob) endpoint.Opener
	Warn func(text string)
	// Fail makes the error of an operation on an object that failed with err.
	Fail func(op, object string, err error) error
}

// Lists reads the nested lists of the source, level by level.
func (r *Reader) Lists(ctx context.Context, l known.Source) (known.Source, error) {
	for {
		absent := func(d digest.Digest) bool { return l.Missing[d] != nil }
		unread := slices.DeleteFunc(l.Tree.ToRead(r.Choices), absent)
		if len(unread) == 0 {
			return l, nil
		}
		lists, err := r.Manifests(ctx, l, unread)
		if err != nil {
			return l, err
		}
		if l, err = r.With(l, lists); err != nil {
			return l, err
		}
	}
}

// maxManifestBytes is what the manifests and nested lists that are held for one copy may have in
// all.
const maxManifestBytes = 256 << 20

// Manifests reads manifests and lists, but for those that l has already.
func (r *Reader) Manifests(ctx context.Context, l known.Source, digests []digest.Digest) (known.Fetched, error) {
	unread := slices.DeleteFunc(slices.Clone(digests), func(d digest.Digest) bool {
		_, read := l.Document(d)
		return read
	})
	out := known.Fetched{Documents: map[digest.Digest]endpoint.Document{}, Missing: map[digest.Digest]error{}}
	note := func(d digest.Digest, doc endpoint.Document, err error) error {
		if errors.Is(err, endpoint.ErrNotFound) {
			logrus.Debugf("%s is missing at the source: %v", d, err)
			out.Missing[d] = err
			return nil
		}
		out.Bytes += int64(len(doc.Bytes))
		if err == nil && l.Bytes+out.Bytes > maxManifestBytes {
			err = &plan.LimitError{What: "bytes of all manifests", Limit: maxManifestBytes, List: l.Top.Digest}
		}
		if err != nil {
			return r.Fail("reading manifest", d.String(), err)
		}
		out.Documents[d], out.Misdeclared = doc, out.Misdeclared || endpoint.IsMisdeclared(doc)
		return nil
	}
	err := inflight.Ask(ctx, r.Budget, unread, endpoint.ReadPresent(r.Source), note)
	return out, err
}

// With returns l with what was fetched. Manifests that cannot be parsed are an error.
func (r *Reader) With(l known.Source, f known.Fetched) (known.Source, error) {
	tree, err := l.Tree.With(f.Documents)
	if err != nil {
		return l, r.Fail("reading", r.Name, err)
	}
	for _, d := range slices.Sorted(maps.Keys(f.Documents)) {
		if f.Documents[d].IsList() { // with what is wrong about it, it would not be in the tree
			continue
		}
		if _, err := tree.Image(d); err != nil {
			return l, r.Fail("parsing manifest", d.String(), err)
		}
	}
	l.Tree, l.Bytes, l.Misdeclared = tree, l.Bytes+f.Bytes, l.Misdeclared || f.Misdeclared
	l.Missing = known.Merged(l.Missing, f.Missing)
	return l, nil
}

// Platform reads the platform of a single image out of its config, if the plan depends on it,
// after the policy's verdict. An artifact has none.
func (r *Reader) Platform(ctx context.Context, l known.Source) (known.Source, error) {
	if !r.Choices.NeedsPlatform() {
		return l, nil
	}
	image, err := l.Tree.Image(l.Top.Digest)
	if err != nil || image != nil && image.IsArtifact() {
		return l, err
	}
	if l, err = r.Judge(ctx, l, []digest.Digest{l.Top.Digest}); err != nil {
		return l, err
	}
	if image == nil {
		return l, &plan.OptionsError{Options: []string{"InstancePlatforms", "RequiredPlatforms"}, Reason: "the source is a Docker schema 1 image, whose platform is not known"}
	}
	l.Platform, err = inspect.ReadPlatform(ctx, image, func(b endpoint.Blob) endpoint.Opener { return r.Open(l, l.Top.Digest, b) })
	if err != nil {
		err = r.Fail(failure.ReadingConfig, image.Config.Digest.String(), err)
	}
	return l, err
}

// Judge lets the policy judge images, in the order given, but for those that are missing and
// those that it has judged already.
func (r *Reader) Judge(ctx context.Context, l known.Source, digests []digest.Digest) (known.Source, error) {
	judged := map[digest.Digest]bool{}
	for _, d := range digests {
		if l.Judged[d] || judged[d] || l.Missing[d] != nil {
			continue
		}
		image := endpoint.LazyUnparsed(r.Source.Reference(),
			func(ctx context.Context) (endpoint.Document, error) { return r.Manifest(ctx, l, d) },
			func(ctx context.Context) (endpoint.Signatures, error) { return r.Source.Signatures(ctx, d) })
		why, err := r.Policy.Ask(ctx, image)
		if why != nil {
			err = &policy.RejectedError{Digest: d, Err: why}
		}
		if err != nil {
			return l, err
		}
		logrus.Debugf("signature policy allows %s", d)
		judged[d] = true
	}
	l.Judged = known.Merged(l.Judged, judged)
	return l, nil
}

// Manifest returns the manifest with digest d, as it was read before or from the source.
func (r *Reader) Manifest(ctx context.Context, l known.Source, d digest.Digest) (endpoint.Document, error) {
	if doc, ok := l.Document(d); ok {
		return doc, nil
	}
	return r.Source.Manifest(ctx, d)
}

// Signatures reads the signatures of manifests or lists that are to be carried. Where the
// source does not tell whether something is signed, it may be: a list is not changed then, and a
// policy that wants to see signatures gets the error.
func (r *Reader) Signatures(ctx context.Context, l known.Source, digests []digest.Digest) (known.Signed, error) {
	out := known.Signed{
		Counts: map[digest.Digest]int{}, Signatures: map[digest.Digest]endpoint.Signatures{},
		Unknown: map[digest.Digest]bool{},
	}
	note := func(d digest.Digest, sigs endpoint.Signatures, err error) error {
		switch {
		case errors.Is(err, endpoint.ErrUnknown):
			out.Unknown[d] = true
			if !l.Unknown[d] {
				r.Warn(fmt.Sprintf("whether %s is signed could not be asked, and is not known: %v", d, err))
			}
			return nil
		case err != nil:
			return r.Fail("reading signatures of", d.String(), err)
		}
		out.Counts[d] = sigs.Len()
		if sigs.Len() > 0 {
			out.Signatures[d] = sigs
		}
		return nil
	}
	err := inflight.Ask(ctx, r.Budget, digests, r.Source.Signatures, note)
	return out, err
}
