package mirrorcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// cosignSuffixes end the tags under which cosign files what belongs to a digest.
var cosignSuffixes = []string{"sig", "att", "sbom"}

// An attachedDocument is what a manifest or list says of itself as a referrer.
type attachedDocument struct {
	subject      digest.Digest // "" for none
	artifactType string
	annotations  map[string]string // that lists of referrers repeat
	list         bool
}

// describeReferrer reads what is attached. The type of a manifest's config stands in for an absent artifact type (OCI distribution specification
// v1.1, "Listing Referrers").
func describeReferrer(doc endpoint.Document) (attachedDocument, error) {
	if manifest.IsListMediaType(doc.MediaType) {
		list, err := manifest.Parse(doc.Bytes, doc.MediaType)
		if err != nil {
			return attachedDocument{}, err
		}
		return attachedDocument{subject: list.Subject(), artifactType: list.ArtifactType(), list: true}, nil
	}
	image, err := manifest.ParseImage(doc.Bytes, doc.MediaType)
	if err != nil {
		return attachedDocument{}, err
	}
	return attachedDocument{image.Subject, cmp.Or(image.ArtifactType, image.Config.MediaType), image.Annotations, false}, nil
}

// attached carries what belongs to what was put into the bundle, and what belongs to that. What belongs to a list that changes is void, and
// carried only if that was asked for.
func (t *bundleTask) attached(ctx context.Context, entry *bundleImage) error {
	referrers := t.options.Referrers == copy.AllReferrers
	if !t.options.DigestTags && !referrers {
		return nil
	}
	seen := map[digest.Digest]bool{}
	for n := 0; n < len(t.manifests); n++ { // which grows
		if subject := t.manifests[n]; !seen[subject] {
			seen[subject] = true
			if err := t.attachedTo(ctx, subject); err != nil {
				return err
			}
		}
	}
	for _, d := range t.changed {
		if err := t.void(ctx, d); err != nil {
			return err
		}
	}
	if t.options.KeepVoid {
		entry.Changed = t.changed
	}
	return nil
}

// void deals with what is attached to a list that the bundle has with another digest.
func (t *bundleTask) void(ctx context.Context, list digest.Digest) error {
	if t.options.KeepVoid {
		return t.attachedTo(ctx, list)
	}
	found, err := t.find(ctx, list)
	if len(found) > 0 {
		t.warn("what is attached to the list %s, which changes, is left out (%d)", list, len(found))
	}
	return err
}

// attachedTo carries what is attached to one subject.
func (t *bundleTask) attachedTo(ctx context.Context, subject digest.Digest) error {
	found, err := t.find(ctx, subject)
	if err != nil {
		return err
	}
	for _, f := range found {
		if err := t.attach(ctx, f.doc, bundleAttached{Subject: subject, Tag: f.tag}); err != nil {
			return err
		}
	}
	return nil
}

// A foundAttached is something that is attached, with the digest tag that names it, "" for a referrer.
type foundAttached struct {
	doc endpoint.Document
	tag string
}

// find returns what is attached to a subject, as far as it is asked for.
func (t *bundleTask) find(ctx context.Context, subject digest.Digest) (found []foundAttached, err error) {
	if t.options.DigestTags {
		if found, err = t.tagged(ctx, subject); err != nil {
			return nil, err
		}
	}
	if t.options.Referrers == copy.AllReferrers {
		referrers, err := t.referrers(ctx, subject)
		if err != nil {
			return nil, err
		}
		found = append(found, referrers...)
	}
	return found, nil
}

func (t *bundleTask) tagged(ctx context.Context, subject digest.Digest) (found []foundAttached, err error) {
	for _, suffix := range cosignSuffixes {
		tag := subject.Algorithm().String() + "-" + subject.Encoded() + "." + suffix
		doc, err := t.readTag(ctx, tag)
		switch {
		case errors.Is(err, endpoint.ErrNotFound):
			continue
		case errors.Is(err, endpoint.ErrUnknown):
			t.warn("tag %s: %v", tag, err)
			continue
		case err != nil:
			return nil, atEnd("src", "tag "+tag, err)
		}
		found = append(found, foundAttached{doc, tag})
	}
	return found, nil
}

// warn says what the bundle does not have, or may lack.
func (t *bundleTask) warn(format string, args ...any) {
	logrus.Warnf("%s: %s", t.name, printable(fmt.Sprintf(format, args...)))
}

// readTag reads what a tag of the repository names.
func (t *bundleTask) readTag(ctx context.Context, tag string) (endpoint.Document, error) {
	if src, err := endpoint.ReferrersAt(t.src); err == nil {
		return src.Tagged(ctx, tag)
	}
	named, err := reference.WithTag(reference.TrimNamed(t.src.Reference().DockerReference()), tag)
	if err != nil {
		return endpoint.Document{}, err
	}
	ref, err := docker.NewReference(named)
	if err != nil {
		return endpoint.Document{}, err
	}
	src, err := openSource(ctx, ref, t.m.sys, t.m.shared)
	if err != nil {
		return endpoint.Document{}, err
	}
	defer src.Close() // nothing was written
	return src.Top(), nil
}

// maxAttached is how many manifests may be attached to one image, with all that is attached to those.
const maxAttached = endpoint.MaxReferrers

// referrers returns the referrers of a subject. What is listed is one only if its manifest is there, and says so itself. It also says of which
// type it is, unless the referrers API does.
func (t *bundleTask) referrers(ctx context.Context, subject digest.Digest) (found []foundAttached, err error) {
	src, err := endpoint.ReferrersAt(t.src)
	if err != nil {
		return nil, err
	}
	all, err := endpoint.Listed(src.Referrers(ctx, subject, ""))
	if errors.Is(err, endpoint.ErrUnknown) {
		t.warn("referrers of %s: %v", subject, err)
		return nil, nil
	}
	if err != nil {
		return nil, atEnd("src", "referrers of "+subject.String(), err)
	}
	for _, r := range all {
		if !t.wants(r.ArtifactType) && !endpoint.TellsNothing(r.ArtifactType) {
			continue
		}
		doc, err := t.src.Manifest(ctx, r.Digest)
		if errors.Is(err, endpoint.ErrNotFound) {
			t.warn("%s, listed as a referrer of %s, is missing at the source", r.Digest, subject)
			continue
		}
		if err != nil {
			return nil, atEnd("src", "referrer "+r.Digest.String(), err)
		}
		says, err := describeReferrer(doc)
		switch {
		case err != nil:
			t.warn("%s of %s is left out: %v", r.Digest, subject, err)
		case says.subject != subject:
			t.warn("%s, listed as a referrer of %s, refers to something else, and is left out", r.Digest, subject)
		case t.wants(says.artifactType):
			found = append(found, foundAttached{doc, ""})
		}
	}
	return found, nil
}

// wants reports whether referrers of an artifact type are asked for.
func (t *bundleTask) wants(artifactType string) bool {
	types := t.options.ReferrerTypes
	return len(types) == 0 || slices.Contains(types, artifactType)
}

// attach puts a manifest or list that belongs to another into the bundle, a list with all that it names.
func (t *bundleTask) attach(ctx context.Context, doc endpoint.Document, a bundleAttached) error {
	c, err := readContent(ctx, &topped{t.src, doc}, manifestsAtOnce)
	if err != nil {
		return atEnd("src", "what is attached to "+a.Subject.String(), err)
	}
	for d := range c.missing {
		if t.options.MissingInstances == copy.FailOnMissing {
			return fmt.Errorf("%s, named by the list %s that is attached to %s, is missing at the source", d, doc.Digest, a.Subject)
		}
		t.warn("%s, named by the list %s that is attached to %s, is missing at the source", d, doc.Digest, a.Subject)
		a.Absent = append(a.Absent, d)
	}
	slices.Sort(a.Absent)
	if len(t.manifests)+len(c.documents) > maxAttached {
		return fmt.Errorf("more than %d manifests are attached", maxAttached)
	}
	tree := c.inOrder()
	for _, part := range tree.documents {
		if slices.Contains(tree.images, part.Digest) {
			err = t.manifest(ctx, part)
		} else {
			err = t.m.document(part)
		}
		if err != nil {
			return err
		}
		t.manifests = append(t.manifests, part.Digest)
		t.depth[part.Digest] = t.depth[a.Subject] + 1
	}
	a.Repository, a.Digest, a.depth = t.repository, doc.Digest, t.depth[doc.Digest]
	name := ""
	if a.Tag != "" {
		name = t.repository + ":" + a.Tag
	}
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	if !slices.ContainsFunc(t.m.record.Attached, a.isSame) {
		t.m.record.Attached = append(t.m.record.Attached, a)
		t.m.entries = append(t.m.entries, descriptor(name, doc.Digest, doc.MediaType, int64(len(doc.Bytes))))
	}
	return nil
}

// topped is a source whose top is another document.
type topped struct {
	endpoint.Source
	top endpoint.Document
}

func (s *topped) Top() endpoint.Document { return s.top }

// isSame says whether b is what a is, for the same subject.
func (a bundleAttached) isSame(b bundleAttached) bool {
	return a.Repository == b.Repository && a.Subject == b.Subject && a.Digest == b.Digest && a.Tag == b.Tag
}
