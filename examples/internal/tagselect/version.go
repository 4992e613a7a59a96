package tagselect

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sparsecopy/sparsecopy/examples/internal/late"
)

// A Version is a tag, read as a version. Two versions are equal if Version.Compare says so, however
// they are written.
type Version struct {
	numbers []string // without leading zeros, at least one
	serial  bool     // the first number is a date, a count or a hash
	suffix  string   // of a pre-release, or of a flavour: tags do not tell them apart; "" for none
	build   string   // what Helm writes behind a _ in the place of +; "" for none
}

// form is how versions are written in tags: numbers, then a suffix, then a build. A suffix without
// a hyphen, as in 3.14.0rc1, needs two numbers in front of it: 12ab34c is a hash.
var form = late.Regexp(`^v?(?:([0-9]+(?:\.[0-9]+)*)(?:-([^_]+))?|([0-9]+(?:\.[0-9]+)+)\.?([A-Za-z][^_]*))(?:_(.+))?$`)

// serialDigits is how many digits the first number has of what is no version that people give:
// 20240115, 240115, 1234567.
const serialDigits = 6

// ParseVersion reads a tag as a version: numbers with dots between them, of any count, behind a v
// or not; and what distinguishes it from others with the same numbers. ok reports whether it is
// one: latest, sha-0123abc and RELEASE.2025-01-31 are not.
func ParseVersion(tag string) (v Version, ok bool) {
	m := form().FindStringSubmatch(tag)
	if m == nil {
		return Version{}, false
	}
	v = Version{suffix: m[2] + m[4], build: m[5]}
	for i, number := range strings.Split(m[1]+m[3], ".") {
		if i == 0 {
			v.serial = len(number) >= serialDigits
		}
		v.numbers = append(v.numbers, strings.TrimLeft(number, "0"))
	}
	return v, true
}

// Compare is negative if v is older than other, positive if it is newer, and 0 if they are equal:
// 1.2, 1.2.0 and v1.2.0 are. A version with a suffix is older than that without; suffixes are
// compared as those of semantic versions are, except that numbers within words count as numbers:
// rc10 is newer than rc9. A version with a build is newer than that without. Versions whose first
// number has six digits or more, dates and the like, are older than all others.
func (v Version) Compare(other Version) int {
	return cmp.Or(
		compareBool(other.serial, v.serial),
		compareNumbers(v.numbers, other.numbers),
		compareSuffixes(v.suffix, other.suffix),
		compareWords(v.build, other.build),
	)
}

// Compare is negative if a comes before b where tags are shown: what is no version first, then the
// versions, the newest last. It is 0 only for equal texts.
func Compare(a, b string) int { return compareRead(read(a), read(b)) }

// Sorted returns tags in the order of Compare, each once.
func Sorted(tags []string) []string {
	all := make([]readTag, len(tags))
	for i, tag := range tags {
		all[i] = read(tag)
	}
	slices.SortFunc(all, compareRead)
	sorted := make([]string, len(all))
	for i := range all {
		sorted[i] = all[i].tag
	}
	return slices.Compact(sorted)
}

// A readTag is a tag with the version that it is, if it is one.
type readTag struct {
	tag       string
	version   Version
	isVersion bool
}

func read(tag string) readTag {
	v, ok := ParseVersion(tag)
	return readTag{tag, v, ok}
}

// compareRead is Compare.
func compareRead(a, b readTag) int {
	switch {
	case a.isVersion != b.isVersion:
		return compareBool(a.isVersion, b.isVersion)
	case a.isVersion:
		return cmp.Or(a.version.Compare(b.version), cmp.Compare(a.tag, b.tag))
	}
	return cmp.Or(compareWords(a.tag, b.tag), cmp.Compare(a.tag, b.tag))
}

// compareNumbers compares lists of numbers, as compareNumber has them. What one lacks is 0.
func compareNumbers(a, b []string) int {
	at := func(numbers []string, i int) string {
		if i < len(numbers) {
			return numbers[i]
		}
		return ""
	}
	for i := range max(len(a), len(b)) {
		if c := compareNumber(at(a, i), at(b, i)); c != 0 {
			return c
		}
	}
	return 0
}

// compareNumber compares numbers of any length, without leading zeros: 0 is "".
func compareNumber(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }

// compareSuffixes compares suffixes, dot by dot. None is newest.
func compareSuffixes(a, b string) int {
	if a == "" || b == "" {
		return -cmp.Compare(len(a), len(b))
	}
	for {
		one, rest, more := strings.Cut(a, ".")
		other, rest2, more2 := strings.Cut(b, ".")
		if c := compareIdentifiers(one, other); c != 0 {
			return c
		}
		if !more || !more2 {
			return compareBool(more, more2)
		}
		a, b = rest, rest2
	}
}

// compareIdentifiers compares what is between dots. Numbers are older than words.
func compareIdentifiers(a, b string) int {
	if aNumber, bNumber := isNumber(a), isNumber(b); aNumber != bNumber {
		return compareBool(bNumber, aNumber)
	}
	return compareWords(a, b)
}

// compareWords compares texts, in which digits that follow each other are a number, and older than
// any other character.
func compareWords(a, b string) int {
	for a != "" && b != "" {
		one, rest := token(a)
		other, rest2 := token(b)
		var c int
		switch oneNumber, otherNumber := isNumber(one), isNumber(other); {
		case oneNumber && otherNumber:
			c = compareNumber(strings.TrimLeft(one, "0"), strings.TrimLeft(other, "0"))
		case oneNumber != otherNumber:
			c = compareBool(otherNumber, oneNumber)
		default:
			c = cmp.Compare(one, other)
		}
		if c != 0 {
			return c
		}
		a, b = rest, rest2
	}
	return cmp.Compare(len(a), len(b))
}

// token cuts the digits off with which a text begins, or one character.
func token(text string) (first, rest string) {
	n := len(text) - len(strings.TrimLeft(text, "0123456789"))
	n = max(n, 1)
	return text[:n], text[n:]
}

// isNumber reports whether a text has digits only.
func isNumber(text string) bool { return text != "" && strings.Trim(text, "0123456789") == "" }

// compareBool orders false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
