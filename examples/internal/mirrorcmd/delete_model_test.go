package mirrorcmd

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// A heap is a repository of made-up images, lists and artifacts, and a naive model of what its
// tags need.
type heap struct {
	*registrytest.Registry
	rand     *rand.Rand
	all      []digest.Digest // that were made, in this order; sparse lists name some that are not there
	subjects map[digest.Digest]digest.Digest
	entries  map[digest.Digest][]digest.Digest
	tags     map[string]digest.Digest // not named after digests
	attached map[string]digest.Digest // named after digests
	of       map[string]digest.Digest // these digests, by tag
}

func newHeap(t *testing.T, seed uint64) *heap {
	h := &heap{
		Registry: registrytest.Start(t, registrytest.Options{}), rand: rand.New(rand.NewPCG(seed, 0)),
		subjects: map[digest.Digest]digest.Digest{}, entries: map[digest.Digest][]digest.Digest{},
		tags: map[string]digest.Digest{}, attached: map[string]digest.Digest{}, of: map[string]digest.Digest{},
	}
	config := h.PutBlob(repo, []byte("{}"))
	for i := range 6 + h.rand.IntN(8) {
		h.add(i, config)
	}
	for i := range 2 + h.rand.IntN(5) {
		tag := fmt.Sprintf("t%d", i)
		h.tags[tag] = h.any()
		h.name(tag, h.tags[tag])
	}
	for range h.rand.IntN(5) {
		of := h.any()
		tag := digesttag.Name(of, []string{".sig", ".att", ".src"}[h.rand.IntN(3)])
		h.attached[tag], h.of[tag] = h.any(), of
		h.name(tag, h.attached[tag])
	}
	return h
}

// any is one of those that were made and are there.
func (h *heap) any() digest.Digest {
	for {
		if d := h.all[h.rand.IntN(len(h.all))]; h.has(d) {
			return d
		}
	}
}

func (h *heap) has(d digest.Digest) bool {
	_, _, ok := h.Manifest(repo, d.String())
	return ok
}

func (h *heap) name(tag string, d digest.Digest) {
	content, mediaType, _ := h.Manifest(repo, d.String())
	h.PutManifest(repo, tag, mediaType, content)
}

// add makes an image or a list, of what was made before.
func (h *heap) add(i int, config digest.Digest) {
	own := map[string]string{"number": fmt.Sprint(i)}
	var subject *imgspecv1.Descriptor
	if len(h.all) > 0 && h.rand.IntN(2) == 0 {
		subject = &imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageManifest, Digest: h.any(), Size: 2}
	}
	var content []byte
	mediaType := imgspecv1.MediaTypeImageManifest
	var entries []digest.Digest
	if len(h.all) > 0 && h.rand.IntN(3) == 0 {
		mediaType = imgspecv1.MediaTypeImageIndex
		list := imgspecv1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: mediaType, Annotations: own, Subject: subject}
		for range 1 + h.rand.IntN(3) {
			d := h.all[h.rand.IntN(len(h.all))]
			entries = append(entries, d)
			called := imgspecv1.MediaTypeImageManifest
			if h.entries[d] != nil {
				called = imgspecv1.MediaTypeImageIndex
			}
			list.Manifests = append(list.Manifests, imgspecv1.Descriptor{MediaType: called, Digest: d, Size: 2})
		}
		content, _ = json.Marshal(list)
	} else {
		content, _ = json.Marshal(imgspecv1.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: mediaType, Annotations: own, Subject: subject,
			Config: imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageConfig, Digest: config, Size: 2}, Layers: []imgspecv1.Descriptor{},
		})
	}
	d := digest.FromBytes(content)
	if len(h.all) == 0 || h.rand.IntN(8) > 0 {
		h.PutManifest(repo, d.String(), mediaType, content)
		if subject != nil {
			h.subjects[d] = subject.Digest
		}
	}
	h.all, h.entries[d] = append(h.all, d), entries
}

// below is what start leads to, which has that, too: by entries of lists, and by what is attached.
func (h *heap) below(start []digest.Digest, entries func(digest.Digest) []digest.Digest, attached func(digest.Digest) bool) map[digest.Digest]bool {
	found := map[digest.Digest]bool{}
	for len(start) > 0 {
		d := start[0]
		start = start[1:]
		if found[d] || !h.has(d) {
			continue
		}
		found[d] = true
		start = append(start, entries(d)...)
		for other, subject := range h.subjects {
			if subject == d && attached(other) {
				start = append(start, other)
			}
		}
		for tag, of := range h.of {
			if of == d && attached(h.attached[tag]) {
				start = append(start, h.attached[tag])
			}
		}
	}
	return found
}

// TestDeleteAgainstModel removes things from made-up repositories: nothing goes that a tag which
// stays needs, and nothing at all if that is so of anything that was asked for.
func TestDeleteAgainstModel(t *testing.T) {
	refused, done := 0, 0
	for seed := range uint64(150) {
		h := newHeap(t, seed)
		asked, tags := map[digest.Digest]bool{}, maps.Clone(h.tags)
		args := []string{"delete", "--yes", "--tls-verify=false"}
		for range 1 + h.rand.IntN(3) {
			names := slices.Sorted(maps.Keys(h.tags))
			tag := names[h.rand.IntN(len(names))]
			asked[h.tags[tag]] = true
			if h.rand.IntN(4) == 0 {
				args = append(args, "docker://"+h.Host()+"/"+repo+"@"+h.tags[tag].String())
				continue
			}
			for _, other := range names { // most people know all tags
				if other == tag || h.tags[other] == h.tags[tag] && h.rand.IntN(4) > 0 {
					args = append(args, "docker://"+h.Host()+"/"+repo+":"+other)
					delete(tags, other)
				}
			}
		}
		none := func(digest.Digest) []digest.Digest { return nil }
		entries := func(d digest.Digest) []digest.Digest { return h.entries[d] }
		goes := h.below(slices.Collect(maps.Keys(asked)), none, func(digest.Digest) bool { return true })
		staying := slices.Collect(maps.Values(tags))
		for tag, d := range h.attached {
			if !goes[h.of[tag]] {
				staying = append(staying, d)
			}
		}
		named := h.below(staying, entries, func(digest.Digest) bool { return false })
		there := h.Manifests(repo)
		for _, d := range there { // it stays, and what is attached to it does
			if !goes[d] {
				staying = append(staying, d)
			}
		}
		needs := h.below(staying, func(d digest.Digest) []digest.Digest {
			return slices.DeleteFunc(slices.Clone(h.entries[d]), func(e digest.Digest) bool { return goes[e] && !named[e] })
		}, func(d digest.Digest) bool { return !asked[d] })

		before := h.Snapshot(repo)
		r := runAll(t.Context(), t, "", args...)
		said := fmt.Sprintf("seed %d\n%v\n%s%s\nbefore:\n%s\nafter:\n%s", seed, args, r.stdout, r.stderr, before, h.Snapshot(repo))
		if slices.ContainsFunc(slices.Collect(maps.Keys(asked)), func(d digest.Digest) bool { return named[d] }) {
			refused++
			require.Equal(t, StatusFailed, r.status, said)
			require.Equal(t, before, h.Snapshot(repo), said)
			continue
		}
		done++
		require.Equal(t, StatusDone, r.status, said)
		for _, d := range there {
			switch {
			case needs[d]:
				require.True(t, h.has(d), "%s\nis needed: %s", said, d)
			case goes[d]:
				require.False(t, h.has(d), "%s\nis not needed: %s", said, d)
			}
		}
		for tag := range tags {
			require.Contains(t, h.Tags(repo), tag, said)
		}
	}
	assert.Greater(t, refused, 20)
	assert.Greater(t, done, 20)
}
