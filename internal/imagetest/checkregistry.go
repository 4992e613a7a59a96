package imagetest

import (
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// RegistryStore is a repository of an in-process registry as a Store.
func RegistryStore(reg *registrytest.Registry, repo string) Store { return registryStore{reg, repo} }

// CheckRegistry fails the test unless the repository is as want says. See Inspect; besides, nothing
// that the tag leads to was stored after the tag was made to name what it names, except what want
// calls Late: at no moment did the tag name something incomplete.
func CheckRegistry(tb TB, reg *registrytest.Registry, repo string, want Want) {
	tb.Helper()
	report(tb, fmt.Sprintf("registry, %s:%s", repo, want.Tag), inspectRegistry(reg, repo, want))
}

// CheckUnchanged fails the test unless the tag names d, and named nothing else since it did so
// first; with an empty d, unless it never named anything.
func CheckUnchanged(tb TB, reg *registrytest.Registry, repo, tag string, d digest.Digest) {
	tb.Helper()
	if now, _ := reg.Resolve(repo, tag); now != d {
		tb.Errorf("registry, %s:%s: the tag names %q, want %q", repo, tag, now, d)
		return
	}
	named := d == ""
	for _, e := range reg.History(repo) {
		if !isTag(e, tag) {
			continue
		}
		if named && e.Changed {
			tb.Errorf("registry, %s:%s: %s %s in between, although in the end the tag names %q", repo, tag, e.Kind, e.Digest, d)
		}
		named = named || e.Digest == d
	}
	if d == "" {
		return
	}
	if b, _, ok := reg.Manifest(repo, d.String()); !ok || d.Algorithm().FromBytes(b) != d {
		tb.Errorf("registry, %s:%s: the content of %s is not there", repo, tag, d)
	}
}

func isTag(e registrytest.Event, tag string) bool {
	return e.Tag == tag && (e.Kind == registrytest.EventTag || e.Kind == registrytest.EventDeleteTag)
}

func inspectRegistry(reg *registrytest.Registry, repo string, want Want) []string {
	reached, violations := inspect(RegistryStore(reg, repo), want)
	return append(violations, tooLate(reg.History(repo), want, reached)...)
}

// tooLate returns what was stored after the tag was made to name what it names.
func tooLate(history []registrytest.Event, want Want, reached []digest.Digest) (violations []string) {
	since, tagged := whenStored(history, want.Tag)
	var late []digest.Digest
	for _, name := range want.Late {
		late = append(late, want.expand(name)...)
	}
	for _, d := range reached {
		if since[d] > tagged && !slices.Contains(late, d) {
			violations = append(violations, fmt.Sprintf("%s: stored (event %d) after the tag was written (event %d)",
				want.Fixture.Name(d), since[d], tagged))
		}
	}
	return violations
}

// whenStored returns the event since which each digest of a repository is there without
// interruption, and the event since which the tag names what it names now.
func whenStored(history []registrytest.Event, tag string) (since map[digest.Digest]int, tagged int) {
	since = map[digest.Digest]int{}
	for _, e := range history {
		switch e.Kind {
		case registrytest.EventBlob, registrytest.EventManifest:
			if since[e.Digest] == 0 {
				since[e.Digest] = e.Seq
			}
		case registrytest.EventDeleteBlob, registrytest.EventDeleteManifest:
			delete(since, e.Digest)
		case registrytest.EventTag:
			if e.Tag == tag && e.Changed {
				tagged = e.Seq
			}
		}
	}
	return since, tagged
}

// registryStore implements Store.
type registryStore struct {
	reg  *registrytest.Registry
	repo string
}

func (s registryStore) Top(tag string) (Descriptor, error) {
	d, ok := s.reg.Resolve(s.repo, tag)
	if !ok {
		return Descriptor{}, fmt.Errorf("%w; the tags of the repository are %q", errNothing, s.reg.Tags(s.repo))
	}
	return Descriptor{Digest: d, Size: -1}, nil
}

func (s registryStore) Manifest(d digest.Digest) ([]byte, string, bool) {
	return s.reg.Manifest(s.repo, d.String())
}

func (s registryStore) Blob(d digest.Digest) (io.ReadCloser, int64, bool) {
	content, ok := s.reg.Content(s.repo, d)
	if !ok {
		return nil, 0, false
	}
	r := content.Reader()
	if _, err := r.ReadAt(make([]byte, 1), 0); err != nil && content.Size > 0 {
		return nil, content.Size, true // a registry that discards blobs
	}
	return io.NopCloser(r), content.Size, true
}

func (s registryStore) All() []digest.Digest {
	return append(s.reg.Manifests(s.repo), s.reg.Blobs(s.repo)...)
}
