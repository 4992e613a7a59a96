package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A shelf has documents by digest, and counts how often each is asked for.
type shelf struct {
	documents map[digest.Digest]string
	asked     map[digest.Digest]int
}

func newShelf() *shelf {
	return &shelf{documents: map[digest.Digest]string{}, asked: map[digest.Digest]int{}}
}

func (s *shelf) read(d digest.Digest) ([]byte, error) {
	s.asked[d]++
	if doc, ok := s.documents[d]; ok {
		return []byte(doc), nil
	}
	return nil, errors.New("not here")
}

// list is a list of entries, which the shelf has from now on.
func (s *shelf) list(entries ...string) string {
	doc := `{"schemaVersion":2,"manifests":[` + strings.Join(entries, ",") + `]}`
	s.documents[digest.FromString(doc)] = doc
	return doc
}

// entryOf is the entry for a list, with a name.
func entryOf(name, list string) string {
	return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"%s","size":%d,"annotations":{"name":"%s"}}`,
		digest.FromString(list), len(list), name)
}

// images are n entries for images without platforms, each of which could be a list.
func images(n int) []string {
	entries := make([]string, n)
	for i := range entries {
		entries[i] = fmt.Sprintf(`{"digest":"%s","size":7}`, digest.FromString(fmt.Sprint(i)))
	}
	return entries
}

func requireLimit(t *testing.T, err error, text string) {
	t.Helper()
	var e *DifferenceError
	require.ErrorAs(t, err, &e)
	assert.Equal(t, LimitExceeded, e.Kind)
	assert.ErrorContains(t, err, text)
}

// TestStrippedFromAsksOnce has two lists of 50 nested ones, of which there are two, stripped in two
// ways: each is asked for once, and each of the four pairs is compared once.
func TestStrippedFromAsksOnce(t *testing.T) {
	s := newShelf()
	var was, is []string
	for i := range 50 {
		inner := images(20 + i%2)
		name := fmt.Sprint(i)
		was = append(was, entryOf(name, s.list(inner...)))
		is = append(is, entryOf(name, s.list(inner[i/2%2+1:]...)))
	}
	stripped, original := s.list(is...), s.list(was...)
	p := newProver(s.read)
	removal, err := p.prove([]byte(stripped), []byte(original))
	require.NoError(t, err)
	assert.Len(t, removal.Nested, 50)
	assert.Equal(t, 74, removal.Count())
	assert.Len(t, p.proofs, 4)
	assert.Equal(t, 2*(50+20+21+20+21), p.entries, "each list once to find entries, and once to find others")
	for d, times := range s.asked {
		assert.Equal(t, 1, times, d)
	}
}

// TestStrippedFromAsksForNoRemovedImages has entries that could all name lists: those of what was
// removed are not asked for, since what is left names no list.
func TestStrippedFromAsksForNoRemovedImages(t *testing.T) {
	s := newShelf()
	stripped, original := s.list(images(9)[4], images(9)[8]), s.list(images(9)...)
	_, err := StrippedFrom([]byte(stripped), []byte(original), s.read)
	require.NoError(t, err)
	assert.Equal(t, map[digest.Digest]int{digest.FromString("4"): 1, digest.FromString("8"): 1}, s.asked)
}

// TestStrippedFromWork strips trees of lists, in which the same may be named often, and counts the
// entries that come up: no more than there are, each time that they are named, times the depth.
func TestStrippedFromWork(t *testing.T) {
	for depth := 1; depth <= maxListDepth; depth++ {
		for _, removed := range [][]int{{0}, {1}, {3}, {0, 3}, {0, 1, 2}} {
			s := newShelf()
			was, is, total := s.list(images(4)...), s.list(images(4)...), 4
			if depth == 1 {
				is = s.list(without(images(4), removed)...)
			}
			for range depth - 1 {
				// Three of the same, and one that was stripped; twins may be taken for each other.
				inner := s.list(without(images(4), removed)...)
				if was != is {
					inner = is
				}
				entries := []string{entryOf("", was), entryOf("", was), entryOf("", was), entryOf("", was)}
				total = 4 + 4*total
				stripped := without([]string{entryOf("", was), entryOf("", inner), entryOf("", was), entryOf("", inner)}, removed)
				was, is = s.list(entries...), s.list(stripped...)
			}
			p := newProver(s.read)
			_, err := p.prove([]byte(is), []byte(was))
			require.NoError(t, err, "depth %d, %v", depth, removed)
			assert.LessOrEqual(t, p.entries, total*(depth+1), "depth %d, %v", depth, removed)
		}
	}
}

func without(entries []string, positions []int) []string {
	var rest []string
	for i, e := range entries {
		if !slices.Contains(positions, i) {
			rest = append(rest, e)
		}
	}
	return rest
}

// chain is a list of depth lists in each other, and what is left if the first image of the deepest
// is removed.
func chain(s *shelf, depth int) (stripped, original string) {
	original, stripped = s.list(images(3)...), s.list(images(3)[1:]...)
	for range depth - 1 {
		stripped, original = s.list(entryOf("", stripped)), s.list(entryOf("", original))
	}
	return stripped, original
}

func TestStrippedFromDepth(t *testing.T) {
	s := newShelf()
	stripped, original := chain(s, maxListDepth)
	_, err := StrippedFrom([]byte(stripped), []byte(original), s.read)
	require.NoError(t, err)

	deepStripped, deepOriginal := chain(s, maxListDepth+1)
	_, err = StrippedFrom([]byte(deepStripped), []byte(deepOriginal), s.read)
	requireLimit(t, err, "nested more than 8 deep")

	// What was proven less deeply is not too deep there, and is where it is nested once more.
	innerStripped, innerOriginal := chain(s, maxListDepth-1)
	stripped = s.list(entryOf("a", innerStripped), entryOf("b", s.list(entryOf("", innerStripped))))
	original = s.list(entryOf("a", innerOriginal), entryOf("b", s.list(entryOf("", innerOriginal))))
	_, err = StrippedFrom([]byte(stripped), []byte(original), s.read)
	requireLimit(t, err, "nested more than 8 deep")
}

// TestStrippedFromDepthOfOthers has an entry that was removed and could be the one that is left,
// were the list that it names not too deep.
func TestStrippedFromDepthOfOthers(t *testing.T) {
	for depth, tooDeep := range map[int]bool{maxListDepth - 1: false, maxListDepth: true} {
		s := newShelf()
		is, was := entryOf("", s.list(images(3)[1:]...)), entryOf("", s.list(images(3)...))
		stripped, original := s.list(is), s.list(is, was)
		for range depth - 1 {
			stripped, original = s.list(entryOf("", stripped)), s.list(entryOf("", original))
		}
		removal, err := StrippedFrom([]byte(stripped), []byte(original), s.read)
		if tooDeep {
			requireLimit(t, err, "nested more than 8 deep")
			continue
		}
		require.NoError(t, err)
		assert.True(t, removal.Ambiguous)
	}
}

// TestStrippedFromLimits comes to the limits from just below them.
func TestStrippedFromLimits(t *testing.T) {
	s := newShelf()
	inner := s.list(images(3)...)
	stripped, original := s.list(entryOf("", s.list(images(2)...))), s.list(entryOf("", inner))
	for name, c := range map[string]struct {
		near func(p *prover, less int)
		text string
		uses int
	}{
		"bytes held":     {func(p *prover, less int) { p.held = 2*maxListBytes - less }, "nested lists have more than 67108864 bytes", len(inner) + len(s.list(images(2)...))},
		"entries passed": {func(p *prover, less int) { p.entries = maxListEntries*maxPasses - less }, "more than 900000 entries to compare", 8},
		"bytes passed":   {func(p *prover, less int) { p.bytes = maxListBytes*maxPasses - less }, "more than 603979776 bytes to compare", 2 * (len(inner) + len(original))},
		"entries listed": {func(p *prover, less int) { p.listed = maxListEntries - less }, "more than 100000 entries", 4},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProver(s.read)
			c.near(p, c.uses)
			_, err := p.prove([]byte(stripped), []byte(original))
			require.NoError(t, err)
			for _, less := range []int{0, c.uses - 1} {
				p := newProver(s.read)
				c.near(p, less)
				_, err = p.prove([]byte(stripped), []byte(original))
				requireLimit(t, err, c.text)
			}
		})
	}
}

// TestStrippedFromLargest has a nested list that is as large as a list may be.
func TestStrippedFromLargest(t *testing.T) {
	s := newShelf()
	inner := s.list(images(3)...)
	inner += strings.Repeat(" ", MaxSize-len(inner))
	innerStripped := s.list(images(2)...) + inner[len(s.list(images(3)...)):]
	for _, doc := range []string{inner, innerStripped} {
		s.documents[digest.FromString(doc)] = doc
	}
	removal, err := StrippedFrom([]byte(s.list(entryOf("", innerStripped))), []byte(s.list(entryOf("", inner))), s.read)
	require.NoError(t, err)
	assert.Equal(t, 1, removal.Count())
}

// TestStrippedFromHostile has lists that name one list very often, each time with another one in
// its place: what comparing all pairs takes is more than the lists are large.
func TestStrippedFromHostile(t *testing.T) {
	s := newShelf()
	const n, left = 200, 20_000
	inner := images(n)
	var was, is []string
	for i := range n {
		was = append(was, entryOf("", s.list(inner...)))
		is = append(is, entryOf("", s.list(inner[i])))
	}
	p := newProver(s.read)
	p.entries = maxListEntries*maxPasses - left
	_, err := p.prove([]byte(s.list(is...)), []byte(s.list(was...)))
	requireLimit(t, err, "entries to compare")
	assert.Len(t, p.proofs, (left-n)/n)
}

// TestStrippedFromTooLarge has an original that would be too large with the sizes of what was
// stripped.
func TestStrippedFromTooLarge(t *testing.T) {
	s := newShelf()
	inner, innerStripped := s.list(images(3)...), s.list(images(2)...)
	entry := fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"%s","size":%d}`, digest.FromString(inner), 1)
	original := s.list(entry)
	original += strings.Repeat(" ", MaxSize-len(original))
	stripped := s.list(strings.Replace(entryOf("", innerStripped), `,"annotations":{"name":""}`, "", 1))
	_, err := StrippedFrom([]byte(stripped), []byte(original), s.read)
	requireLimit(t, err, "list would have")
}

// TestStrippedFromWithoutDocuments has entries that could name lists, and nobody to ask.
func TestStrippedFromWithoutDocuments(t *testing.T) {
	s := newShelf()
	stripped, original := s.list(images(3)[2]), s.list(images(3)...)
	removal, err := StrippedFrom([]byte(stripped), []byte(original), nil)
	require.NoError(t, err)
	assert.Equal(t, 2, removal.Count())

	stripped = s.list(entryOf("", s.list(images(1)...)))
	_, err = StrippedFrom([]byte(stripped), []byte(s.list(entryOf("", original))), nil)
	var e *DifferenceError
	require.ErrorAs(t, err, &e)
	assert.Equal(t, NestedUnproven, e.Kind)
	require.ErrorAs(t, e.Err, &e)
	assert.Equal(t, DocumentMissing, e.Kind)
	assert.Equal(t, errNoDocuments, e.Err)
}

// TestStrippedFromFalseDocuments gets documents that are not what was asked for.
func TestStrippedFromFalseDocuments(t *testing.T) {
	s := newShelf()
	inner, innerStripped := s.list(images(3)...), s.list(images(2)...)
	stripped, original := s.list(entryOf("", innerStripped)), s.list(entryOf("", inner))
	for name, c := range map[string]struct {
		of, says string
		text     string
	}{
		"another original":      {inner, innerStripped, "not those of the digest"},
		"another stripped list": {innerStripped, inner, "not those of the digest"},
		"nothing":               {innerStripped, "", "not those of the digest"},
		"too much":              {innerStripped, innerStripped + strings.Repeat(" ", MaxSize), fmt.Sprint(MaxSize+len(innerStripped), " bytes")},
		"itself":                {inner, original, "not those of the digest"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := StrippedFrom([]byte(stripped), []byte(original), func(d digest.Digest) ([]byte, error) {
				if d == digest.FromString(c.of) {
					return []byte(c.says), nil
				}
				return s.read(d)
			})
			var e *DifferenceError
			require.ErrorAs(t, err, &e)
			require.ErrorAs(t, e.Err, &e)
			assert.Equal(t, DocumentMissing, e.Kind)
			assert.Equal(t, digest.FromString(c.of), e.Document)
			assert.ErrorContains(t, e, c.text)
			assert.Equal(t, name == "too much", errors.Is(err, ErrTooLarge))
		})
	}
}
