package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// Destination writes an image to a registry. It implements endpoint.Destination.
type Destination struct {
	ref       types.ImageReference
	name      reference.Named
	shared    *Shared
	ownShared bool
	stats     *counters
	repo      *repository
	sys       *types.SystemContext
	origin    atomic.Pointer[string]              // repository of the same host to mount blobs from, nil for none
	locate    func(endpoint.Blob) reference.Named // see MountEach; may be nil
	inUse     atomic.Bool                         // something was seen in the repository: there may be more
	sigs      *signatureWriter
	reading   sync.Once
	stored    *signatureReader // of the signatures that are there, with storedErr; made in reading
	storedErr error
}

var (
	_ endpoint.Destination = (*Destination)(nil)
	_ endpoint.Rereader    = (*Destination)(nil)
	_ endpoint.FormMemory  = (*Destination)(nil)
)

// OpenDestination prepares writing to ref. It sends no request. sh is what it shares with other
// ends, nil for nothing. An *Unsupported error says that the docker transport of containers/image
// has to be used.
func OpenDestination(ctx context.Context, ref types.ImageReference, sys *types.SystemContext, sh *Shared) (*Destination, error) {
	name, err := named(ref)
	if err != nil {
		return nil, err
	}
	d := &Destination{
		ref: ref, name: name, shared: sh, stats: &counters{}, sys: sys,
	}
	if d.shared == nil {
		d.shared, d.ownShared = &Shared{}, true
	}
	d.sigs = newSignatureWriter(ref, sys, d.shared)
	if d.repo, err = pushRepository(name, sys, d.shared, d.stats); err != nil {
		return nil, err
	}
	return d, nil
}

// PlainOnly implements endpoint.FormMemory, for the repository.
func (d *Destination) PlainOnly() bool {
	return d.repo.host.plainOnly.holds(d.repo.name, d.shared.now())
}

// NotePlainOnly implements endpoint.FormMemory.
func (d *Destination) NotePlainOnly() { d.repo.host.plainOnly.note(d.repo.name, d.shared.now()) }

// MountFrom makes PutBlob ask the registry to take blobs from the repository of s, if that is one
// of the same registry and the credentials are the same: those of d are not used for the repository
// of s otherwise.
func (d *Destination) MountFrom(s *Source) {
	from, to := s.endpoints[s.current.Load()].repo, d.repo
	if from.host.Name == to.host.Name && from.name != to.name && from.namespace == "" &&
		from.account() == to.account() {
		d.origin.Store(&from.name)
	}
}

// MountEach makes PutBlob ask the registry to take a blob that it does not have in the repository
// from the one that locate returns, which may be nil for none, if that is one of the same registry
// and the credentials are the same. It must be called before PutBlob. locate may be called
// concurrently.
func (d *Destination) MountEach(locate func(endpoint.Blob) reference.Named) { d.locate = locate }

// elsewhere is a repository of the same registry that b can be mounted from, as MountEach says; ""
// for none.
func (d *Destination) elsewhere(b endpoint.Blob) string {
	if d.locate == nil {
		return ""
	}
	name := d.locate(b)
	if name == nil {
		return ""
	}
	from, err := pushRepository(name, d.sys, d.shared, d.stats)
	if err != nil || from.host.Name != d.repo.host.Name || from.name == d.repo.name || from.account() != d.repo.account() {
		return ""
	}
	return from.name
}

// Reference implements endpoint.Destination.
func (d *Destination) Reference() types.ImageReference { return d.ref }

// Stats says what d did so far.
func (d *Destination) Stats() Stats { return d.stats.snapshot() }

// Expect says that d will be asked for n things at once soon: connections for them are opened in
// the background, unless the registry is near.
func (d *Destination) Expect(n int) { d.repo.host.ahead.Expect(n) }

// Top implements endpoint.Destination.
func (d *Destination) Top(ctx context.Context) (digest.Digest, error) {
	wanted, ok := tagOrDigest(d.name)
	if !ok {
		return "", fmt.Errorf("%s: %w", d.name, endpoint.ErrNotFound)
	}
	return d.digestAt(ctx, wanted)
}

// ReadTop is Top by what the registry hands out, hashed. An error that is an endpoint.MismatchError
// says that it hands out something else than it says.
func (d *Destination) ReadTop(ctx context.Context) (digest.Digest, error) {
	wanted, ok := tagOrDigest(d.name)
	if !ok {
		return "", fmt.Errorf("%s: %w", d.name, endpoint.ErrNotFound)
	}
	doc, err := d.read(ctx, wanted)
	return doc.Digest, err
}

// digestAt is the digest of what a tag or a digest names.
func (d *Destination) digestAt(ctx context.Context, wanted string) (digest.Digest, error) {
	header, err := d.headManifest(ctx, wanted)
	if err != nil {
		return "", err
	}
	if named := digest.Digest(wanted); named.Validate() == nil {
		return named, nil
	}
	if stated := digest.Digest(header.Get("Docker-Content-Digest")); stated.Validate() == nil {
		return stated, nil
	}
	doc, err := d.read(ctx, wanted)
	return doc.Digest, err
}

// Manifest implements endpoint.Rereader.
func (d *Destination) Manifest(ctx context.Context, wanted digest.Digest) (endpoint.Document, error) {
	if err := wanted.Validate(); err != nil {
		return endpoint.Document{}, fmt.Errorf("digest %q: %w", wanted, err)
	}
	return d.read(ctx, wanted.String())
}

// read reads what a tag or a digest names.
func (d *Destination) read(ctx context.Context, tagOrDigest string) (doc endpoint.Document, err error) {
	doc, err = d.repo.read(ctx, d.shared.newRetrier(), tagOrDigest)
	return doc, d.repo.wrapNotFound(err)
}

// HasManifest implements endpoint.Destination.
func (d *Destination) HasManifest(ctx context.Context, wanted digest.Digest) (bool, error) {
	if err := wanted.Validate(); err != nil {
		return false, fmt.Errorf("digest %q: %w", wanted, err)
	}
	_, err := d.headManifest(ctx, wanted.String())
	return found(err)
}

func (d *Destination) headManifest(ctx context.Context, tagOrDigest string) (http.Header, error) {
	header, err := d.head(ctx, &request{
		method: http.MethodHead,
		path:   "manifests/" + tagOrDigest,
		header: http.Header{"Accept": acceptManifests},
	})
	if err == nil {
		d.repo.knowsManifests.Store(true)
	}
	return header, err
}

// HasBlob implements endpoint.Destination.
func (d *Destination) HasBlob(ctx context.Context, b endpoint.Blob) (bool, error) {
	if err := b.Digest.Validate(); err != nil {
		return false, fmt.Errorf("digest %q: %w", b.Digest, err)
	}
	_, err := d.head(ctx, &request{method: http.MethodHead, path: "blobs/" + b.Digest.String()})
	if err == nil {
		d.repo.has(b.Digest)
	}
	return found(err)
}

// attemptsOfChecks is how often something is looked for: a copy does without the answer.
const attemptsOfChecks = 3

// head looks for something and returns the header of the answer.
func (d *Destination) head(ctx context.Context, rq *request) (http.Header, error) {
	header, err := d.repo.head(ctx, rq)
	if err != nil {
		return nil, d.repo.wrapNotFound(err)
	}
	d.inUse.Store(true)
	return header, nil
}

// head looks for something and returns the header of the answer, or the error as it is.
func (r *repository) head(ctx context.Context, rq *request) (http.Header, error) {
	rt := r.shared.newRetrier()
	rt.policy.Attempts = min(rt.policy.Attempts, attemptsOfChecks)
	a, err := r.do(ctx, rt, rq)
	if err == nil {
		err = a.aboutContent()
	}
	return a.header, err
}

func found(err error) (bool, error) {
	if errors.Is(err, endpoint.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// PutManifest implements endpoint.Destination.
func (d *Destination) PutManifest(ctx context.Context, doc endpoint.Document) error {
	return d.putManifest(ctx, doc, doc.Digest.String())
}

// Signatures reads the signatures that the destination has for the manifest or list with digest of,
// which is there. They are read once, also if others are written later.
func (d *Destination) Signatures(ctx context.Context, of digest.Digest) (endpoint.Signatures, error) {
	d.reading.Do(func() { d.stored, d.storedErr = d.newSignatureReader(of) })
	if d.storedErr != nil {
		return nil, d.storedErr
	}
	return d.stored.read(ctx, physical{ref: d.name, repo: d.repo}, of)
}

// newSignatureReader returns a reader of the signatures that are there, by what has the digest
// present: what the reference names may not be there.
func (d *Destination) newSignatureReader(present digest.Digest) (*signatureReader, error) {
	if err := checkOwnPlace(d.name, d.sys); err != nil {
		return nil, err
	}
	name, err := reference.WithDigest(reference.TrimNamed(d.name), present)
	if err != nil {
		return nil, err
	}
	ref, err := docker.NewReference(name)
	if err != nil {
		return nil, err
	}
	return newSignatureReader(ref, d.sys, d.shared)
}

// checkOwnPlace fails if reading name through the docker transport may ask another place than
// writing it does.
func checkOwnPlace(name reference.Named, sys *types.SystemContext) error {
	registry, err := sysregistriesv2.FindRegistry(sys, name.Name())
	if err != nil || registry == nil {
		return err
	}
	sources, err := registry.PullSourcesFromReference(name)
	if err != nil {
		return err
	}
	if len(sources) != 1 || sources[0].Reference.Name() != name.Name() {
		return fmt.Errorf("%s is configured to be read from elsewhere", name.Name())
	}
	return nil
}

// PutTop implements endpoint.Destination. Without signatures it is one request.
func (d *Destination) PutTop(ctx context.Context, doc endpoint.Document, sigs endpoint.Signatures) error {
	target, tagged := doc.Digest.String(), false
	switch name := d.name.(type) {
	case reference.Canonical:
		// The same document may have been read by a digest of another algorithm.
		if named := name.Digest(); named.Algorithm().FromBytes(doc.Bytes) != named {
			return fmt.Errorf("writing %s: the manifest has digest %s", d.name, doc.Digest)
		}
		doc.Digest = name.Digest()
		target = doc.Digest.String()
	case reference.NamedTagged:
		tagged = true
		if sigs == nil || sigs.Len() == 0 {
			target = name.Tag()
		}
	}
	if err := d.putManifest(ctx, doc, target); err != nil {
		return err
	}
	if sigs == nil || sigs.Len() == 0 {
		return nil
	}
	if err := d.PutSignatures(ctx, doc.Digest, sigs); err != nil {
		return err
	}
	if !tagged {
		return nil
	}
	return d.putManifest(ctx, doc, d.name.(reference.NamedTagged).Tag())
}

func (d *Destination) putManifest(ctx context.Context, doc endpoint.Document, tagOrDigest string) error {
	if err := doc.Digest.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", doc.Digest, err)
	}
	contentType := cmp.Or(doc.MediaType, manifest.TypeOf(doc.Bytes, ""))
	rt := d.shared.newRetrier()
	a, err := d.repo.do(ctx, rt, &request{
		method: http.MethodPut,
		path:   "manifests/" + tagOrDigest,
		header: http.Header{"Content-Type": {contentType}},
		body:   bytesBody(doc.Bytes),
		size:   int64(len(doc.Bytes)),
	})
	if no, refused := errors.AsType[*refusal](err); refused && rt.failures > 0 && no.Status < 500 {
		// An earlier attempt, whose answer was lost, may have done it: immutable tags are written
		// once.
		if there, known := d.digestAt(ctx, tagOrDigest); known == nil && there == doc.Digest {
			return nil
		}
	}
	if err != nil {
		d.repo.host.blobs.forget(d.repo)
		return fmt.Errorf("writing manifest %s of %s: %w", tagOrDigest, d.name.Name(), err)
	}
	d.repo.knowsManifests.Store(true)
	want := doc.Digest
	if doc.MediaType == manifest.MediaTypeDockerSchema1Signed && a.header.Get("Docker-Content-Digest") != want.String() {
		want = digest.FromBytes(doc.Bytes) // registries differ in whether it is that, or of what is signed only
	}
	return checkStored(a, want)
}

// checkStored fails if the registry says that it stored something else.
func checkStored(a answer, d digest.Digest) error {
	stored := digest.Digest(a.header.Get("Docker-Content-Digest"))
	if a.status == http.StatusOK && stored == "" && a.header.Get("Location") == "" {
		// Some registries say no more when they have stored something. A web server, or one that
		// fails, does.
		if err := a.fromStore(); err != nil {
			return err
		}
	}
	if stored.Validate() == nil && stored.Algorithm() == d.Algorithm() && stored != d {
		return fmt.Errorf("%s: the registry stored %s, not %s", a.url, stored, d)
	}
	return nil
}

// Close implements endpoint.Destination.
func (d *Destination) Close() error {
	err := d.sigs.close()
	if d.stored != nil {
		err = errors.Join(err, d.stored.close())
	}
	if d.ownShared {
		_ = d.shared.Close()
	}
	return err
}
