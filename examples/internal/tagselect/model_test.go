package tagselect_test

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sparsecopy/sparsecopy/examples/internal/tagselect"
)

// This file is a second opinion on what is chosen, which shares no code with the package: a version
// becomes a text, whose order as bytes is that of versions; ranges are made up as values, and are
// judged by what their operators are said to mean; the newest are found by counting what is newer.

// Leads of the parts of a key, in their order.
const (
	keyEnd       = "\x00" // of a list
	keySeparator = "\x01" // between identifiers
	keyNumber    = "\x02"
	keyText      = "\x03"
	keyNone      = "\xff" // no suffix is newer than any
)

// A modelVersion is a tag, read as a version.
type modelVersion struct {
	numbers       []string // as they are written
	suffix, build string
}

// modelRead reads a tag from the left, character by character.
func modelRead(tag string) (v modelVersion, ok bool) {
	rest := strings.TrimPrefix(tag, "v")
	digits := func() string {
		n := 0
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		number := rest[:n]
		rest = rest[n:]
		return number
	}
	v.numbers = []string{digits()}
	for len(rest) > 1 && rest[0] == '.' && rest[1] >= '0' && rest[1] <= '9' {
		rest = rest[1:]
		v.numbers = append(v.numbers, digits())
	}
	rest, build, built := strings.Cut(rest, "_")
	v.build = build
	switch {
	case v.numbers[0] == "", built && build == "":
		return v, false
	case rest == "":
		return v, true
	case rest[0] == '-':
		v.suffix = rest[1:]
		return v, v.suffix != ""
	case len(v.numbers) < 2:
		return v, false
	case rest[0] == '.':
		rest = rest[1:]
	}
	v.suffix = rest
	return v, rest != "" && (rest[0] >= 'A' && rest[0] <= 'Z' || rest[0] >= 'a' && rest[0] <= 'z')
}

func modelNumber(digits string) string {
	digits = strings.TrimLeft(digits, "0")
	return fmt.Sprintf("%s%03d%s", keyNumber, len(digits), digits)
}

func allDigits(text string) bool {
	_, err := strconv.ParseFloat("0"+text, 64)
	return err == nil && text != "" && !strings.ContainsAny(text, ".eExXpPiInN_+-")
}

// modelWords is the key of a text in which digits are numbers.
func modelWords(text string) string {
	var b strings.Builder
	number := ""
	for _, c := range text + "\n" {
		if c >= '0' && c <= '9' {
			number += string(c)
			continue
		}
		if number != "" {
			b.WriteString(modelNumber(number))
			number = ""
		}
		if c != '\n' {
			b.WriteString(keyText + string(c))
		}
	}
	return b.String()
}

// modelIdentifiers is the key of what stands between dots, with that of what is no number.
func modelIdentifiers(suffix string, words func(string) string) string {
	if suffix == "" {
		return keyNone
	}
	var parts []string
	for _, identifier := range strings.Split(suffix, ".") {
		if allDigits(identifier) {
			parts = append(parts, modelNumber(identifier))
		} else {
			parts = append(parts, keyText+words(identifier))
		}
	}
	return strings.Join(parts, keySeparator)
}

func (v modelVersion) isDate() bool { return len(v.numbers[0]) >= 6 }

// key is a text that is less than that of a newer version, and the same as that of an equal one.
func (v modelVersion) key() string {
	key := "1"
	if v.isDate() {
		key = "0"
	}
	numbers := slices.Clone(v.numbers)
	for len(numbers) > 1 && strings.Trim(numbers[len(numbers)-1], "0") == "" {
		numbers = numbers[:len(numbers)-1]
	}
	for _, n := range numbers {
		key += modelNumber(n)
	}
	return key + keyEnd + modelIdentifiers(v.suffix, modelWords) + keyEnd + modelWords(v.build)
}

// modelPlace is a text that is less than that of a tag which is shown later.
func modelPlace(tag string) string {
	if v, ok := modelRead(tag); ok {
		return "version " + v.key() + keyEnd + tag
	}
	return "none " + modelWords(tag) + keyEnd + tag
}

// modelSorted returns tags in the order in which they are shown.
func modelSorted(tags []string) []string {
	places, at := map[string]string{}, make([]string, len(tags))
	for i, tag := range tags {
		at[i] = modelPlace(tag)
		places[at[i]] = tag
	}
	slices.Sort(at)
	for i := range at {
		at[i] = places[at[i]]
	}
	return at
}

// A modelTerm is an operator and a version, of which the last numbers may lack.
type modelTerm struct {
	op      string
	numbers []int
	pre     string
}

// A modelRange is one of several lists of terms, all of which must be true.
type modelRange [][]modelTerm

func (r modelRange) String() string {
	var ors []string
	for _, terms := range r {
		var ands []string
		for _, t := range terms {
			var numbers []string
			for _, n := range t.numbers {
				numbers = append(numbers, strconv.Itoa(n))
			}
			text := t.op + strings.Join(numbers, ".")
			if t.pre != "" {
				text += "-" + t.pre
			}
			ands = append(ands, text)
		}
		ors = append(ors, strings.Join(ands, " "))
	}
	return strings.Join(ors, " || ")
}

// modelSemantic is the key of a semantic version.
func modelSemantic(numbers [3]int, pre string) string {
	key := ""
	for _, n := range numbers {
		key += modelNumber(strconv.Itoa(n))
	}
	return key + modelIdentifiers(pre, func(text string) string { return text })
}

// holds reports whether a term is true of a version.
func (t modelTerm) holds(numbers [3]int, pre string) bool {
	var least [3]int
	copy(least[:], t.numbers)
	at, from := modelSemantic(numbers, pre), modelSemantic(least, t.pre)
	same := func(n int) bool { return slices.Equal(numbers[:n], least[:n]) }
	stated := len(t.numbers)
	switch t.op {
	case ">=":
		return at >= from
	case "<":
		return at < from
	case ">": // than all that the numbers leave open
		return at > from && (stated == 3 || !same(stated))
	case "<=":
		return at <= from || stated < 3 && same(stated)
	case "!=":
		return at != from
	case "~":
		return at >= from && same(min(stated, 2))
	case "^":
		n := 0
		for n < stated-1 && least[n] == 0 {
			n++
		}
		return at >= from && same(n+1)
	}
	return at == from && stated == 3 || stated < 3 && at >= from && same(stated)
}

// takes reports whether a range takes a tag.
func (r modelRange) takes(tag string, prereleases bool) bool {
	v, ok := modelRead(tag)
	if !ok || v.isDate() {
		return false
	}
	var numbers [3]int
	for i := range min(3, len(v.numbers)) {
		n, err := strconv.Atoi(v.numbers[i])
		if err != nil {
			return false
		}
		numbers[i] = n
	}
	return slices.ContainsFunc(r, func(terms []modelTerm) bool {
		asked := prereleases || slices.ContainsFunc(terms, func(t modelTerm) bool { return t.pre != "" })
		fails := func(t modelTerm) bool { return !t.holds(numbers, v.suffix) }
		return (v.suffix == "" || asked) && !slices.ContainsFunc(terms, fails)
	})
}

// A modelPattern is a pattern, and what it is meant to take.
type modelPattern struct {
	tagselect.Pattern
	meant func(tag string) bool
}

func isDigestTag(tag string) bool {
	hex, ok := strings.CutPrefix(tag, "sha256-")
	return ok && len(hex) >= 8 && strings.Trim(hex[:8], "0123456789abcdefABCDEF") == ""
}

// A modelSelection is a Selection that is made up.
type modelSelection struct {
	names             []string
	patterns, exclude []modelPattern
	newest            int
	by                tagselect.By
	since             time.Time // zero for none
}

func (s *modelSelection) selection() *tagselect.Selection {
	out := &tagselect.Selection{Names: s.names, Bounds: tagselect.Bounds{Newest: s.newest, By: s.by}}
	for _, p := range s.patterns {
		out.Patterns = append(out.Patterns, p.Pattern)
	}
	for _, p := range s.exclude {
		out.Exclude = append(out.Exclude, p.Pattern)
	}
	if !s.since.IsZero() {
		out.Bounds.Since, _ = tagselect.ParseSince(s.since.Format(time.RFC3339))
	}
	return out
}

// chosen is what a selection is to choose of a list beside its names, before and within its bounds.
func (s *modelSelection) chosen(listed []string, created map[string]time.Time) (taken, within []string) {
	meant := func(patterns []modelPattern, tag string) bool {
		return slices.ContainsFunc(patterns, func(p modelPattern) bool { return p.meant(tag) })
	}
	seen := map[string]bool{}
	for _, tag := range listed {
		if !seen[tag] && meant(s.patterns, tag) && !meant(s.exclude, tag) && !isDigestTag(tag) && !slices.Contains(s.names, tag) {
			seen[tag] = true
			taken = append(taken, tag)
		}
	}
	taken = modelSorted(taken)
	class := func(tag string) string { return created[tag].UTC().Format("20060102150405.000000000") }
	isNone := func(string) bool { return false }
	if s.by == tagselect.ByVersion {
		class = func(tag string) string { v, _ := modelRead(tag); return v.key() }
		isNone = func(tag string) bool { _, ok := modelRead(tag); return !ok }
	}
	classes := map[string]bool{}
	for _, tag := range taken {
		if s.newest > 0 && !isNone(tag) {
			classes[class(tag)] = true
		}
	}
	for _, tag := range taken {
		newer, own := 0, class(tag)
		for other := range classes {
			if other > own {
				newer++
			}
		}
		old := s.newest > 0 && (isNone(tag) || newer >= s.newest)
		if !old && !created[tag].Before(s.since) {
			within = append(within, tag)
		}
	}
	return taken, within
}

// someRange makes up a range about versions that there may be.
func someRange(r *rand.Rand, tags []string) modelRange {
	term := func(ops ...string) modelTerm {
		t := modelTerm{op: ops[r.IntN(len(ops))], numbers: []int{r.IntN(4)}}
		if v, ok := modelRead(tags[r.IntN(len(tags))]); ok && !v.isDate() {
			t.numbers = nil
			for _, n := range v.numbers[:min(3, len(v.numbers))] {
				number, _ := strconv.Atoi(n)
				t.numbers = append(t.numbers, number)
			}
		}
		t.numbers = t.numbers[:1+r.IntN(len(t.numbers))]
		if t.op == "!=" || t.op == "~" && t.numbers[0] == 0 {
			t.numbers = append(t.numbers, 1, 1, 1)[:3]
		}
		if len(t.numbers) == 3 && t.op != "!=" && r.IntN(4) == 0 {
			t.pre = []string{"0", "rc.1", "rc1", "alpha", "beta.11", "debian-12-r4"}[r.IntN(6)]
		}
		return t
	}
	var out modelRange
	for range 1 + r.IntN(2) {
		terms := []modelTerm{term(">=", ">", "<", "<=", "=", "", "^", "~", "!=")}
		if r.IntN(2) == 0 {
			terms = append(terms, term("<", "<=", "!=", ">="))
		}
		out = append(out, terms)
	}
	return out
}

// someSelection makes up a selection about a list.
func someSelection(r *rand.Rand, tags []string) *modelSelection {
	one := func() string { return tags[r.IntN(len(tags))] }
	pattern := func() modelPattern {
		switch tag := one(); r.IntN(5) {
		case 0:
			glob := tag[:r.IntN(len(tag))] + "*"
			if r.IntN(2) == 0 {
				glob = "*" + tag[r.IntN(len(tag)):]
			}
			return modelPattern{must(tagselect.Glob(glob)), func(tag string) bool {
				ok, err := path.Match(glob, tag)
				return ok && err == nil
			}}
		case 1:
			prefix := strings.NewReplacer(".", "a", "-", "b", "_", "c").Replace(tag[:r.IntN(len(tag))])
			return modelPattern{must(tagselect.Regexp(prefix + ".*|[0-9.]+")), func(tag string) bool {
				return strings.HasPrefix(tag, prefix) || strings.Trim(tag, "0123456789.") == ""
			}}
		case 2:
			return modelPattern{tagselect.Name(tag), func(other string) bool { return other == tag }}
		default:
			made := someRange(r, tags)
			prereleases := r.IntN(2) == 0
			suffix := ""
			if r.IntN(3) == 0 {
				suffix = []string{"-alpine", "-*", "-r?", "rc[0-9]", "-debian-*-r*", "_*"}[r.IntN(6)]
			}
			p := must(tagselect.Range(made.String(), tagselect.RangeOptions{Prereleases: prereleases, Suffix: suffix}))
			return modelPattern{p, func(tag string) bool {
				if suffix == "" {
					return made.takes(tag, prereleases)
				}
				for cut := 1; cut < len(tag); cut++ {
					if ok, _ := path.Match(suffix, tag[cut:]); ok && made.takes(tag[:cut], prereleases) {
						return true
					}
				}
				return false
			}}
		}
	}
	s := &modelSelection{newest: r.IntN(6), by: tagselect.By(r.IntN(2))}
	for range 1 + r.IntN(2) {
		s.patterns = append(s.patterns, pattern())
	}
	if r.IntN(2) == 0 {
		s.patterns = append(s.patterns, modelPattern{must(tagselect.Glob("*")), func(string) bool { return true }})
	}
	for range r.IntN(3) {
		s.exclude = append(s.exclude, pattern())
	}
	for range r.IntN(3) {
		s.names = append(s.names, one())
	}
	if r.IntN(3) == 0 {
		s.since = firstDay.AddDate(0, 0, r.IntN(days))
	}
	return s
}

// Times of images are within so many days.
const days = 20

var firstDay = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// someTimes has some tags made at the same time, as those of one image are.
func someTimes(r *rand.Rand, tags []string) map[string]time.Time {
	created := map[string]time.Time{}
	for _, tag := range tags {
		created[tag] = firstDay.AddDate(0, 0, r.IntN(days)).Add(time.Duration(r.IntN(2)))
	}
	return created
}
