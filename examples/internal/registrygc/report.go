package registrygc

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/prose"
)

// Schema names the form of a Report as JSON.
const Schema = "sparse-registry.gc/v1"

// A Report says what a collection did, or would do.
type Report struct {
	Schema string `json:"schema"`

	Storage  string        `json:"storage"`
	Delete   bool          `json:"delete"`   // false for a dry run
	Online   bool          `json:"online"`   // a server did it, while it served
	Untagged bool          `json:"untagged"` // untagged manifests were removed
	Grace    time.Duration `json:"-"`
	Started  time.Time     `json:"started"`
	Took     time.Duration `json:"-"`

	Kept    Kept   `json:"kept"`
	Goes    Totals `json:"goes"`    // what the plan was
	Removed Totals `json:"removed"` // what became of it; nothing in a dry run

	// Spared is what goes by the plan, and clients have come to use since that was made.
	Spared Totals `json:"spared"`

	Repositories []RepositoryReport `json:"repositories"`
	Contents     []ContentReport    `json:"contents"`
	Damage       []DamageReport     `json:"damage"`

	Error string `json:"error,omitempty"` // why it ended early
}

// A RepositoryReport is what goes from one repository.
type RepositoryReport struct {
	Name      string           `json:"name"`
	Tags      []string         `json:"tags,omitempty"` // that the server has made
	Manifests []ItemReport     `json:"manifests,omitempty"`
	Layers    []ItemReport     `json:"layers,omitempty"`
	Referrers []ReferrerReport `json:"referrers,omitempty"`
}

// An ItemReport is a link that goes.
type ItemReport struct {
	Digest digest.Digest `json:"digest"`
	Why    Reason        `json:"why"`
}

// A ReferrerReport is a link from a subject that goes.
type ReferrerReport struct {
	Subject  digest.Digest `json:"subject"`
	Referrer digest.Digest `json:"referrer"`
}

// A ContentReport is a content that goes.
type ContentReport struct {
	Digest digest.Digest `json:"digest"`
	Bytes  int64         `json:"bytes"`
}

// A DamageReport is something that cannot be read.
type DamageReport struct {
	Repository string `json:"repository"`
	Object     string `json:"object"`
	Error      string `json:"error"`
}

// newReport returns a report of what a plan would do.
func newReport(p *Plan) *Report {
	r := &Report{Schema: Schema, Kept: p.Kept, Goes: p.Totals()}
	r.Repositories, r.Contents, r.Damage = []RepositoryReport{}, []ContentReport{}, []DamageReport{} // never null
	for _, from := range p.Repositories {
		to := RepositoryReport{Name: from.Name}
		for _, t := range from.Tags {
			to.Tags = append(to.Tags, t.Tag)
		}
		for _, m := range from.Manifests {
			to.Manifests = append(to.Manifests, ItemReport{m.Digest, Unneeded})
		}
		for _, l := range from.Layers {
			to.Layers = append(to.Layers, ItemReport{l.Digest, l.Why})
		}
		for _, l := range from.Referrers {
			to.Referrers = append(to.Referrers, ReferrerReport{l.Subject, l.Referrer})
		}
		r.Repositories = append(r.Repositories, to)
	}
	for _, b := range p.Blobs {
		r.Contents = append(r.Contents, ContentReport{b.Digest, b.Size})
	}
	for _, d := range p.Damage {
		r.Damage = append(r.Damage, DamageReport{d.Repository, d.Object, d.Err.Error()})
	}
	return r
}

// end notes when a collection ended, and why if it ended early.
func (r *Report) end(c clock.Clock, err error) {
	r.Took = clock.Since(c, r.Started)
	if err != nil {
		r.Error = err.Error()
	}
}

// The times of a report are text, or numbers that say their unit.
type reportTimes struct {
	Grace   string  `json:"grace"`
	Seconds float64 `json:"seconds"`
}

// MarshalJSON adds the durations.
func (r *Report) MarshalJSON() ([]byte, error) {
	type plain Report
	return json.Marshal(struct {
		*plain
		reportTimes
	}{(*plain)(r), reportTimes{r.Grace.String(), r.Took.Seconds()}})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *Report) UnmarshalJSON(text []byte) error {
	type plain Report
	var times reportTimes
	err := json.Unmarshal(text, &struct {
		*plain
		*reportTimes
	}{(*plain)(r), &times})
	if err != nil {
		return err
	}
	r.Took = time.Duration(times.Seconds * float64(time.Second))
	r.Grace, err = time.ParseDuration(times.Grace)
	return err
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, d := range r.Damage {
		fmt.Fprintf(&b, "DAMAGED %s: %s: %s\n", d.Repository, d.Object, d.Error)
	}
	if len(r.Damage) > 0 {
		b.WriteString("  Nobody can tell what a damaged thing needs. So everything in its repository stays.\n" +
			"  Push it again, or restore it; sparse-registry check says more.\n")
	}
	for _, from := range r.Repositories {
		fmt.Fprintf(&b, "%s\n", from.Name)
		for _, t := range from.Tags {
			fmt.Fprintf(&b, "  tag      %s: the server made it, and nothing stays that it lists\n", t)
		}
		for _, m := range from.Manifests {
			fmt.Fprintf(&b, "  manifest %s: %s\n", m.Digest, m.Why)
		}
		for _, l := range from.Layers {
			fmt.Fprintf(&b, "  layer    %s: %s\n", l.Digest, l.Why)
		}
		for _, l := range from.Referrers {
			fmt.Fprintf(&b, "  referrer %s of %s\n", l.Referrer, l.Subject)
		}
	}
	for _, c := range r.Contents {
		fmt.Fprintf(&b, "content %s: %s, no repository needs it\n", c.Digest, prose.Bytes(c.Bytes))
	}
	r.writeSums(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) writeSums(b *strings.Builder) {
	k := r.Kept
	fmt.Fprintf(b, "stays:   %s in %s: %d tagged, %d in lists, %d of subjects, %d young",
		prose.Count(k.Manifests(), "manifest", "manifests"), prose.Count(k.Repositories, "repository", "repositories"), k.Tagged, k.Listed, k.Referrers, k.Young)
	if k.Untagged > 0 {
		fmt.Fprintf(b, ", %d untagged (--untagged removes these)", k.Untagged)
	}
	if k.Damaged > 0 {
		fmt.Fprintf(b, ", %d beside damage", k.Damaged)
	}
	fmt.Fprintf(b, "\n         %s, %d of them only because they are young\n", prose.Count(k.Layers, "link", "links")+" to layers", k.YoungLayers)
	fmt.Fprintf(b, "         %s of %s, %d of them only because they are young\n", prose.Count(k.Blobs, "content", "contents"), prose.Bytes(k.Bytes), k.YoungBlobs)
	switch {
	case !r.Delete:
		fmt.Fprintf(b, "would go: %s\nThis was a dry run, nothing is removed. --delete does it.\n", r.Goes)
	case r.Error != "":
		fmt.Fprintf(b, "removed: %s, of %s\nIt ended early: %s\nAnother collection goes on.\n", r.Removed, r.Goes, r.Error)
	default:
		fmt.Fprintf(b, "removed: %s, in %s\n", r.Removed, r.Took.Round(time.Millisecond))
		if r.Spared != (Totals{}) {
			fmt.Fprintf(b, "spared:  %s, which clients have come to use meanwhile\n", r.Spared)
		}
	}
}

// Manifests is how many stay.
func (k Kept) Manifests() int {
	return k.Tagged + k.Listed + k.Referrers + k.Young + k.Damaged + k.Untagged
}

func (t Totals) String() string {
	s := fmt.Sprintf("%s, %s to layers, %s of %s", prose.Count(t.Manifests, "manifest", "manifests"), prose.Count(t.Layers, "link", "links"), prose.Count(t.Blobs, "content", "contents"), prose.Bytes(t.Bytes))
	if t.Tags > 0 {
		s += ", " + prose.Count(t.Tags, "tag", "tags")
	}
	if t.Referrers > 0 {
		s += fmt.Sprintf(", %s to referrers", prose.Count(t.Referrers, "link", "links"))
	}
	return s
}
