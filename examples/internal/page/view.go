package page

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/examples/internal/state"
)

// A view is what the template shows.
type view struct {
	Policy string
	Style  template.CSS
	Script template.JS

	Name    string
	Host    string // of all destinations, "" if they have several
	Verdict string // the page in one line
	Tone    string // "good", "wait" for something that may heal by itself, or "bad"
	At      stamp
	Notices []string
	Bar     []segment
	Figures []figure
	Tallies []tally
	// Rows are the first rows, More the others.
	Rows, More []row
}

// atOnce is how many rows a browser has to make before the page is there. The others it makes
// afterwards, or at once if it runs no scripts.
const atOnce = 200

// A segment is the share of a status in the bar, in percent.
type segment struct{ Class, From, Width string }

// A figure is a number with its unit that says something of the whole mirror.
type figure struct{ Label, Value, Note string }

// A tally is how many images there are of a kind, by which they can be filtered.
type tally struct{ Class, Label, Count string }

// statuses are in the order of the page: the worst comes first.
var statuses = []state.Status{state.Damaged, state.Failed, state.Postponed, state.Pending, state.Mirrored, state.Skipped}

func viewOf(m Mirror) *view {
	c := countsOf(m)
	v := &view{
		Policy: directives, Style: template.CSS(style), Script: template.JS(script),
		Name: foreign(m.Name), Host: commonHost(m.Images), Verdict: c.verdict(), Tone: c.tone(len(m.Notices) > 0), At: stamp{machine(m.At), moment(m.At)},
		Bar: c.bar(), Figures: append(c.figures(m.At), limits(m.Limits)...), Tallies: c.tallies(),
	}
	for _, n := range m.Notices {
		v.Notices = append(v.Notices, foreign(n))
	}
	ranks := rank(m.Images)
	for _, i := range sorted(m.Images, m.At) {
		v.Rows = append(v.Rows, rowOf(i, m.At, v.Host, ranks))
	}
	if len(v.Rows) > atOnce {
		v.Rows, v.More = v.Rows[:atOnce], v.Rows[atOnce:]
	}
	return v
}

// sorted returns the images with the worst ones first, and otherwise by destination.
func sorted(images []state.Image, now time.Time) []*state.Image {
	all := make([]*state.Image, len(images))
	for i := range images {
		all[i] = &images[i]
	}
	slices.SortStableFunc(all, func(a, b *state.Image) int {
		return cmp.Or(cmp.Compare(severity(a, now), severity(b, now)), cmp.Compare(a.Destination, b.Destination))
	})
	return all
}

// counts are numbers of images, and sums over them.
type counts struct {
	images, platforms    int
	by                   map[string]int // by status
	in                   map[string]int // by condition
	behind, incomplete   int
	longest              time.Duration // behind
	size, transferred    int64         // bytes
	unwanted, present    int64         // bytes that were not copied
	oldest, leastChecked time.Time     // last success, verification
	neverSucceeded       int
	neverChecked         int // of those that are at the mirror
}

func countsOf(m Mirror) *counts {
	c := &counts{images: len(m.Images), by: map[string]int{}, in: map[string]int{}}
	for n := range m.Images {
		i := &m.Images[n]
		c.by[statusClass(i.Status)]++
		c.in[condition(i, m.At)]++
		if lags(i, m.At) {
			c.behind++
			c.longest = max(c.longest, i.Lag(m.At))
		}
		if lacks(i) {
			c.incomplete++
		}
		for _, p := range i.Platforms {
			if p.Status == state.PlatformMirrored {
				c.platforms++
			}
		}
		c.size = plan.AddSize(c.size, i.Size)
		c.transferred = plan.AddSize(c.transferred, i.Transferred)
		c.unwanted = plan.AddSize(c.unwanted, i.Saved.Platforms)
		c.present = plan.AddSize(c.present, i.Saved.Present)
		c.oldest = state.Earlier(c.oldest, i.Succeeded)
		if i.Succeeded.IsZero() {
			c.neverSucceeded++
		}
		if i.DestinationDigest != "" {
			c.leastChecked = state.Earlier(c.leastChecked, i.Verified)
			if i.Verified.IsZero() {
				c.neverChecked++
			}
		}
	}
	return c
}

// verdict says in a line how the mirror is.
func (c *counts) verdict() string {
	if c.images == 0 {
		return "No images so far"
	}
	var parts []string
	for _, condition := range conditions {
		if n := c.in[condition]; n > 0 && condition != "mirrored" && condition != "skipped" {
			parts = append(parts, count(n)+" "+condition)
		}
	}
	if len(parts) == 0 {
		return imagesIn(c.images) + ", all as they should be"
	}
	return imagesIn(c.images) + ": " + strings.Join(parts, ", ")
}

func imagesIn(n int) string {
	if n == 1 {
		return "1 image"
	}
	return count(n) + " images"
}

func (c *counts) tone(noticed bool) string {
	switch {
	case noticed || c.by[string(state.Damaged)] > 0 || c.by[string(state.Failed)] > 0:
		return "bad"
	case c.images == 0 || c.by[string(state.Postponed)] > 0 || c.by[string(state.Pending)] > 0 || c.behind > 0 || c.incomplete > 0:
		return "wait"
	}
	return "good"
}

// bar returns the shares of the statuses. Each that there is can be seen.
func (c *counts) bar() []segment {
	const least = 0.6
	total := 0.0
	width := func(n int) float64 { return max(least, 100*float64(n)/float64(c.images)) }
	for _, s := range statuses {
		if n := c.by[string(s)]; n > 0 {
			total += width(n)
		}
	}
	var bar []segment
	from := 0.0
	for _, s := range statuses {
		if n := c.by[string(s)]; n > 0 {
			w := width(n) * 100 / total
			bar = append(bar, segment{string(s), fmt.Sprintf("%.2f", from), fmt.Sprintf("%.2f", w)})
			from += w
		}
	}
	return bar
}

func (c *counts) tallies() []tally {
	all := []tally{{"all", "All", count(c.images)}}
	add := func(class, label string, n int) {
		if n > 0 {
			all = append(all, tally{class, label, count(n)})
		}
	}
	for _, s := range statuses {
		if s == state.Mirrored {
			add("behind", "Behind", c.behind)
			add("incomplete", "Incomplete", c.incomplete)
		}
		add(string(s), strings.ToUpper(string(s[:1]))+string(s[1:]), c.by[string(s)])
	}
	return all
}

func (c *counts) figures(now time.Time) []figure {
	all := []figure{
		{"Platforms mirrored", count(c.platforms), "in " + imagesIn(c.images)},
		{"At the mirror", copy.FormatBytes(c.size), copy.FormatBytes(c.transferred) + " copied so far"},
		{"Saved", copy.FormatBytes(plan.AddSize(c.unwanted, c.present)),
			fmt.Sprintf("%s of other platforms, %s already there", copy.FormatBytes(c.unwanted), copy.FormatBytes(c.present))},
	}
	if c.behind > 0 {
		all = append(all, figure{"Behind the source", count(c.behind), "for " + span(c.longest) + " at most"})
	}
	if !c.oldest.IsZero() {
		all = append(all, figure{"Oldest success", age(c.oldest, now) + " ago", c.exceptions(now)})
	}
	return all
}

// exceptions says what the oldest success does not: how many images have none, and how long ago
// each was looked at.
func (c *counts) exceptions(now time.Time) string {
	var parts []string
	if c.neverSucceeded > 0 {
		parts = append(parts, count(c.neverSucceeded)+" never")
	}
	switch {
	case c.neverChecked > 0:
		parts = append(parts, count(c.neverChecked)+" never verified")
	case !c.leastChecked.IsZero():
		parts = append(parts, "all verified within "+age(c.leastChecked, now))
	}
	return strings.Join(parts, ", ")
}

func limits(ls []Limit) []figure {
	var all []figure
	for _, l := range ls {
		f := figure{"Pulls left", count(l.Remaining), foreign(l.Registry)}
		if l.Limit > 0 {
			f.Value += " of " + count(l.Limit)
		}
		if !l.Until.IsZero() {
			f.Note += ", until " + moment(l.Until)
		}
		all = append(all, f)
	}
	return all
}
