package copy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/copy/internal/budget"
	"github.com/sparsecopy/sparsecopy/copy/internal/handover"
	"github.com/sparsecopy/sparsecopy/copy/internal/known"
	"github.com/sparsecopy/sparsecopy/copy/internal/work"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
	"github.com/sparsecopy/sparsecopy/internal/inspect"
	"github.com/sparsecopy/sparsecopy/internal/prose"
	"github.com/sparsecopy/sparsecopy/internal/systemimage"
)

// loadTree reads what there is to choose from: the tree of lists with the signatures of lists, or a
// single image; and what is attached to what is wanted of it. The survey that it returns has the
// first plan.
func loadTree(ctx context.Context, e *ends, s survey) (survey, error) {
	top := s.source.Top
	if err := handover.CheckGroup(e.o.ImageListSelection, top, e.to); err != nil {
		return s, err
	}
	s.source.Misdeclared = endpoint.IsMisdeclared(top)
	var op string
	var read func(context.Context, *ends, known.Source) (known.Source, error)
	switch {
	case !top.IsList():
		op, read = "parsing", loadPlatform
	case e.o.ImageListSelection == CopySystemImage:
		op, read = "choosing an image from", loadSystem
	default:
		op, read = "reading", loadLists
	}
	var err error
	if s.source.Tree, err = plan.ParseTree(top, top.Digest, nil); err == nil && !top.IsList() {
		_, err = s.source.Tree.Image(top.Digest)
	}
	if err != nil {
		return s, &Error{op, SourceSide, e.srcName, err}
	}
	if s.source, err = read(ctx, e, s.source); err != nil {
		return s, err
	}
	// The first plan finds bad selectors before anything else is read, and says what is wanted.
	if s, err = e.replanned(s); err != nil {
		return s, err
	}
	return loadAttachments(ctx, e, s)
}

// loadSystem chooses the image that suits the running system, from all lists. A list that names
// blobs has none: it is copied as a whole.
func loadSystem(ctx context.Context, e *ends, l known.Source) (known.Source, error) {
	if l.Tree.HasBlobs() {
		return loadLists(ctx, e, l)
	}
	l, err := readLists(ctx, e, l)
	if err != nil {
		return l, err
	}
	l.System, err = systemimage.Choose(l.Tree.Images(), l.Top.MediaType, e.o.SourceCtx, e.o.PreferGzipInstances)
	if lost := l.Tree.Unread(); err != nil && len(lost) > 0 {
		err = fmt.Errorf("%w; it may be in a nested list that is missing at the source: %s", err, prose.Some(prose.Digests(lost)))
	}
	if err != nil {
		return l, &Error{"choosing an image from", SourceSide, e.srcName, err}
	}
	return l, nil
}

// readLists reads the nested lists of the source, level by level.
func readLists(ctx context.Context, e *ends, l known.Source) (known.Source, error) {
	for {
		absent := func(d digest.Digest) bool { return l.Missing[d] != nil }
		unread := slices.DeleteFunc(l.Tree.ToRead(&e.choices), absent)
		if len(unread) == 0 {
			return l, nil
		}
		lists, err := fetch(ctx, e, l, unread)
		if err != nil {
			return l, err
		}
		if l, err = withFetched(e, l, lists); err != nil {
			return l, err
		}
	}
}

// loadLists reads the nested lists of the source, and the signatures of all lists.
func loadLists(ctx context.Context, e *ends, l known.Source) (known.Source, error) {
	l, err := readLists(ctx, e, l)
	if err != nil || e.o.RemoveSignatures || e.o.RemoveListSignatures {
		return l, err
	}
	e.progress.Line("Getting image list signatures")
	read, err := readSignatures(ctx, e, l, l.Tree.Lists())
	if err != nil {
		return l, err
	}
	l.SignedLists = known.Merged(l.SignedLists, read.Counts)
	return l.WithSignatures(read), nil
}

// maxManifestBytes is what the manifests and nested lists that are held for one copy may have in
// all.
const maxManifestBytes = 256 << 20

// fetch reads manifests and lists, but for those that l has already.
func fetch(ctx context.Context, e *ends, l known.Source, digests []digest.Digest) (known.Fetched, error) {
	unread := slices.DeleteFunc(slices.Clone(digests), func(d digest.Digest) bool {
		_, read := l.Document(d)
		return read
	})
	out := known.Fetched{Documents: map[digest.Digest]Document{}, Missing: map[digest.Digest]error{}}
	note := func(d digest.Digest, doc endpoint.Document, err error) error {
		if errors.Is(err, endpoint.ErrNotFound) {
			logrus.Debugf("%s is missing at the source: %v", d, err)
			out.Missing[d] = err
			return nil
		}
		out.Bytes += int64(len(doc.Bytes))
		if err == nil && l.Bytes+out.Bytes > maxManifestBytes {
			err = &LimitError{What: "bytes of all manifests", Limit: maxManifestBytes, List: l.Top.Digest}
		}
		if err != nil {
			return &Error{"reading manifest", SourceSide, d.String(), err}
		}
		out.Documents[d], out.Misdeclared = doc, out.Misdeclared || endpoint.IsMisdeclared(doc)
		return nil
	}
	err := inflight.Ask(ctx, e.budget, unread, e.src.Manifest, note)
	return out, err
}

// withFetched returns l with what was fetched. Manifests that cannot be parsed are an error.
func withFetched(e *ends, l known.Source, f known.Fetched) (known.Source, error) {
	tree, err := l.Tree.With(f.Documents)
	if err != nil {
		return l, &Error{"reading", SourceSide, e.srcName, err}
	}
	for _, d := range slices.Sorted(maps.Keys(f.Documents)) {
		if f.Documents[d].IsList() { // with what is wrong about it, it would not be in the tree
			continue
		}
		if _, err := tree.Image(d); err != nil {
			return l, &Error{"parsing manifest", SourceSide, d.String(), err}
		}
	}
	l.Tree, l.Bytes, l.Misdeclared = tree, l.Bytes+f.Bytes, l.Misdeclared || f.Misdeclared
	l.Missing = known.Merged(l.Missing, f.Missing)
	return l, nil
}

// loadPlatform reads the platform of a single image out of its config, if the plan depends on it,
// after the policy's verdict. An artifact has none.
func loadPlatform(ctx context.Context, e *ends, l known.Source) (known.Source, error) {
	if !e.choices.NeedsPlatform() {
		return l, nil
	}
	image, err := l.Tree.Image(l.Top.Digest)
	if err != nil || image != nil && image.IsArtifact() {
		return l, err
	}
	if l, err = judgeImages(ctx, e, l, []digest.Digest{l.Top.Digest}); err != nil {
		return l, err
	}
	if image == nil {
		return l, &OptionsError{Options: []string{"InstancePlatforms", "RequiredPlatforms"}, Reason: "the source is a Docker schema 1 image, whose platform is not known"}
	}
	l.Platform, err = inspect.ReadPlatform(ctx, image, func(b endpoint.Blob) endpoint.Opener { return e.opener(l, l.Top.Digest, b, nil) })
	if err != nil {
		err = &Error{"reading config", SourceSide, image.Config.Digest.String(), err}
	}
	return l, err
}

// loadImages reads the manifests of what is wanted and not at the destination, with their
// signatures, and makes the plan of that. What is still to be asked of the destination is asked at
// the same time. The policy judges all that is wanted, what is at the destination included: it
// reads what it wants to see. Blobs are looked for after its verdict.
func loadImages(ctx context.Context, e *ends, s survey) (survey, error) {
	wanted := slices.Clone(s.plan.Copies)
	for _, t := range s.plan.Transforms() {
		wanted = append(wanted, t.Digest)
	}
	if s.plan.Image != nil && s.plan.Image.Digest == s.source.Top.Digest {
		wanted = nil // it is held already
	}
	if e.o.ConcurrentBlobCopiesSemaphore == nil { // what is in flight over several copies says nothing about this one
		budget.Expect(len(wanted), e.o.MaxParallelDownloads, e.src, e.dst)
	}
	var images known.Fetched
	var read known.Signed
	there, listSignatures := s.there, s.source.ListSignatures
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		there, err = compareMeanwhile(groupCtx, e, s)
		return err
	})
	group.Go(func() (err error) {
		listSignatures, err = findListSignatures(groupCtx, e, s)
		return err
	})
	group.Go(func() (err error) {
		images, err = fetch(groupCtx, e, s.source, wanted)
		return err
	})
	group.Go(func() (err error) {
		read, err = readImageSignatures(groupCtx, e, s.source, s.plan.Wanted())
		return err
	})
	err := group.Wait()
	if err != nil {
		return s, err
	}
	s.there = there
	s.source.ListSignatures = listSignatures
	s.source = s.source.WithSignatures(read)
	if s.source, err = withFetched(e, s.source, images); err != nil {
		return s, err
	}
	if slices.ContainsFunc(wanted, s.source.IsList) {
		return loadMore(ctx, e, s)
	}
	if s.source, err = judgeImages(ctx, e, s.source, s.plan.Judged()); err != nil {
		return s, err
	}
	if e.o.MissingInstances == SkipMissing { // others see when they read
		missing, err := endpoint.Missing(ctx, e.budget, e.src, work.Entries(s.plan))
		if err != nil {
			return s, err
		}
		s.source.MissingBlobs = known.Merged(s.source.MissingBlobs, missing)
	}
	return replannedGuarding(ctx, e, s)
}

// replannedGuarding is replanned, and notes that signatures are to be looked for of lists that
// change by what has been read: images that they name are transformed. A guard does that at once.
func replannedGuarding(ctx context.Context, e *ends, s survey) (survey, error) {
	asked := s.plan.Changing()
	s, err := e.replanned(s)
	if err != nil || !slices.ContainsFunc(s.plan.Changing(), func(d digest.Digest) bool { return !slices.Contains(asked, d) }) {
		return s, err
	}
	if s.unasked = true; e.o.ListSignatures != GuardListSignatures {
		return s, nil
	}
	return askUnasked(ctx, e, s)
}

// askUnasked looks for signatures of lists that change, if that is still to be done.
func askUnasked(ctx context.Context, e *ends, s survey) (survey, error) {
	if !s.unasked {
		return s, nil
	}
	var err error
	if s.source.ListSignatures, err = findListSignatures(ctx, e, s); err != nil {
		return s, err
	}
	s.unasked = false
	return e.replanned(s)
}

// loadMore goes on after what an entry took for an image has turned out to be a list: there is more
// to select from. It ends, since lists are nested in each other only so deep.
func loadMore(ctx context.Context, e *ends, s survey) (survey, error) {
	read := loadLists
	if s.plan.List == nil {
		read = loadSystem
	}
	var err error
	if s.source, err = read(ctx, e, s.source); err != nil {
		return s, err
	}
	if s, err = e.replanned(s); err != nil {
		return s, err
	}
	if s, err = loadAttachments(ctx, e, s); err != nil {
		return s, err
	}
	return loadImages(ctx, e, s)
}

// judgeImages lets the policy judge images, in the order given, but for those that are missing and
// those that it has judged already.
func judgeImages(ctx context.Context, e *ends, l known.Source, digests []digest.Digest) (known.Source, error) {
	judged := map[digest.Digest]bool{}
	for _, d := range digests {
		if l.Judged[d] || judged[d] || l.Missing[d] != nil {
			continue
		}
		image := endpoint.LazyUnparsed(e.src.Reference(),
			func(ctx context.Context) (endpoint.Document, error) { return readManifest(ctx, e, l, d) },
			func(ctx context.Context) (endpoint.Signatures, error) { return e.src.Signatures(ctx, d) })
		why, err := e.policy.Ask(ctx, image)
		if why != nil {
			err = &RejectedError{Digest: d, Err: why}
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

// readManifest returns the manifest with digest d, as it was read before or from the source.
func readManifest(ctx context.Context, e *ends, l known.Source, d digest.Digest) (endpoint.Document, error) {
	if doc, ok := l.Document(d); ok {
		return doc, nil
	}
	return e.src.Manifest(ctx, d)
}
