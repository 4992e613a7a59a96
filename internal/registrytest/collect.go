package registrytest

import (
	"encoding/json"

	"github.com/opencontainers/go-digest"
)

// Collect removes from a repository what Quay removes an hour after it came: manifests and lists
// that no tag names and that belong to no list which stays. A child belongs to a list if it was
// there when the list was first stored; one that came later does not, whatever the list names, and
// storing the list again changes nothing. Blobs stay.
func (r *Registry) Collect(repo string) {
	for _, d := range view(r, repo, (*repository).collectable) {
		r.DeleteManifest(repo, d)
	}
}

// collectable returns what Collect removes, sorted.
func (r *repository) collectable() []digest.Digest {
	stays := map[digest.Digest]bool{}
	var keep func(digest.Digest)
	keep = func(d digest.Digest) {
		if !stays[d] {
			stays[d] = true
			for _, child := range r.linked(d) {
				keep(child)
			}
		}
	}
	for _, d := range r.tags {
		keep(d)
	}
	var rest []digest.Digest
	for _, d := range sortedKeys(r.manifests) {
		if !stays[d] {
			rest = append(rest, d)
		}
	}
	return rest
}

// linked returns the children of a list that were there when it was first stored; none for what is
// no list.
func (r *repository) linked(d digest.Digest) []digest.Digest {
	var list document
	m := r.manifests[d]
	if !isList(m.mediaType) || json.Unmarshal(m.bytes, &list) != nil {
		return nil
	}
	var children []digest.Digest
	for _, child := range list.Manifests {
		if c, there := r.manifests[child.Digest]; there && c.since < m.since {
			children = append(children, child.Digest)
		}
	}
	return children
}
