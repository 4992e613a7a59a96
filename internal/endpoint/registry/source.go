package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
)

// Source reads an image from a registry, or from its mirrors. It implements endpoint.Source.
type Source struct {
	ref       types.ImageReference
	wanted    string // the tag or digest that ref names
	shared    *Shared
	ownShared bool
	stats     *counters
	endpoints []physical   // never empty; the last one is the reference's own repository
	current   atomic.Int32 // index of the endpoint that is asked first
	top       endpoint.Document
	stated    statement // about what ref names, once it was asked
	asked     bool
	present   sync.Map // digests of what was kept, and is there still
	sigs      *signatureReader
	logChoice bool // of endpoints, while the source is being opened
}

var (
	_ endpoint.Source = (*Source)(nil)
	_ endpoint.Keeper = (*Source)(nil)
)

// OpenSource reads what ref names. sh is what it shares with other ends, nil for nothing. An error
// that wraps endpoint.ErrNotFound says that ref definitely names nothing; an *Unsupported, that the
// docker transport of containers/image has to be used.
func OpenSource(ctx context.Context, ref types.ImageReference, sys *types.SystemContext, sh *Shared) (*Source, error) {
	return openFrom(ctx, supportedSources, ref, sys, sh)
}

// supportedSources is pullSources for what this package can do.
func supportedSources(name reference.Named, sys *types.SystemContext, sh *Shared, stats *counters) ([]physical, error) {
	if helper, err := sysregistriesv2.AdditionalLayerStoreAuthHelper(sys); err == nil && helper != "" {
		return nil, &Unsupported{What: "additional-layer-store-auth-helper"}
	}
	all, err := pullSources(name, sys, sh, stats)
	for _, p := range all {
		p.repo.kept, p.repo.asked = newKept(sh.Cache, name.Name(), p.repo), &tagsAsked{}
	}
	return all, err
}

// OpenOwn is OpenSource at the repository that ref names itself: mirrors and rewrites do not apply.
// It is for whoever asks what a destination has.
func OpenOwn(ctx context.Context, ref types.ImageReference, sys *types.SystemContext, sh *Shared) (*Source, error) {
	return openFrom(ctx, ownSource, ref, sys, sh)
}

// OpenRepository is OpenSource for what a repository has, whatever ref names in it: no request is
// made, and Top is nothing. It is to be used as an endpoint.ReferrerSource, and for manifests and
// blobs by their digests.
func OpenRepository(ref types.ImageReference, sys *types.SystemContext, sh *Shared) (*Source, error) {
	name, err := named(ref)
	if err != nil {
		return nil, err
	}
	s := &Source{ref: ref, shared: sh, stats: &counters{}}
	if s.endpoints, err = supportedSources(reference.TrimNamed(name), sys, sh, s.stats); err != nil {
		return nil, err
	}
	s.sigs, err = newSignatureReader(ref, sys, s.shared)
	return s, err
}

// placesOf returns the repositories to read a name from, in the order in which they are to be
// tried.
type placesOf func(reference.Named, *types.SystemContext, *Shared, *counters) ([]physical, error)

// openFrom reads what ref names from one of its places.
func openFrom(
	ctx context.Context, places placesOf, ref types.ImageReference, sys *types.SystemContext, sh *Shared,
) (*Source, error) {
	s, err := newSource(places, ref, sys, sh)
	if err != nil {
		return nil, err
	}
	if err := s.Read(ctx); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// NewSource is OpenSource without a request: Top is nothing until Read has succeeded, and before
// that nothing else may be called but Named, Unsigned, Reference, Stats and Close.
func NewSource(ref types.ImageReference, sys *types.SystemContext, sh *Shared) (*Source, error) {
	return newSource(supportedSources, ref, sys, sh)
}

// NewOwn is OpenOwn without a request, as NewSource is OpenSource without one.
func NewOwn(ref types.ImageReference, sys *types.SystemContext, sh *Shared) (*Source, error) {
	return newSource(ownSource, ref, sys, sh)
}

func newSource(places placesOf, ref types.ImageReference, sys *types.SystemContext, sh *Shared) (*Source, error) {
	name, err := named(ref)
	if err != nil {
		return nil, err
	}
	wanted, ok := tagOrDigest(name)
	if !ok {
		return nil, &Unsupported{What: "a reference without tag or digest"}
	}
	s := &Source{ref: ref, wanted: wanted, shared: sh, stats: &counters{}, logChoice: sys != nil && sys.DockerLogMirrorChoice}
	if s.shared == nil {
		s.shared, s.ownShared = &Shared{}, true
	}
	if s.endpoints, err = places(name, sys, s.shared, s.stats); err != nil {
		return nil, err
	}
	if s.sigs, err = newSignatureReader(ref, sys, s.shared); err != nil {
		return nil, err
	}
	s.sigs.hidden = func(ctx context.Context, r *repository, err error) error { return r.unlessHidden(ctx, err) }
	return s, nil
}

// Read reads what the reference names, which is Top then. Errors are those of OpenSource.
func (s *Source) Read(ctx context.Context) (err error) {
	if doc, ok := s.unchanged(ctx); ok {
		s.top = doc
		return nil
	}
	if s.top, err = s.fetch(ctx, s.wanted); err != nil {
		return s.reading(err)
	}
	return nil
}

// reading is the error of a question for what the reference names.
func (s *Source) reading(err error) error {
	return fmt.Errorf("reading manifest %s in %s: %w", s.wanted, s.ref.DockerReference().Name(), err)
}

// tagOrDigest is what a manifest's path ends with; none for a name alone.
func tagOrDigest(name reference.Named) (string, bool) {
	switch name := name.(type) {
	case reference.Canonical:
		return name.Digest().String(), true
	case reference.NamedTagged:
		return name.Tag(), true
	}
	return "", false
}

// Reference implements endpoint.Source.
func (s *Source) Reference() types.ImageReference { return s.ref }

// Repository is what the repository that the reference names is called, for people.
func (s *Source) Repository() string { return "docker://" + s.ref.DockerReference().Name() }

// Top implements endpoint.Source.
func (s *Source) Top() endpoint.Document { return s.top }

// Stats says what s did so far.
func (s *Source) Stats() Stats { return s.stats.snapshot() }

// Mirror is the repository that is read from, if it is not the reference's own, and "" if it is.
func (s *Source) Mirror() string {
	if i := int(s.current.Load()); i+1 < len(s.endpoints) {
		return s.endpoints[i].ref.Name()
	}
	return ""
}

// Manifest implements endpoint.Source. The digest of what it returns is d. What is kept is returned
// without asking anybody.
func (s *Source) Manifest(ctx context.Context, d digest.Digest) (endpoint.Document, error) {
	if err := d.Validate(); err != nil {
		return endpoint.Document{}, fmt.Errorf("digest %q: %w", d, err)
	}
	if d == s.top.Digest {
		return s.top, nil
	}
	if doc, ok := s.kept().manifest(d); ok {
		return doc, nil
	}
	return s.fetch(ctx, d.String())
}

// PresentManifest implements endpoint.Keeper.
func (s *Source) PresentManifest(ctx context.Context, d digest.Digest) (endpoint.Document, error) {
	if err := d.Validate(); err != nil {
		return endpoint.Document{}, fmt.Errorf("digest %q: %w", d, err)
	}
	if d == s.top.Digest {
		return s.top, nil
	}
	if doc, ok := s.kept().manifest(d); ok {
		said, err := s.state(ctx, d.String())
		if err == nil && said.isOf(doc) {
			s.present.Store(d, nil)
			return doc, nil
		}
	}
	return s.fetch(ctx, d.String())
}

// Kept implements endpoint.Keeper.
func (s *Source) Kept(d digest.Digest) bool {
	_, ok := s.present.Load(d)
	return ok
}

// fetch reads a manifest by tag or digest.
func (s *Source) fetch(ctx context.Context, tagOrDigest string) (endpoint.Document, error) {
	var doc endpoint.Document
	err := s.fromEndpoints(ctx, func(r *repository, rt *retrier) (err error) {
		if doc, err = r.read(ctx, rt, tagOrDigest); err == nil {
			r.kept.keep(tagOrDigest, doc)
		}
		return err
	})
	return doc, err
}

// kept is what is kept of the repository that the reference names.
func (s *Source) kept() *kept { return s.endpoints[0].repo.kept }

// fromEndpoints calls get with the endpoints until one succeeds, beginning with the one that did
// last. An endpoint that only lacks something goes on being the first, once the source is open.
// Where others are left, a retrier gives up early. What the reference's own repository says is what
// the error says.
func (s *Source) fromEndpoints(ctx context.Context, get func(*repository, *retrier) error) error {
	first := int(s.current.Load())
	order := make([]int, 1, len(s.endpoints))
	order[0] = first
	for i := range s.endpoints {
		if i != first {
			order = append(order, i)
		}
	}
	var main error
	var others []string
	opening := s.top.Digest == ""
	absent := true // whether all that failed said that they do not have it
	for n, i := range order {
		e := s.endpoints[i]
		if opening && s.logChoice {
			logrus.Infof("Trying to access %q", e.ref)
		}
		rt := s.shared.newRetrier()
		if n+1 < len(order) {
			rt.policy.Attempts = min(rt.policy.Attempts, attemptsOfOneOfSeveral)
		}
		err := get(e.repo, rt)
		if err == nil {
			if n > 0 && (opening || !absent) {
				s.current.Store(int32(i))
			}
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		absent = absent && e.repo.saysNotFound(err)
		if i+1 == len(s.endpoints) {
			main = e.repo.wrapNotFound(err)
		} else {
			logrus.Debugf("Reading from %s: %v", e.ref.Name(), err)
			others = append(others, fmt.Sprintf("[%s: %v]", e.ref.Name(), err))
		}
	}
	if len(others) > 0 {
		return fmt.Errorf("(mirrors failed too: %s) %w", strings.Join(others, " "), main)
	}
	return main
}

// attemptsOfOneOfSeveral is how often one of several endpoints is asked before the next one.
const attemptsOfOneOfSeveral = 2

// acceptManifests are the types of manifests and lists that are asked for.
var acceptManifests = []string{strings.Join([]string{
	imgspecv1.MediaTypeImageIndex,
	manifest.DockerV2ListMediaType,
	imgspecv1.MediaTypeImageManifest,
	manifest.DockerV2Schema2MediaType,
	manifest.DockerV2Schema1SignedMediaType,
	manifest.DockerV2Schema1MediaType,
}, ", ")}

// read reads what a tag or a digest names.
func (r *repository) read(ctx context.Context, rt *retrier, tagOrDigest string) (doc endpoint.Document, err error) {
	err = r.retry(ctx, rt, func() (err error) {
		doc, err = r.manifest(ctx, tagOrDigest)
		return err
	})
	return doc, err
}

// manifest reads a manifest once, and verifies it against the digest that it is asked for by, or
// that the registry states.
func (r *repository) manifest(ctx context.Context, tagOrDigest string) (endpoint.Document, error) {
	resp, err := r.send(ctx, &request{
		method: http.MethodGet,
		path:   "manifests/" + tagOrDigest,
		header: http.Header{"Accept": acceptManifests},
	})
	if err != nil {
		return endpoint.Document{}, err
	}
	defer resp.Body.Close()
	content, err := readManifest(resp)
	if err != nil {
		return endpoint.Document{}, err
	}
	declared := bareType(resp.Header.Get("Content-Type"))
	if strings.Contains(tagOrDigest, ":") { // tags have no colon
		d := digest.Digest(tagOrDigest)
		err := verifyManifest(resp, content, d)
		if err == nil {
			r.knowsManifests.Store(true)
		}
		return endpoint.NewDocument(d, declared, content), err
	}
	if stated := digest.Digest(resp.Header.Get("Docker-Content-Digest")); stated.Validate() == nil {
		// Some registries count the signatures that Docker schema 1 manifests carry in.
		if err := verifyManifest(resp, content, stated); err != nil && stated.Algorithm().FromBytes(content) != stated {
			return endpoint.Document{}, err
		}
	}
	d, err := manifest.Digest(content)
	if err == nil && isObject(content) {
		r.knowsManifests.Store(true)
	}
	return endpoint.NewDocument(d, declared, content), err
}

// isObject reports whether content may be a JSON object, as manifests and lists are. Web pages are
// answered with 200, too.
func isObject(content []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(content, " \t\r\n"), []byte("{"))
}

func readManifest(resp *http.Response) ([]byte, error) {
	if resp.ContentLength > maxManifestSize {
		return nil, fmt.Errorf("%s: the manifest has %d bytes, more than the limit of %d", ocihttp.CleanURL(resp.Request.URL),
			resp.ContentLength, maxManifestSize)
	}
	content, err := io.ReadAll(io.LimitReader(resp.Body, maxManifestSize+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxManifestSize {
		return nil, fmt.Errorf("%s: the manifest has more than the limit of %d bytes", ocihttp.CleanURL(resp.Request.URL), maxManifestSize)
	}
	return content, nil
}

func verifyManifest(resp *http.Response, content []byte, d digest.Digest) error {
	actual, err := manifest.DigestWithAlgorithm(content, d.Algorithm())
	if err != nil {
		return fmt.Errorf("%s: %w", ocihttp.CleanURL(resp.Request.URL), err)
	}
	if actual != d {
		return &endpoint.MismatchError{Where: ocihttp.CleanURL(resp.Request.URL), Found: actual, Wanted: d}
	}
	return nil
}

// bareType is the media type that a Content-Type header states, without parameters; "" if it states
// none.
func bareType(contentType string) string {
	declared, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return ""
	}
	return declared
}

// Blob implements endpoint.Source.
func (s *Source) Blob(ctx context.Context, b endpoint.Blob) (io.ReadCloser, error) {
	if err := b.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", b.Digest, err)
	}
	return openBlob(ctx, s, b)
}

// HeldBlob implements endpoint.Keeper.
func (s *Source) HeldBlob(ctx context.Context, b endpoint.Blob) (io.ReadCloser, error) {
	k := s.kept()
	if content, ok := k.blob(b); ok {
		return io.NopCloser(bytes.NewReader(content)), nil
	}
	stream, err := s.Blob(ctx, b)
	if err != nil || k == nil || b.Size < 0 || b.Size > maxPayload {
		return stream, err
	}
	content, err := io.ReadAll(stream)
	if err := errors.Join(err, stream.Close()); err != nil {
		return nil, err
	}
	if b.Digest.Algorithm().FromBytes(content) == b.Digest { // else who reads it complains
		k.keepBlob(b.Digest, content)
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}

// BlobSize returns the size of a blob in bytes, without reading it; -1 if the registry does not
// tell it. The error wraps endpoint.ErrNotFound if the blob is not there.
func (s *Source) BlobSize(ctx context.Context, b endpoint.Blob) (size int64, err error) {
	if err := b.Digest.Validate(); err != nil {
		return 0, fmt.Errorf("digest %q: %w", b.Digest, err)
	}
	err = s.fromEndpoints(ctx, func(r *repository, _ *retrier) (err error) {
		size, err = r.blobSize(ctx, b.Digest)
		return err
	})
	if answer := answered(err); answer == nil || errors.Is(err, endpoint.ErrNotFound) || !slices.Contains(noQuestions, answer.Status) {
		return size, err
	}
	r, err := s.Blob(ctx, b)
	if err != nil {
		return 0, err
	}
	return -1, r.Close()
}

// noQuestions are the refusals of a HEAD that say nothing about a GET: there are registries that do
// not have the method, and stores that take what they have signed for one method only. A 404 is one
// of them if it does not prove that the blob is absent: it has no body that says whose it is.
var noQuestions = []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed}

// blobSize asks for the size of a blob; -1 if the registry does not tell it.
func (r *repository) blobSize(ctx context.Context, of digest.Digest) (int64, error) {
	header, err := r.head(ctx, &request{method: http.MethodHead, path: "blobs/" + of.String()})
	if err != nil {
		return 0, err
	}
	size, err := strconv.ParseInt(header.Get("Content-Length"), 10, 64)
	if err != nil || size < 0 || header.Get("Content-Encoding") != "" { // of what is transferred
		return -1, nil //nolint:nilerr // some leave it out
	}
	return size, nil
}

// Signatures implements endpoint.Source.
func (s *Source) Signatures(ctx context.Context, d digest.Digest) (endpoint.Signatures, error) {
	return s.sigs.read(ctx, s.endpoints[s.current.Load()], d)
}

// Unparsed implements endpoint.Source.
func (s *Source) Unparsed(doc endpoint.Document) types.UnparsedImage {
	return endpoint.Unparsed(s.ref, doc, func(ctx context.Context) (endpoint.Signatures, error) {
		return s.Signatures(ctx, doc.Digest)
	})
}

// Close implements endpoint.Source.
func (s *Source) Close() error {
	err := s.sigs.close()
	if s.ownShared {
		_ = s.shared.Close()
	}
	return err
}

// Expect says that s will be asked for n things at once soon: connections for them are opened in
// the background, unless the registry is near.
func (s *Source) Expect(n int) { s.endpoints[s.current.Load()].repo.host.ahead.Expect(n) }
