package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A Want is what should be at a place.
type Want struct {
	Digest   digest.Digest            // what the reference should name
	IsList   bool                     // whether that is a list
	Lists    []digest.Digest          // the nested lists, each once
	Images   map[digest.Digest]string // the images, and what they are called: their platforms
	Blobs    []endpoint.Blob          // that lists name in the place of manifests, each once
	Attached []Attached
	Signed   []digest.Digest // the images and lists whose signatures should be there, as far as the source has any
	Carried  []digest.Digest // what is written as it was read: the source had it under the same digest

	// Else is what may be there instead: if the reference names that, this is what counts. Nil for
	// nothing.
	Else *Want
}

// Options are the choices of Verify.
type Options struct {
	ReadBlobs bool                // read blobs and hash them, instead of asking for their sizes
	Limit     *semaphore.Weighted // of what is in flight
	// Manifest reads a manifest or list where a copy reads it: what is attached where it was found,
	// as it was found. Blob reads a blob that the manifest or list with that digest names, in the
	// same way. Nil if there is no source any more: what is wrong then stays so.
	Manifest func(context.Context, digest.Digest) (endpoint.Document, error)
	Blob     func(owner digest.Digest, b endpoint.Blob) endpoint.Opener
}

// A ReadError says what could not be read, of things that there is no telling without.
type ReadError struct {
	Op, Object string
	AtSource   bool
	Err        error
}

func (e *ReadError) Error() string { return e.Op + " " + e.Object + ": " + e.Err.Error() }
func (e *ReadError) Unwrap() error { return e.Err }

// Verify holds a place against what should be there. dst is nil if its reference names nothing.
// Signatures, and what digest tags name, are compared with src's. Whatever is wrong with dst is a
// violation; an error is a *ReadError, or says that ctx has ended. Source and Destination of the
// result stay empty.
func Verify(ctx context.Context, dst endpoint.SizedSource, src endpoint.Source, want Want, o Options) (*Verification, error) {
	v := &verifier{
		Options: o, dst: dst, src: src, want: want,
		attached: map[digest.Digest]string{}, owner: map[digest.Digest]digest.Digest{}, elsewhere: map[digest.Digest]bool{},
		stated: map[digest.Digest][]statement{}, declared: map[[2]string]int{},
		found: Verification{
			Schema: VerificationSchema, Wanted: want.Digest, Violations: []Violation{}, BlobsRead: o.ReadBlobs,
		},
	}
	if dst == nil {
		v.violated("", v.top(), want.Digest, "the destination names nothing")
		return v.result(), v.checkLost(ctx)
	}
	v.checkTop()
	for _, step := range []func(context.Context) error{v.checkAttached, v.checkContent, v.checkSignatures, v.checkLost} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return v.result(), nil
}

// A verifier holds a place against a Want.
type verifier struct {
	Options
	dst  endpoint.SizedSource
	src  endpoint.Source
	want Want
	// attached is wanted beside the images: referrers and what digest tags name, with what they
	// are. They may be lists.
	attached map[digest.Digest]string

	mu        sync.Mutex // guards what follows
	found     Verification
	owner     map[digest.Digest]digest.Digest // of blobs: a manifest or list that names them
	elsewhere map[digest.Digest]bool          // layers with URLs
	stated    map[digest.Digest][]statement   // how large manifests are, by what names them
	declared  map[[2]string]int               // documents that dst declares to be what they are not: media types, how many
}

func (v *verifier) result() *Verification {
	slices.SortFunc(v.found.Violations, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.Platform, b.Platform), cmp.Compare(a.Digest, b.Digest))
	})
	for types, n := range v.declared {
		documents := "document"
		if n != 1 {
			documents += "s"
		}
		v.warn("the destination declares %d %s to be %s, and what they are is %s", n, documents, types[0], types[1])
	}
	slices.Sort(v.found.Warnings)
	return &v.found
}

func (v *verifier) violated(platform string, what string, d digest.Digest, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.found.Violations = append(v.found.Violations, Violation{Digest: d, What: what, Platform: platform, Problem: fmt.Sprintf(format, args...)})
}

func (v *verifier) warn(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.found.Warnings = append(v.found.Warnings, fmt.Sprintf(format, args...))
}

// nameOf names an image by its platform, and what is attached by what it is.
func (v *verifier) nameOf(d digest.Digest) string { return cmp.Or(v.want.Images[d], v.attached[d]) }

// top is what the document that the reference should name is called.
func (v *verifier) top() string {
	if v.want.IsList {
		return aList
	}
	return aManifest
}

// checkTop checks what the reference names. It may be either of two things; the rest is checked
// against the one that is there.
func (v *verifier) checkTop() {
	top := v.dst.Top()
	v.noteType(top)
	v.noteEntries(top)
	v.found.Found, v.found.Manifests = top.Digest, 1
	if other := v.want.Else; other != nil && top.Digest == other.Digest {
		v.want, v.found.Wanted = *other, other.Digest
	}
	if top.Digest != v.want.Digest {
		v.violated("", v.top(), v.want.Digest, "the destination names %s instead", top.Digest)
	}
}

// noteType notes that the destination declares doc to be what it is not: there are clients that
// believe it.
func (v *verifier) noteType(doc endpoint.Document) {
	if manifest.IsMisdeclared(doc.MediaType, doc.Misdeclared) {
		v.declared[[2]string{doc.Misdeclared, doc.MediaType}]++
	}
}

// checkContent checks lists, manifests and blobs.
func (v *verifier) checkContent(ctx context.Context) error {
	for _, d := range v.want.Lists {
		if list, there := v.document(ctx, d, aList, ""); there {
			v.noteEntries(list)
		}
	}
	manifests := slices.Concat(slices.Collect(maps.Keys(v.want.Images)), slices.Collect(maps.Keys(v.attached)))
	slices.Sort(manifests)
	type sized struct { // two manifests that state different sizes cannot be right both
		digest.Digest
		size int64
	}
	all, asked := slices.Clone(v.want.Blobs), map[sized]bool{}
	for _, b := range all {
		v.owner[b.Digest], asked[sized{b.Digest, b.Size}] = v.want.Digest, true
	}
	if err := inflight.Each(ctx, v.Limit, manifests, func(ctx context.Context, d digest.Digest) error {
		here := v.image(ctx, d)
		v.mu.Lock()
		defer v.mu.Unlock()
		for _, b := range here {
			if _, seen := v.owner[b.Digest]; !seen {
				v.owner[b.Digest] = d
			}
			if key := (sized{b.Digest, b.Size}); !asked[key] {
				asked[key] = true
				all = append(all, b)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	v.found.Blobs = len(v.owner)
	for d := range v.owner {
		delete(v.elsewhere, d) // another manifest wants it here
	}
	v.found.Elsewhere = len(v.elsewhere)
	return inflight.Each(ctx, v.Limit, all, func(ctx context.Context, b endpoint.Blob) error {
		v.blob(ctx, b)
		return nil
	})
}

// document reads a list or manifest, and reports whether it is there and true.
func (v *verifier) document(ctx context.Context, d digest.Digest, what string, platform string) (endpoint.Document, bool) {
	doc, err := v.dst.Manifest(ctx, d)
	switch {
	case err == nil:
		v.checkSize(doc)
		v.mu.Lock()
		defer v.mu.Unlock()
		if d != v.found.Found {
			v.found.Manifests++
			v.noteType(doc)
		}
		return doc, true
	case errors.Is(err, endpoint.ErrNotFound):
		v.violated(platform, what, d, "it is missing")
	case ctx.Err() == nil:
		v.violated(platform, what, d, "%v", err)
	}
	return doc, false
}

// image checks the manifest of an image, and returns the blobs that have to be with it. What is
// attached may be a list, which has none.
func (v *verifier) image(ctx context.Context, d digest.Digest) []endpoint.Blob {
	doc, there := v.document(ctx, d, aManifest, v.nameOf(d))
	if !there {
		return nil
	}
	_, wanted := v.want.Images[d]
	switch isList := manifest.IsListMediaType(doc.MediaType); {
	case isList && wanted:
		v.violated(v.nameOf(d), aManifest, d, "it is a list")
		return nil
	case isList:
		return nil
	}
	image, err := parseImage(doc)
	if err != nil {
		v.violated(v.nameOf(d), aManifest, d, "%v", err)
	}
	here, elsewhere := endpoint.PlacesOf(image)
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, b := range elsewhere {
		v.elsewhere[b.Digest] = true
	}
	return here
}

// blob checks a config or layer.
func (v *verifier) blob(ctx context.Context, b endpoint.Blob) {
	what, check := aLayer, v.lookFor
	if b.Config {
		what = aConfig
	}
	if v.ReadBlobs {
		check = v.read
	}
	switch err := check(ctx, b); {
	case err == nil || ctx.Err() != nil:
	case errors.Is(err, endpoint.ErrNotFound):
		v.violated(v.ownerName(b), what, b.Digest, "it is missing")
	default:
		v.violated(v.ownerName(b), what, b.Digest, "%v", err)
	}
}

// ownerName says for people what names a blob.
func (v *verifier) ownerName(b endpoint.Blob) string {
	owner := v.owner[b.Digest]
	if v.want.IsList && owner == v.want.Digest {
		return "entry of a list"
	}
	return v.nameOf(owner)
}

// read reads a blob and hashes it.
func (v *verifier) read(ctx context.Context, b endpoint.Blob) error {
	return endpoint.Twice(func() error { return v.readOnce(ctx, b) })
}

func (v *verifier) readOnce(ctx context.Context, b endpoint.Blob) error {
	r, err := v.dst.Blob(ctx, b)
	if err != nil {
		return err
	}
	defer r.Close()
	var read counter
	err = readVerified(&read, r, b)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.found.BytesRead += int64(read)
	return err
}

// A counter counts the bytes that are written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// lookFor asks whether a blob is there, and, where that is told, for its size.
func (v *verifier) lookFor(ctx context.Context, b endpoint.Blob) error {
	size, err := v.dst.BlobSize(ctx, b)
	if err == nil && size >= 0 && b.Size >= 0 && size != b.Size {
		return fmt.Errorf("it has %d bytes, and its manifest states %d", size, b.Size)
	}
	return err
}

// checkSignatures checks that the destination has the signatures that the source has.
func (v *verifier) checkSignatures(ctx context.Context) error {
	return inflight.Each(ctx, v.Limit, v.want.Signed, func(ctx context.Context, d digest.Digest) error {
		want, err := v.src.Signatures(ctx, d)
		if errors.Is(err, endpoint.ErrUnknown) {
			v.warn("whether %s is signed could not be asked, and is not known: %v", d, err)
			return nil
		}
		if err != nil {
			return &ReadError{Op: "reading signatures of", Object: d.String(), AtSource: true, Err: err}
		}
		if want.Len() == 0 {
			return nil
		}
		switch have, err := v.dst.Signatures(ctx, d); {
		case err != nil:
			v.violated(v.want.Images[d], aSignatures, d, "%v", err)
		case !have.Contain(want):
			v.violated(v.want.Images[d], aSignatures, d, "it has %d, and lacks some of the source's %d", have.Len(), want.Len())
		}
		return nil
	})
}
