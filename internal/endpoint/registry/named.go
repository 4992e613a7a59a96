package registry

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/docker"
)

// A statement is what a registry has said of a manifest in the answer to a HEAD.
type statement struct {
	digest digest.Digest // "" if it did not state a valid one
	size   int64         // in bytes; -1 if it did not state it
}

// Named asks what the reference names, by one HEAD, which registries do not count as a pull, and
// returns the digest that the registry states; "" if it does not answer that, or states none that
// is valid: then only Read tells. What has been said is a hint, and never verified.
//
// An error says that there was no answer at all. Named must not run concurrently with Read.
func (s *Source) Named(ctx context.Context) (digest.Digest, error) {
	var err error
	s.stated, err = s.state(ctx, s.wanted)
	s.asked = true
	switch {
	case err == nil:
		return s.stated.digest, nil
	case answered(err) != nil:
		logrus.Debugf("%s does not tell what it names without a pull: %v", s.ref.StringWithinTransport(), err)
		return "", nil //nolint:nilerr // only Read tells
	}
	return "", s.reading(err)
}

// state asks the endpoints what a tag or a digest names.
func (s *Source) state(ctx context.Context, tagOrDigest string) (said statement, err error) {
	err = s.fromEndpoints(ctx, func(r *repository, rt *retrier) (err error) {
		rt.policy.Attempts = min(rt.policy.Attempts, attemptsOfChecks)
		said, err = r.state(ctx, rt, tagOrDigest)
		return err
	})
	return said, err
}

// noHeads are the refusals of a HEAD by registries, and by what stands before them, that do not
// have the method, or have it for others only: a GET may be answered.
var noHeads = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotImplemented}

// state asks for what a tag or a digest names, and returns what the registry states: nothing, if it
// refuses the method.
func (r *repository) state(ctx context.Context, rt *retrier, tagOrDigest string) (statement, error) {
	none := statement{size: -1}
	a, err := r.do(ctx, rt, &request{
		method: http.MethodHead,
		path:   "manifests/" + tagOrDigest,
		header: http.Header{"Accept": acceptManifests},
	})
	if no := answered(err); no != nil && slices.Contains(noHeads, no.Status) || err == nil && isPage(a.header) {
		return none, nil
	}
	if err != nil {
		return none, err
	}
	r.knowsManifests.Store(true)
	said := none
	if d := digest.Digest(a.header.Get("Docker-Content-Digest")); d.Validate() == nil {
		said.digest = d
		r.answersHEAD.Store(true)
	}
	if asked := digest.Digest(tagOrDigest); asked.Validate() == nil && asked != said.digest {
		return none, nil // it speaks of something else, or of the same by another algorithm
	}
	if size, err := strconv.ParseInt(a.header.Get("Content-Length"), 10, 64); err == nil && size >= 0 && a.header.Get("Content-Encoding") == "" {
		said.size = size
	}
	return said, nil
}

// Unsigned reports whether it is known without asking anybody that the source has no signatures
// that Signatures would return, of whatever manifest.
func (s *Source) Unsigned() bool {
	at := s.endpoints[s.current.Load()]
	if at.repo.host.signatures.holds(at.repo.shared.now()) {
		return false
	}
	ref, err := docker.NewReference(at.ref)
	if err != nil || s.sigs.config.usesAttachments(ref) {
		return false
	}
	base, err := s.sigs.config.lookaside(ref)
	if err != nil || base.Scheme != "file" {
		return false
	}
	stored, err := os.ReadDir(filepath.Dir(base.Path))
	signed := func(entry os.DirEntry) bool { return strings.HasPrefix(entry.Name(), filepath.Base(base.Path)+"@") }
	return os.IsNotExist(err) || err == nil && !slices.ContainsFunc(stored, signed)
}
