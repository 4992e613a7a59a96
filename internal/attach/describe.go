package attach

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/sparsesupport"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// describe completes an attachment by what its manifest or list says of itself. A referrer's
// subject is the one that it names.
func describe(a Attachment, doc endpoint.Document) (Attachment, error) {
	a.Size, a.MediaType = int64(len(doc.Bytes)), doc.Type()
	var subject digest.Digest
	if doc.IsList() {
		list, err := manifest.Parse(doc.Bytes, a.MediaType)
		if err != nil {
			return a, err
		}
		subject, a.ArtifactType, a.Annotations = list.Subject(), list.ArtifactType(), nil
	} else {
		image, err := manifest.ParseImage(doc.Bytes, a.MediaType)
		if err != nil {
			return a, err
		}
		// OCI distribution specification v1.1, "Listing Referrers": the type of the config stands
		// in for an absent artifact type.
		a.ArtifactType = cmp.Or(image.ArtifactType, image.Config.MediaType)
		subject, a.Annotations = image.Subject, image.Annotations
	}
	if a.Tag == "" && !a.Child {
		a.Subject = subject
	}
	return a, nil
}

// errBlobs is what is wrong with an attached list that names blobs.
var errBlobs = errors.New("it names blobs in the place of manifests, as a build cache does, and is not carried as what is attached: " +
	"leave it out with ReferrerTypes or DigestTagSuffixes, and copy it by itself")

// childrenOf returns the children of an attached list as attachments. A list that names blobs is an
// error: they would be taken for manifests.
func childrenOf(doc endpoint.Document) ([]Attachment, error) {
	list, err := manifest.Parse(doc.Bytes, doc.Type())
	if err != nil {
		return nil, err
	}
	var children []Attachment
	for _, in := range list.Instances() {
		if in.IsBlob() {
			return nil, errBlobs
		}
		children = append(children, Attachment{Subject: doc.Digest, Child: true, Descriptor: imgspecv1.Descriptor{
			MediaType: in.MediaType, Digest: in.Digest, Size: in.Size, ArtifactType: in.ArtifactType,
		}})
	}
	return children, nil
}

// Subject returns the subject that a manifest or list states, "" if there is none, and the children
// that a list names.
func Subject(doc endpoint.Document) (subject digest.Digest, children []digest.Digest) {
	if doc.IsList() {
		list, err := manifest.Parse(doc.Bytes, doc.Type())
		if err != nil {
			return "", nil
		}
		for _, in := range list.Instances() {
			children = append(children, in.Digest)
		}
		return list.Subject(), children
	}
	image, err := manifest.ParseImage(doc.Bytes, doc.Type())
	if err != nil {
		return "", nil
	}
	return image.Subject, nil
}

// RefusedSubject returns the subject of doc if err, the answer to its PUT, names it as what is not
// there, and "" otherwise. A list may name its subject as a child, too: then that is what the
// answer is about.
func RefusedSubject(err error, doc endpoint.Document) digest.Digest {
	var registry *endpoint.RegistryError
	if !errors.As(err, &registry) || !slices.Contains(sparsesupport.Statuses, registry.Status) {
		return ""
	}
	subject, children := Subject(doc)
	if subject == "" || slices.Contains(children, subject) {
		return ""
	}
	for _, e := range registry.Errors {
		if strings.Contains(e.Message, subject.String()) || strings.Contains(string(e.Detail), subject.String()) {
			return subject
		}
	}
	return ""
}
