package audit

import (
	"fmt"
	"io"

	"github.com/sparsecopy/sparsecopy/internal/prose"
)

// Schema names the form of a Report as JSON.
const Schema = "sparse-registry.check/v1"

// A Report is what a check has found. As JSON, it is what check --output json prints.
type Report struct {
	Schema string `json:"schema"`
	Counts
	Hashed   bool      `json:"hashed"` // whether blobs were read; manifests always are
	Damage   int       `json:"damage"` // how many findings are of this level
	Faults   int       `json:"faults"`
	Notes    int       `json:"notes"`
	Findings []Finding `json:"findings"` // the worst first; never null
}

// Counts say what was looked at.
type Counts struct {
	Repositories int   `json:"repositories"`
	Tags         int   `json:"tags"`
	Manifests    int   `json:"manifests"` // of each repository; one that two have counts twice
	Contents     int   `json:"contents"`  // manifests and blobs of the storage, each once
	Bytes        int64 `json:"bytes"`     // of contents
	BytesRead    int64 `json:"bytesRead"`
}

// report makes the report of a check.
func (c *checker) report(findings []Finding) *Report {
	r := &Report{Schema: Schema, Counts: c.counts, Hashed: !c.options.SkipContent, Findings: findings}
	r.Contents, r.Bytes, r.BytesRead = c.inventory.sum()
	sortFindings(r.Findings)
	if r.Findings == nil {
		r.Findings = []Finding{}
	}
	for _, f := range r.Findings {
		switch f.Level {
		case Damage:
			r.Damage++
		case Fault:
			r.Faults++
		case Note:
			r.Notes++
		}
	}
	return r
}

// WriteText writes a report for people: a line for each finding but for orphans, which have one
// together, and a line with the sum.
func (r *Report) WriteText(w io.Writer) error {
	orphans, orphaned := 0, int64(0)
	for _, f := range r.Findings {
		if f.Kind == Orphan {
			orphans++
			orphaned += f.Bytes
			continue
		}
		if _, err := fmt.Fprintln(w, f); err != nil {
			return err
		}
	}
	if orphans > 0 {
		_, err := fmt.Fprintf(w, "note: no repository has %s of %s; gc removes them\n", prose.Count(orphans, "content", "contents"), prose.Bytes(orphaned))
		if err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, r.sum())
	return err
}

// sum is the last line for people.
func (r *Report) sum() string {
	how := "not read"
	if r.Hashed {
		how = "all hashed"
	}
	looked := fmt.Sprintf("%s, %s, %s; %s of %s, %s",
		prose.Count(r.Repositories, "repository", "repositories"), prose.Count(r.Tags, "tag", "tags"), prose.Count(r.Manifests, "manifest", "manifests"),
		prose.Count(r.Contents, "content", "contents"), prose.Bytes(r.Bytes), how)
	if r.Damage == 0 && r.Faults == 0 {
		return "complete and true: " + looked
	}
	return fmt.Sprintf("%d damaged, %s: %s", r.Damage, prose.Count(r.Faults, "fault", "faults"), looked)
}
