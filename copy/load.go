package copy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/sparsecopy/sparsecopy/copy/plan"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	upstreammanifest "go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/prose"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// load reads what the plan depends on and leaves the final plan in j.plan, with all that there is to warn of so far. Nothing is written.
// Only if the destination is to be compared is it asked anything.
func (j *job) load(ctx context.Context) error {
	if err := j.readAll(ctx); err != nil {
		return err
	}
	j.setPlan(j.plan.WithWarnings(j.reporter.takeWarnings()))
	return nil
}

func (j *job) readAll(ctx context.Context) error {
	if !j.in.Top.IsList() { // lists are parsed when they are arranged
		if _, err := parseImage(j.in.Top); err != nil {
			return &Error{"parsing", SourceSide, j.srcName, err}
		}
	}
	if err := checkGroup(&j.o, j.in.Top, j.to); err != nil {
		return err
	}
	if j.in.Top.IsList() {
		if err := j.loadLists(ctx); err != nil {
			return err
		}
	} else if err := j.loadPlatform(ctx); err != nil {
		return err
	}
	// The first plan finds bad selectors before anything else is read, and says what is wanted.
	if err := j.replan(); err != nil {
		return err
	}
	if err := j.loadAttachments(ctx); err != nil {
		return err
	}
	if err := j.compareTop(ctx); err != nil || j.settled {
		return err
	}
	if err := j.loadImages(ctx); err != nil {
		return err
	}
	if err := j.foresee(ctx); err != nil {
		return err
	}
	// What is missing at the source is known only now, and the destination may have all the rest.
	if err := j.settle(ctx); err != nil || j.settled {
		return err
	}
	return j.decideWay()
}

// loadLists reads the nested lists of the source, level by level, and the signatures of all lists.
func (j *job) loadLists(ctx context.Context) error {
	if j.o.ImageListSelection == CopySystemImage {
		system, err := chooseSystemImage(j.in.Top, j.o.SourceCtx, j.o.PreferGzipInstances)
		if err != nil {
			return &Error{"choosing an image from", SourceSide, j.srcName, err}
		}
		j.in.System = system
		if !transportTraits[j.to].destination && j.in.CheckDestination(j.in.Digest, j.in.Top.Bytes) == nil {
			j.in.DestinationDigest = "" // local stores file a system image under the digest of the list that it comes from
		}
		return nil
	}
	for {
		if err := j.in.Parse(); err != nil {
			return &Error{"reading", SourceSide, j.srcName, err}
		}
		unread := slices.DeleteFunc(slices.Clone(j.in.Tree.Unread()), func(d digest.Digest) bool { return j.in.Missing[d] })
		if len(unread) == 0 {
			break
		}
		if err := j.fetch(ctx, unread); err != nil {
			return err
		}
	}
	if j.o.RemoveSignatures || j.o.RemoveListSignatures {
		return nil
	}
	j.progress.Line("Getting image list signatures")
	return j.readSignatures(ctx, j.in.Tree.Lists(), func(d digest.Digest, n int) { j.in.SignedLists[d] = n })
}

// maxManifestBytes is what the manifests and nested lists that are held for one copy may have in all.
const maxManifestBytes = 256 << 20

// fetch reads manifests and lists into j.in.Documents, and notes those that the source definitely does not have.
func (j *job) fetch(ctx context.Context, digests []digest.Digest) error {
	return concurrently(ctx, j.budget, digests, func(ctx context.Context, d digest.Digest) error {
		if _, err := j.document(d); err == nil {
			return nil
		}
		doc, err := j.src.Manifest(ctx, d)
		j.mu.Lock()
		defer j.mu.Unlock()
		switch {
		case errors.Is(err, endpoint.ErrNotFound):
			logrus.Debugf("%s is missing at the source: %v", d, err)
			j.in.Missing[d], j.absent[d] = true, err
			return nil
		case err != nil:
			return &Error{"reading manifest", SourceSide, d.String(), err}
		}
		if j.held += int64(len(doc.Bytes)); j.held > maxManifestBytes {
			return &Error{"reading manifest", SourceSide, d.String(), &LimitError{What: "bytes of all manifests", Limit: maxManifestBytes, List: j.in.Digest}}
		}
		read := j.hold(doc)
		if !read.IsList() { // lists are parsed when they are arranged
			if _, err := parseImage(read); err != nil {
				return &Error{"parsing manifest", SourceSide, d.String(), err}
			}
		}
		j.in.Documents[d] = read
		return nil
	})
}

// replan makes the plan of what is known now.
func (j *job) replan() error {
	if err := j.in.Parse(); err != nil {
		return err
	}
	plan, err := plan.New(j.in)
	if missing, ok := errors.AsType[*MissingError](err); ok && len(missing.Missing) > 0 {
		missing.Err = j.absent[missing.Missing[0].Digest]
	}
	if err != nil {
		return err
	}
	j.setPlan(plan)
	return nil
}

func (j *job) setPlan(p *Plan) {
	j.plan = p
	j.reporter.planned(p)
}

// compareTop asks the destination which of the wanted children it has, and settles the copy if nothing is left to do. Signatures are read
// meanwhile, which every way to go on needs.
func (j *job) compareTop(ctx context.Context) error {
	if !j.compare || j.top == "" {
		return nil // most likely nothing is there: loadImages asks while it reads
	}
	if j.o.CheckBlobs {
		return j.askWanted(ctx, j.there)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return j.askWanted(groupCtx, j.in.Present) })
	group.Go(func() error { return j.readImageSignatures(groupCtx, j.plan.Wanted()) })
	if err := group.Wait(); err != nil {
		return err
	}
	if err := j.replan(); err != nil {
		return err
	}
	return j.settle(ctx)
}

// settle ends the copy if the destination is known to have all that the plan names.
func (j *job) settle(ctx context.Context) error {
	if !j.compare || j.o.CheckBlobs || j.top == "" || j.top != j.plan.Digest {
		return nil
	}
	lacking := j.lacking()
	told := func(d digest.Digest) bool { return j.untold[d] == nil }
	switch {
	case len(lacking) == 0:
		return j.upToDate(ctx, CheckedChildren)
	case j.plan.Strips() && !slices.ContainsFunc(lacking, told):
		// Nobody has a reason to write that list but a copy like this one, which writes it after everything that it names.
		return j.upToDate(ctx, CheckedList)
	}
	return nil
}

// lacking returns the images and nested lists of the plan that are not known to be at the destination.
func (j *job) lacking() []digest.Digest {
	lacking := slices.Clone(j.plan.Copies)
	if j.plan.List != nil {
		for _, d := range j.plan.List.NestedLists() {
			if !j.in.Present[d] {
				lacking = append(lacking, d)
			}
		}
	}
	return lacking
}

// askPresent notes in present which of the manifests the destination has, and in untold those of which it does not tell.
func (j *job) askPresent(ctx context.Context, digests []digest.Digest, present map[digest.Digest]bool) error {
	return concurrently(ctx, j.budget, digests, func(ctx context.Context, d digest.Digest) error {
		there, err := j.dst.HasManifest(ctx, d)
		j.mu.Lock()
		defer j.mu.Unlock()
		if err != nil {
			logrus.Debugf("%s does not tell whether it has %s: %v", j.dstName, d, err)
			j.untold[d], j.in.PresenceUnknown[d] = err, true
			return nil
		}
		present[d] = there
		return nil
	})
}

// askWanted notes in present which of the plan's copies, and which of its nested lists, the destination has. A single image is
// what its reference names. That the destination does not tell is never a reason to fail: what is not known to be there is copied.
func (j *job) askWanted(ctx context.Context, present map[digest.Digest]bool) error {
	if j.plan.List == nil {
		present[j.plan.Digest] = j.top != "" && j.top == j.plan.Digest
		return nil
	}
	wanted := slices.Concat(j.plan.Copies, j.plan.List.NestedLists())
	if err := j.askPresent(ctx, wanted, present); err != nil {
		return err
	}
	j.sayUntold(wanted)
	return nil
}

// sayUntold warns of those of the given manifests, which were asked for, of which the destination did not tell whether it has them.
func (j *job) sayUntold(asked []digest.Digest) {
	var untold []string
	var why error
	for _, d := range asked {
		if err := j.untold[d]; isUnanswered(err) {
			untold, why = append(untold, d.String()), err
		}
	}
	if len(untold) > 0 {
		j.reporter.warn(fmt.Sprintf("whether the destination has %s could not be asked, and is not known: %v", prose.Some(untold), why))
	}
}

// upToDate settles a copy for which everything that the plan names is at the destination, unless signatures are lacking there. The policy is
// asked all the same; it reads what it wants to see.
func (j *job) upToDate(ctx context.Context, level CheckLevel) error {
	wanted := j.plan.Wanted()
	if err := j.readImageSignatures(ctx, wanted); err != nil {
		return err
	}
	lacking, err := j.unsigned(ctx, slices.Concat(wanted, j.plan.Lists()))
	if err != nil || len(lacking) > 0 {
		return err
	}
	if err := j.judge(ctx, wanted); err != nil {
		return err
	}
	for _, d := range wanted {
		j.in.Present[d] = true
	}
	if err := j.replan(); err != nil {
		return err
	}
	j.reporter.update(func(r *Report) {
		r.Checked = level
		r.DestinationDigest = j.plan.Digest
	})
	j.reporter.setComplete()
	j.settled = true
	j.progress.Line("All images are at the destination already")
	return nil
}

// loadImages reads the manifests of what is wanted and not at the destination, with their signatures, and makes the final plan. The
// policy judges all that is wanted, what is at the destination included: it reads what it wants to see.
func (j *job) loadImages(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	if j.compare && j.top == "" && !j.o.CheckBlobs {
		group.Go(func() error { return j.askWanted(groupCtx, j.in.Present) })
	}
	if j.compare && j.plan.Sparse() {
		group.Go(func() error {
			j.askSupport(groupCtx)
			return nil
		})
	}
	if j.compare && j.top != "" && j.in.MayWiden(j.plan) {
		group.Go(func() error { return j.askForList(groupCtx) })
	}
	group.Go(func() error { return j.findListSignatures(groupCtx) })
	wanted := j.plan.Copies
	if j.plan.Image != nil && j.plan.Digest == j.in.Digest {
		wanted = nil // it is held already
	}
	j.expectBlobs(len(wanted))
	group.Go(func() error { return j.fetch(groupCtx, wanted) })
	group.Go(func() error { return j.readImageSignatures(groupCtx, j.plan.Wanted()) })
	if err := group.Wait(); err != nil {
		return err
	}
	if j.plan.List != nil && slices.ContainsFunc(wanted, j.readList) {
		return j.loadMore(ctx)
	}
	if err := j.judge(ctx, j.plan.Wanted()); err != nil {
		return err
	}
	return j.replan()
}

// readList says whether d was read and is a list.
func (j *job) readList(d digest.Digest) bool {
	doc, err := j.document(d)
	return err == nil && doc.IsList()
}

// loadMore goes on after what an entry took for an image has turned out to be a list: there is more to select from. It ends, since lists are
// nested in each other only so deep.
func (j *job) loadMore(ctx context.Context) error {
	if err := j.loadLists(ctx); err != nil {
		return err
	}
	if err := j.replan(); err != nil {
		return err
	}
	if err := j.loadAttachments(ctx); err != nil {
		return err
	}
	return j.loadImages(ctx)
}

// judge lets the policy judge images, in the order given, but for those that are missing and those that it has judged already.
func (j *job) judge(ctx context.Context, digests []digest.Digest) error {
	for _, d := range digests {
		if j.judged[d] || j.in.Missing[d] {
			continue
		}
		image := endpoint.LazyUnparsed(j.src.Reference(),
			func(ctx context.Context) (endpoint.Document, error) { return j.manifest(ctx, d) },
			func(ctx context.Context) (endpoint.Signatures, error) { return j.src.Signatures(ctx, d) })
		if err := j.policy.allow(ctx, d, image); err != nil {
			return err
		}
		j.judged[d] = true
	}
	return nil
}

// manifest returns the manifest with digest d, as it was read or from the source.
func (j *job) manifest(ctx context.Context, d digest.Digest) (endpoint.Document, error) {
	if doc, err := j.document(d); err == nil {
		return endpoint.Document{Digest: d, MediaType: doc.MediaType, Bytes: doc.Bytes}, nil
	}
	return j.src.Manifest(ctx, d)
}

// maxConfigSize is the number of bytes of a config that are read to learn its platform.
const maxConfigSize = 4 << 20

// loadPlatform reads the platform of a single image out of its config, if the plan depends on it, after the policy's verdict.
func (j *job) loadPlatform(ctx context.Context) error {
	if !j.in.Choices.NeedsPlatform() {
		return nil
	}
	if err := j.judge(ctx, []digest.Digest{j.in.Digest}); err != nil {
		return err
	}
	image, err := parseImage(j.in.Top)
	if err != nil {
		return &Error{"parsing", SourceSide, j.srcName, err}
	}
	if image == nil {
		return &OptionsError{Options: []string{"InstancePlatforms", "RequiredPlatforms"}, Reason: "the source is a Docker schema 1 image, whose platform is not known"}
	}
	config := blobsOf(image)[0]
	if config.Size > maxConfigSize {
		return &Error{"reading config", SourceSide, config.Digest.String(), fmt.Errorf("it has %d bytes, more than %d", config.Size, maxConfigSize)}
	}
	r, err := j.opener(config, nil)(ctx)
	if err != nil {
		return &Error{"reading config", SourceSide, config.Digest.String(), err}
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return &Error{"reading config", SourceSide, config.Digest.String(), err}
	}
	j.in.Platform = &imgspecv1.Platform{}
	if err := json.Unmarshal(b, j.in.Platform); err != nil {
		// An artifact: its config says nothing about a platform.
		logrus.Debugf("config %s has no platform: %v", config.Digest, err)
		j.in.Platform = nil
	}
	return nil
}

// foresee makes the plan anew if the destination is known to have a view of sparse lists, and the list will be sparse, or is there and gets
// children. That may be known only now: of what is missing at the source.
func (j *job) foresee(ctx context.Context) error {
	if !j.compare {
		return nil
	}
	if j.in.MayWiden(j.plan) {
		if err := j.askForList(ctx); err != nil {
			return err
		}
	}
	if !j.plan.Sparse() && !j.in.Adds(j.plan) {
		return nil
	}
	if j.support == nil {
		j.askSupport(ctx)
	}
	if j.support.Unanswered && (j.o.CompareDestination || j.in.Adds(j.plan)) { // otherwise a copy will see for itself
		j.reporter.warn(fmt.Sprintf("whether the destination takes sparse lists, and keeps what is added to one, could not be asked, and is not known: %v", j.supportErr))
	}
	j.in.Sparse = *j.support
	if !j.support.Known && !(j.support.Unanswered && j.o.WidenedChildTags) {
		return nil
	}
	if j.support.Known { // what is not copied may be at the destination all the same, from an earlier copy
		demanded := j.in.Demanded(j.plan)
		if err := j.askPresent(ctx, demanded, j.in.Present); err != nil {
			return err
		}
		j.sayUntold(demanded)
	}
	if j.support.LosesAdded() {
		if err := j.askForList(ctx); err != nil {
			return err
		}
	}
	return j.replan()
}

// askForList asks the destination whether it has the list that the reference is to name, unless that is known: another reference may name it.
// Nested lists are asked for with the images.
func (j *job) askForList(ctx context.Context) error {
	d := j.plan.Digest
	_, asked := j.there[d]
	_, untold := j.untold[d]
	if asked || untold || j.in.IsStored(d) {
		return nil
	}
	if err := j.askPresent(ctx, []digest.Digest{d}, j.there); err != nil {
		return err
	}
	j.sayUntold([]digest.Digest{d})
	return nil
}

// zstdAnnotation marks an instance with zstd layers that has a twin without.
const zstdAnnotation = "io.github.containers.compression.zstd"

// chooseSystemImage returns the instance of a list that suits the running system, or the choices in sys, as upstream
// chooses.
func chooseSystemImage(top Document, sys *types.SystemContext, preferGzip types.OptionalBool) (digest.Digest, error) {
	parsed, err := manifest.Parse(top.Bytes, top.MediaType)
	if err != nil {
		return "", err
	}
	if preferGzip == types.OptionalBoolTrue {
		if d, err := chooseAmong(withoutZstd(parsed), sys); err == nil {
			return d, nil
		}
	}
	return chooseAmong(parsed, sys)
}

func chooseAmong(list manifest.List, sys *types.SystemContext) (digest.Digest, error) {
	b, err := list.Serialize()
	if err != nil {
		return "", err
	}
	upstreamList, err := upstreammanifest.ListFromBlob(b, list.MediaType())
	if err != nil {
		return "", err
	}
	return upstreamList.ChooseInstance(sys)
}

// withoutZstd returns the list without its instances with zstd layers.
func withoutZstd(list manifest.List) manifest.List {
	var deletes []manifest.ListEdit
	for _, instance := range slices.Backward(list.Instances()) {
		if instance.Annotations[zstdAnnotation] == "true" {
			deletes = append(deletes, manifest.ListEdit{ListOperation: manifest.ListOpDelete, DeleteIndex: instance.Index})
		}
	}
	list = list.Clone()
	if err := list.EditInstances(deletes); err != nil {
		logrus.Debugf("looking for gzip instances: %v", err) // cannot happen: positions descend and are in range
	}
	return list
}
