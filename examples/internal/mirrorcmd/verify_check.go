package mirrorcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/transport"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A verifier holds a destination against a plan. It reads, and nothing else.
type verifier struct {
	plan     *copy.Plan
	shared   *registry.Shared
	parallel uint
	hash     bool // read blobs and hash them

	dst   endpoint.Source       // the destination, to be read
	asked *registry.Destination // asks a registry for blobs; nil if the transport is read
	undo  func()

	images   map[digest.Digest]string // wanted, with their platforms
	attached map[digest.Digest]string // wanted beside them: referrers and what digest tags name, with what they are; they may be lists

	mu        sync.Mutex // guards what follows
	found     verification
	owner     map[digest.Digest]string // of blobs: a platform
	elsewhere map[digest.Digest]bool   // layers with URLs
	declared  map[[2]string]int        // documents that the destination declares to be what they are not: media types, how many
}

func newVerifier(plan *copy.Plan, shared *registry.Shared, parallel uint, hash bool) *verifier {
	return &verifier{
		plan: plan, shared: shared, parallel: parallel, hash: hash, images: platformsOf(plan), undo: func() {},
		attached: map[digest.Digest]string{}, owner: map[digest.Digest]string{}, elsewhere: map[digest.Digest]bool{},
		declared: map[[2]string]int{},
		found: verification{
			Schema: verificationSchema, Source: plan.Source, Destination: plan.Destination, Wanted: plan.Digest,
			Violations: []violation{}, BlobsRead: hash, Warnings: append(slices.Clone(plan.Warnings), missingWarnings(plan)...),
		},
	}
}

// platformsOf are the wanted images of a plan.
func platformsOf(plan *copy.Plan) map[digest.Digest]string {
	images := map[digest.Digest]string{}
	if plan.Image != nil {
		images[plan.Digest] = plan.Image.Platform
		return images
	}
	for _, d := range plan.Copies {
		images[d] = ""
	}
	eachList(plan.List, func(l *copy.ListPlan) {
		for _, in := range l.Instances {
			if name, wanted := images[in.Digest]; wanted {
				images[in.Digest] = cmp.Or(name, nameOf(in, l))
			}
		}
	})
	return images
}

// nameOf names an entry: by its platform, or by that of its subject.
func nameOf(in copy.InstancePlan, l *copy.ListPlan) string {
	if in.AttestationOf == "" {
		return in.Platform
	}
	for _, other := range l.Instances {
		if other.Digest == in.AttestationOf {
			return "attestation of " + other.Platform
		}
	}
	return "attestation of " + shortDigest(in.AttestationOf)
}

// eachList calls f for a list and those nested in it that are copied.
func eachList(l *copy.ListPlan, f func(*copy.ListPlan)) {
	if l == nil {
		return
	}
	f(l)
	for _, in := range l.Instances {
		if in.Nested != nil && in.Decision == copy.Copy {
			eachList(in.Nested, f)
		}
	}
}

// open opens the destination. An error that wraps endpoint.ErrNotFound says that it names nothing, which is noted.
func (v *verifier) open(ctx context.Context, e *ends) error {
	sys, undo, err := withoutMirrors(e.destination, e.options.DestinationCtx)
	if err != nil {
		return err
	}
	v.undo = undo
	v.dst, err = openSource(ctx, e.destination, sys, v.shared)
	if err != nil {
		undo()
		if errors.Is(err, endpoint.ErrNotFound) {
			v.violated("", v.top(), v.plan.Digest, "the destination names nothing")
		}
		return atEnd("dest", v.plan.Destination, err)
	}
	if _, direct := v.dst.(*registry.Source); direct {
		if v.asked, err = registry.OpenDestination(ctx, e.destination, sys, v.shared); err != nil {
			v.close()
			return atEnd("dest", v.plan.Destination, err)
		}
	}
	return nil
}

func (v *verifier) close() {
	_ = v.dst.Close() // nothing was written
	if v.asked != nil {
		_ = v.asked.Close()
	}
	v.undo()
}

// result returns what was found, violations in an order that does not depend on chance.
func (v *verifier) result() *verification {
	slices.SortFunc(v.found.Violations, func(a, b violation) int {
		return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.Platform, b.Platform), cmp.Compare(a.Digest, b.Digest))
	})
	for types, n := range v.declared {
		v.warn("the destination declares %s to be %s, and what they are is %s", counted(n, "document"), types[0], types[1])
	}
	slices.Sort(v.found.Warnings)
	return &v.found
}

func (v *verifier) violated(platform, what string, d digest.Digest, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.found.Violations = append(v.found.Violations, violation{d, what, platform, fmt.Sprintf(format, args...)})
}

func (v *verifier) warn(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.found.Warnings = append(v.found.Warnings, fmt.Sprintf(format, args...))
}

// nameOf names an image by its platform, and what is attached by what it is.
func (v *verifier) nameOf(d digest.Digest) string { return cmp.Or(v.images[d], v.attached[d]) }

// top is what the plan's top-level document is called.
func (v *verifier) top() string {
	if v.plan.List != nil {
		return "list"
	}
	return "manifest"
}

// run looks at everything. What is wrong with the destination is noted; an error says that ctx ended.
func (v *verifier) run(ctx context.Context) error {
	eachList(v.plan.List, func(l *copy.ListPlan) {
		if l != v.plan.List {
			v.document(ctx, l.Result, "list", "")
		}
	})
	wanted := make([]digest.Digest, 0, len(v.images))
	for d := range v.images {
		wanted = append(wanted, d)
	}
	for d := range v.attached {
		wanted = append(wanted, d)
	}
	slices.Sort(wanted)
	var all []endpoint.Blob
	if err := inParallel(ctx, v.parallel, wanted, func(ctx context.Context, d digest.Digest) error {
		blobs := v.image(ctx, d)
		v.mu.Lock()
		defer v.mu.Unlock()
		for _, b := range blobs {
			if _, seen := v.owner[b.Digest]; !seen {
				v.owner[b.Digest] = v.nameOf(d)
				all = append(all, b)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	v.found.Blobs = len(all)
	for _, b := range all {
		delete(v.elsewhere, b.Digest) // another manifest wants it here
	}
	v.found.Elsewhere = len(v.elsewhere)
	if err := inParallel(ctx, v.parallel, all, func(ctx context.Context, b endpoint.Blob) error {
		v.blob(ctx, b)
		return nil
	}); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// signatures checks that the destination has the signatures that src has of what is wanted. Lists that change have none to carry.
func (v *verifier) signatures(ctx context.Context, src endpoint.Source, lists bool) error {
	var signed []digest.Digest
	for d := range v.images {
		signed = append(signed, d)
	}
	if lists {
		eachList(v.plan.List, func(l *copy.ListPlan) {
			if l.Result == l.Digest {
				signed = append(signed, l.Digest)
			}
		})
	}
	return inParallel(ctx, v.parallel, signed, func(ctx context.Context, d digest.Digest) error {
		want, err := src.Signatures(ctx, d)
		if errors.Is(err, endpoint.ErrUnknown) {
			v.warn("whether %s is signed could not be asked, and is not known: %v", d, err)
			return nil
		}
		if err != nil {
			return atEnd("src", "signatures of "+d.String(), err)
		}
		if want.Len() == 0 {
			return nil
		}
		switch have, err := v.dst.Signatures(ctx, d); {
		case err != nil:
			v.violated(v.images[d], "signatures", d, "%v", err)
		case !have.Contain(want):
			v.violated(v.images[d], "signatures", d, "it has %d, and lacks some of the source's %d", have.Len(), want.Len())
		}
		return nil
	})
}

// checkTop checks what the reference names. Under auto it may be either of two lists; the rest is checked against the one that is there.
func (v *verifier) checkTop() {
	top := v.dst.Top()
	v.noteType(top)
	v.found.Found, v.found.Manifests = top.Digest, 1
	if other := v.plan.IfRefused; other != nil && top.Digest == other.Digest {
		v.plan, v.images, v.found.Wanted = other, platformsOf(other), other.Digest
	}
	if top.Digest != v.plan.Digest {
		v.violated("", v.top(), v.plan.Digest, "the destination names %s instead", top.Digest)
	}
}

// noteType notes that the destination declares doc to be what it is not: there are clients that believe it.
func (v *verifier) noteType(doc endpoint.Document) {
	if manifest.IsMisdeclared(doc.MediaType, doc.Misdeclared) {
		v.declared[[2]string{doc.Misdeclared, doc.MediaType}]++
	}
}

// document reads a list or manifest and returns whether it is there and true.
func (v *verifier) document(ctx context.Context, d digest.Digest, what, platform string) (endpoint.Document, bool) {
	doc, err := v.dst.Manifest(ctx, d)
	switch {
	case err == nil:
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

// image checks the manifest of an image, and returns the blobs that have to be with it. What is attached may be a list, which has none.
func (v *verifier) image(ctx context.Context, d digest.Digest) []endpoint.Blob {
	doc, there := v.document(ctx, d, "manifest", v.nameOf(d))
	if !there {
		return nil
	}
	_, wanted := v.images[d]
	switch isList := manifest.IsListMediaType(doc.MediaType); {
	case isList && wanted:
		v.violated(v.nameOf(d), "manifest", d, "it is a list")
		return nil
	case isList:
		return nil
	}
	image, all, err := blobs(doc)
	if err != nil {
		v.violated(v.nameOf(d), "manifest", d, "%v", err)
	}
	here := blobsHere(image, all)
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, b := range all {
		if !slices.Contains(here, b) {
			v.elsewhere[b.Digest] = true
		}
	}
	return here
}

// blob checks a config or layer.
func (v *verifier) blob(ctx context.Context, b endpoint.Blob) {
	what := "layer"
	if b.Config {
		what = "config"
	}
	var err error
	if v.hash {
		err = v.read(ctx, b)
	} else {
		err = v.lookFor(ctx, b)
	}
	switch {
	case err == nil || ctx.Err() != nil:
	case errors.Is(err, endpoint.ErrNotFound):
		v.violated(v.owner[b.Digest], what, b.Digest, "it is missing")
	default:
		v.violated(v.owner[b.Digest], what, b.Digest, "%v", err)
	}
}

func (v *verifier) read(ctx context.Context, b endpoint.Blob) error {
	r, err := v.dst.Blob(ctx, b)
	if err != nil {
		return err
	}
	defer r.Close()
	counted := &countingReader{r: r}
	err = copyVerified(io.Discard, counted, b)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.found.BytesRead += counted.n
	return err
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// lookFor asks whether a blob is there, and, where that costs nothing, for its size.
func (v *verifier) lookFor(ctx context.Context, b endpoint.Blob) error {
	if v.asked == nil {
		return v.stat(ctx, b)
	}
	size, err := v.asked.BlobSize(ctx, b.Digest)
	switch answer, refused := errors.AsType[*copy.RegistryError](err); {
	case err == nil:
		return checkSize(size, b)
	case refused && slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed}, answer.Status):
		// The question was asked with the scope of a writer, or by a method that the registry does not have: ask as a reader.
		r, err := v.dst.Blob(ctx, b)
		if err != nil {
			return err
		}
		return r.Close()
	}
	return err
}

// stat opens a blob through the transport, and compares its size.
func (v *verifier) stat(ctx context.Context, b endpoint.Blob) error {
	src, ok := v.dst.(*transport.Source)
	if !ok {
		return fmt.Errorf("%T cannot be asked for blobs", v.dst)
	}
	v.mu.Lock() // one blob at a time, as some transports want it
	defer v.mu.Unlock()
	r, size, err := src.ImageSource().GetBlob(ctx, types.BlobInfo{Digest: b.Digest, Size: b.Size, MediaType: b.MediaType}, none.NoCache)
	if err != nil {
		return asNotFound(err)
	}
	defer r.Close()
	return checkSize(size, b)
}

// checkSize says that a blob with that size is not b; -1 is not known.
func checkSize(size int64, b endpoint.Blob) error {
	if size >= 0 && b.Size >= 0 && size != b.Size {
		return fmt.Errorf("it has %d bytes, and its manifest states %d", size, b.Size)
	}
	return nil
}

// asNotFound adds endpoint.ErrNotFound to the error of a file that does not exist.
func asNotFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", endpoint.ErrNotFound, err)
	}
	return err
}
