package manifest_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// A library has documents by digest.
type library map[digest.Digest][]byte

var errNotHere = errors.New("not here")

func (l library) read(d digest.Digest) ([]byte, error) {
	if b, ok := l[d]; ok {
		return b, nil
	}
	return nil, errNotHere
}

// add adds a document, and returns its digest by the algorithm a.
func (l library) add(a digest.Algorithm, b []byte) digest.Digest {
	d := a.FromBytes(b)
	l[d] = b
	return d
}

// A form is what removing entries can make of a list.
type form struct {
	bytes []byte
	// ways is how many removals make it; best is the one that keeps the earliest entries, which are
	// kept.
	ways int
	best manifest.Removal
	kept []int
}

// maxForms is how many removals are tried for one list.
const maxForms = 1 << 9

// formsOf are all forms of a list, by their bytes: the definition of what StrippedFrom proves. Each
// entry is removed or not; and one that names a list which docs has may name each of the list's
// forms. They are added to docs. It returns nil if there are too many.
func formsOf(t testing.TB, docs library, original []byte) map[string]*form {
	list := mustParse(t, original)
	instances := list.Instances()
	variants := make([][]*form, len(instances)) // of nested lists that were stripped
	ways := 1
	for i, instance := range instances {
		nested, ok := docs[instance.Digest]
		if ok && !instance.IsBlob() && manifest.IsListMediaType(manifest.TypeOf(nested, instance.MediaType)) {
			for _, f := range formsOf(t, docs, nested) {
				if !bytes.Equal(f.bytes, nested) {
					variants[i] = append(variants[i], f)
				}
			}
		}
		if ways *= 2 + len(variants[i]); ways > maxForms {
			return nil
		}
	}
	forms := map[string]*form{}
	for way := range ways {
		var updates, removals []manifest.ListEdit
		f := form{ways: 1, best: manifest.Removal{Entries: len(instances)}}
		for i, instance := range instances {
			choices := 2 + len(variants[i])
			choice := way % choices
			way /= choices
			switch choice {
			case 0:
				removals = slices.Concat(deletes(i), removals)
				of, _ := instance.AttestationOf()
				f.best.Removed = append(f.best.Removed, manifest.RemovedEntry{
					Index: i, Digest: instance.Digest, MediaType: instance.MediaType, ArtifactType: instance.ArtifactType,
					Platform: instance.Platform, AttestationOf: of,
				})
				continue
			case 1:
			default:
				v := variants[i][choice-2]
				d := docs.add(instance.Digest.Algorithm(), v.bytes)
				updates = append(updates, update(i, d, int64(len(v.bytes)), ""))
				f.best.Nested = append(f.best.Nested, manifest.NestedRemoval{Index: i, Original: instance.Digest, Stripped: d, Removal: v.best})
				f.ways *= v.ways
			}
			f.kept = append(f.kept, i)
		}
		stripped := list.Clone()
		require.NoError(t, stripped.EditInstances(slices.Concat(updates, removals)))
		f.bytes = serialize(t, stripped)
		known := forms[string(f.bytes)]
		switch {
		case known == nil:
			forms[string(f.bytes)] = &f
		case slices.Compare(f.kept, known.kept) < 0:
			f.ways += known.ways
			*known = f
		default:
			known.ways += f.ways
		}
	}
	for _, f := range forms {
		f.best.Ambiguous = f.ways > 1
	}
	return forms
}

// checkStripped demands that StrippedFrom proves those lists that are forms, with what was removed,
// and no other. It reports whether there was a proof.
func checkStripped(t testing.TB, docs library, forms map[string]*form, stripped, original []byte) bool {
	t.Helper()
	removal, err := manifest.StrippedFrom(stripped, original, docs.read)
	if f := forms[string(stripped)]; f != nil {
		require.NoError(t, err, "%s\nof\n%s", stripped, original)
		assert.Equal(t, f.best, removal, "%s\nof\n%s", stripped, original)
		return true
	}
	require.Error(t, err, "%s\nof\n%s", stripped, original)
	checkDifference(t, err, stripped)
	return false
}

// checkDifference demands that an error of StrippedFrom makes sense for the list.
func checkDifference(t testing.TB, err error, stripped []byte) {
	t.Helper()
	var e *manifest.DifferenceError
	require.ErrorAs(t, err, &e)
	require.NotEmpty(t, e.Error())
	switch e.Kind {
	case manifest.StrippedUnreadable, manifest.OriginalUnreadable, manifest.DocumentMissing, manifest.LimitExceeded:
		assert.Zero(t, e.Line)
		assert.Zero(t, e.Offset)
		assert.Equal(t, []int{-1, -1}, []int{e.Entry, e.Original})
		assert.Error(t, e.Err)
		return
	case manifest.NestedUnproven:
		require.ErrorAs(t, e.Err, new(*manifest.DifferenceError))
	default:
		assert.NoError(t, e.Err)
	}
	require.LessOrEqual(t, e.Offset, len(stripped))
	assert.Equal(t, 1+bytes.Count(stripped[:e.Offset], []byte("\n")), e.Line)
	n := len(mustParse(t, stripped).Instances())
	switch e.Kind {
	case manifest.RestChanged:
		assert.Equal(t, []int{-1, -1}, []int{e.Entry, e.Original})
	case manifest.LayoutChanged:
		assert.Less(t, e.Entry, n)
	case manifest.EntryAdded:
		assert.Less(t, e.Entry, n)
		assert.GreaterOrEqual(t, e.Entry, 0)
		assert.Equal(t, -1, e.Original)
	case manifest.EntryAltered, manifest.OrderChanged, manifest.NestedUnproven:
		assert.Less(t, e.Entry, n)
		assert.GreaterOrEqual(t, e.Entry, 0)
		assert.GreaterOrEqual(t, e.Original, 0)
	default:
		assert.Fail(t, "unknown kind", e.Kind)
	}
}

// TestStrippedFromLists strips the lists of testdata by every selection.
func TestStrippedFromLists(t *testing.T) {
	for _, file := range listFiles(t) {
		original := readFile(t, file)
		forms := formsOf(t, nil, original)
		require.NotEmpty(t, forms, file)
		for _, f := range forms {
			assert.True(t, checkStripped(t, nil, forms, f.bytes, original))
		}
	}
}

// TestStrippedFromLikeDefinition makes random lists, some of them nested, strips them by every
// selection, and alters what results. A failure names its seed: go test ./manifest -run
// 'LikeDefinition/seed=7$' repeats it.
func TestStrippedFromLikeDefinition(t *testing.T) {
	proven, refused, ambiguous, nested := 0, 0, 0, 0
	for seed := range uint64(60) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			w := stripWorld{random: rand.New(rand.NewPCG(seed, 0)), docs: library{}}
			original := w.list(0)
			forms := formsOf(t, w.docs, original)
			for _, key := range slices.Sorted(maps.Keys(forms)) {
				f := forms[key]
				for i, stripped := range [][]byte{f.bytes, w.alter(f.bytes), w.alter(f.bytes)} {
					if i > 0 && w.random.IntN(4) != 0 {
						continue
					}
					if checkStripped(t, w.docs, forms, stripped, original) {
						proven++
					} else {
						refused++
					}
				}
				if f.best.Ambiguous {
					ambiguous++
				}
				if len(f.best.Nested) > 0 {
					nested++
				}
			}
		})
	}
	t.Log(proven, refused, ambiguous, nested)
	assert.Greater(t, min(proven, refused, ambiguous, nested), 300)
}

// A stripWorld makes random lists.
type stripWorld struct {
	random *rand.Rand
	docs   library
}

func (w *stripWorld) pick(from ...string) string { return from[w.random.IntN(len(from))] }

// list makes a list, which docs has, and those nested in it.
func (w *stripWorld) list(depth int) []byte {
	space := func() string { return w.pick("", "", "", " ", "\n  ", "\r\n\t") }
	if w.random.IntN(2) == 0 {
		layout := w.pick("", " ", "\n    ")
		space = func() string { return layout }
	}
	var entries []string
	for range w.random.IntN(5) {
		if len(entries) > 0 && w.random.IntN(3) == 0 {
			entries = append(entries, entries[w.random.IntN(len(entries))])
			continue
		}
		entries = append(entries, w.entry(depth, space))
	}
	var b strings.Builder
	b.WriteString("{" + space() + `"schemaVersion":2,` + w.pick("", `"mediaType":"`+ociIndex+`",`, `"mediaType":"`+manifest.MediaTypeDockerList+`",`) + space())
	b.WriteString(`"manifests":` + space() + "[" + space())
	for i, e := range entries {
		if i > 0 {
			b.WriteString(space() + "," + space())
		}
		b.WriteString(e)
	}
	b.WriteString(space() + "]" + w.pick("", `,"annotations":{"a":"b","a":"c"}`, `,"x":[1.0,{}]`) + space() + "}" + space())
	doc := []byte(b.String())
	if len(entries) == 0 && w.random.IntN(2) == 0 {
		doc = bytes.Replace(doc, []byte("["), []byte("null"), 1)
		doc = append(doc[:bytes.Index(doc, []byte("null"))+4], doc[bytes.IndexByte(doc, ']')+1:]...)
	}
	return doc
}

// entry makes the entry of an image or of a list.
func (w *stripWorld) entry(depth int, space func() string) string {
	algorithm := digest.SHA256
	if w.random.IntN(4) == 0 {
		algorithm = digest.SHA512
	}
	d, size := algorithm.FromString(w.pick("a", "b", "c")), 600
	mediaType := ociManifest
	if depth < 2 && w.random.IntN(3) == 0 {
		nested := w.list(depth + 1)
		d, size = algorithm.FromBytes(nested), len(nested)
		if w.random.IntN(6) != 0 {
			w.docs[d] = nested
		}
		mediaType = w.pick(ociIndex, ociIndex, manifest.MediaTypeDockerList, ociManifest)
	}
	members := []string{
		`"mediaType":` + space() + `"` + mediaType + `"`,
		`"digest":` + w.pick(space()+`"`+d.String()+`"`, `"sha\u0032`+d.String()[4:]+`"`, `"`+d.String()+`"`),
		`"size":` + space() + fmt.Sprint(size),
	}
	if algorithm == digest.SHA512 {
		members[1] = `"digest":"` + d.String() + `"`
	}
	for _, optional := range []string{
		`"platform":{"os":"linux","architecture":"` + w.pick("amd64", "arm64") + `"}`, `"urls":["u"]`, `"data":"e30="`, `"annotations":{"k":"` + w.pick("v", "w") + `"}`,
	} {
		if w.random.IntN(4) == 0 {
			members = append(members, optional)
		}
	}
	w.random.Shuffle(len(members), func(i, k int) { members[i], members[k] = members[k], members[i] })
	return "{" + space() + strings.Join(members, ","+space()) + "}"
}

// alter changes a document a little.
func (w *stripWorld) alter(doc []byte) []byte {
	out := bytes.Clone(doc)
	at := w.random.IntN(len(out))
	switch w.random.IntN(4) {
	case 0:
		out[at] ^= 1
	case 1:
		return slices.Insert(out, at, w.pick(" ", "\n", ",", "1")[0])
	case 2:
		return slices.Delete(out, at, at+1)
	case 3: // takes a digit or white space for another one
		for i := range out {
			k := (at + i) % len(out)
			switch {
			case out[k] >= '0' && out[k] < '9':
				out[k]++
				return out
			case out[k] == ' ':
				out[k] = '\t'
				return out
			}
		}
	}
	return out
}

// FuzzStrippedFrom strips a list of strangers, in which a digest of zeros stands for another one
// that is nested in it, by one of all selections, alters a byte of what results, and cuts some out.
func FuzzStrippedFrom(f *testing.F) {
	for i, file := range listFiles(f) {
		f.Add(readFile(f, file), []byte(nil), uint16(i), uint16(0), byte(0), byte(0))
		f.Add(nestingSeed, readFile(f, file), uint16(i), uint16(40*i), byte(i), byte(i))
	}
	f.Fuzz(func(t *testing.T, original, inner []byte, pick, at uint16, alteration, cut byte) {
		docs := library{}
		original = bytes.ReplaceAll(original, zeros, []byte(docs.add(digest.SHA256, inner)))
		if _, err := manifest.Parse(original, ""); err != nil {
			_, err := manifest.StrippedFrom(original, original, docs.read)
			checkDifference(t, err, original)
			return
		}
		if _, err := manifest.Parse(inner, ""); err != nil {
			clear(docs)
		}
		forms := formsOf(t, docs, original)
		if forms == nil {
			return
		}
		keys := slices.Sorted(maps.Keys(forms))
		stripped := []byte(keys[int(pick)%len(keys)])
		from := int(at) % len(stripped)
		stripped[from] ^= alteration
		checkStripped(t, docs, forms, stripped, original)
		stripped = slices.Delete(stripped, from, min(from+int(cut), len(stripped)))
		checkStripped(t, docs, forms, stripped, original)
	})
}

var (
	zeros       = []byte("sha256:" + strings.Repeat("0", 64))
	nestingSeed = []byte(`{"schemaVersion":2,"manifests":[
  {"mediaType":"` + ociIndex + `","digest":"` + string(zeros) + `","size":7,"data":""},
  {"mediaType":"` + ociManifest + `", "digest":"` + named("a").String() + `","size":7},
  {"digest":"` + string(zeros) + `","size":7}
]}`)
)
