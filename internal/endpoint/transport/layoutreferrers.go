package transport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/oci/layout"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// Limits on what is read of a layout to find referrers.
const (
	maxScanned      = 100_000   // manifests and lists
	maxScannedBytes = 512 << 20 // of them, in all; they are read one after another
	maxIndexSize    = 64 << 20  // of index.json
)

// layoutReferrers finds referrers in an OCI layout (endpoint.ReferrerSource).
//
// The image-spec says nothing about referrers in layouts. Writers agree on putting them into
// index.json, without a name, or into a list that is there, such as one named by the referrers tag.
// So everything that index.json leads to is asked for its subject, once.
type layoutReferrers struct {
	ref   string // for people
	index string // path of index.json
	blobs string // path of the blobs

	mu    sync.Mutex
	found *scanned // nil until scanned; guarded by mu
}

// scanned is what a layout had when it was looked through.
type scanned struct {
	tags      map[string]imgspecv1.Descriptor
	referrers map[digest.Digest][]imgspecv1.Descriptor
}

// Attached returns what knows the referrers in a layout. Other transports know none.
func (s *Source) Attached() (endpoint.ReferrerSource, error) {
	if s.ref.Transport().Name() != layout.Transport.Name() {
		return nil, fmt.Errorf("the transport %s knows no referrers", s.ref.Transport().Name())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.attached == nil {
		dir, _ := splitLayoutReference(s.ref)
		s.attached = newLayoutReferrers(dir, layoutBlobs(dir, s.sys))
	}
	return s.attached, nil
}

func newLayoutReferrers(dir, blobs string) *layoutReferrers {
	return &layoutReferrers{ref: dir, index: filepath.Join(dir, imgspecv1.ImageIndexFile), blobs: blobs}
}

// Referrers implements endpoint.ReferrerSource.
func (l *layoutReferrers) Referrers(ctx context.Context, d digest.Digest, _ string) ([]imgspecv1.Descriptor, error) {
	found, err := l.scan(ctx)
	if err != nil {
		return nil, err
	}
	referrers := found.referrers[d]
	if len(referrers) > endpoint.MaxReferrers {
		return nil, &endpoint.ReferrersLimitError{Subject: d, What: fmt.Sprintf("more than %d", endpoint.MaxReferrers)}
	}
	return slices.Clone(referrers), nil
}

// Tagged implements endpoint.ReferrerSource.
func (l *layoutReferrers) Tagged(ctx context.Context, tag string) (endpoint.Document, error) {
	found, err := l.scan(ctx)
	if err != nil {
		return endpoint.Document{}, err
	}
	entry, ok := found.tags[tag]
	if !ok {
		return endpoint.Document{}, fmt.Errorf("layout %s: no entry is called %s: %w", l.ref, tag, endpoint.ErrNotFound)
	}
	content, err := l.read(entry.Digest)
	if err == nil {
		err = verify(content, entry.Digest)
	}
	if err != nil {
		return endpoint.Document{}, fmt.Errorf("layout %s: %s: %w", l.ref, tag, err)
	}
	return endpoint.NewDocument(entry.Digest, entry.MediaType, content), nil
}

// DigestTags implements endpoint.TagLister.
func (l *layoutReferrers) DigestTags(ctx context.Context, _ int) ([]string, error) {
	found, err := l.scan(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Collect(maps.Keys(found.tags)), func(tag string) bool { return digesttag.Stem(tag) == "" }), nil
}

// scan looks through the layout, the first time that it is asked.
func (l *layoutReferrers) scan(ctx context.Context) (*scanned, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.found != nil {
		return l.found, nil
	}
	index, err := readIndex(l.index)
	if err != nil {
		return nil, err
	}
	s := &scan{layoutReferrers: l, seen: map[digest.Digest]bool{}, scanned: scanned{
		tags: map[string]imgspecv1.Descriptor{}, referrers: map[digest.Digest][]imgspecv1.Descriptor{},
	}}
	step := make([]imgspecv1.Descriptor, len(index.entries))
	for i, entry := range index.entries {
		step[i] = entry.Descriptor
		if _, earlier := s.tags[entry.name()]; !earlier && entry.name() != "" && entry.Digest.Validate() == nil {
			s.tags[entry.name()] = entry.Descriptor
		}
	}
	for len(step) > 0 {
		if step, err = s.level(ctx, step); err != nil {
			return nil, fmt.Errorf("looking for referrers in layout %s: %w", l.ref, err)
		}
	}
	l.found = &s.scanned
	return l.found, nil
}

// A scan looks through a layout.
type scan struct {
	*layoutReferrers
	scanned
	seen  map[digest.Digest]bool
	bytes int
}

// level reads what descriptors name, and returns what that names in turn. Lists may name blobs,
// too, which are not read.
func (s *scan) level(ctx context.Context, descriptors []imgspecv1.Descriptor) (next []imgspecv1.Descriptor, err error) {
	for _, d := range descriptors {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if s.seen[d.Digest] || d.Digest.Validate() != nil || manifest.IsBlobMediaType(d.MediaType) {
			continue
		}
		if s.seen[d.Digest] = true; len(s.seen) > maxScanned {
			return nil, fmt.Errorf("there are more than %d manifests", maxScanned)
		}
		content, err := s.read(d.Digest)
		if errors.Is(err, fs.ErrNotExist) {
			continue // of a sparse list
		}
		if err != nil {
			return nil, err
		}
		if s.bytes += len(content); s.bytes > maxScannedBytes {
			return nil, fmt.Errorf("the manifests have more than %d bytes", maxScannedBytes)
		}
		if next = append(next, s.document(d, content)...); len(next) > maxScanned {
			return nil, fmt.Errorf("there are more than %d manifests", maxScanned)
		}
	}
	return next, nil
}

// document notes whose referrer a manifest or list is, if it is one, and returns what it names.
// What is no manifest has no subject.
func (s *scan) document(d imgspecv1.Descriptor, content []byte) (named []imgspecv1.Descriptor) {
	is := imgspecv1.Descriptor{MediaType: endpoint.NewDocument(d.Digest, d.MediaType, content).MediaType, Digest: d.Digest, Size: int64(len(content))}
	var subject digest.Digest
	if manifest.IsListMediaType(is.MediaType) {
		list, err := manifest.Parse(content, is.MediaType)
		if err != nil {
			return nil
		}
		subject, is.ArtifactType = list.Subject(), list.ArtifactType()
		for _, in := range list.Instances() {
			// Clones, not to hold on to the list.
			named = append(named, imgspecv1.Descriptor{MediaType: strings.Clone(in.MediaType), Digest: digest.Digest(strings.Clone(in.Digest.String()))})
		}
	} else if image, err := manifest.ParseImage(content, is.MediaType); err == nil {
		subject, is.ArtifactType = image.Subject, cmp.Or(image.ArtifactType, image.Config.MediaType)
	}
	if subject != "" {
		is.ArtifactType = strings.Clone(is.ArtifactType)
		subject = digest.Digest(strings.Clone(subject.String()))
		s.referrers[subject] = append(s.referrers[subject], is)
	}
	return named
}

// read reads a manifest, which is not verified.
func (l *layoutReferrers) read(d digest.Digest) ([]byte, error) {
	return readDocument(layoutBlob(l.blobs, d), maxManifest)
}

// forget makes the next question look through the layout again.
func (l *layoutReferrers) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.found = nil
}

// layoutAttachments is told what is attached to what is in a layout (endpoint.ReferrerDestination).
// It keeps that until PutTop or Flush, so that index.json changes once, and not at all if the copy
// fails.
type layoutAttachments struct {
	*layoutReferrers
	end *layoutEnd
}

// Attached returns what can be told of referrers in a layout. Other transports cannot.
func (d *Destination) Attached() (endpoint.ReferrerDestination, error) {
	e, ok := d.end.(*layoutEnd)
	switch {
	case !ok:
		return nil, fmt.Errorf("the transport %s knows no referrers", d.ref.Transport().Name())
	case e.name == "":
		return nil, errors.New("its reference has no tag: with referrers in the layout, nobody could tell which entry is meant")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.attached == nil {
		e.attached = &layoutAttachments{newLayoutReferrers(e.dir, e.blobs.Blobs), e}
	}
	return e.attached, nil
}

// PutReferrers implements endpoint.ReferrerDestination. The subjects are in the manifests. Of the
// annotations none is kept: strangers wrote them, and in index.json one of them would be a name.
func (a *layoutAttachments) PutReferrers(_ context.Context, _ digest.Digest, referrers []imgspecv1.Descriptor) error {
	a.end.mu.Lock()
	defer a.end.mu.Unlock()
	for _, r := range referrers {
		r.Annotations = nil
		a.end.unnamed = append(a.end.unnamed, r)
	}
	return nil
}

// UpdateTag implements endpoint.ReferrerDestination.
func (a *layoutAttachments) UpdateTag(ctx context.Context, tag string, update func(endpoint.Document) (endpoint.Document, error)) error {
	old, err := a.Tagged(ctx, tag)
	if err != nil && !errors.Is(err, endpoint.ErrNotFound) {
		return err
	}
	updated, err := update(old)
	if err != nil || updated.Digest == old.Digest {
		return err
	}
	if err := a.end.putManifest(ctx, updated); err != nil {
		return err
	}
	a.end.mu.Lock()
	defer a.end.mu.Unlock()
	a.end.named[tag] = imgspecv1.Descriptor{
		MediaType: updated.MediaType, Digest: updated.Digest, Size: int64(len(updated.Bytes)),
	}
	return nil
}

// Flush implements endpoint.ReferrerDestination.
func (a *layoutAttachments) Flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	return a.end.update(func(index *layoutIndex) ([]byte, error) { return index.content, nil })
}

// addAll returns the index with entries added: without a name those whose digest no entry has, and
// with their names the others. Entries that had the names lose them and stay. All other entries,
// and everything around them, keep their bytes.
func (x *layoutIndex) addAll(unnamed []imgspecv1.Descriptor, named map[string]imgspecv1.Descriptor) ([]byte, error) {
	left := maps.Clone(named)
	there := map[digest.Digest]bool{}
	var edits []edit
	for _, old := range x.entries {
		there[old.Digest] = true
		name := old.name()
		wanted, ok := named[name]
		if !ok || name == "" {
			continue
		}
		if _, first := left[name]; first && old.Digest == wanted.Digest {
			delete(left, name)
			continue
		}
		text, err := withoutName(x.text[old.start:old.end])
		if err != nil {
			return nil, err
		}
		edits = append(edits, edit{old.span, text})
	}
	var added [][]byte
	for _, name := range slices.Sorted(maps.Keys(left)) {
		text, err := namedEntry(left[name], name)
		if err != nil {
			return nil, err
		}
		there[left[name].Digest] = true
		added = append(added, text)
	}
	for _, d := range unnamed {
		if there[d.Digest] {
			continue
		}
		there[d.Digest] = true
		text, err := namedEntry(d, "")
		if err != nil {
			return nil, err
		}
		added = append(added, text)
	}
	if len(added) > 0 {
		edits = append(edits, x.appended(added...))
	}
	if len(edits) == 0 {
		return x.content, nil
	}
	return apply(x.text, edits), nil
}
