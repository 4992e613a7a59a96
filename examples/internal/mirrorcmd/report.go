package mirrorcmd

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/late"
)

// reportText says what a copy that succeeded did.
func reportText(r *copy.Report) string {
	var b strings.Builder
	platforms := map[digest.Digest]string{}
	for _, i := range r.Instances {
		platforms[i.Digest] = i.Platform
	}
	table := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintf(table, "PLATFORM\tDIGEST\tRESULT\tBYTES\tTIME\n")
	for _, i := range r.Instances {
		size, elapsed := "-", "-"
		if i.Outcome == copy.Copied && i.Elapsed > 0 { // which nobody knows of lists, and of images that were converted
			size, elapsed = copy.FormatBytes(i.Bytes), formatTime(i.Elapsed)
		}
		where := ""
		if i.List != r.Instances[0].List {
			where = " in list " + shortDigest(i.List)
		}
		fmt.Fprintf(table, "%s%s\t%s\t%s\t%s\t%s\n", describe(i, platforms), where, shortDigest(i.Digest), result(i), size, elapsed)
	}
	for _, a := range r.Attached {
		fmt.Fprintf(table, "%s\t%s\t%s\t-\t-\n", describeAttached(a, platforms), shortDigest(a.Digest), attachedResult(a))
	}
	originalRows(table, r.Original)
	table.Flush()
	b.WriteString(vouchedText(r.Vouched))
	for _, t := range transformedIn(r.Plan) {
		fmt.Fprintf(&b, "transformed: %s: %s\n", counted(t.Number, "image"), oneLine(t.Reason))
	}
	for _, v := range r.Void {
		fmt.Fprintf(&b, "void: %s\n", oneLine(v))
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", oneLine(warning))
	}
	switch {
	case r.Refusal != "":
		fmt.Fprintf(&b, "stripped, because the destination refused the sparse list: %s\n", oneLine(r.Refusal))
	case r.ActionReason != "":
		fmt.Fprintf(&b, "action %s: %s\n", r.Action, oneLine(r.ActionReason))
	}
	b.WriteString(summary(r))
	return b.String()
}

// describe names an instance: by its platform, or by what it is.
func describe(i copy.InstanceReport, platforms map[digest.Digest]string) string {
	switch {
	case i.Nested:
		return "list"
	case i.Relation.Follows():
		return related(i.Kind, cmp.Or(i.Subject, i.AttestationOf), platforms)
	case i.Relation == copy.Replaces:
		return i.Platform + ", " + i.Kind
	case i.Kind != "": // an artifact, or a blob
		return i.Kind
	}
	return cmp.Or(i.Platform, "image")
}

// related names what describes or accelerates the entry with digest subject, "" if that is not
// known.
func related(kind string, subject digest.Digest, platforms map[digest.Digest]string) string {
	if subject == "" {
		return kind
	}
	return kind + " of " + cmp.Or(platforms[subject], shortDigest(subject))
}

// describeAttached names what is attached: by its tag's kind or its type, and by what it belongs
// to.
func describeAttached(a copy.AttachedReport, platforms map[digest.Digest]string) string {
	return oneLine(attachedKind(a)) + " of " + cmp.Or(platforms[a.Subject], shortDigest(a.Subject))
}

// digestInTag is what a tag that is named after a digest begins with.
var digestInTag = late.Regexp(`^sha[0-9]+-[0-9a-f]+`)

// attachedKind returns what people call what is attached: what its tag has after the digest, or its
// type.
func attachedKind(a copy.AttachedReport) string {
	if a.Tag != "" {
		return cmp.Or(digestInTag().ReplaceAllString(a.Tag, ""), "digest tag")
	}
	return cmp.Or(a.ArtifactType, "referrer")
}

// attachedResult says what became of it, and why it was left out.
func attachedResult(a copy.AttachedReport) string {
	if a.Outcome == copy.Skipped {
		return "skipped: " + a.Reason.Text
	}
	return string(a.Outcome)
}

// result says in a word or two what became of an instance.
func result(i copy.InstanceReport) string {
	outcome := cmp.Or(i.Outcome, copy.Present) // the copy succeeded: what was not moved is there
	switch {
	case i.Missing && i.Entry == copy.Stripped:
		return "missing, stripped"
	case i.Missing && i.Entry == copy.Kept:
		return "missing, entry kept"
	case i.Missing:
		return "missing"
	case outcome == copy.Skipped && i.Entry == copy.Kept:
		return "not copied, entry kept"
	case outcome == copy.Skipped:
		return cmp.Or(string(i.Entry), "not copied")
	case i.Became != nil && outcome == copy.Copied:
		return "transformed into " + shortDigest(i.Became.Digest)
	case i.Became != nil:
		return string(outcome) + " as " + shortDigest(i.Became.Digest)
	case i.Entry == copy.Updated:
		return string(outcome) + ", updated"
	}
	return string(outcome)
}

// summary is what a reader looks at first: the last lines.
func summary(r *copy.Report) string {
	var b strings.Builder
	if r.Written || r.ManifestsCopied > 0 || signatures(r) > 0 {
		made := ""
		if r.SignaturesMade > 0 {
			made = ", " + counted(r.SignaturesMade, "new signature")
		}
		fmt.Fprintf(&b, "written: %s, %s (%s)%s; blobs there already: %d; time: %s\n", counted(r.ManifestsCopied, "manifest"),
			counted(r.BlobsCopied, "blob"), copy.FormatBytes(r.BytesCopied), made, r.BlobsReused, formatTime(r.Elapsed))
	} else {
		fmt.Fprintf(&b, "nothing to do: everything is at the destination already; %s\n", formatTime(r.Elapsed))
	}
	b.WriteString(uploadsText(r.Destination))
	source, destination := "source", "destination"
	if r.Plan != nil {
		source, destination = r.Plan.Source, r.Plan.Destination
	}
	fmt.Fprintf(&b, "  %s  %s\n", r.SourceDigest, source)
	fmt.Fprintf(&b, "→ %s  %s%s\n", r.DestinationDigest, destination, changeNote(r))
	return b.String()
}

// uploadsText says what became of uploads that --resume-dir remembered; "" if there were none.
func uploadsText(to copy.EndReport) string {
	var parts []string
	if to.Resumed > 0 {
		parts = append(parts, counted(int(to.Resumed), "upload")+" went on")
	}
	if to.BegunAnew > 0 {
		parts = append(parts, counted(int(to.BegunAnew), "upload")+" begun anew")
	}
	if parts == nil {
		return ""
	}
	return strings.Join(parts, ", ") + "\n"
}

// signatures is the number of signatures that were written, the source's and new ones.
func signatures(r *copy.Report) int { return r.SignaturesCopied + r.SignaturesMade }

// changeNote reports whether the digest is the source's.
func changeNote(r *copy.Report) string {
	p := cmp.Or(r.Plan, &copy.Plan{})
	converted, stripped := p.Way == copy.Upstream || p.List != nil && p.List.Transform != "", false
	for _, i := range r.Instances {
		converted = converted || i.Became != nil && i.Became.Digest != i.Digest
		stripped = stripped || i.Entry == copy.Stripped
	}
	switch {
	case r.DestinationDigest == r.SourceDigest:
		return " (unchanged)"
	case converted && stripped:
		return " (stripped and converted)"
	case converted:
		return " (converted)"
	case stripped:
		return " (stripped)"
	}
	return ""
}

// A transformation says of how many images of a plan something is the reason that they change.
type transformation struct {
	Reason string `json:"reason"`
	Number int    `json:"number"`
}

// transformedIn returns why images of a plan, which may be nil, change, sorted.
func transformedIn(p *copy.Plan) []transformation {
	if p == nil {
		return nil
	}
	numbers := map[string]int{}
	for _, reason := range p.Transformed() {
		numbers[reason]++
	}
	var all []transformation
	for _, reason := range slices.Sorted(maps.Keys(numbers)) {
		all = append(all, transformation{reason, numbers[reason]})
	}
	return all
}

func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

func shortDigest(d digest.Digest) string {
	const shown = 12
	algorithm, hex, _ := strings.Cut(d.String(), ":")
	return algorithm + ":" + hex[:min(shown, len(hex))]
}

// formatTime prints a duration as precisely as people want it.
func formatTime(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
