package copy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// attachmentsInTurn returns the attachments to be copied: those that come before what the reference names, so that nobody sees an
// image without them, and those of lists that a registry has still to accept, which come after.
func (j *job) attachmentsInTurn() (before, after []AttachedPlan) {
	late := map[digest.Digest]bool{}
	if j.plan.IfRefused != nil && hostOf(j.destRef) != "" {
		j.plan.List.walk(func(l *ListPlan) { late[l.Digest] = true })
	}
	for _, a := range j.plan.toAttach() { // subjects first
		if late[a.Subject] {
			late[a.Digest] = true
			after = append(after, a)
		} else {
			before = append(before, a)
		}
	}
	return before, after
}

// stillWanted returns those of the attachments that the plan still copies: it may have become another one.
func (j *job) stillWanted(attached []AttachedPlan) []AttachedPlan {
	wanted := map[string]bool{}
	for _, a := range j.plan.toAttach() {
		wanted[a.key()] = true
	}
	return slices.DeleteFunc(attached, func(a AttachedPlan) bool { return !wanted[a.key()] })
}

func (a AttachedPlan) key() string { return attachmentKey(a.Subject, a.Digest, a.Tag) }

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
	if err := j.copyImages(ctx, images); err != nil {
		return err
	}
	for _, list := range slices.Backward(lists) { // what they name was found after them
		if err := one(ctx, j.budget, func() error { return j.dst.PutManifest(ctx, list) }); err != nil {
			return &Error{"writing attached list", DestinationSide, list.Digest.String(), err}
		}
		j.reporter.update(func(r *Report) { r.ManifestsCopied++ })
	}
	return j.announce(ctx, dst, attached)
}

// attachedDocuments returns the distinct images and lists that attachments are, each list after those that name it.
func (j *job) attachedDocuments(ctx context.Context, attached []AttachedPlan) (images []imageCopy, lists []endpoint.Document, err error) {
	byDigest := map[digest.Digest]bool{} // those that are needed by digest, too
	last := map[digest.Digest]int{}
	for i, a := range attached {
		byDigest[a.Subject] = true
		byDigest[a.Digest] = byDigest[a.Digest] || a.Tag == ""
		last[a.Digest] = i
	}
	for i, a := range attached {
		if last[a.Digest] != i {
			continue
		}
		doc, err := j.manifest(ctx, a.Digest)
		if err != nil {
			return nil, nil, &Error{"reading attachment", SourceSide, a.Digest.String(), err}
		}
		if isList(Document{MediaType: doc.MediaType, Bytes: doc.Bytes}) {
			lists = append(lists, doc)
			continue
		}
		image, err := j.imageCopy(doc)
		if err != nil {
			return nil, nil, err
		}
		image.single = !byDigest[a.Digest]
		image.line = fmt.Sprintf("Copying %s, which is attached to %s", a.Digest, a.Subject)
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
				MediaType: a.MediaType, Digest: a.Digest, Size: a.Size, ArtifactType: a.ArtifactType, Annotations: a.annotations,
			})
		}
	}
	err := concurrently(ctx, j.budget, sortedKeys(referrers), func(ctx context.Context, subject digest.Digest) error {
		if err := dst.PutReferrers(ctx, subject, referrers[subject]); err != nil {
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
		err = dst.UpdateTag(ctx, a.Tag, func(there endpoint.Document) (endpoint.Document, error) { return j.mergeTag(ctx, a.Tag, there, doc) })
		if err != nil {
			return &Error{"writing tag", DestinationSide, a.Tag, err}
		}
		j.reporter.update(func(r *Report) { r.ManifestsCopied++ })
		return nil
	})
}

// mergeTag returns what a tag is to name at the destination, where it names there, and brings what that needs besides.
func (j *job) mergeTag(ctx context.Context, tag string, there, ours endpoint.Document) (endpoint.Document, error) {
	m := mergeTagged(tag, there, ours)
	if m.replaced {
		j.reporter.warn(fmt.Sprintf("tag %s named %s at the destination, and now names %s", tag, there.Digest, ours.Digest))
	}
	if m.config == nil {
		return m.doc, nil
	}
	config := endpoint.Blob{
		Digest: digest.FromBytes(m.config), Size: int64(len(m.config)), MediaType: imgspecv1.MediaTypeImageConfig, Config: true,
	}
	_, err := j.dst.PutBlob(ctx, config, func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(m.config)), nil })
	return m.doc, err
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
