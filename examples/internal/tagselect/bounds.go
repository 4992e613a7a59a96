package tagselect

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/sparsecopy/sparsecopy/examples/internal/late"
)

// Bounds choose among tags. Each of them holds by itself: what is wanted is within all of them. The
// zero value chooses everything.
type Bounds struct {
	// Newest is how many versions or times are wanted, 0 for all. All tags of one are wanted: 1.2,
	// 1.2.0 and v1.2.0 are one version, and the tags of one image are of one time.
	Newest int
	// By says what the newest are. By version, tags that are no versions are never among them.
	By By
	// Since is from when on images are wanted.
	Since Since
}

// By is what makes one tag newer than another.
type By int

const (
	ByVersion By = iota // its version, see Version.Compare
	ByCreated           // when its image was made
)

// Any reports whether the bounds bound anything.
func (b Bounds) Any() bool { return b.Newest > 0 || !b.Since.IsZero() }

// Timed reports whether it takes the times of images to choose.
func (b Bounds) Timed() bool { return b.Newest > 0 && b.By == ByCreated || !b.Since.IsZero() }

// A Left says how many tags are beyond bounds.
type Left struct {
	Older      int // than the newest that are wanted, or than what is since
	NoVersions int // those that are no versions, where the newest are wanted by version
}

// Candidates returns those of tags of which Choose needs the times, none if not Timed. They are in
// the order in which tags has them.
func (b Bounds) Candidates(tags []string) []string {
	if !b.Timed() {
		return nil
	}
	return b.byVersion(tags)
}

// Choose returns those of tags that are within the bounds, in the order in which tags has them, and
// counts the others. created has the times of Candidates, none of them zero; now is the time from
// which ages are counted back.
//
// The error says that none of the tags is a version, where that is what is asked for, or which of
// the Candidates has no time.
func (b Bounds) Choose(tags []string, created map[string]time.Time, now time.Time) (within []string, left Left, err error) {
	for _, tag := range b.Candidates(tags) {
		if created[tag].IsZero() {
			return nil, Left{}, fmt.Errorf("it is not known when the image of %s was made", tag)
		}
	}
	within = b.byVersion(tags)
	if b.Newest > 0 && b.By == ByVersion {
		left.NoVersions = len(slices.DeleteFunc(slices.Clone(tags), isVersion))
		if left.NoVersions == len(tags) && len(tags) > 0 {
			return nil, Left{}, fmt.Errorf("none of the %d tags that patterns take is a version, such as %s", len(tags), tags[len(tags)-1])
		}
	}
	if b.Newest > 0 && b.By == ByCreated {
		within = newest(within, b.Newest, func(one, other string) int { return created[one].Compare(created[other]) })
	}
	if !b.Since.IsZero() {
		from := b.Since.From(now)
		within = slices.DeleteFunc(slices.Clone(within), func(tag string) bool { return created[tag].Before(from) })
	}
	left.Older = len(tags) - len(within) - left.NoVersions
	return within, left, nil
}

// byVersion is what is within the bounds that need no times.
func (b Bounds) byVersion(tags []string) []string {
	if b.Newest == 0 || b.By != ByVersion {
		return tags
	}
	versions := map[string]Version{}
	var only []string
	for _, tag := range tags {
		if v, ok := ParseVersion(tag); ok {
			versions[tag], only = v, append(only, tag)
		}
	}
	return newest(only, b.Newest, func(one, other string) int { return versions[one].Compare(versions[other]) })
}

func isVersion(tag string) bool {
	_, ok := ParseVersion(tag)
	return ok
}

// newest returns the tags that are at least as new as the n-th newest of those that differ.
func newest(tags []string, n int, compare func(one, other string) int) []string {
	order := slices.Clone(tags)
	slices.SortFunc(order, func(one, other string) int { return compare(other, one) })
	for i := range order {
		if i > 0 && compare(order[i], order[i-1]) != 0 {
			n--
		}
		if n == 0 {
			return slices.DeleteFunc(slices.Clone(tags), func(tag string) bool { return compare(tag, order[i]) <= 0 })
		}
	}
	return tags
}

// A Since is from when on images are wanted: a time, or an age. Its zero value is none.
type Since struct {
	at  time.Time
	age time.Duration
}

const day = 24 * time.Hour

var days = late.Regexp(`^([0-9]{1,5})d$`)

// ParseSince reads a day (2025-01-31, which begins in UTC), a time (RFC 3339), or an age: days
// (90d), or what time.ParseDuration takes (720h).
func ParseSince(text string) (Since, error) {
	if m := days().FindStringSubmatch(text); m != nil {
		if n, _ := strconv.Atoi(m[1]); n > 0 {
			return Since{age: time.Duration(n) * day}, nil
		}
	}
	for _, form := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(form, text); err == nil && !at.IsZero() {
			return Since{at: at}, nil
		}
	}
	if age, err := time.ParseDuration(text); err == nil && age > 0 {
		return Since{age: age}, nil
	}
	return Since{}, fmt.Errorf("%q is neither a day (2025-01-31), nor a time (2025-01-31T12:00:00Z), nor an age (90d, 720h)", text)
}

// IsZero reports whether there is no bound.
func (s Since) IsZero() bool { return s == Since{} }

// From returns the time from which on images are wanted now.
func (s Since) From(now time.Time) time.Time {
	if s.age > 0 {
		return now.Add(-s.age)
	}
	return s.at
}
