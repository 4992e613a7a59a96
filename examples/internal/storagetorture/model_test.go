package storagetorture

import (
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/examples/internal/audit"
	"github.com/sparsecopy/sparsecopy/examples/internal/referrers"
)

// A model is what a storage is to have, found out in the simplest way. Of everything that the grace
// of a collection looks at, it knows whether that is young.
type model struct {
	documents    map[digest.Digest]document // all that were ever pushed
	repositories map[string]*repository
	contents     map[digest.Digest]bool // whether it was written or asked for since time has passed
}

// A repository is what a model knows of one.
type repository struct {
	tags      map[string]digest.Digest // "" for one that names nothing, since a push was killed
	manifests map[digest.Digest]bool   // whether the link is young
	layers    map[digest.Digest]bool   // whether the link is young
	referrers map[referral]bool        // that are linked; whether the link is young
}

// A referral is a manifest that is listed as referring to a subject.
type referral struct{ subject, referrer digest.Digest }

func newModel(names []string) *model {
	m := &model{documents: map[digest.Digest]document{}, repositories: map[string]*repository{}, contents: map[digest.Digest]bool{}}
	for _, name := range names {
		m.repositories[name] = &repository{
			tags: map[string]digest.Digest{}, manifests: map[digest.Digest]bool{}, layers: map[digest.Digest]bool{},
			referrers: map[referral]bool{},
		}
	}
	return m
}

// timePasses makes everything old.
func (m *model) timePasses() {
	age(m.contents)
	for _, r := range m.repositories {
		age(r.manifests)
		age(r.layers)
		age(r.referrers)
	}
}

func age[K comparable](things map[K]bool) {
	for thing := range things {
		things[thing] = false
	}
}

// collect removes what a collection removes.
func (m *model) collect(untagged bool) {
	needed := map[digest.Digest]bool{}
	for _, r := range m.repositories {
		stays := m.staying(r, untagged)
		for link, young := range r.referrers {
			_, there := r.manifests[link.referrer]
			if there && !stays[link.referrer] || !there && !young {
				delete(r.referrers, link)
			}
		}
		maps.DeleteFunc(r.tags, func(_ string, d digest.Digest) bool { return !stays[d] })
		for d := range r.manifests {
			if !stays[d] {
				delete(r.manifests, d)
			}
			needed[d] = needed[d] || stays[d]
		}
		for d, young := range r.layers {
			stays := young || m.contents[d] || m.namedBy(r, d)
			if !stays {
				delete(r.layers, d)
			}
			needed[d] = needed[d] || stays
		}
	}
	for d, young := range m.contents {
		if !young && !needed[d] {
			delete(m.contents, d)
		}
	}
}

// staying are the manifests of a repository that stay: roots, what they name, what refers to them,
// and so on.
func (m *model) staying(r *repository, untagged bool) map[digest.Digest]bool {
	stays := map[digest.Digest]bool{}
	for d, young := range r.manifests {
		stays[d] = young || m.contents[d] || !untagged && !m.isMade(d)
	}
	for tag, d := range r.tags {
		stays[d] = stays[d] || !m.isMade(d) || !referrers.IsTag(tag)
	}
	for again := true; again; {
		again = false
		for _, d := range r.tags {
			listed := func(d digest.Digest) bool { return stays[d] }
			if !stays[d] && slices.ContainsFunc(m.documents[d].names, listed) {
				stays[d], again = true, true
			}
		}
		for d := range r.manifests {
			for other := range r.manifests {
				_, linked := r.referrers[referral{other, d}]
				reached := slices.Contains(m.documents[other].names, d) || m.documents[d].subject == other || linked
				if !stays[d] && stays[other] && reached {
					stays[d], again = true, true
				}
			}
		}
	}
	return stays
}

// isMade reports whether d is an index that the server has made for a referrers tag.
func (m *model) isMade(d digest.Digest) bool { return referrers.IsMade(m.documents[d].body) }

// namedBy reports whether a manifest of a repository names d.
func (m *model) namedBy(r *repository, d digest.Digest) bool {
	for of := range r.manifests {
		if slices.Contains(m.documents[of].names, d) {
			return true
		}
	}
	return false
}

// findings are what a check is to find, as identities, in order.
func (m *model) findings() []string {
	var found []string
	linked := map[digest.Digest]bool{}
	for name, r := range m.repositories {
		for tag, d := range r.tags {
			if d == "" {
				found = append(found, identity(audit.TagEmpty, name, tag, "", ""))
			}
		}
		for of := range r.manifests {
			linked[of] = true
			subject := m.documents[of].subject
			if _, there := r.referrers[referral{subject, of}]; subject != "" && !there {
				found = append(found, identity(audit.ReferrerUnlinked, name, "", of, subject))
			}
			for _, d := range m.documents[of].blobs {
				if _, there := r.layers[d]; !there {
					found = append(found, identity(audit.ContentLost, name, "", of, d))
				}
			}
		}
		for link := range r.referrers {
			if _, there := r.manifests[link.referrer]; !there {
				found = append(found, identity(audit.ReferrerStray, name, "", link.referrer, link.subject))
			}
		}
		for d := range r.layers {
			linked[d] = true
		}
	}
	for d, young := range m.contents {
		if !young && !linked[d] {
			found = append(found, identity(audit.Orphan, "", "", d, ""))
		}
	}
	slices.Sort(found)
	return slices.Compact(found) // a manifest may name a blob twice
}

// identity says what a finding is about.
func identity(kind audit.Kind, repository, tag string, of, other digest.Digest) string {
	return string(kind) + " " + repository + " " + tag + " " + of.String() + " " + other.String()
}
