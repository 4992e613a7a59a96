package registrytest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxManifest is the size of the largest manifest or list that PUT accepts.
const MaxManifest = 4 << 20

// MediaTypeDockerList is the media type of Docker manifest lists.
const MediaTypeDockerList = "application/vnd.docker.distribution.manifest.list.v2+json"

const mediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"

var (
	nameRegexp = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagRegexp  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// validName reports whether a repository may be called so (section "Pulling manifests").
func validName(name string) bool { return nameRegexp.MatchString(name) }

// document is what the registry looks at in manifests and lists.
type document struct {
	MediaType    string                 `json:"mediaType"`
	ArtifactType string                 `json:"artifactType"`
	Config       *descriptor            `json:"config"`
	Layers       []descriptor           `json:"layers"`
	Manifests    []imgspecv1.Descriptor `json:"manifests"`
	Subject      *descriptor            `json:"subject"`
	Annotations  map[string]string      `json:"annotations"`
}

type descriptor struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	URLs      []string      `json:"urls"`
}

// isList reports whether the media type is that of a list.
func isList(mediaType string) bool {
	return mediaType == MediaTypeDockerList || mediaType == imgspecv1.MediaTypeImageIndex
}

// manifest serves the manifests of a repository.
func (x *exchange) manifest() {
	if strings.Contains(x.route.ref, ":") {
		if _, err := digest.Parse(x.route.ref); err != nil {
			x.refuse(http.StatusBadRequest, Error{Code: "DIGEST_INVALID", Message: "invalid digest", Detail: x.route.ref})
			return
		}
	} else if !tagRegexp.MatchString(x.route.ref) {
		x.refuse(http.StatusBadRequest, Error{Code: "TAG_INVALID", Message: "invalid tag", Detail: x.route.ref})
		return
	}
	switch x.req.Method {
	case http.MethodGet, http.MethodHead:
		x.getManifest()
	case http.MethodPut:
		x.putManifest()
	case http.MethodDelete:
		x.deleteManifest()
	default:
		x.notAllowed()
	}
}

func (x *exchange) getManifest() {
	if x.limited() {
		return
	}
	head := x.req.Method == http.MethodHead
	if head && x.opts.RefuseHEAD {
		x.notAllowed()
		return
	}
	if head && x.opts.HEADs == HEADAbsent {
		x.refuse(http.StatusNotFound)
		return
	}
	m, d, ok := x.store.manifest(x.route.repo, x.named())
	if !ok || x.opts.HonourAccept && !accepts(x.req.Header, m.mediaType) {
		x.manifestUnknown()
		return
	}
	h := x.w.Header()
	h.Set("Content-Type", cmp.Or(x.opts.DeclareAs[m.mediaType], m.mediaType))
	h.Set("Content-Length", strconv.Itoa(len(m.bytes)))
	h.Set("Docker-Content-Digest", d.String())
	h.Set("ETag", `"`+d.String()+`"`)
	switch {
	case !head:
	case x.opts.HEADs == HEADWithoutDigest:
		h.Del("Docker-Content-Digest")
		h.Del("ETag")
	case x.opts.HEADs == HEADOfNoLength:
		h.Set("Content-Length", "0")
	}
	x.w.WriteHeader(http.StatusOK)
	if !head {
		_, _ = x.w.Write(m.bytes)
	}
}

// named is the tag or digest that the path ends with, as the registry reads it.
func (x *exchange) named() string {
	if algorithm, encoded, ok := strings.Cut(x.route.ref, "-"); ok && x.opts.DigestTags {
		if d := digest.NewDigestFromEncoded(digest.Algorithm(algorithm), encoded); d.Validate() == nil {
			return d.String()
		}
	}
	return x.route.ref
}

func (x *exchange) manifestUnknown() {
	if x.opts.ForbidAbsentTags && !strings.Contains(x.route.ref, ":") {
		x.refuse(http.StatusForbidden, Error{Code: "DENIED", Message: "forbidden"})
		return
	}
	x.absent(Error{
		Code: "MANIFEST_UNKNOWN", Message: "manifest unknown", Detail: map[string]string{"reference": x.route.ref},
	})
}

// accepts reports whether the Accept headers admit a media type. None admits all.
func accepts(h http.Header, mediaType string) bool {
	all := strings.Join(h.Values("Accept"), ",")
	if all == "" {
		return true
	}
	for a := range strings.SplitSeq(all, ",") {
		if t, _, err := mime.ParseMediaType(a); err == nil && (t == mediaType || t == "*/*" || t == "application/*") {
			return true
		}
	}
	return false
}

func (x *exchange) deleteManifest() {
	var ok bool
	if d, err := digest.Parse(x.route.ref); err == nil {
		ok = x.store.deleteManifest(x.route.repo, d, x.n)
	} else {
		ok = x.store.deleteTag(x.route.repo, x.route.ref, x.n)
	}
	if !ok {
		x.manifestUnknown()
		return
	}
	x.w.WriteHeader(http.StatusAccepted)
}

// manifestPut is a PUT of a manifest or list.
type manifestPut struct {
	body      []byte
	mediaType string
	doc       document
	digest    digest.Digest // of body, or as the reference says, if that is right
	tag       string        // "" for a PUT by digest
}

func (x *exchange) putManifest() {
	p, a := x.readManifest()
	if _, there := x.Resolve(x.route.repo, p.tag); a.Status == 0 && there && x.opts.PutAgain != nil {
		a = x.opts.PutAgain(ListPut{Repo: x.route.repo, Ref: x.route.ref, MediaType: p.mediaType, Body: p.body})
	}
	if a.Status == 0 && isList(p.mediaType) {
		a = x.listPolicy()(x.listPut(p))
	}
	a.play(x, func() { x.createManifest(p) })
}

// createManifest stores p if nothing in the repository is against it, and answers.
func (x *exchange) createManifest(p manifestPut) {
	if a := x.storeManifest(p); a.Status != 0 {
		a.write(x)
		return
	}
	if x.opts.BareSuccess {
		return
	}
	h := x.w.Header()
	if p.doc.Subject != nil && (x.opts.SubjectHeader || !x.opts.NoReferrers && x.opts.ReferrersPage == 0) {
		h.Set("OCI-Subject", p.doc.Subject.Digest.String())
	}
	h.Set("Location", x.location("/v2/"+x.route.repo+"/manifests/"+p.digest.String()))
	h.Set("Docker-Content-Digest", p.digest.String())
	h.Set("Content-Length", "0")
	x.w.WriteHeader(http.StatusCreated)
}

// readManifest reads and checks what does not depend on the repository. A Status says what is
// wrong.
func (x *exchange) readManifest() (manifestPut, Answer) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, x.req.Body, MaxManifest))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return manifestPut{}, Fail(http.StatusRequestEntityTooLarge, "SIZE_INVALID", "manifest larger than 4 MiB")
	} else if err != nil {
		return manifestPut{}, Fail(http.StatusBadRequest, "MANIFEST_INVALID", err.Error())
	}
	p := manifestPut{body: body, digest: digest.FromBytes(body), tag: x.route.ref}
	if given, err := digest.Parse(x.route.ref); err == nil {
		if given.Algorithm().FromBytes(body) != given {
			return p, Fail(http.StatusBadRequest, "DIGEST_INVALID", "provided digest did not match uploaded content")
		}
		p.digest, p.tag = given, ""
	}
	if err := json.Unmarshal(body, &p.doc); err != nil {
		return p, Fail(http.StatusBadRequest, "MANIFEST_INVALID", err.Error())
	}
	p.mediaType, _, _ = mime.ParseMediaType(x.req.Header.Get("Content-Type"))
	if p.mediaType == "" {
		p.mediaType = p.doc.MediaType
	}
	if p.mediaType == "" || p.doc.MediaType != "" && p.doc.MediaType != p.mediaType {
		return p, Fail(http.StatusBadRequest, "MANIFEST_INVALID",
			fmt.Sprintf("media type %q in the document, %q in the header", p.doc.MediaType, p.mediaType))
	}
	return p, Answer{}
}

// storeManifest stores p if its blobs are there and its tag may change.
func (x *exchange) storeManifest(p manifestPut) Answer {
	x.store.mu.Lock()
	defer x.store.mu.Unlock()
	repo := x.store.repo(x.route.repo)
	if repo == nil {
		repo = &repository{} // nothing is there
	}
	if missing := missingBlobs(repo, p.doc); len(missing) > 0 {
		if x.opts.BlobsUnknown != nil {
			return x.opts.BlobsUnknown(missing)
		}
		return Answer{Status: http.StatusBadRequest, Errors: unknownReferences(missing)}
	}
	if a := x.refusedArtifact(repo, p.doc); a.Status != 0 {
		return a
	}
	if old, ok := repo.tags[p.tag]; ok && x.opts.ImmutableTags && old != p.digest {
		return TagImmutable(ListPut{Repo: x.route.repo, Ref: p.tag})
	}
	x.store.putManifest(x.route.repo, p.tag, p.digest, storedManifest{mediaType: p.mediaType, bytes: p.body}, x.n)
	return Answer{}
}

// refusedArtifact says what is against the types of doc, or against its subject. The answers about
// subjects are GitLab's.
func (x *exchange) refusedArtifact(repo *repository, doc document) Answer {
	if x.opts.TypePolicy != nil {
		if a := x.opts.TypePolicy(doc.types()); a.Status != 0 {
			return a
		}
	}
	if doc.Subject == nil {
		return Answer{}
	}
	subject, there := repo.manifests[doc.Subject.Digest]
	switch {
	case x.opts.RequireSubjects && !there:
		return Answer{Status: http.StatusBadRequest, Errors: unknownReferences([]digest.Digest{doc.Subject.Digest})}
	case x.opts.NoDockerSubjects && strings.HasPrefix(subject.mediaType, "application/vnd.docker."):
		return Answer{Status: http.StatusBadRequest, Errors: []Error{{
			Code: "MANIFEST_INVALID", Message: "manifest invalid", Detail: "the subject is no OCI manifest: " + subject.mediaType,
		}}}
	}
	return Answer{}
}

// missingBlobs returns the config and layers that are not there. Layers that have URLs may be
// elsewhere.
func missingBlobs(repo *repository, doc document) []digest.Digest {
	var missing []digest.Digest
	seen := map[digest.Digest]bool{}
	need := slices.Clone(doc.Layers)
	if doc.Config != nil {
		need = append(need, *doc.Config)
	}
	for _, b := range need {
		if _, ok := repo.blobs[b.Digest]; (!ok || repo.phantoms[b.Digest]) && len(b.URLs) == 0 && !seen[b.Digest] {
			seen[b.Digest] = true
			missing = append(missing, b.Digest)
		}
	}
	return missing
}

// unknownReferences is one error for each digest.
func unknownReferences(missing []digest.Digest) []Error {
	errs := make([]Error, 0, len(missing))
	for _, d := range missing {
		errs = append(errs, Error{Code: "MANIFEST_BLOB_UNKNOWN", Message: "blob unknown to registry", Detail: d})
	}
	return errs
}

// listPut is what a policy is told.
func (x *exchange) listPut(p manifestPut) ListPut {
	count, _ := x.puts.LoadOrStore(p.digest, new(atomic.Int64))
	l := ListPut{
		Repo: x.route.repo, Ref: x.route.ref, MediaType: p.mediaType, Body: bytes.Clone(p.body),
		Attempt: int(count.(*atomic.Int64).Add(1)),
	}
	x.store.mu.Lock()
	defer x.store.mu.Unlock()
	for _, m := range p.doc.Manifests {
		c := Child{Descriptor: m}
		if repo := x.store.repo(x.route.repo); repo != nil {
			_, c.Manifest = repo.manifests[m.Digest]
			_, c.Blob = repo.blobs[m.Digest]
		}
		l.Children = append(l.Children, c)
	}
	return l
}

func (x *exchange) listPolicy() ListPolicy {
	switch {
	case x.opts.ListPolicy != nil:
		return x.opts.ListPolicy
	case x.opts.Strict:
		return Distribution3
	}
	return Accept
}
