package registrygc_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrygc"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
)

// A model is what a registry must have, as simply as can be said: it knows what was pushed where
// and when, and nothing of links and files.
type model struct {
	phase     int // what was pushed in an earlier phase is old
	documents map[digest.Digest]document
	stored    map[digest.Digest]int // contents that were stored, and in which phase
	repos     map[string]*modelRepository
}

type modelRepository struct {
	manifests map[digest.Digest]int // the phase of the last push
	blobs     map[digest.Digest]int
	tags      map[string]digest.Digest
}

// hold notes that a content is stored.
func (m *model) hold(d digest.Digest) {
	if _, there := m.stored[d]; !there {
		m.stored[d] = m.phase
	}
}

// young reports whether something that was linked in a phase is spared.
func (m *model) young(linked int, d digest.Digest) bool {
	return linked == m.phase || m.stored[d] == m.phase
}

// collect removes what a collection has to: it looks at everything until nothing changes.
func (m *model) collect(untagged bool) {
	needed := map[digest.Digest]bool{}
	for _, r := range m.repos {
		stays := map[digest.Digest]bool{}
		for changed := true; changed; {
			changed = false
			for d, linked := range r.manifests {
				if !stays[d] && (!untagged || m.young(linked, d) || m.isNeeded(r, stays, d)) {
					stays[d], changed = true, true
				}
			}
		}
		maps.DeleteFunc(r.manifests, func(d digest.Digest, _ int) bool { return !stays[d] })
		maps.DeleteFunc(r.blobs, func(b digest.Digest, linked int) bool {
			return !m.young(linked, b) && !slices.ContainsFunc(slices.Collect(maps.Keys(stays)), func(d digest.Digest) bool {
				return slices.Contains(m.documents[d].names, b)
			})
		})
		maps.Copy(needed, stays)
		for b := range r.blobs {
			needed[b] = true
		}
	}
	maps.DeleteFunc(m.stored, func(d digest.Digest, phase int) bool { return !needed[d] && phase != m.phase })
}

func (m *model) isNeeded(r *modelRepository, stays map[digest.Digest]bool, d digest.Digest) bool {
	for _, tagged := range r.tags {
		if tagged == d {
			return true
		}
	}
	for other := range stays {
		if slices.Contains(m.documents[other].names, d) {
			return true
		}
	}
	return stays[m.documents[d].subject]
}

// A history is a registry, and what was done to it.
type history struct {
	*registry
	*model
	random *rand.Rand
}

func newHistory(t testing.TB, seed uint64) *history {
	h := &history{newRegistry(t), &model{
		documents: map[digest.Digest]document{}, stored: map[digest.Digest]int{}, repos: map[string]*modelRepository{},
	}, rand.New(rand.NewPCG(seed, 0))}
	for _, name := range []string{"a", "a/b", "c"} {
		h.repos[name] = &modelRepository{map[digest.Digest]int{}, map[digest.Digest]int{}, map[string]digest.Digest{}}
	}
	return h
}

// pick returns one of the keys, "" if there are none.
func pick[K ~string, V any](r *rand.Rand, of map[K]V) K {
	if len(of) == 0 {
		return ""
	}
	keys := slices.Sorted(maps.Keys(of))
	return keys[r.IntN(len(keys))]
}

// step does something that clients do.
func (h *history) step() {
	name := pick(h.random, h.repos)
	r := h.repos[name]
	switch h.random.IntN(12) {
	case 0, 1:
		h.blob(name)
	case 2, 3, 4:
		config, layers := h.blob(name), []digest.Digest{h.blob(name)}
		h.manifest(name, image(h.subject(r), config, layers...))
	case 5, 6, 7:
		var children []digest.Digest
		for range 1 + h.random.IntN(3) {
			if child := pick(h.random, h.documents); child != "" && !slices.Contains(children, child) {
				children = append(children, child) // it is in this repository, or absent
			}
		}
		if children != nil {
			h.manifest(name, list(h.subject(r), children...))
		}
	case 8:
		if tag := pick(h.random, r.tags); tag != "" {
			h.must(http.StatusAccepted, http.MethodDelete, "/v2/"+name+"/manifests/"+tag, "", "")
			delete(r.tags, tag)
		}
	case 9:
		if d := pick(h.random, r.manifests); d != "" {
			h.must(http.StatusAccepted, http.MethodDelete, "/v2/"+name+"/manifests/"+d.String(), "", "")
			delete(r.manifests, d)
			maps.DeleteFunc(r.tags, func(_ string, tagged digest.Digest) bool { return tagged == d })
		}
	case 10:
		if d := pick(h.random, r.manifests); d != "" {
			h.manifest(name, h.documents[d]) // which it has
		}
	case 11:
		from := pick(h.random, h.repos)
		if d := pick(h.random, h.repos[from].blobs); d != "" && from != name {
			h.must(http.StatusCreated, http.MethodPost, "/v2/"+name+"/blobs/uploads/?from="+from+"&mount="+d.String(), "", "")
			r.blobs[d] = h.phase
		}
	}
}

func (h *history) blob(name string) digest.Digest {
	content := "blob " + strconv.Itoa(h.random.IntN(blobs))
	d := h.pushBlob(name, content)
	h.repos[name].blobs[d] = h.phase
	h.hold(d)
	return d
}

func (h *history) subject(r *modelRepository) digest.Digest {
	switch h.random.IntN(4) {
	case 0:
		return pick(h.random, r.manifests)
	case 1:
		return pick(h.random, h.documents) // it may be absent
	}
	return ""
}

func (h *history) manifest(name string, doc document) {
	r, ref := h.repos[name], ""
	if h.random.IntN(3) == 0 {
		ref = "v" + strconv.Itoa(h.random.IntN(4))
	}
	for _, d := range doc.names {
		if _, there := r.blobs[d]; !there && doc.mediaType == imageType {
			return // refused: its layers have gone since it was pushed before
		}
	}
	d := h.push(name, ref, doc)
	h.documents[d] = doc
	r.manifests[d] = h.phase
	h.hold(d)
	if ref != "" {
		r.tags[ref] = d
	}
}

// check holds the registry, as clients see it, and its storage against the model.
func (h *history) check(t *testing.T) {
	t.Helper()
	for name, r := range h.repos {
		for d := range h.documents {
			_, want := r.manifests[d]
			require.Equal(t, want, h.hasManifest(name, d), "manifest %s in %s", d, name)
		}
		for i := range blobs {
			d := digest.FromString("blob " + strconv.Itoa(i))
			_, want := r.blobs[d]
			require.Equal(t, want, h.hasBlob(name, d), "blob %s in %s", d, name)
		}
		for tag, d := range r.tags {
			answer := h.must(http.StatusOK, http.MethodGet, "/v2/"+name+"/manifests/"+tag, "", "")
			require.Equal(t, d.String(), answer.Header().Get("Docker-Content-Digest"))
		}
	}
	require.Equal(t, slices.Sorted(maps.Keys(h.stored)), h.contents())
}

// A snapshot is the links of each repository.
type snapshot map[string]map[digest.Digest]bool

func (h *history) snapshot() snapshot {
	h.t.Helper()
	s, ctx := snapshot{}, h.t.Context()
	for name := range h.repos {
		s[name] = map[digest.Digest]bool{}
		note := func(l registrystore.Link) error { s[name][l.Digest] = true; return nil }
		require.NoError(h.t, h.store.Revisions(ctx, name, note))
		require.NoError(h.t, h.store.Layers(ctx, name, note))
	}
	return s
}

// checkWhole looks for what the model has and the registry has not, and for what names something
// that was there before and is gone.
func (h *history) checkWhole(t *testing.T, before snapshot) {
	t.Helper()
	contents := h.contents()
	now := h.snapshot()
	for name, links := range now {
		for _, d := range append(slices.Collect(maps.Keys(h.repos[name].manifests)), slices.Collect(maps.Keys(h.repos[name].blobs))...) {
			require.True(t, links[d], "%s in %s", d, name)
		}
		for d := range links {
			_, there := slices.BinarySearch(contents, d)
			require.True(t, there, "a link of %s to a content that is gone: %s", name, d)
			names := h.documents[d].names
			if _, stays := h.repos[name].manifests[d]; !stays { // what stays does not need its subject
				names = append(slices.Clone(names), h.documents[d].subject)
			}
			for _, n := range names {
				require.False(t, before[name][n] && !links[n], "%s of %s names something that is gone: %s", d, name, n)
			}
		}
		for tag, d := range h.repos[name].tags {
			require.True(t, links[d], "tag %s of %s", tag, name)
		}
	}
}

var errKilled = errors.New("killed")

// A mortal driver removes so many things, and is dead then.
type mortal struct {
	storagedriver.StorageDriver
	left *int
}

func (m mortal) Delete(ctx context.Context, path string) error {
	if *m.left == 0 {
		return errKilled
	}
	*m.left--
	return m.StorageDriver.Delete(ctx, path)
}

// mortal is the storage of a process that is killed when it has removed so many things.
func (h *history) mortal(left int) *registrystore.Store {
	return h.store.WithDriver(func(d storagedriver.StorageDriver) storagedriver.StorageDriver { return mortal{d, &left} })
}

const (
	histories = 4  // of each test run
	blobs     = 25 // that there are to push
)

// TestCollectionsDoWhatTheModelDoes, over random histories, and whenever they are killed.
func TestCollectionsDoWhatTheModelDoes(t *testing.T) {
	for seed := range uint64(histories) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			h := newHistory(t, seed)
			for range 4 {
				h.phase++
				begun := mark()
				for range 25 {
					h.step()
				}
				if h.random.IntN(2) == 0 { // then nothing is young
					h.phase++
					begun = mark()
				}
				o := registrygc.Options{Untagged: h.random.IntN(3) > 0, Grace: 24 * time.Hour}
				before := h.snapshot()
				h.collect(o.Untagged)
				for killed := true; killed; {
					plan, err := registrygc.MakePlan(t.Context(), h.store, o, begun.Add(o.Grace))
					require.NoError(t, err)
					removed, err := plan.Sweep(t.Context(), h.mortal(1+h.random.IntN(8)))
					h.checkWhole(t, before)
					if killed = err != nil; killed {
						require.ErrorIs(t, err, errKilled)
					} else {
						require.Equal(t, plan.Totals(), removed)
					}
				}
				h.check(t)
			}
		})
	}
}
