package page

import (
	"cmp"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/examples/internal/state"
)

// A row shows one image.
type row struct {
	Class    string // what the style and filters go by
	Keys     string // what the script sorts by: see keys
	Status   state.Status
	Host     string // of the destination, "" if that is no registry, or that of all images
	Name     string // the rest of the destination
	From     string // the source
	Proven   bool
	Error    string
	Warnings []string

	Platforms template.HTML // elements of a list
	Beyond    int           // how many more there are

	// Digest is set if source and mirror have the same; otherwise Source and Mirror are.
	Digest, Source, Mirror digest.Digest

	Size, Saved string
	Success     *stamp
	Checked     string
	Behind      string
}

// A stamp is a time for programs, and how long it is ago, or when it was, for people.
type stamp struct{ Machine, Human string }

// maxPlatforms is how many platforms of an image are shown, maxWarnings how many warnings.
const (
	maxPlatforms = 60
	maxWarnings  = 3
)

// narrow is how many characters of a platform fit into one column of the grid.
const narrow = 8

// rowOf returns the row of an image. host is where all images are, ranks are those of rank.
func rowOf(i *state.Image, now time.Time, host string, ranks map[string]int) row {
	r := row{
		Class: classOf(i, now), Status: i.Status, Proven: i.OriginProven,
		Error: foreign(i.Error), Behind: behind(i, now),
		Keys: keys(i, now),
	}
	if r.Host, r.Name = places(i.Destination); r.Host == host {
		r.Host = ""
	}
	r.From = strings.TrimPrefix(foreign(i.Source), "docker://")
	if i.Status == state.Postponed && !i.PostponedUntil.IsZero() {
		r.Warnings = append(r.Warnings, "it goes on at "+moment(i.PostponedUntil)+" at the latest")
	}
	for _, w := range i.Warnings[:min(len(i.Warnings), maxWarnings)] {
		r.Warnings = append(r.Warnings, foreign(w))
	}
	r.Platforms, r.Beyond = platforms(i.Platforms, ranks)
	r.Digest, r.Source, r.Mirror = digestsOf(i)
	if i.Size > 0 {
		r.Size = copy.FormatBytes(i.Size)
	}
	if saved := plan.AddSize(i.Saved.Platforms, i.Saved.Present); saved > 0 {
		r.Saved = copy.FormatBytes(saved) + " saved"
	}
	if !i.Succeeded.IsZero() {
		r.Success = &stamp{machine(i.Succeeded), age(i.Succeeded, now)}
	}
	if !i.Verified.IsZero() {
		r.Checked = "verified " + age(i.Verified, now) + " ago"
		if i.Checked != state.CheckManifests {
			r.Checked = string(cmp.Or(i.Checked, state.CheckTag)) + " " + r.Checked
		}
	}
	return r
}

func machine(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// places splits a destination into the host of a registry and the rest.
func places(destination string) (host, name string) {
	destination = foreign(destination)
	rest, isRegistry := strings.CutPrefix(destination, "docker://")
	host, name, found := strings.Cut(rest, "/")
	if !isRegistry || !found {
		return "", destination
	}
	return host, name
}

// commonHost returns the host of all destinations, "" if they have several.
func commonHost(images []state.Image) string {
	common := ""
	for n := range images {
		host, _ := places(images[n].Destination)
		if n > 0 && host != common {
			return ""
		}
		common = host
	}
	return common
}

// conditions are what images are in, the worst first: the order of the page.
var conditions = []string{"damaged", "failed", "postponed", "behind", "incomplete", "pending", "mirrored", "skipped"}

// condition returns the worst one that an image is in.
func condition(i *state.Image, now time.Time) string {
	switch class := statusClass(i.Status); {
	case class == "damaged" || class == "failed" || class == "postponed":
		return class
	case lags(i, now):
		return "behind"
	case lacks(i):
		return "incomplete"
	default:
		return class
	}
}

func severity(i *state.Image, now time.Time) int { return slices.Index(conditions, condition(i, now)) }

// keys are what rows are sorted by, in the order of the columns but for names: severity, how many
// platforms are mirrored, size, last success, and how long it lags behind.
func keys(i *state.Image, now time.Time) string {
	mirrored := 0
	for _, p := range i.Platforms {
		if p.Status == state.PlatformMirrored {
			mirrored++
		}
	}
	succeeded := int64(0)
	if !i.Succeeded.IsZero() {
		succeeded = i.Succeeded.Unix()
	}
	return fmt.Sprintf("%d %d %d %d %d", severity(i, now), mirrored, i.Size, succeeded, i.Lag(now)/time.Second)
}

func lags(i *state.Image, now time.Time) bool { return i.Lag(now) > 0 }

func behind(i *state.Image, now time.Time) string {
	if !lags(i, now) {
		return ""
	}
	return span(i.Lag(now))
}

// lacks reports whether a platform that somebody wants is not at the mirror.
func lacks(i *state.Image) bool {
	return slices.ContainsFunc(i.Platforms, func(p state.Platform) bool {
		return p.Status == state.PlatformMissing || p.Status == state.PlatformDamaged
	})
}

func classOf(i *state.Image, now time.Time) string {
	class := statusClass(i.Status)
	if lags(i, now) {
		class += " behind"
	}
	if lacks(i) {
		class += " incomplete"
	}
	return class
}

// statusClass is the status, or pending of one that this program does not know.
func statusClass(s state.Status) string {
	if slices.Contains(statuses, s) {
		return string(s)
	}
	return string(state.Pending)
}

// digestsOf returns the one digest that source and mirror name, or both. That of the source is what
// it named last.
func digestsOf(i *state.Image) (same, source, mirror digest.Digest) {
	source = cmp.Or(i.LatestSource, i.SourceDigest)
	if source == i.DestinationDigest {
		return source, "", ""
	}
	return "", source, i.DestinationDigest
}

// platformClasses are the classes of platforms by what the mirror has of them; their words are in
// the style.
var platformClasses = map[state.PlatformStatus]string{
	state.PlatformMirrored: "m",
	state.PlatformKept:     "k",
	state.PlatformStripped: "x",
	state.PlatformMissing:  "g",
	state.PlatformDamaged:  "d",
	state.PlatformUnknown:  "u",
}

// platforms returns what is shown of platforms, in the order of ranks, so that the same one is at
// the same place in most rows, and how many are left out: none that anybody misses, if possible. It
// is most of a page, and so is escaped here, where that is fast.
func platforms(all []state.Platform, ranks map[string]int) (elements template.HTML, beyond int) {
	var b strings.Builder
	all = slices.Clone(all)
	byRank := func(a, b state.Platform) int { return cmp.Compare(ranks[a.Platform], ranks[b.Platform]) }
	if len(all) > maxPlatforms {
		slices.SortStableFunc(all, func(a, b state.Platform) int {
			return cmp.Or(cmp.Compare(trouble(a), trouble(b)), byRank(a, b))
		})
		beyond = len(all) - maxPlatforms
		all = all[:maxPlatforms]
	}
	slices.SortStableFunc(all, byRank)
	for _, p := range all {
		class := cmp.Or(platformClasses[p.Status], "u")
		if p.Signed {
			class += " s"
		}
		if p.Attested {
			class += " a"
		}
		name := cmp.Or(foreign(strings.TrimPrefix(p.Platform, "linux/")), "?")
		if utf8.RuneCountInString(name) > narrow {
			class += " w"
		}
		b.WriteString(`<li class="` + class + `">` + template.HTMLEscapeString(name))
	}
	return template.HTML(b.String()), beyond
}

// trouble orders platforms by how much they matter: what is lost first, then what is there.
func trouble(p state.Platform) int {
	switch p.Status {
	case state.PlatformDamaged, state.PlatformMissing:
		return 0
	case state.PlatformMirrored:
		return 1
	}
	return 2
}

// rank numbers platforms: those that most images have at the mirror come first.
func rank(images []state.Image) map[string]int {
	mirrored := map[string]int{} // images, by platform
	for i := range images {
		for _, p := range images[i].Platforms {
			n := mirrored[p.Platform]
			if p.Status == state.PlatformMirrored {
				n++
			}
			mirrored[p.Platform] = n
		}
	}
	names := slices.SortedFunc(maps.Keys(mirrored), func(a, b string) int {
		return cmp.Or(cmp.Compare(mirrored[b], mirrored[a]), cmp.Compare(a, b))
	})
	ranks := make(map[string]int, len(names))
	for i, name := range names {
		ranks[name] = i
	}
	return ranks
}
