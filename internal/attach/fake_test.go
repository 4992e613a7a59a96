package attach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

const (
	sbomType   = "application/spdx+json"
	bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

// A repository is a source and a destination in memory.
type repository struct {
	mu        sync.Mutex
	manifests map[digest.Digest]endpoint.Document
	tags      map[string]digest.Digest
	referrers map[digest.Digest][]imgspecv1.Descriptor // as they are listed, by subject
	unlisted  map[string]bool                          // tags
	blobs     map[digest.Digest]bool
	fails     map[string]error // the questions that are not answered, as in asked
	asked     []string         // sorted: questions are asked concurrently
}

func newRepository() *repository {
	return &repository{
		manifests: map[digest.Digest]endpoint.Document{}, tags: map[string]digest.Digest{}, blobs: map[digest.Digest]bool{},
		referrers: map[digest.Digest][]imgspecv1.Descriptor{}, fails: map[string]error{}, unlisted: map[string]bool{},
	}
}

// put stores a document, which tags name.
func (r *repository) put(doc endpoint.Document, tags ...string) endpoint.Document {
	r.manifests[doc.Digest] = doc
	for _, tag := range tags {
		r.tags[tag] = doc.Digest
	}
	return doc
}

// refer stores a document, and lists it as a referrer of subject.
func (r *repository) refer(subject digest.Digest, doc endpoint.Document, artifactType string) endpoint.Document {
	r.list(subject, doc, artifactType)
	return r.put(doc)
}

func (r *repository) list(subject digest.Digest, doc endpoint.Document, artifactType string) {
	r.referrers[subject] = append(r.referrers[subject], imgspecv1.Descriptor{
		MediaType: doc.MediaType, Digest: doc.Digest, Size: int64(len(doc.Bytes)), ArtifactType: artifactType,
	})
}

func (r *repository) ask(format string, args ...any) error {
	question := fmt.Sprintf(format, args...)
	i, _ := slices.BinarySearch(r.asked, question)
	r.asked = slices.Insert(r.asked, i, question)
	return r.fails[question]
}

func (r *repository) Referrers(_ context.Context, d digest.Digest, artifactType string) ([]imgspecv1.Descriptor, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.ask("%s", strings.TrimSpace("referrers "+string(d)+" "+artifactType)); err != nil {
		return nil, err
	}
	return slices.Clone(r.referrers[d]), nil
}

func (r *repository) Tagged(_ context.Context, tag string) (endpoint.Document, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.ask("tag %s", tag); err != nil {
		return endpoint.Document{}, err
	}
	if d, ok := r.tags[tag]; ok {
		return r.manifests[d], nil
	}
	return endpoint.Document{}, endpoint.ErrNotFound
}

func (r *repository) DigestTags(_ context.Context, pages int) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.ask("tags in %d pages", pages); err != nil {
		return nil, err
	}
	tags := slices.Collect(maps.Keys(r.tags))
	return slices.DeleteFunc(tags, func(tag string) bool { return digesttag.Stem(tag) == "" || r.unlisted[tag] }), nil
}

func (r *repository) Manifest(_ context.Context, d digest.Digest) (endpoint.Document, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.ask("manifest %s", d); err != nil {
		return endpoint.Document{}, err
	}
	if doc, ok := r.manifests[d]; ok {
		return doc, nil
	}
	return endpoint.Document{}, endpoint.ErrNotFound
}

func (r *repository) PutReferrers(_ context.Context, d digest.Digest, referrers []imgspecv1.Descriptor) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.ask("put referrers %s", d); err != nil {
		return err
	}
	r.referrers[d] = append(r.referrers[d], referrers...)
	return nil
}

func (r *repository) UpdateTag(_ context.Context, tag string, update func(endpoint.Document) (endpoint.Document, error)) error {
	r.mu.Lock()
	there := r.manifests[r.tags[tag]]
	err := r.ask("put tag %s", tag)
	r.mu.Unlock()
	if err != nil {
		return err
	}
	doc, err := update(there)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(doc, tag)
	return nil
}

func (r *repository) PutBlob(ctx context.Context, b endpoint.Blob, open endpoint.Opener) (endpoint.PutResult, error) {
	content, err := open(ctx)
	if err != nil {
		return endpoint.PutResult{}, err
	}
	defer content.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blobs[b.Digest] = true
	return endpoint.PutResult{}, r.ask("put blob")
}

func (r *repository) Flush(context.Context) error { return nil }

// source is the repository as a source that holds documents already.
func (r *repository) source(held ...endpoint.Document) Source {
	return Source{Place: Place{"it", r, r.Manifest}, Budget: semaphore.NewWeighted(4), Held: func(d digest.Digest) (endpoint.Document, bool) {
		i := slices.IndexFunc(held, func(doc endpoint.Document) bool { return doc.Digest == d })
		if i < 0 {
			return endpoint.Document{}, false
		}
		return held[i], true
	}}
}

func (r *repository) destination() Destination {
	return Destination{Name: "there", Referrers: r, Budget: semaphore.NewWeighted(4)}
}

// artifact is an image manifest; text makes it another one.
func artifact(t testing.TB, artifactType string, subject digest.Digest, text string, layers ...imgspecv1.Descriptor) endpoint.Document {
	m := imgspecv1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageManifest, ArtifactType: artifactType,
		Config: imgspecv1.DescriptorEmptyJSON, Layers: layers, Annotations: map[string]string{"text": text},
	}
	if subject != "" {
		m.Subject = &imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageManifest, Digest: subject, Size: 1}
	}
	return document(t, m.MediaType, m)
}

// index is a list of children.
func index(t testing.TB, artifactType string, subject digest.Digest, children ...digest.Digest) endpoint.Document {
	l := imgspecv1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageIndex, ArtifactType: artifactType}
	for _, d := range children {
		l.Manifests = append(l.Manifests, imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageManifest, Digest: d, Size: 1})
	}
	if subject != "" {
		l.Subject = &imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageManifest, Digest: subject, Size: 1}
	}
	return document(t, l.MediaType, l)
}

func document(t testing.TB, mediaType string, content any) endpoint.Document {
	t.Helper()
	b, err := json.Marshal(content)
	require.NoError(t, err)
	return endpoint.NewDocument(digest.FromBytes(b), mediaType, b)
}

// signature is a layer of a manifest of signatures.
func signature(text string) imgspecv1.Descriptor {
	return imgspecv1.Descriptor{
		MediaType: "application/vnd.dev.cosign.simplesigning.v1+json", Digest: digest.FromString("payload"), Size: 7,
		Annotations: map[string]string{"dev.cosignproject.cosign/signature": text},
	}
}

var (
	errBroken  = errors.New("broken")
	errUnknown = fmt.Errorf("%w: no answer", endpoint.ErrUnknown)
)
