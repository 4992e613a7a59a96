package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// checkProven: the list that is written is proven to be the source's without the entries that the
// plan strips, at every level. Only where twins can be taken for each other may it be others.
func (w *planWorld) checkProven(t *testing.T, plan *Plan) {
	documents := map[digest.Digest][]byte{}
	for d, doc := range w.in.Documents {
		documents[d] = doc.Bytes
	}
	plan.List.Walk(func(l *ListPlan) { documents[l.Result] = l.result })
	removal, err := manifest.StrippedFrom(plan.List.Written(), w.in.Top.Bytes, func(d digest.Digest) ([]byte, error) {
		if doc, ok := documents[d]; ok {
			return doc, nil
		}
		return nil, fmt.Errorf("%s was not read", d)
	})
	require.NoError(t, err)
	if removal.Ambiguous {
		assert.Len(t, removal.Removed, countStripped(plan.List))
		return
	}
	assert.Equal(t, outlineOfPlan(plan.List), outlineOfRemoval(removal))
}

// countStripped returns how many entries are stripped from a list. Those of nested lists may be
// others in another explanation, and more or fewer.
func countStripped(l *ListPlan) int {
	n := 0
	for _, ip := range l.Instances {
		if ip.Entry == StripEntry {
			n++
		}
	}
	return n
}

// outlineOfPlan are the positions of the entries that are stripped, and of those that are updated
// with the same of their lists.
func outlineOfPlan(l *ListPlan) string {
	var removed, nested strings.Builder
	for _, ip := range l.Instances {
		switch ip.Entry {
		case StripEntry:
			fmt.Fprintf(&removed, "%d %s; ", ip.Index, ip.Digest)
		case UpdateEntry:
			fmt.Fprintf(&nested, "%d %s %s (%s)", ip.Index, ip.Digest, ip.Result(), outlineOfPlan(ip.Nested))
		}
	}
	return removed.String() + nested.String()
}

func outlineOfRemoval(r manifest.Removal) string {
	var removed, nested strings.Builder
	for _, e := range r.Removed {
		fmt.Fprintf(&removed, "%d %s; ", e.Index, e.Digest)
	}
	for _, n := range r.Nested {
		fmt.Fprintf(&nested, "%d %s %s (%s)", n.Index, n.Original, n.Stripped, outlineOfRemoval(n.Removal))
	}
	return removed.String() + nested.String()
}

// TestProvenWithinLimits has lists as deep, and with as many entries, as may be stripped: what
// comes of them is proven. More is refused here and there.
func TestProvenWithinLimits(t *testing.T) {
	for name, c := range map[string]struct {
		depth, entries int
		limit          string
	}{
		"deepest":   {listtree.MaxDepth, 8, ""},
		"too deep":  {listtree.MaxDepth + 1, 8, "nested"},
		"largest":   {2, listtree.MaxEntries - 4, ""},
		"too large": {2, listtree.MaxEntries, "entries"},
	} {
		t.Run(name, func(t *testing.T) {
			lists := limitLists{}
			was := lists.nest(c.depth, c.entries, "amd64", "arm64")
			plan, planErr := New(Input{Top: Document{Bytes: was}, Documents: maps.Clone(lists), Choices: Choices{
				ImageListSelection: CopySpecificImages, SparseManifestListAction: StripSparseManifestList,
				InstancePlatforms: []InstancePlatformFilter{{OS: "linux", Architecture: "amd64"}},
			}})
			is := lists.nest(c.depth, c.entries, "amd64")
			_, err := manifest.StrippedFrom(is, was, func(d digest.Digest) ([]byte, error) { return lists[d].Bytes, nil })
			if c.limit == "" {
				require.NoError(t, planErr)
				require.NoError(t, err)
				assert.Equal(t, string(is), string(plan.List.Written()))
				return
			}
			var refused *LimitError
			require.ErrorAs(t, planErr, &refused)
			var difference *manifest.DifferenceError
			require.ErrorAs(t, err, &difference)
			assert.Equal(t, manifest.LimitExceeded, difference.Kind)
			assert.ErrorContains(t, planErr, c.limit)
			assert.ErrorContains(t, err, c.limit)
		})
	}
}

// limitLists are lists by their digests, those at the source and what is made of them.
type limitLists map[digest.Digest]Document

// nest makes a list that is depth deep. The deepest lists are four times the same, which name the
// images of these architectures: those of two would be entries in all.
func (l limitLists) nest(depth, entries int, architectures ...string) []byte {
	var texts []string
	name := func(doc []byte) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, imgspecv1.MediaTypeImageIndex, digest.FromBytes(doc), len(doc))
	}
	switch depth {
	case 1:
		for i := range entries {
			if arch := []string{"amd64", "arm64"}[i%2]; slices.Contains(architectures, arch) {
				texts = append(texts, fmt.Sprintf(`{"digest":%q,"size":7,"platform":{"os":"linux","architecture":%q}}`, digest.FromString(fmt.Sprint(i)), arch))
			}
		}
	case 2:
		texts = slices.Repeat([]string{name(l.nest(1, entries/4, architectures...))}, 4)
	default:
		texts = append(texts, name(l.nest(depth-1, entries, architectures...)))
	}
	doc := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, imgspecv1.MediaTypeImageIndex, strings.Join(texts, ","))
	l[digest.FromBytes(doc)] = Document{Bytes: doc}
	return doc
}
