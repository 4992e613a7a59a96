package mirrorcmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// attached returns what is attached to the image's documents, and to those attached, subjects first.
func (t *loadTask) attached() []bundleAttached {
	belongs := map[digest.Digest]bool{}
	for _, doc := range t.tree.documents {
		belongs[doc.Digest] = true
	}
	for _, image := range t.l.record.Images {
		if image.Name == t.done.Name {
			for _, d := range image.Changed {
				belongs[d] = true
			}
		}
	}
	var all []bundleAttached
	for _, a := range t.l.record.Attached {
		if a.Repository != t.repository || !belongs[a.Subject] {
			continue
		}
		belongs[a.Digest] = true
		for _, d := range t.l.partsOf(a) {
			belongs[d] = true
		}
		all = append(all, a)
	}
	return all
}

// partsOf are the digests of what an attached list names and the bundle has.
func (l *bundleLoader) partsOf(a bundleAttached) []digest.Digest {
	tree, err := l.attachedTree(a)
	if err != nil {
		return nil // which is said when it is put
	}
	parts := make([]digest.Digest, len(tree.documents))
	for i, doc := range tree.documents {
		parts[i] = doc.Digest
	}
	return parts
}

// attachedTree reads what is attached from the bundle, a list with all that it names.
func (l *bundleLoader) attachedTree(a bundleAttached) (*bundleTree, error) {
	top := imgspecv1.Descriptor{Digest: a.Digest, MediaType: l.others[a.Digest]}
	if _, err := l.dir.document(top.Digest, top.MediaType); err != nil {
		return nil, damaged("%w", err)
	}
	c, err := readContent(context.Background(), &bundleSource{dir: l.dir, top: top}, defaultParallel)
	if err != nil {
		return nil, damaged("%w", err)
	}
	for d := range c.missing {
		if !slices.Contains(a.Absent, d) {
			return nil, damaged("it lacks the manifest %s", d)
		}
	}
	return c.inOrder(), nil
}

// attach puts what is attached where it is not, a list after all that it names, and makes it known.
func (t *loadTask) attach(ctx context.Context, a bundleAttached) error {
	tree, err := t.l.attachedTree(a)
	if err != nil {
		return err
	}
	last := len(tree.documents) - 1
	doc := tree.documents[last]
	says, err := describeReferrer(doc)
	if err != nil {
		return damaged("%w", err)
	}
	if a.Tag == "" && says.subject != a.Subject {
		t.warn("%s, which the bundle has as a referrer of %s, refers to something else, and is left out", a.Digest, a.Subject)
		return nil
	}
	if err := t.children(ctx, tree, tree.documents[:last]); err != nil {
		return err
	}
	t.done.Attached++
	if a.Tag != "" {
		return t.attachByTag(ctx, a, tree)
	}
	if err := t.child(ctx, tree, doc); err != nil {
		return err
	}
	err = t.dst.PutReferrers(ctx, a.Subject, []imgspecv1.Descriptor{{
		MediaType: doc.MediaType, Digest: doc.Digest, Size: int64(len(doc.Bytes)), ArtifactType: says.artifactType, Annotations: says.annotations,
	}})
	if no, ok := errors.AsType[*endpoint.NotListableError](err); ok {
		t.warn("%v; they are there by their digests only", no)
		return nil
	}
	return err
}

// warn says what is not as the bundle has it.
func (t *loadTask) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	logrus.Warnf("%s: %s", t.ref.DockerReference(), printable(text))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done.Warnings = append(t.done.Warnings, text)
}

// attachByTag makes a tag of the repository name what is attached, together with what it names there already.
func (t *loadTask) attachByTag(ctx context.Context, a bundleAttached, tree *bundleTree) error {
	ours := tree.documents[len(tree.documents)-1]
	update := func(there endpoint.Document) (endpoint.Document, error) {
		m := attach.Merge(a.Tag, there, ours)
		if m.Doc.Digest == there.Digest {
			return m.Doc, nil
		}
		if m.Replaced {
			t.warn("tag %s named %s, and now names %s", a.Tag, there.Digest, ours.Digest)
		}
		t.note(true, 0)
		if slices.Contains(tree.images, ours.Digest) {
			if err := t.blobs(ctx, ours); err != nil {
				return m.Doc, err
			}
		}
		if m.Config == nil {
			return m.Doc, nil
		}
		config := endpoint.Blob{Digest: digest.FromBytes(m.Config), Size: int64(len(m.Config)), MediaType: imgspecv1.MediaTypeImageConfig, Config: true}
		_, err := t.dst.PutBlob(ctx, config, func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(m.Config)), nil })
		return m.Doc, err
	}
	return t.put(ctx, tree, ours, func() error { return t.dst.UpdateTag(ctx, a.Tag, update) })
}
