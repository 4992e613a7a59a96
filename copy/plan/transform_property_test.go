package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// TestTransformProperties makes plans of random lists with images that are transformed, and holds
// them against lists that are built anew, entry by entry, out of what became of the images.
func TestTransformProperties(t *testing.T) {
	seed := worldSeed()
	known, unknown := 0, 0
	for i := range uint64(1000) {
		w := &transformWorld{planWorld: planWorld{random: rand.New(rand.NewPCG(seed, i)), in: Input{
			Documents: map[digest.Digest]Document{}, Missing: map[digest.Digest]bool{}, Present: map[digest.Digest]bool{},
			PresentBlobs: map[digest.Digest]bool{}, MissingBlobs: map[digest.Digest]bool{},
		}}}
		w.build()
		w.transform()
		if plan, ok := w.check(t); ok {
			for p := plan; p != nil; p = p.IfRefused {
				w.checkTransformed(t, p)
			}
			if plan.Digest == "" {
				unknown++
			} else if len(plan.List.Edits) > 0 {
				known++
			}
		}
		if t.Failed() {
			t.Fatalf("world %d; to see it again: go test ./copy/plan -run TestTransformProperties -plan-seed %d\n%+v\n%+v\n%s", i, seed, w.in.Choices, w.in.Way, w.in.Top.Bytes)
		}
	}
	enough(t, known, 50, "too few results are known")
	enough(t, unknown, 50, "too few results are not known")
}

// A transformWorld is a planWorld in which some images have to change.
type transformWorld struct {
	planWorld
	every bool
	plain map[digest.Digest]bool // of images with layers, whether these are uncompressed
}

// transform gives manifests to some images, and results to some of those that have to change.
func (w *transformWorld) transform() {
	w.plain = map[digest.Digest]bool{}
	w.every = w.chance(10)
	w.in.Transformed = map[TransformKey]Document{}
	w.in.Way = transforming(func(f *WayFacts) {
		if w.every {
			f.EveryImage = []OptionUse{{"ForceCompressionFormat", "changes layers"}}
		}
	})
	if w.chance(30) {
		w.in.Choices.ChangedSubjects = DropChangedSubjects
	}
	tells := pick(&w.planWorld, []int{0, 70, 100})
	for i, d := range w.digests {
		if _, read := w.in.Documents[d]; read || w.in.Missing[d] {
			continue
		}
		layer := gzipLayer
		if w.plain[d] = w.chance(40); w.plain[d] {
			layer = plainLayer
		}
		w.in.Documents[d] = Document{Bytes: imageOf(ociImage, ociConfig, layer)}
		if w.chance(tells) {
			w.in.Transformed[TransformKey{Digest: d}] = w.result(d, i)
		}
	}
}

// result is what becomes of an image: at times what it was.
func (w *transformWorld) result(d digest.Digest, i int) Document {
	if w.chance(15) {
		return Document{Digest: d, Bytes: w.in.Documents[d].Bytes}
	}
	b := imageOf(pick(&w.planWorld, []string{ociImage, dockerImage}), ociConfig, fmt.Sprintf("layer %d", i))
	if w.chance(40) {
		w.in.Present[digest.FromBytes(b)] = true
	}
	return Document{Bytes: b}
}

// changes reports whether an image has to be transformed, by its manifest, and what becomes of it;
// the digest is "" if that is not known.
func (w *transformWorld) changes(d digest.Digest) (digest.Digest, Document, bool) {
	plain, layered := w.plain[d]
	_, read := w.in.Documents[d]
	if !plain && (!w.every || read && !layered) {
		return d, Document{}, false
	}
	doc, known := w.in.Transformed[TransformKey{Digest: d}]
	if !known {
		return "", doc, true
	}
	if doc.Digest == "" {
		return digest.FromBytes(doc.Bytes), doc, true
	}
	return doc.Digest, doc, true
}

// checkTransformed holds a plan against what has to become of each image that it copies.
func (w *transformWorld) checkTransformed(t *testing.T, p *Plan) {
	w.checkRebuilt(t, p.List)
	assert.Equal(t, p.List.Result, p.Digest)
	copies, transforms, stored := map[digest.Digest]bool{}, map[digest.Digest]bool{}, map[digest.Digest]bool{}
	there := map[digest.Digest]bool{} // as they are at the source
	p.List.Walk(func(l *ListPlan) {
		for _, ip := range l.Instances {
			result, _, transformed := w.changes(ip.Digest)
			switch {
			case ip.IsBlob():
			case ip.Decision == Skip:
				assert.Empty(t, ip.Transform)
				there[ip.Digest] = there[ip.Digest] || w.in.Present[ip.Digest]
			case ip.Nested != nil || manifest.IsListMediaType(ip.MediaType):
				there[ip.Digest] = there[ip.Digest] || ip.Result() == ip.Digest
			default:
				assert.Equal(t, transformed, ip.Transform != "", "entry %d of %s", ip.Index, l.Digest)
				assert.Equal(t, result, ip.Result(), "entry %d of %s", ip.Index, l.Digest)
				there[ip.Digest] = there[ip.Digest] || result == ip.Digest
				stored[result] = true
				if transformed {
					transforms[ip.Digest] = result == "" || !w.in.Present[result]
				} else {
					copies[ip.Digest] = !w.in.Present[ip.Digest]
				}
			}
		}
	})
	delete(stored, "")
	wants := func(set map[digest.Digest]bool) (wanted []digest.Digest) {
		for d, is := range set {
			if is {
				wanted = append(wanted, d)
			}
		}
		slices.Sort(wanted)
		return wanted
	}
	var todo []digest.Digest
	for _, transform := range p.Transforms() {
		todo = append(todo, transform.Digest)
	}
	assert.Equal(t, wants(transforms), slices.Sorted(slices.Values(todo)))
	assert.Equal(t, wants(copies), slices.Sorted(slices.Values(p.Copies)))
	assert.Equal(t, wants(stored), slices.Sorted(slices.Values(p.Stored())))
	if p.Action == KeepSparseManifestList {
		p.List.Walk(func(l *ListPlan) {
			var absent []digest.Digest
			for _, ip := range l.Instances {
				if ip.Entry == KeepEntry && !ip.IsBlob() && !there[ip.Digest] {
					absent = append(absent, ip.Digest)
				}
			}
			slices.Sort(absent)
			assert.Equal(t, slices.Compact(absent), slices.Sorted(slices.Values(l.Absent)))
		})
	}
	w.checkDropped(t, p)
}

// checkRebuilt builds the list that l is written as, and those nested in it.
func (w *transformWorld) checkRebuilt(t *testing.T, l *ListPlan) {
	var source, written struct {
		Manifests []json.RawMessage `json:"manifests"`
	}
	require.NoError(t, json.Unmarshal(l.node.Bytes, &source))
	known, changed := true, false
	var rebuilt []string
	for i, ip := range l.Instances {
		entry := string(source.Manifests[i])
		switch {
		case ip.Nested != nil && ip.Decision == Copy:
			w.checkRebuilt(t, ip.Nested)
			if ip.Nested.Result != ip.Digest {
				entry = rebuiltEntry(t, entry, ip.Nested.Result, len(ip.Nested.result), "")
			}
			known = known && ip.Nested.Result != ""
		case ip.Decision == Copy && ip.isImage():
			if result, doc, transformed := w.changes(ip.Digest); transformed && result != ip.Digest {
				entry = rebuiltEntry(t, entry, result, len(doc.Bytes), doc.Type())
				known = known && result != ""
			}
		}
		if ip.Entry == StripEntry {
			assert.Equal(t, Skip, ip.Decision)
			changed = true
			continue
		}
		changed = changed || entry != string(source.Manifests[i])
		rebuilt = append(rebuilt, entry)
	}
	if !known {
		assert.Equal(t, []any{digest.Digest(""), int64(0), []byte(nil)}, []any{l.Result, l.ResultSize, l.result})
		return
	}
	assert.Equal(t, l.Result, digest.FromBytes(l.result))
	assert.Equal(t, l.ResultSize, int64(len(l.result)))
	if !changed {
		assert.Equal(t, string(l.node.Bytes), string(l.result))
		assert.Empty(t, l.Edits)
		return
	}
	checkEditOrder(t, l.Edits)
	require.NoError(t, json.Unmarshal(l.result, &written))
	require.Len(t, written.Manifests, len(rebuilt))
	for i, entry := range written.Manifests {
		if rebuilt[i] != string(entry) {
			assert.JSONEq(t, rebuilt[i], string(entry))
		}
	}
	assert.Equal(t, outside(t, l.node.Bytes), outside(t, l.result))
}

// rebuiltEntry is an entry with another digest, size and media type; the type stays if it is "".
func rebuiltEntry(t *testing.T, entry string, d digest.Digest, size int, mediaType string) string {
	var members map[string]any
	require.NoError(t, json.Unmarshal([]byte(entry), &members))
	delete(members, "urls")
	delete(members, "data")
	members["digest"], members["size"] = d, size
	if mediaType != "" {
		members["mediaType"] = mediaType
	}
	b, err := json.Marshal(members)
	require.NoError(t, err)
	return string(b)
}

// outside is what a list consists of, without its entries.
func outside(t *testing.T, list []byte) string {
	var members map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(list, &members))
	delete(members, "manifests")
	b, err := json.Marshal(members)
	require.NoError(t, err)
	var compact bytes.Buffer
	require.NoError(t, json.Compact(&compact, b))
	return compact.String()
}

// checkDropped: nothing that is about an image which changes is copied if it is to be left behind,
// unless it was named, or its list is copied as a whole; and nothing is left behind for that if it
// is to be kept.
func (w *transformWorld) checkDropped(t *testing.T, p *Plan) {
	p.List.Walk(func(l *ListPlan) {
		gone := map[digest.Digest]bool{}
		for _, ip := range l.Instances {
			gone[ip.Digest] = gone[ip.Digest] || ip.isImage() && ip.changes()
		}
		for _, ip := range l.Instances {
			named := ip.Reason.Code == ReasonDigest || ip.Reason.Code == ReasonIndex
			if w.in.Choices.ChangedSubjects == KeepChangedSubjects {
				assert.NotEqual(t, ReasonVoid, ip.Reason.Code)
			} else if ip.isImage() && ip.Relation.Follows() && gone[ip.Subject] && !named && !l.NamesBlobs() {
				assert.Equal(t, Skip, ip.Decision, "entry %d of %s", ip.Index, l.Digest)
			}
		}
	})
}
