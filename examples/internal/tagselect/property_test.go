package tagselect_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/tagselect"
)

// compare holds what a selection chooses of a list against the model.
func compare(t *testing.T, s *modelSelection, listed []string, created map[string]time.Time) {
	t.Helper()
	selection := s.selection()
	name := fmt.Sprintf("%v but %v, names %v, %+v", selection.Patterns, selection.Exclude, s.names, selection.Bounds)
	taken, within := s.chosen(listed, created)
	matched, err := selection.Match(listed)
	if nothing, ok := errors.AsType[*tagselect.NothingError](err); ok {
		i := slices.IndexFunc(s.patterns, func(p modelPattern) bool { return p.String() == nothing.Pattern })
		require.GreaterOrEqual(t, i, 0, name)
		alone := &modelSelection{patterns: s.patterns[i : i+1], exclude: s.exclude}
		taken, _ := alone.chosen(listed, created)
		require.Empty(t, taken, name)
		return
	}
	require.NoError(t, err, name)
	require.Equal(t, strings.Join(taken, "\n"), strings.Join(matched.Taken, "\n"), name)
	for _, tag := range matched.Taken {
		require.True(t, selection.Takes(tag), name)
	}
	times := map[string]time.Time{} // no more than it asks for
	for _, tag := range selection.Bounds.Candidates(matched.Taken) {
		times[tag] = created[tag]
	}
	got, left, err := selection.Bounds.Choose(matched.Taken, times, time.Now())
	if err != nil {
		require.Equal(t, tagselect.ByVersion, s.by, name)
		require.Empty(t, within, name)
		require.NotEmpty(t, taken, name)
		return
	}
	require.Equal(t, strings.Join(within, "\n"), strings.Join(got, "\n"), name)
	require.Equal(t, len(taken)-len(within), left.Older+left.NoVersions, name)
}

// alphabet are parts of which tags are made up: those of real ones, and what is nearly one.
var alphabet = struct{ prefixes, numbers, suffixes []string }{
	[]string{"", "", "", "v", "v", "V", "release-", "amd64-", "sha-", "vv", "."},
	[]string{"0", "1", "2", "3", "9", "10", "11", "01", "007", "100", "2024", "2025", "20240115", "240115", "99999", "100000", "18446744073709551616", "99999999999999999999"},
	[]string{
		"", "", "", "-alpine", "-alpine3.20", "-perl", "-rc.1", "-rc.2", "-rc.10", "-rc1", "rc1", "rc2", "rc10", "a1", "b11", ".Final", ".post1", "-debian-12-r4", "-debian-12-r10",
		"_build", "_2", "_10", "-rc.1_build", "-", "_", ".", "-01", "-1", "-a..b", "-slim-bookworm", "-12ab34c", "-0a", "-ls225", "u412-b08",
	},
}

func someTag(r *rand.Rand) string {
	pick := func(of []string) string { return of[r.IntN(len(of))] }
	switch r.IntN(12) {
	case 0:
		return pick([]string{"latest", "edge", "nightly", "main", "alpine", "RELEASE.2025-01-31T00-00-00Z", "jammy-20240111"})
	case 1:
		return fmt.Sprintf("%07x", r.IntN(1<<28))
	case 2:
		return fmt.Sprintf("sha256-%064x%s", r.Uint64(), pick([]string{"", ".sig", ".att"}))
	}
	tag := pick(alphabet.prefixes) + pick(alphabet.numbers[:11])
	if r.IntN(8) == 0 {
		tag = pick(alphabet.prefixes) + pick(alphabet.numbers)
	}
	for range r.IntN(4) {
		tag += "." + pick(alphabet.numbers[:10+r.IntN(8)])
	}
	return tag + pick(alphabet.suffixes)
}

var madeUp = flag.Uint64("lists", 600, "how many lists TestMadeUpLists makes up")

// TestMadeUpLists holds lists that are made up against the model.
func TestMadeUpLists(t *testing.T) {
	for seed := range *madeUp {
		r := rand.New(rand.NewPCG(seed, 0))
		var tags []string
		for range 1 + r.IntN(60) {
			tags = append(tags, someTag(r))
		}
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			compare(t, someSelection(r, tags), tags, someTimes(r, tags))
		})
	}
}

// TestRealShapes holds selections, some that people write and some that are made up, of lists with
// the shapes of real ones against the model.
func TestRealShapes(t *testing.T) {
	repositories := realShapes(t)
	require.Greater(t, len(repositories), 300)
	all := modelPattern{must(tagselect.Glob("*")), func(string) bool { return true }}
	for i, repository := range repositories {
		t.Run(repository.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			created := someTimes(r, repository.tags)
			assert.Equal(t, slices.Compact(modelSorted(repository.tags)), tagselect.Sorted(repository.tags))
			for _, s := range []*modelSelection{
				{patterns: []modelPattern{all}, newest: 5},
				{patterns: []modelPattern{all}, newest: 3, by: tagselect.ByCreated, since: firstDay.AddDate(0, 0, days/2)},
				someSelection(r, repository.tags),
			} {
				compare(t, s, repository.tags, created)
			}
		})
	}
}

// A repository is a list of tags that has the shape of a real one.
type repository struct {
	name string
	tags []string
}

// mostTags is how many tags of a list are looked at.
const mostTags = 60

// realShapes are the lists that testdata/repositories.txt describes.
func realShapes(t *testing.T) (all []repository) {
	content, err := os.ReadFile("testdata/repositories.txt")
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(0, 2))
	for line := range strings.Lines(string(content)) {
		name, shape, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if strings.HasPrefix(line, "#") {
			continue
		}
		require.True(t, ok, line)
		one := repository{name: name}
		for word := range strings.FieldsSeq(shape) {
			one.tags = append(one.tags, expand(word)...)
		}
		r.Shuffle(len(one.tags), func(i, j int) { one.tags[i], one.tags[j] = one.tags[j], one.tags[i] })
		one.tags = one.tags[:min(len(one.tags), mostTags)]
		for i, tag := range one.tags {
			tag = withHashes(r, tag)
			one.tags[i] = tag
			require.True(t, tagselect.IsTag(tag), "%s: %q", name, tag)
		}
		all = append(all, one)
	}
	return all
}

var counting = regexp.MustCompile(`^(\d+)\.\.(\d+)$`)

// expand expands braces as shells do.
func expand(word string) []string {
	begin := strings.IndexByte(word, '{')
	if begin < 0 {
		return []string{word}
	}
	var alternatives []string
	depth, from, end := 0, begin+1, begin
	for ; end < len(word); end++ {
		switch c := word[end]; {
		case c == '{':
			depth++
		case c == '}':
			depth--
		}
		if depth == 0 || depth == 1 && word[end] == ',' {
			alternatives = append(alternatives, word[from:end])
			from = end + 1
		}
		if depth == 0 {
			break
		}
	}
	if m := counting.FindStringSubmatch(alternatives[0]); m != nil && len(alternatives) == 1 {
		alternatives = nil
		last, _ := strconv.Atoi(m[2])
		for n, _ := strconv.Atoi(m[1]); n <= last; n++ {
			alternatives = append(alternatives, fmt.Sprintf("%0*d", len(m[1]), n))
		}
	}
	var all []string
	for _, after := range expand(word[end+1:]) {
		for _, a := range alternatives {
			for _, middle := range expand(a) {
				all = append(all, word[:begin]+middle+after)
			}
		}
	}
	return all
}

var hash = regexp.MustCompile(`%h(\d+)|%d`)

// withHashes makes up hashes.
func withHashes(r *rand.Rand, tag string) string {
	return hash.ReplaceAllStringFunc(tag, func(h string) string {
		n := 64
		if digits, ok := strings.CutPrefix(h, "%h"); ok {
			n, _ = strconv.Atoi(digits)
		}
		return fmt.Sprintf("%016x%016x%016x%016x", r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64())[:n]
	})
}

// TestOrderIsTotal: whatever the texts, Compare is an order, and Sorted does not depend on that of
// its list.
func TestOrderIsTotal(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for range 5_000 {
		a, b, c := someTag(r), someTag(r), someTag(r)
		assert.Equal(t, tagselect.Compare(a, b), -tagselect.Compare(b, a), "%s %s", a, b)
		assert.Equal(t, a == b, tagselect.Compare(a, b) == 0)
		if tagselect.Compare(a, b) <= 0 && tagselect.Compare(b, c) <= 0 {
			assert.LessOrEqual(t, tagselect.Compare(a, c), 0, "%s %s %s", a, b, c)
		}
		assert.Equal(t, strings.Compare(modelPlace(a), modelPlace(b)), tagselect.Compare(a, b), "%s %s", a, b)
	}
}

func TestExpand(t *testing.T) {
	for word, want := range map[string]string{
		"a": "a", "{a,b}{1..2}": "a1 a2 b1 b2", "x{,-y}": "x x-y", "{08..10}": "08 09 10", "{3.{1,2},4}-z": "3.1-z 3.2-z 4-z", "{a{b,c{d,e}},f}": "ab acd ace f",
	} {
		assert.ElementsMatch(t, strings.Fields(want), expand(word), word)
	}
}
