package registrygc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/examples/internal/referrers"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
)

// A marker makes a plan. It goes through the repositories one after the other, and then through the
// contents.
type marker struct {
	store    *registrystore.Store
	untagged bool
	cutoff   time.Time // what is not older is young
	marked   digestSet // contents that stay
	plan     Plan
}

// MakePlan finds out what a collection would remove now. Whoever writes to the storage meanwhile
// has to be heard of by what carries the plan out. The error can be
// registrystore.ErrNoRepositories.
func MakePlan(ctx context.Context, store *registrystore.Store, o Options, now time.Time) (*Plan, error) {
	m := &marker{store: store, untagged: o.Untagged, cutoff: now.Add(-o.Grace)}
	err := store.Repositories(ctx, func(name string) error {
		if err := m.repository(ctx, name); err != nil {
			return fmt.Errorf("repository %s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := store.Blobs(ctx, func(b registrystore.Blob) error { m.blob(b); return nil }); err != nil {
		return nil, err
	}
	if err := store.CheckCounts(m.plan.Kept.Repositories, len(m.plan.Blobs)+m.plan.Kept.Blobs); err != nil {
		return nil, err
	}
	return &m.plan, nil
}

// young reports whether something that was written, or asked for, at that time is spared.
func (m *marker) young(t time.Time) bool { return !t.Before(m.cutoff) }

// blob finds out whether a content stays, when all are marked that have to.
func (m *marker) blob(b registrystore.Blob) {
	marked, young := m.marked.has(b.Digest), m.young(b.Modified)
	if !marked && !young {
		m.plan.Blobs = append(m.plan.Blobs, Blob{b.Digest, b.Size})
		return
	}
	m.plan.Kept.Blobs++
	m.plan.Kept.Bytes += b.Size
	if !marked {
		m.plan.Kept.YoungBlobs++
	}
}

// repository finds out what stays in a repository and what goes, and marks the contents of what
// stays.
func (m *marker) repository(ctx context.Context, name string) error {
	c, err := read(ctx, m.store, name)
	if err != nil {
		return err
	}
	m.plan.Kept.Repositories++
	m.plan.Damage = append(m.plan.Damage, c.damage...)
	if err := m.manifests(ctx, c); err != nil {
		return err
	}
	goes := Repository{Name: name, Tags: c.unneededTags(), Manifests: inOrder(c.revisions), Referrers: m.referrers(c)}
	if goes.Layers, err = m.layers(ctx, c); err != nil {
		return err
	}
	if goes.Notes, err = m.notes(ctx, c, goes.Manifests); err != nil {
		return err
	}
	if len(goes.Manifests)+len(goes.Layers)+len(goes.Referrers) > 0 {
		m.plan.Repositories = append(m.plan.Repositories, goes)
	}
	return nil
}

// manifests finds out which manifests stay, counts them by the reason, and marks them.
func (m *marker) manifests(ctx context.Context, c *contents) error {
	k := &m.plan.Kept
	c.keep(k, c.roots(), &k.Tagged)
	rest, why := []digest.Digest(nil), &k.Young
	for d, r := range c.revisions {
		switch {
		case r.stays:
			continue
		case len(c.damage) > 0:
			why = &k.Damaged
		case !m.untagged && !r.made:
			why = &k.Untagged
		default:
			young, err := m.youngManifest(ctx, d, r)
			if err != nil {
				return err
			}
			if !young {
				continue
			}
		}
		rest = append(rest, d)
	}
	c.keep(k, rest, why)
	for indexes := c.indexesOfStaying(); len(indexes) > 0; indexes = c.indexesOfStaying() {
		c.keep(k, indexes, &k.Tagged)
	}
	for d, r := range c.revisions {
		if r.stays {
			m.marked.add(d)
		}
	}
	return nil
}

// roots are what tags name that clients have set.
func (c *contents) roots() []digest.Digest {
	var roots []digest.Digest
	for tag, d := range c.tagged {
		if !c.isMade(tag) {
			roots = append(roots, d)
		}
	}
	return roots
}

// isMade reports whether a tag of referrers names an index that the server made. It is no reason
// for what it lists to stay, but stays if that does.
func (c *contents) isMade(tag string) bool {
	r := c.revisions[c.tagged[tag]]
	return r != nil && r.made && referrers.IsTag(tag)
}

// indexesOfStaying are the indexes that do not stay yet, and have to, because a tag names them and
// they list something that stays.
func (c *contents) indexesOfStaying() []digest.Digest {
	var indexes []digest.Digest
	for tag, d := range c.tagged {
		lists := func(listed digest.Digest) bool { r := c.revisions[listed]; return r != nil && r.stays }
		if c.isMade(tag) && !c.revisions[d].stays && slices.ContainsFunc(c.revisions[d].names, lists) {
			indexes = append(indexes, d)
		}
	}
	return indexes
}

// unneededTags are the tags whose indexes of referrers go.
func (c *contents) unneededTags() []Note {
	var tags []Note
	for _, tag := range slices.Sorted(maps.Keys(c.tagged)) {
		if d := c.tagged[tag]; c.isMade(tag) && !c.revisions[d].stays {
			tags = append(tags, Note{tag, d})
		}
	}
	return tags
}

// keep lets the manifests stay that roots name, with everything that they need and that refers to
// them. It adds to count how many of the roots these are, and to k how many others.
func (c *contents) keep(k *Kept, roots []digest.Digest, count *int) {
	type reached struct {
		digest digest.Digest
		count  *int
	}
	var queue []reached // roots come first, and are counted as such
	for _, d := range roots {
		queue = append(queue, reached{d, count})
	}
	referrers := c.referrersOf()
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		r := c.revisions[at.digest]
		if r == nil || r.stays {
			continue
		}
		r.stays = true
		*at.count++
		for _, d := range r.names {
			queue = append(queue, reached{d, &k.Listed})
		}
		for _, d := range referrers[at.digest] {
			queue = append(queue, reached{d, &k.Referrers})
		}
	}
}

// referrersOf returns what refers to each subject.
func (c *contents) referrersOf() map[digest.Digest][]digest.Digest {
	referrers := map[digest.Digest][]digest.Digest{}
	for d, r := range c.revisions {
		for _, s := range r.subjects {
			referrers[s] = append(referrers[s], d)
		}
	}
	return referrers
}

func (m *marker) youngManifest(ctx context.Context, d digest.Digest, r *revision) (bool, error) {
	if m.young(r.written) {
		return true, nil
	}
	content, err := m.store.StatBlob(ctx, d)
	return err == nil && m.young(content.Modified), err
}

// referrers returns the links that go: those of manifests that go, or that are not there any more.
func (m *marker) referrers(c *contents) []registrystore.Referrer {
	var goes []registrystore.Referrer
	for _, r := range c.referrers {
		referrer := c.revisions[r.Referrer]
		stray := referrer == nil && len(c.damage) == 0 && !m.young(r.Modified)
		if stray || referrer != nil && !referrer.stays {
			goes = append(goes, r)
		}
	}
	return goes
}

// layers finds out which links to blobs stay, marks their contents, and returns the others.
func (m *marker) layers(ctx context.Context, c *contents) ([]Layer, error) {
	named := map[digest.Digest]bool{}
	for _, r := range c.revisions {
		if r.stays {
			for _, d := range r.names {
				named[d] = true
			}
		}
	}
	for _, l := range c.layers { // distribution hands a content out by its own link only
		if named[l.digest] {
			named[l.content] = true
		}
	}
	k := &m.plan.Kept
	var goes []Layer
	for _, l := range c.layers {
		if !named[l.digest] && len(c.damage) == 0 {
			young, why, err := m.youngLayer(ctx, l)
			if err != nil {
				return nil, err
			}
			if !young {
				goes = append(goes, Layer{l.digest, l.content, why})
				continue
			}
			k.YoungLayers++
		}
		m.marked.add(l.content)
		k.Layers++
	}
	return goes, nil
}

// youngLayer reports whether a link that nothing needs is spared, or why it goes.
func (m *marker) youngLayer(ctx context.Context, l layer) (bool, Reason, error) {
	if m.young(l.written) {
		return true, "", nil
	}
	content, err := m.store.StatBlob(ctx, l.content)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, Lost, nil
	case err != nil:
		return false, "", err
	}
	return m.young(content.Modified), Unnamed, nil
}

// notes returns what tags have to forget of manifests that go.
func (m *marker) notes(ctx context.Context, c *contents, manifests []Manifest) ([]Note, error) {
	if len(manifests) == 0 {
		return nil, nil
	}
	var notes []Note
	for _, tag := range c.tags {
		err := m.store.TagHistory(ctx, c.name, tag, func(d digest.Digest) error {
			if r := c.revisions[d]; r != nil && !r.stays {
				notes = append(notes, Note{tag, d})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return notes, nil
}

// inOrder returns the manifests that go, each before everything that it names or refers to. There
// are no circles: no document has its own digest in it.
func inOrder(revisions map[digest.Digest]*revision) []Manifest {
	var order []Manifest
	seen := map[digest.Digest]bool{}
	var visit func(d digest.Digest)
	visit = func(d digest.Digest) {
		r := revisions[d]
		if r == nil || r.stays || seen[d] {
			return
		}
		seen[d] = true
		for _, next := range r.names {
			visit(next)
		}
		for _, next := range r.subjects {
			visit(next)
		}
		m := Manifest{Digest: d, Subjects: r.subjects}
		if r.made && r.tagged {
			m.Lists = r.names
		}
		order = append(order, m)
	}
	for _, d := range slices.Sorted(maps.Keys(revisions)) {
		visit(d)
	}
	slices.Reverse(order)
	return order
}
