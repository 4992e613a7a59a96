package registrytest

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// PutBlob stores b in the repository and returns its digest. b must not be modified afterwards.
func (r *Registry) PutBlob(repo string, b []byte) digest.Digest {
	return r.PutContent(repo, Bytes(b))
}

// PutContent stores c in the repository and returns its digest.
func (r *Registry) PutContent(repo string, c Content) digest.Digest {
	r.store.putBlob(repo, c, 0)
	return c.Digest
}

// PutManifest stores b, which nothing is demanded of, and returns its digest. ref is a tag, or a
// digest under which b is stored even if it is not that of b: so sources that lie can be made.
func (r *Registry) PutManifest(repo, ref, mediaType string, b []byte) digest.Digest {
	d, tag := digest.FromBytes(b), ref
	if given, err := digest.Parse(ref); err == nil {
		d, tag = given, ""
	}
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	r.store.putManifest(repo, tag, d, storedManifest{mediaType: mediaType, bytes: bytes.Clone(b)}, 0)
	return d
}

// Manifest returns the manifest or list that ref, a tag or a digest, names, with its media type.
func (r *Registry) Manifest(repo, ref string) (b []byte, mediaType string, ok bool) {
	m, _, ok := r.store.manifest(repo, ref)
	return bytes.Clone(m.bytes), m.mediaType, ok
}

// Resolve returns the digest that the tag names.
func (r *Registry) Resolve(repo, tag string) (digest.Digest, bool) {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	if repo := r.store.repo(repo); repo != nil {
		d, ok := repo.tags[tag]
		return d, ok
	}
	return "", false
}

// Blob returns the content of a blob; ok is false if it is not there or was not kept.
func (r *Registry) Blob(repo string, d digest.Digest) (b []byte, ok bool) {
	c, ok := r.store.blob(repo, d)
	if !ok || c.at == nil {
		return nil, false
	}
	b, err := io.ReadAll(c.Reader())
	return b, err == nil
}

// Content returns a blob without reading it. What was not kept has digest and size only.
func (r *Registry) Content(repo string, d digest.Digest) (Content, bool) {
	return r.store.blob(repo, d)
}

// DeleteBlob removes a blob and reports whether it was there.
func (r *Registry) DeleteBlob(repo string, d digest.Digest) bool {
	return r.store.deleteBlob(repo, d, 0)
}

// LoseBlob loses the content of a blob: HEAD and mounts go on to say that it is there, and
// manifests that name it are refused until it is uploaded again.
func (r *Registry) LoseBlob(repo string, d digest.Digest) {
	r.store.lose(repo, d)
}

// DeleteManifest removes a manifest and the tags that point at it, and reports whether it was
// there.
func (r *Registry) DeleteManifest(repo string, d digest.Digest) bool {
	return r.store.deleteManifest(repo, d, 0)
}

// DeleteTag removes a tag and reports whether it was there.
func (r *Registry) DeleteTag(repo, tag string) bool { return r.store.deleteTag(repo, tag, 0) }

// Repos returns the names of all repositories that anything was ever stored in, sorted.
func (r *Registry) Repos() []string {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	return sortedKeys(r.store.repos)
}

// Tags returns the tags of a repository, sorted.
func (r *Registry) Tags(repo string) []string {
	return view(r, repo, func(r *repository) []string { return sortedKeys(r.tags) })
}

// Manifests returns the digests of the manifests and lists in a repository, sorted.
func (r *Registry) Manifests(repo string) []digest.Digest {
	return view(r, repo, func(r *repository) []digest.Digest { return sortedKeys(r.manifests) })
}

// Blobs returns the digests of the blobs in a repository, sorted.
func (r *Registry) Blobs(repo string) []digest.Digest {
	return view(r, repo, func(r *repository) []digest.Digest { return sortedKeys(r.blobs) })
}

// History returns what happened to a repository, in the order in which it took effect.
func (r *Registry) History(repo string) []Event {
	return view(r, repo, func(r *repository) []Event { return slices.Clone(r.history) })
}

// Snapshot describes all that a repository holds, a line for each object: two snapshots are equal
// if and only if the repository held the same blobs, manifests with the same media types, and tags.
// "" if it is empty.
func (r *Registry) Snapshot(repo string) string {
	return view(r, repo, func(r *repository) string {
		var b strings.Builder
		for _, d := range sortedKeys(r.blobs) {
			fmt.Fprintf(&b, "blob %s %d\n", d, r.blobs[d].Size)
		}
		for _, d := range sortedKeys(r.manifests) {
			m := r.manifests[d]
			fmt.Fprintf(&b, "manifest %s %d %s\n", d, len(m.bytes), m.mediaType)
		}
		for _, t := range sortedKeys(r.tags) {
			fmt.Fprintf(&b, "tag %s %s\n", t, r.tags[t])
		}
		return b.String()
	})
}

// view returns what f makes of the repository, which f must not keep; the zero value if there is no
// such repository.
func view[T any](r *Registry, name string, f func(*repository) T) T {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	if repo := r.store.repo(name); repo != nil {
		return f(repo)
	}
	var zero T
	return zero
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
