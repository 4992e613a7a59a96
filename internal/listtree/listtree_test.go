package listtree_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/manifest"
)

const (
	index = imgspecv1.MediaTypeImageIndex
	image = imgspecv1.MediaTypeImageManifest
)

// A store has documents, and counts how often each is read.
type store struct {
	documents map[digest.Digest]document
	reads     map[digest.Digest]int
}

type document struct {
	mediaType string
	bytes     []byte
}

func newStore() *store {
	return &store{documents: map[digest.Digest]document{}, reads: map[digest.Digest]int{}}
}

func (s *store) add(mediaType, content string) digest.Digest {
	d := digest.FromString(content)
	s.documents[d] = document{mediaType, []byte(content)}
	return d
}

func (s *store) read(d digest.Digest) (string, []byte, bool) {
	s.reads[d]++
	doc, ok := s.documents[d]
	return doc.mediaType, doc.bytes, ok
}

// An entry is one of a list, with the media type that the list states.
type entry struct {
	mediaType string
	digest    digest.Digest
}

// list adds an index. Lists with different names have different digests.
func (s *store) list(name string, entries ...entry) digest.Digest {
	return s.add(index, listOf(name, entries...))
}

func listOf(name string, entries ...entry) string {
	texts := make([]string, len(entries))
	for i, e := range entries {
		texts[i] = fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":1}`, e.mediaType, e.digest)
	}
	return fmt.Sprintf(`{"schemaVersion":2,"name":%q,"manifests":[%s]}`, name, strings.Join(texts, ","))
}

// outline writes a tree as text: of each list its name, and its entries.
func outline(n *listtree.Node, names map[digest.Digest]string) string {
	var parts []string
	for i, instance := range n.Instances {
		kind := ""
		if instance.IsList() {
			kind = "?"
		}
		if nested := n.Nested[i]; nested != nil {
			parts = append(parts, outline(nested, names))
			continue
		}
		parts = append(parts, names[instance.Digest]+kind)
	}
	return names[n.Digest] + "(" + strings.Join(parts, " ") + ")"
}

func TestBuild(t *testing.T) {
	s := newStore()
	leaf := s.add(image, "an image")
	absent := digest.FromString("an image that was not read")
	unread, later := digest.FromString("a list that was not read"), digest.FromString("another")
	nested := s.list("nested", entry{image, leaf}, entry{index, unread})
	claimed := s.list("claimed to be an image", entry{image, leaf})
	top := s.list("top",
		entry{image, absent}, entry{index, nested}, entry{image, claimed}, entry{index, leaf}, entry{index, later}, entry{index, unread},
		entry{index, nested},
	)
	names := map[digest.Digest]string{
		top: "top", nested: "nested", claimed: "claimed", leaf: "leaf", absent: "absent", unread: "unread", later: "later",
	}
	b := &listtree.Builder{Read: s.read}
	tree, err := b.Build(top)
	require.NoError(t, err)
	assert.Equal(t, "top(absent nested(leaf unread?) claimed(leaf) leaf later? unread? nested(leaf unread?))", outline(tree.Root, names))
	assert.Equal(t, []digest.Digest{unread, later}, tree.Unread)

	root := tree.Root
	assert.Equal(t, s.documents[top].bytes, root.Bytes)
	assert.Equal(t, index, root.Instances[2].MediaType, "what the document is")
	assert.Equal(t, image, root.Instances[3].MediaType, "what the document is")
	assert.Equal(t, image, root.List.Instances()[2].MediaType, "what the list says")
	assert.Equal(t, index, root.List.Instances()[3].MediaType, "what the list says")
	assert.NotSame(t, root.Nested[1], root.Nested[6], "the same list in two places")
	assert.Nil(t, root.Nested[1].Nested)
	for d, n := range s.reads {
		if _, ok := s.documents[d]; ok {
			assert.Equal(t, 1, n, names[d])
		}
	}

	var walked []string
	root.Walk(func(n *listtree.Node) { walked = append(walked, names[n.Digest]) })
	assert.Equal(t, []string{"top", "nested", "claimed", "nested"}, walked)
}

// TestCloneReadsOn reads what was not there before, and leaves the builder that was cloned as it
// was.
func TestCloneReadsOn(t *testing.T) {
	first := newStore()
	nested := listOf("nested")
	top := first.list("top", entry{index, digest.FromString(nested)})
	b := &listtree.Builder{Read: first.read}
	tree, err := b.Build(top)
	require.NoError(t, err)
	require.Len(t, tree.Unread, 1)

	second := newStore()
	second.documents = maps.Clone(first.documents)
	second.add(index, nested)
	clone := b.Clone(second.read)
	tree, err = clone.Build(top)
	require.NoError(t, err)
	assert.Empty(t, tree.Unread)
	assert.Zero(t, second.reads[top], "parsed already")

	tree, err = b.Build(top)
	require.NoError(t, err)
	assert.Len(t, tree.Unread, 1)
}

func TestBuildWhatIsNoList(t *testing.T) {
	s := newStore()
	leaf := s.add(image, "an image")
	broken := s.add(index, `{"schemaVersion":2,"manifests":[{}]}`)
	within := s.list("around it", entry{image, broken})
	unread := digest.FromString("unread")
	for top, want := range map[digest.Digest]string{
		leaf:   leaf.String() + " is no list that was read",
		unread: unread.String() + " is no list that was read",
		broken: "list " + broken.String() + ": manifests[0] (byte 32): no digest",
		within: "list " + broken.String() + ": manifests[0] (byte 32): no digest",
	} {
		_, err := (&listtree.Builder{Read: s.read}).Build(top)
		assert.EqualError(t, err, want)
		var parse *manifest.ParseError
		if strings.HasPrefix(want, "list ") {
			assert.ErrorAs(t, err, &parse)
		}
	}
}

func TestLimitOfDepth(t *testing.T) {
	s := newStore()
	deepest := s.list("1")
	top := deepest
	for depth := 2; depth <= listtree.MaxDepth; depth++ {
		top = s.list(fmt.Sprint(depth), entry{index, top})
	}
	_, err := (&listtree.Builder{Read: s.read}).Build(top)
	require.NoError(t, err)

	_, err = (&listtree.Builder{Read: s.read}).Build(s.list("too deep", entry{image, digest.FromString("x")}, entry{index, top}))
	assert.Equal(t, &listtree.LimitError{What: "depth of nested lists", Limit: 8, List: deepest}, err)
	assert.EqualError(t, err, "list "+deepest.String()+": depth of nested lists exceeds the limit of 8")
}

// TestLimitOfEntries names a list of many entries several times: each time counts.
func TestLimitOfEntries(t *testing.T) {
	s := newStore()
	many := s.list("many", slices.Repeat([]entry{{image, digest.FromString("x")}}, 24_999)...)
	four := slices.Repeat([]entry{{index, many}}, 4) // 4 + 4 × 24,999 = 100,000
	_, err := (&listtree.Builder{Read: s.read}).Build(s.list("just so", four...))
	require.NoError(t, err)

	_, err = (&listtree.Builder{Read: s.read}).Build(s.list("one more", append(four, entry{image, digest.FromString("x")})...))
	assert.Equal(t, &listtree.LimitError{What: "entries in all lists", Limit: 100_000, List: many}, err)
}

// TestLimitOfBytes names lists of the largest size, one of them twice: distinct ones count.
func TestLimitOfBytes(t *testing.T) {
	s := newStore()
	large := func(name string, room int) digest.Digest {
		list := listOf(name)
		return s.add(index, strings.Repeat(" ", room-len(list))+list)
	}
	room := 64 << 20
	var entries []entry
	for i := range 15 {
		entries = append(entries, entry{index, large(fmt.Sprint(i), manifest.MaxSize)})
		room -= manifest.MaxSize
	}
	entries = append(entries, entries[0], entry{index, digest.FromString("placeholder")})
	room -= len(listOf("top", entries...))
	entries[len(entries)-1].digest = large("last", room)
	_, err := (&listtree.Builder{Read: s.read}).Build(s.list("top", entries...))
	require.NoError(t, err)

	last := large("last", room+1)
	entries[len(entries)-1].digest = last
	_, err = (&listtree.Builder{Read: s.read}).Build(s.list("top", entries...))
	assert.Equal(t, &listtree.LimitError{What: "bytes of all lists", Limit: 64 << 20, List: last}, err)
}

// TestBuildLikeModel holds random trees against a model that knows nothing of builders: go test
// -run 'LikeModel/seed=7$' repeats one.
func TestBuildLikeModel(t *testing.T) {
	for seed := range uint64(200) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			s, names := newStore(), map[digest.Digest]string{}
			var known []digest.Digest
			entries := map[digest.Digest][]entry{} // of lists that can be read
			for i := range 3 + random.IntN(12) {
				var own []entry
				for range random.IntN(5) {
					if len(known) > 0 {
						own = append(own, entry{[]string{image, index}[random.IntN(2)], known[random.IntN(len(known))]})
					}
				}
				name := fmt.Sprint("d", i)
				var d digest.Digest
				switch random.IntN(4) {
				case 0:
					d = s.add(image, name)
				case 1:
					d = digest.FromString(name) // not read
				default:
					d = s.list(name, own...)
					entries[d] = own
				}
				names[d] = name
				known = append(known, d)
			}
			own := []entry{{index, known[len(known)-1]}, {image, known[len(known)-2]}}
			top := s.list("top", own...)
			names[top], entries[top] = "top", own

			var unread []digest.Digest
			deepest := 0
			var model func(d digest.Digest, depth int) string
			model = func(d digest.Digest, depth int) string {
				deepest = max(deepest, depth)
				var parts []string
				for _, e := range entries[d] {
					_, isList := entries[e.digest]
					_, isRead := s.documents[e.digest]
					switch {
					case isList:
						parts = append(parts, model(e.digest, depth+1))
					case isRead || e.mediaType == image:
						parts = append(parts, names[e.digest])
					default:
						parts = append(parts, names[e.digest]+"?")
						if !slices.Contains(unread, e.digest) {
							unread = append(unread, e.digest)
						}
					}
				}
				return names[d] + "(" + strings.Join(parts, " ") + ")"
			}
			want := model(top, 1)
			tree, err := (&listtree.Builder{Read: s.read}).Build(top)
			if deepest > listtree.MaxDepth {
				require.ErrorContains(t, err, "depth of nested lists exceeds the limit of 8")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, want, outline(tree.Root, names))
			assert.Equal(t, unread, tree.Unread)
		})
	}
}

// A child is for the platform of its list's entry, as far as that says one, through all levels.
func TestPlatformsOfNestedLists(t *testing.T) {
	s := newStore()
	leaf := s.add(image, `{"config":{}}`)
	list := func(name string, of digest.Digest, mediaType, platform string) digest.Digest {
		entry := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":1%s}`, mediaType, of, platform)
		return s.add(index, fmt.Sprintf(`{"schemaVersion":2,"name":%q,"manifests":[%s,%s]}`, name, entry, entry))
	}
	arm := `,"platform":{"os":"linux","architecture":"arm"}`
	v7 := `,"platform":{"os":"linux","architecture":"arm","variant":"v7"}`
	inner := list("inner", leaf, image, "")
	middle := list("middle", inner, index, v7)
	top := list("top", middle, index, arm)
	other := list("other", middle, index, "")

	b := listtree.Builder{Read: s.read}
	tree, err := b.Build(top)
	require.NoError(t, err)
	assert.Equal(t, "linux/arm", platform.Format(tree.Root.Instances[0].Platform))
	node := tree.Root.Nested[1]
	assert.Equal(t, "linux/arm/v7", platform.Format(node.Instances[0].Platform))
	deep := node.Nested[0].Instances
	assert.Equal(t, "linux/arm/v7", platform.Format(deep[0].Platform))
	assert.Same(t, deep[0].Platform, deep[1].Platform, "each platform is looked at once")
	assert.Nil(t, node.Nested[0].List.Instances()[0].Platform, "the document says what it says")

	tree, err = b.Build(other)
	require.NoError(t, err)
	assert.Nil(t, tree.Root.Instances[0].Platform)
	assert.Equal(t, "linux/arm/v7", platform.Format(tree.Root.Nested[0].Nested[1].Instances[1].Platform))
}
