package bundle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	dirtransport "go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// A destination implements endpoint.Destination and endpoint.ReferrerDestination for one image of a
// bundle that is made. It has what was written to it, and blobs that other images or earlier
// bundles brought; what one image of a list lacks, the record says, does not depend on the others.
type destination struct {
	w      *Writer
	ref    *bundleReference
	single bool // the bundle is of this image, and appears with it

	mu        sync.Mutex // guards what follows
	image     Image
	documents map[digest.Digest]endpoint.Document // that were written
	attached  []attachment                        // that the bundle has not been told of
	top       digest.Digest                       // "" before PutTop
}

// An attachment is a referrer, or what a digest tag names.
type attachment struct {
	subject, digest digest.Digest
	tag             string
}

var (
	_ endpoint.Destination         = (*destination)(nil)
	_ endpoint.ReferrerDestination = (*destination)(nil)
	_ endpoint.Recorder            = (*destination)(nil)
)

func newDestination(w *Writer, ref *bundleReference, single bool) *destination {
	return &destination{w: w, ref: ref, single: single, image: Image{Name: ref.named.String()}, documents: map[digest.Digest]endpoint.Document{}}
}

// Reference implements endpoint.Destination.
func (d *destination) Reference() types.ImageReference { return d.ref }

// Record implements endpoint.Recorder.
func (d *destination) Record(source digest.Digest, changed []digest.Digest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.image.SourceDigest, d.image.Changed = source, changed
}

// Top implements endpoint.Destination.
func (d *destination) Top(context.Context) (digest.Digest, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.top == "" {
		return "", fmt.Errorf("%s is not in the bundle yet: %w", d.image.Name, endpoint.ErrNotFound)
	}
	return d.top, nil
}

// HasManifest implements endpoint.Destination. Only what was written to this destination counts.
func (d *destination) HasManifest(_ context.Context, m digest.Digest) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.documents[m]
	return ok, nil
}

// HasBlob implements endpoint.Destination.
func (d *destination) HasBlob(_ context.Context, b endpoint.Blob) (bool, error) {
	if err := b.Digest.Validate(); err != nil {
		return false, fmt.Errorf("digest %q: %w", b.Digest, err)
	}
	_, earlier := d.w.earlier[b.Digest]
	return earlier || d.w.dir.has(b.Digest, b.Size), nil
}

// PutBlob implements endpoint.Destination. A blob that several images share is read once.
func (d *destination) PutBlob(ctx context.Context, b endpoint.Blob, open endpoint.Opener) (endpoint.PutResult, error) {
	if err := b.Digest.Validate(); err != nil {
		return endpoint.PutResult{}, fmt.Errorf("digest %q: %w", b.Digest, err)
	}
	done, err := d.w.writing.Take(ctx, b.Digest)
	if err != nil {
		return endpoint.PutResult{}, err
	}
	defer done()
	if there, err := d.HasBlob(ctx, b); there || err != nil {
		return endpoint.PutResult{Reused: there}, err
	}
	r, err := open(ctx)
	if err != nil {
		return endpoint.PutResult{}, err
	}
	defer r.Close()
	return endpoint.PutResult{}, d.w.dir.write(d.w.dir.blobPath(b.Digest), func(w io.Writer) error {
		_, err := io.Copy(w, r)
		return err
	})
}

// PutManifest implements endpoint.Destination.
func (d *destination) PutManifest(_ context.Context, doc endpoint.Document) error {
	if err := doc.Digest.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", doc.Digest, err)
	}
	if !d.w.dir.has(doc.Digest, int64(len(doc.Bytes))) {
		if err := d.w.dir.writeBytes(d.w.dir.blobPath(doc.Digest), doc.Bytes); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.documents[doc.Digest] = doc
	return nil
}

// PutSignatures implements endpoint.Destination.
func (d *destination) PutSignatures(ctx context.Context, m digest.Digest, sigs endpoint.Signatures) error {
	if sigs == nil || sigs.Len() == 0 {
		return nil
	}
	w := d.w
	w.signing.Lock()
	defer w.signing.Unlock()
	if w.sigs == nil {
		if err := os.MkdirAll(w.dir.path(signatureDir), 0o755); err != nil {
			return err
		}
		ref, err := dirtransport.NewReference(w.dir.path(signatureDir))
		if err != nil {
			return err
		}
		if w.sigs, err = ref.NewImageDestination(ctx, nil); err != nil {
			return err
		}
	}
	return sigs.Put(ctx, w.sigs, &m)
}

// PutTop implements endpoint.Destination.
func (d *destination) PutTop(ctx context.Context, doc endpoint.Document, sigs endpoint.Signatures) error {
	if err := d.PutManifest(ctx, doc); err != nil {
		return err
	}
	if err := d.PutSignatures(ctx, doc.Digest, sigs); err != nil {
		return err
	}
	if err := d.commit(doc); err != nil || !d.single {
		return err
	}
	_, err := d.w.Publish(ctx)
	return err
}

// commit tells the bundle of the image doc, and of what has been attached so far.
func (d *destination) commit(doc endpoint.Document) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.top = doc.Digest
	d.image.Digest = doc.Digest
	d.image.SourceDigest = cmp.Or(d.image.SourceDigest, doc.Digest)
	d.image.Absent = d.absent(doc.Digest)
	if err := d.tell(); err != nil {
		return err
	}
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	d.w.record.Images = append(d.w.record.Images, d.image)
	d.w.entries = append(d.w.entries, descriptor(d.image.Name, doc))
	return nil
}

// tell tells the bundle of what was written for the image and what is attached. d.mu is held.
func (d *destination) tell() error {
	places := map[digest.Digest]Blob{}
	for _, m := range slices.Sorted(maps.Keys(d.documents)) {
		here, err := blobsIn(d.documents[m])
		if err != nil {
			return err
		}
		for _, b := range here {
			if d.lacks(b.Digest) {
				continue
			}
			if _, earlier := places[b.Digest]; !earlier {
				places[b.Digest] = Blob{Digest: b.Digest, Size: b.Size, Repository: d.ref.named.Name(), Manifest: m}
			}
		}
	}
	depths := d.depths()
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	for m := range d.documents {
		d.w.known[m] = true
	}
	for _, place := range places {
		// Which of several does not depend on who comes first.
		if other, known := d.w.blobs[place.Digest]; !known || comparePlaces(place, other) < 0 {
			d.w.blobs[place.Digest] = place
		}
	}
	for _, a := range d.attached {
		absent := d.absent(a.digest)
		slices.Sort(absent)
		d.w.attach(Attached{Repository: d.ref.named.Name(), Subject: a.subject, Digest: a.digest, Tag: a.tag, Absent: absent},
			depths[a.digest], d.documents[a.digest])
	}
	d.attached = nil
	return nil
}

func comparePlaces(a, b Blob) int {
	return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.Manifest, b.Manifest))
}

// attach notes what is attached, once. w.mu is held.
func (w *Writer) attach(a Attached, depth int, doc endpoint.Document) {
	w.depths[a.key()] = max(w.depths[a.key()], depth)
	if w.attached[a.key()] {
		return
	}
	w.attached[a.key()] = true
	w.record.Attached = append(w.record.Attached, a)
	name := ""
	if a.Tag != "" {
		name = a.Repository + ":" + a.Tag
	}
	w.entries = append(w.entries, descriptor(name, doc))
}

// lacks reports whether neither the bundle nor an earlier one has a blob.
func (d *destination) lacks(b digest.Digest) bool {
	_, earlier := d.w.earlier[b]
	return !earlier && !d.w.dir.has(b, -1)
}

// absent returns the distinct manifests that a list and those nested in it name and that were not
// written, and the blobs that they name and nobody has, those of the innermost lists first. d.mu is
// held.
func (d *destination) absent(top digest.Digest) (absent []digest.Digest) {
	seen := map[digest.Digest]bool{}
	var walk func(digest.Digest)
	walk = func(m digest.Digest) {
		if seen[m] {
			return
		}
		seen[m] = true
		entries := instances(d.documents[m])
		for _, in := range slices.Backward(entries) {
			if _, written := d.documents[in.Digest]; written && !in.IsBlob() {
				walk(in.Digest)
			}
		}
		for _, in := range entries {
			if in.IsBlob() && (len(in.URLs) > 0 || !d.lacks(in.Digest)) {
				continue
			}
			if !seen[in.Digest] {
				seen[in.Digest] = true
				absent = append(absent, in.Digest)
			}
		}
	}
	walk(top)
	return absent
}

// parts returns the distinct digests of a document and of all that it names, as far as it was
// written. d.mu is held.
func (d *destination) parts(top digest.Digest) []digest.Digest {
	parts := []digest.Digest{top}
	seen := map[digest.Digest]bool{top: true}
	for i := 0; i < len(parts); i++ { // which grows
		for _, in := range instances(d.documents[parts[i]]) {
			if _, written := d.documents[in.Digest]; written && !seen[in.Digest] {
				seen[in.Digest] = true
				parts = append(parts, in.Digest)
			}
		}
	}
	return parts
}

// depths returns how far what is attached is from the image: 1 if its subject is something of that,
// 2 if it is attached to such, and so on. What an attached list names is as far as the list. d.mu
// is held.
func (d *destination) depths() map[digest.Digest]int {
	own := map[digest.Digest]bool{}
	for _, m := range d.parts(d.top) {
		own[m] = true
	}
	parts := map[digest.Digest][]digest.Digest{}
	for _, a := range d.attached {
		parts[a.digest] = d.parts(a.digest)
	}
	depths := map[digest.Digest]int{}
	for range d.attached { // no chain of honest digests is longer
		changed := false
		for _, a := range d.attached {
			depth := 1
			if !own[a.subject] {
				depth += depths[a.subject]
			}
			for _, m := range parts[a.digest] {
				if depth > depths[m] {
					depths[m], changed = depth, true
				}
			}
		}
		if !changed {
			break
		}
	}
	return depths
}

// Referrers implements endpoint.ReferrerSource. Nothing is attached yet to what was not in the
// bundle.
func (d *destination) Referrers(context.Context, digest.Digest, string) ([]imgspecv1.Descriptor, error) {
	return nil, nil
}

// Tagged implements endpoint.ReferrerSource. For what is told by UpdateTag, see
// endpoint.ReferrerDestination.
func (d *destination) Tagged(_ context.Context, tag string) (endpoint.Document, error) {
	return endpoint.Document{}, fmt.Errorf("the bundle has no tag %s: %w", tag, endpoint.ErrNotFound)
}

// PutReferrers implements endpoint.ReferrerDestination.
func (d *destination) PutReferrers(_ context.Context, subject digest.Digest, referrers []imgspecv1.Descriptor) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range referrers {
		if _, written := d.documents[r.Digest]; !written {
			return fmt.Errorf("referrer %s was not written", r.Digest)
		}
		d.attached = append(d.attached, attachment{subject: subject, digest: r.Digest})
	}
	return nil
}

// UpdateTag implements endpoint.ReferrerDestination, for tags that are named after a digest.
func (d *destination) UpdateTag(ctx context.Context, tag string, update func(endpoint.Document) (endpoint.Document, error)) error {
	subject := subjectOf(tag)
	if subject == "" {
		return fmt.Errorf("tag %s is not named after a digest", tag)
	}
	doc, err := update(endpoint.Document{})
	if err != nil {
		return err
	}
	if err := d.PutManifest(ctx, doc); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.attached = append(d.attached, attachment{subject: subject, digest: doc.Digest, tag: tag})
	return nil
}

// subjectOf returns the digest that a tag such as sha256-<hex>.sig is named after, "" if there is
// none.
func subjectOf(tag string) digest.Digest {
	name, _, _ := strings.Cut(tag, ".")
	d := digest.Digest(strings.Replace(name, "-", ":", 1))
	if d.Validate() != nil {
		return ""
	}
	return d
}

// Flush implements endpoint.ReferrerDestination.
func (d *destination) Flush(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case len(d.attached) == 0:
		return nil
	case d.single:
		return errors.New("the bundle is complete: nothing can be attached any more")
	}
	return d.tell()
}

// Close implements endpoint.Destination.
func (d *destination) Close() error {
	if d.single {
		return d.w.Close()
	}
	return nil
}
