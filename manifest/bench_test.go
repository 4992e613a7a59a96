package manifest_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// BenchmarkParse and BenchmarkEditSerialize report the time per entry, which must not depend on the
// number of entries.

func BenchmarkParse(b *testing.B) {
	forSizes(b, func(b *testing.B, doc []byte, n int) {
		for b.Loop() {
			if _, err := manifest.Parse(doc, ""); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkEditSerialize deletes half of the entries and writes the rest.
func BenchmarkEditSerialize(b *testing.B) {
	forSizes(b, func(b *testing.B, doc []byte, n int) {
		list := mustParse(b, doc)
		var edits []manifest.ListEdit
		for i := n - 1; i >= 0; i -= 2 {
			edits = append(edits, deletes(i)...)
		}
		for b.Loop() {
			edited := list.Clone()
			if err := edited.EditInstances(edits); err != nil {
				b.Fatal(err)
			}
			if _, err := edited.Serialize(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkStrippedFrom proves that half of the entries were removed, from nested lists where there
// are more than one list has bytes for.
func BenchmarkStrippedFrom(b *testing.B) {
	for _, n := range []int{8, 10_000, 100_000} {
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			docs := library{}
			stripped, original := docs.stripped(b, n)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := manifest.StrippedFrom(stripped, original, docs.read); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/entry")
		})
	}
}

// stripped returns a list with n entries, and what is left without every second one. More than
// 10,000 are in ten lists that the list names.
func (l library) stripped(t testing.TB, n int) (stripped, original []byte) {
	if n <= 10_000 {
		list := mustParse(t, manyEntries(t, n))
		original = serialize(t, list)
		var edits []manifest.ListEdit
		for i := n - 1; i >= 0; i -= 2 {
			edits = append(edits, deletes(i)...)
		}
		require.NoError(t, list.EditInstances(edits))
		return serialize(t, list), original
	}
	outer := listModel{SchemaVersion: 2, MediaType: ociIndex}
	var updates []manifest.ListEdit
	for i := range 10 {
		is, was := l.stripped(t, n/10-1-i) // no two are the same
		outer.Manifests = append(outer.Manifests, entryModel{ociIndex, l.add(digest.SHA256, was), int64(len(was)), nil})
		updates = append(updates, update(i, l.add(digest.SHA256, is), int64(len(is)), ""))
	}
	original, err := json.Marshal(outer)
	require.NoError(t, err)
	list := mustParse(t, original)
	require.NoError(t, list.EditInstances(updates))
	return serialize(t, list), original
}

func forSizes(b *testing.B, run func(b *testing.B, doc []byte, n int)) {
	for _, n := range []int{10, 100, 1000, 15000} {
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			doc := manyEntries(b, n)
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			run(b, doc, n)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/entry")
		})
	}
}

// manyEntries is an index with n entries, of nearly MaxSize if n is 15,000.
func manyEntries(t testing.TB, n int) []byte {
	model := listModel{SchemaVersion: 2, MediaType: ociIndex}
	for i := range n {
		p := linux("arm64")
		p.Variant = fmt.Sprint("v", i)
		model.Manifests = append(model.Manifests, entryModel{ociManifest, named(fmt.Sprint(i)), int64(i), p})
	}
	doc, err := json.Marshal(model)
	require.NoError(t, err)
	require.LessOrEqual(t, len(doc), manifest.MaxSize)
	return doc
}
