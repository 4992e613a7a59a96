package copy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/progress"
	"github.com/sparsecopy/sparsecopy/internal/sparsesupport"
	"github.com/sparsecopy/sparsecopy/manifest"
)

func attachedKey(a AttachedPlan) string { return attachmentKey(a.Subject, a.Digest, a.Tag) }

func attachmentKey(subject, d digest.Digest, tag string) string {
	return strings.Join([]string{subject.String(), d.String(), tag}, " ")
}

// copyAttachments copies attachments, and makes them known at the destination, which may wait for PutTop or Flush.
func (j *job) copyAttachments(ctx context.Context, attached []AttachedPlan) error {
	if len(attached) == 0 {
		return nil
	}
	dst, err := j.attachedTo()
	if err != nil {
		return err
	}
	images, lists, err := j.attachedDocuments(ctx, attached)
	if err != nil {
		return err
	}
	images = subjectsFirst(images)
	late := waitForLists(images, slices.Sorted(maps.Keys(lists)))
	if err := j.copyImages(ctx, images); err != nil {
		return refusedAttachment(err, attached)
	}
	needs := func(d digest.Digest) []digest.Digest {
		if list, ok := lists[d]; ok {
			subject, children := subjectOf(list)
			return append(children, subject)
		}
		return []digest.Digest{late[d].subject}
	}
	for _, d := range inOrder(append(slices.Sorted(maps.Keys(lists)), slices.Sorted(maps.Keys(late))...), needs) {
		if list, ok := lists[d]; !ok {
			err = j.putImage(ctx, late[d].doc)
		} else if err = j.putAttachedList(ctx, list); err != nil {
			err = &Error{"writing attached list", DestinationSide, d.String(), err}
		} else {
			j.reporter.update(func(r *Report) { r.ManifestsCopied++ })
		}
		if err != nil {
			return refusedAttachment(err, attached)
		}
	}
	return j.announce(ctx, dst, attached)
}

// refusedAttachment makes the cause of err an *AttachmentError if err says that the destination refuses one of attached. A *SubjectError says more.
func refusedAttachment(err error, attached []AttachedPlan) error {
	var refusal *RegistryError
	failed, ok := errors.AsType[*Error](err)
	if _, lacks := errors.AsType[*SubjectError](err); lacks || !ok || failed.Side != DestinationSide || !errors.As(err, &refusal) || refusal.Method != http.MethodPut || !slices.Contains(sparsesupport.Statuses, refusal.Status) {
		return err
	}
	for _, a := range attached {
		if a.Digest.String() == failed.Object {
			refused := &AttachmentError{Digest: a.Digest, ArtifactType: a.ArtifactType, Subject: a.Subject, Refusal: failed.Err}
			return &Error{failed.Op, failed.Side, failed.Object, refused}
		}
	}
	return err
}

// putAttachedList stores a list that is attached. If the destination says that it lacks a child, all of which have been stored, those that it names
// are stored again and the list is tried once more.
func (j *job) putAttachedList(ctx context.Context, doc endpoint.Document) error {
	put := func() error { return j.put(ctx, doc, func() error { return j.dst.PutManifest(ctx, doc) }) }
	refused := put()
	list, err := manifest.Parse(doc.Bytes, doc.MediaType)
	if refused == nil || err != nil {
		return refused
	}
	all := sparsesupport.List{Digest: doc.Digest}
	for _, in := range list.Instances() {
		all.Add(in.Digest, in.MediaType, false)
	}
	kind, lost := sparsesupport.Classify(refused, all)
	if kind != sparsesupport.Lost && kind != sparsesupport.Unclear {
		return refused
	}
	for _, d := range lost {
		if err := j.storeAgain(ctx, d); err != nil {
			return err
		}
	}
	return put()
}

// attachedDocuments returns the distinct images and lists that attachments are, but for those that the plan copies as instances too.
func (j *job) attachedDocuments(ctx context.Context, attached []AttachedPlan) (images []imageCopy, lists map[digest.Digest]endpoint.Document, err error) {
	lists = map[digest.Digest]endpoint.Document{}
	done := map[digest.Digest]bool{}
	for _, d := range slices.Concat(j.plan.Wanted(), j.plan.Lists()) {
		done[d] = true
	}
	byDigest := map[digest.Digest]bool{} // those that are needed by digest, too
	for _, a := range attached {
		byDigest[a.Subject] = true
		byDigest[a.Digest] = byDigest[a.Digest] || a.Tag == ""
	}
	for _, a := range attached {
		if done[a.Digest] {
			continue
		}
		done[a.Digest] = true
		doc, err := j.manifest(ctx, a.Digest)
		if err != nil {
			return nil, nil, &Error{"reading attachment", SourceSide, a.Digest.String(), err}
		}
		if (Document{MediaType: doc.MediaType, Bytes: doc.Bytes}).IsList() {
			lists[a.Digest] = doc
			continue
		}
		image, err := j.imageCopy(doc)
		if err != nil {
			return nil, nil, err
		}
		image.single = !byDigest[a.Digest]
		image.begins = progress.Line{Text: fmt.Sprintf("Copying %s, which is attached to %s", a.Digest, a.Subject)}
		images = append(images, image)
	}
	return images, lists, nil
}

// announce makes known what was copied: referrers by subject, the others by their tags.
func (j *job) announce(ctx context.Context, dst endpoint.ReferrerDestination, attached []AttachedPlan) error {
	referrers := map[digest.Digest][]imgspecv1.Descriptor{}
	var tagged []AttachedPlan
	for _, a := range attached {
		switch {
		case a.Tag != "":
			tagged = append(tagged, a)
		case !a.Child:
			referrers[a.Subject] = append(referrers[a.Subject], imgspecv1.Descriptor{
				MediaType: a.MediaType, Digest: a.Digest, Size: a.Size, ArtifactType: a.ArtifactType, Annotations: a.Annotations(),
			})
		}
	}
	err := concurrently(ctx, j.budget, slices.Sorted(maps.Keys(referrers)), func(ctx context.Context, subject digest.Digest) error {
		if err := dst.PutReferrers(ctx, subject, referrers[subject]); err != nil && !j.noteNotListable(err) {
			return &Error{"announcing referrers of", DestinationSide, subject.String(), err}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return concurrently(ctx, j.budget, tagged, func(ctx context.Context, a AttachedPlan) error {
		doc, err := j.manifest(ctx, a.Digest)
		if err != nil {
			return &Error{"reading attachment", SourceSide, a.Digest.String(), err}
		}
		err = j.sendLost(ctx, doc, func() error {
			return dst.UpdateTag(ctx, a.Tag, func(there endpoint.Document) (endpoint.Document, error) { return j.mergeTag(ctx, a.Tag, there, doc) })
		})
		if err != nil {
			return &Error{"writing tag", DestinationSide, a.Tag, err}
		}
		j.reporter.update(func(r *Report) { r.ManifestsCopied++ })
		return nil
	})
}

// noteNotListable reports whether err says that the referrers of something cannot be listed at the destination, and warns of that, once.
func (j *job) noteNotListable(err error) bool {
	no, ok := errors.AsType[*endpoint.NotListableError](err)
	if !ok {
		return false
	}
	j.mu.Lock()
	known := j.unlistable[no.Subject]
	j.unlistable[no.Subject] = true
	j.mu.Unlock()
	if !known {
		j.reporter.warn(fmt.Sprintf("%v; at %s they can be had by their digests only", no, j.in.Destination))
	}
	return true
}

// mergeTag returns what a tag is to name at the destination, where it names there, and brings what that needs besides.
func (j *job) mergeTag(ctx context.Context, tag string, there, ours endpoint.Document) (endpoint.Document, error) {
	m := attach.Merge(tag, there, ours)
	if m.Replaced {
		j.reporter.warn(fmt.Sprintf("tag %s named %s at the destination, and now names %s", tag, there.Digest, ours.Digest))
	}
	if m.Config == nil {
		return m.Doc, nil
	}
	config := endpoint.Blob{
		Digest: digest.FromBytes(m.Config), Size: int64(len(m.Config)), MediaType: imgspecv1.MediaTypeImageConfig, Config: true,
	}
	_, err := j.dst.PutBlob(ctx, config, func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(m.Config)), nil })
	return m.Doc, err
}

// flushAttachments makes visible what the destination has been told and keeps to itself.
func (j *job) flushAttachments(ctx context.Context) error {
	dst, err := j.attachedTo()
	if err != nil {
		return err
	}
	if err := one(ctx, j.budget, func() error { return dst.Flush(ctx) }); err != nil {
		return &Error{"publishing attachments at", DestinationSide, j.in.Destination, err}
	}
	return nil
}
