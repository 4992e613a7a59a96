package mirrorcmd

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// syncReportSchema names the JSON form of what mirror sync prints; docs/sync.md describes it. The
// number changes when a reader of the old form would go wrong.
const syncReportSchema = "mirror.sync/v1"

// A syncReport says what a run did.
type syncReport struct {
	Schema  string        `json:"schema"`
	File    string        `json:"file"`
	Shard   string        `json:"shard,omitempty"`
	DryRun  bool          `json:"dryRun,omitempty"`
	State   string        `json:"state,omitempty"` // the file that this run remembers in, "" for none
	Started time.Time     `json:"started"`
	Elapsed time.Duration `json:"elapsed"` // in nanoseconds
	Summary syncSummary   `json:"summary"`
	// Images are those of this shard, in the order of the file.
	Images []syncImage `json:"images"`
	// PassedOver are the tags that patterns left alone, for each image of the file that has any.
	PassedOver []syncPassedOver `json:"passedOver,omitempty"`
	// Removals are what --delete found, nil without it.
	Removals []syncRemoval `json:"removals,omitempty"`
	// Confirm is what --confirm takes to remove what Removals say would be removed.
	Confirm string `json:"confirm,omitempty"`
	// RateLimits are what registries have said about how much may be pulled from them, as they were
	// at the end.
	RateLimits []syncRateLimit `json:"rateLimits,omitempty"`
	// Warnings are about the run as a whole.
	Warnings []string `json:"warnings,omitempty"`
	// Error is why the run ended early, "" if it did not.
	Error string `json:"error,omitempty"`
}

type syncSummary struct {
	Images         int   `json:"images"`
	Copied         int   `json:"copied"`
	Present        int   `json:"present"`
	Skipped        int   `json:"skipped"`
	Failed         int   `json:"failed"`
	Damaged        int   `json:"damaged"`
	Postponed      int   `json:"postponed"`
	Planned        int   `json:"planned"`
	Bytes          int64 `json:"bytes"`
	Removed        int   `json:"removed"` // manifests
	RemovalsFailed int   `json:"removalsFailed"`
	PassedOver     int   `json:"passedOver"` // tags that are named after digests
	Missing        int   `json:"missing"`    // instances that the sources list and do not have, and that were left out
}

// A syncPassedOver says how many tags of a repository match a pattern and are not taken: those that
// are named after digests, and those beyond newest and since.
type syncPassedOver struct {
	Line       int    `json:"line"` // of the file
	Source     string `json:"source"`
	DigestTags int    `json:"digestTags"`
	Older      int    `json:"older,omitempty"`
	NoVersions int    `json:"noVersions,omitempty"`
}

// any reports whether there is any such tag.
func (p *syncPassedOver) any() bool { return p.DigestTags+p.Older+p.NoVersions > 0 }

// text says why tags are passed over.
func (p *syncPassedOver) text() string {
	var parts []string
	for _, part := range []struct {
		n   int
		are string
	}{{p.DigestTags, "named after digests"}, {p.Older, "too old for newest or since"}, {p.NoVersions, "no version"}} {
		if part.n > 0 {
			parts = append(parts, counted(part.n, "tag")+" "+part.are)
		}
	}
	return fmt.Sprintf("%s (line %d): %s", p.Source, p.Line, strings.Join(parts, ", "))
}

// imageStatus is how a copy of a sync ended.
type imageStatus string

const (
	imageCopied    imageStatus = "copied"
	imagePresent   imageStatus = "present" // everything was there already
	imageSkipped   imageStatus = "skipped" // a single image for another platform
	imageFailed    imageStatus = "failed"
	imageDamaged   imageStatus = "damaged"   // the destination has lost something that the source does not have any more
	imagePostponed imageStatus = "postponed" // the rate limit of the source is used up
	imagePlanned   imageStatus = "planned"   // a dry run would copy it
)

type syncImage struct {
	Line              int           `json:"line"` // of the file
	Source            string        `json:"source"`
	Destination       string        `json:"destination"`
	Status            imageStatus   `json:"status,omitempty"` // "" if the run ended before
	Kind              string        `json:"kind,omitempty"`   // what the source is, see kindOf; "" if unknown
	SourceDigest      digest.Digest `json:"sourceDigest,omitempty"`
	DestinationDigest digest.Digest `json:"destinationDigest,omitempty"`
	Action            string        `json:"action,omitempty"`       // keep or strip, of a list
	ActionReason      string        `json:"actionReason,omitempty"` // why, where it depends on the destination, and where nothing had to be stripped
	// Bytes were moved, or, in a dry run, would be at most.
	Bytes    int64 `json:"bytes"`
	Attempts int   `json:"attempts,omitempty"`
	// Requests are those to registries that were spoken to directly, Retries among them.
	Requests int64 `json:"requests,omitempty"`
	Retries  int64 `json:"retries,omitempty"`
	// VerifiedAt is when the destination was last asked for all that belongs to the image; zero if
	// that is not known.
	VerifiedAt time.Time     `json:"verifiedAt,omitzero"`
	Elapsed    time.Duration `json:"elapsed,omitempty"` // in nanoseconds
	// PostponedUntil is when it can be tried again at the latest, if Status is imagePostponed.
	PostponedUntil time.Time `json:"postponedUntil,omitzero"`
	Reason         string    `json:"reason,omitempty"` // of skipped ones
	// Attached counts the referrers and digest tags that are at the destination, by what they are.
	Attached []syncAttached `json:"attached,omitempty"`
	// Missing are the instances that were selected, and that the source lists and does not have.
	Missing []copy.InstanceReport `json:"missing,omitempty"`
	// Transformed says why images were compressed, converted, encrypted or decrypted.
	Transformed []transformation `json:"transformed,omitempty"`
	// Original is what travelled along with a list that was stripped, Vouched what the keys have
	// signed of it, or why nothing. Nil if they were not asked for.
	Original *copy.OriginalReport `json:"original,omitempty"`
	Vouched  *copy.VouchedReport  `json:"vouched,omitempty"`
	// Void names what is without effect at the destination: signatures and referrers of a list that
	// changed.
	Void     []string `json:"void,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	Error    string   `json:"error,omitempty"`
}

// A syncAttached says how many referrers and digest tags of one kind there are: of one artifact
// type, or one suffix of a tag.
type syncAttached struct {
	Kind   string `json:"kind"`
	Number int    `json:"number"`
}

// name is the destination, or, of an image whose destinations are not known, the source.
func (i *syncImage) name() string { return cmp.Or(i.Destination, i.Source) }

// planned fills in what a plan says.
func (i *syncImage) planned(p *copy.Plan, upToDate bool) {
	i.Action, i.ActionReason, i.DestinationDigest, i.Warnings, i.Void = p.Action.String(), p.ActionReason, p.Digest, p.Warnings, p.Void
	i.Missing, i.Kind, i.Transformed = missingIn(p), kindOf(p, nil), transformedIn(p)
	i.Status, i.Bytes = imagePlanned, p.Bytes
	if upToDate {
		i.Status = imagePresent
	}
}

// kindOf returns what people call the source of a plan: "list", "build cache" of a list that is
// one, "image", or what the plan calls what is no image. Without a plan it is "", unless err, which
// is why there is none, is about a single image.
func kindOf(p *copy.Plan, err error) string {
	if no, ok := errors.AsType[*copy.NoMatchError](err); ok && no.Single {
		return "image"
	}
	isCache := func(in copy.InstancePlan) bool { return in.MediaType == manifest.MediaTypeCacheConfig }
	switch {
	case p == nil:
		return ""
	case p.Image != nil:
		return cmp.Or(p.Image.Kind, "image")
	case slices.ContainsFunc(p.List.Instances, isCache):
		return "build cache"
	}
	return "list"
}

// attachedIn counts what is attached, and not left out, by what it is called, in that order.
func attachedIn(r *copy.Report) []syncAttached {
	counts := map[string]int{}
	for _, a := range r.Attached {
		if a.Outcome == copy.Copied || a.Outcome == copy.Present {
			counts[attachedKind(a)]++
		}
	}
	var attached []syncAttached
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		attached = append(attached, syncAttached{kind, counts[kind]})
	}
	return attached
}

// missingIn returns what a plan leaves out because it is missing, as a report of its execution
// does.
func missingIn(p *copy.Plan) []copy.InstanceReport {
	entries := map[copy.EntryDecision]copy.EntryOutcome{copy.KeepEntry: copy.Kept, copy.StripEntry: copy.Stripped, copy.UpdateEntry: copy.Updated}
	var missing []copy.InstanceReport
	eachList(p.List, func(l *copy.ListPlan) {
		for _, in := range l.Instances {
			if in.Missing {
				missing = append(missing, copy.InstanceReport{
					List: l.Digest, Index: in.Index, Digest: in.Digest, Platform: in.Platform, AttestationOf: in.AttestationOf,
					Relation: in.Relation, Kind: in.Kind, Subject: in.Subject,
					Outcome: copy.Skipped, Entry: entries[in.Entry], Reason: in.Reason, Missing: true,
				})
			}
		}
	})
	return missing
}

// eachList calls f for a list and those nested in it that are copied; there need not be any.
func eachList(l *copy.ListPlan, f func(*copy.ListPlan)) {
	if l != nil {
		l.Walk(f)
	}
}

// finish counts, after a run that ended with err, now.
func (r *syncReport) finish(err error, now time.Time) {
	r.Elapsed = now.Sub(r.Started)
	if err != nil {
		r.Error = err.Error()
	}
	s := syncSummary{Images: len(r.Images)}
	for _, i := range r.Images {
		s.Bytes += i.Bytes
		s.Missing += len(i.Missing)
		switch i.Status {
		case imageCopied:
			s.Copied++
		case imagePresent:
			s.Present++
		case imageSkipped:
			s.Skipped++
		case imageFailed:
			s.Failed++
		case imageDamaged:
			s.Damaged++
		case imagePostponed:
			s.Postponed++
		case imagePlanned:
			s.Planned++
		}
	}
	for _, p := range r.PassedOver {
		s.PassedOver += p.DigestTags
	}
	gone := map[string]bool{}
	for _, m := range r.Removals {
		switch at := m.Repository + "@" + m.Digest.String(); {
		case m.Status == removalFailed:
			s.RemovalsFailed++
		case m.Status == removed && !gone[at]:
			gone[at] = true
			s.Removed++
		}
	}
	if r.Images == nil {
		r.Images = []syncImage{}
	}
	r.Summary = s
}

// unchanged reports whether there was nothing to do.
func (r *syncReport) unchanged() bool {
	s := r.Summary
	return s.Copied+s.Planned+s.Failed+s.Damaged+s.Postponed+s.Removed+s.RemovalsFailed == 0
}

func (s *syncRun) print() error {
	switch {
	case s.command.out.json:
		return printJSON(s.env.stdout, &s.report)
	case s.command.out.quiet:
		return nil
	}
	_, err := io.WriteString(s.env.stdout, s.env.shown(s.report.text()))
	return err
}

// text is the report for people.
func (r *syncReport) text() string {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintf(table, "RESULT\tWHAT\tBYTES\tTIME\tDIGEST\tDESTINATION\n")
	for _, i := range r.Images {
		size, elapsed, at := "-", "-", "-"
		if i.Bytes > 0 {
			size = copy.FormatBytes(i.Bytes)
		}
		if i.Elapsed > 0 {
			elapsed = formatTime(i.Elapsed)
		}
		if i.DestinationDigest != "" {
			at = shortDigest(i.DestinationDigest)
		}
		status := i.Status
		if status == "" {
			status = "not begun"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", status, cmp.Or(i.Kind, "-"), size, elapsed, at, i.name())
	}
	table.Flush()
	for _, i := range r.Images {
		for _, m := range i.Missing {
			fmt.Fprintf(&b, "missing: %s: %s\n", i.name(), oneLine(m.Reason.Text+": "+missingName(m)))
		}
		for _, t := range i.Transformed {
			fmt.Fprintf(&b, "transformed: %s: %s: %s\n", i.name(), counted(t.Number, "image"), oneLine(t.Reason))
		}
		if i.Vouched != nil && i.Vouched.Reason != "" {
			fmt.Fprintf(&b, "%s: %s: %s\n", notVouched(i.Vouched), i.name(), oneLine(i.Vouched.Reason))
		}
		for _, v := range i.Void {
			fmt.Fprintf(&b, "void: %s: %s\n", i.name(), oneLine(v))
		}
		for _, w := range i.Warnings {
			fmt.Fprintf(&b, "warning: %s: %s\n", i.name(), oneLine(w))
		}
		if i.Reason != "" {
			fmt.Fprintf(&b, "skipped: %s: %s\n", i.name(), oneLine(i.Reason))
		}
		if i.Error != "" {
			fmt.Fprintf(&b, "%s: %s (line %d): %s\n", cmp.Or(i.Status, imageFailed), i.name(), i.Line, oneLine(i.Error))
		}
	}
	for _, p := range r.PassedOver {
		fmt.Fprintf(&b, "passed over: %s\n", p.text())
	}
	for _, l := range r.RateLimits {
		fmt.Fprintf(&b, "rate limit: %s\n", oneLine(l.text()))
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	for _, m := range r.Removals {
		fmt.Fprintf(&b, "%s: %s%s\n", m.Status, m.name(), because(m.Reason))
	}
	if r.Confirm != "" {
		fmt.Fprintf(&b, "to remove exactly that: --delete --confirm %s\n", r.Confirm)
	}
	b.WriteString(r.lastLine())
	return b.String()
}

// missingName names an instance that is missing: by its digest, and by its platform or what it
// describes.
func missingName(m copy.InstanceReport) string {
	if m.Relation.Follows() {
		return fmt.Sprintf("%s (%s)", m.Digest, related(m.Kind, cmp.Or(m.Subject, m.AttestationOf), nil))
	}
	if m.Relation == "" && m.Kind != "" { // a blob
		return fmt.Sprintf("%s (%s)", m.Digest, m.Kind)
	}
	return fmt.Sprintf("%s (%s)", m.Digest, m.Platform)
}

// missingWarnings say what a plan leaves out because it is missing.
func missingWarnings(p *copy.Plan) []string {
	var warnings []string
	for _, m := range missingIn(p) {
		warnings = append(warnings, "missing at the source, and left out: "+missingName(m))
	}
	return warnings
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + oneLine(reason) + ")"
}

// lastLine is what a reader looks at first.
func (r *syncReport) lastLine() string {
	s := r.Summary
	begun := s.Copied + s.Planned + s.Present + s.Skipped + s.Failed + s.Damaged + s.Postponed
	var parts []string
	for _, part := range []struct {
		n    int
		what string
	}{{s.Copied, "copied"}, {s.Planned, "to be copied"}, {s.Present, "there already"}, {s.Skipped, "skipped"}, {s.Damaged, "damaged"}, {s.Failed, "failed"}, {s.Postponed, "postponed"}, {s.Images - begun, "not begun"}, {s.Removed, "removed"}} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	verdict := ""
	if r.unchanged() && r.Error == "" {
		verdict = "nothing to do: "
	}
	images := counted(s.Images, "image")
	if s.Images == 0 && r.Shard != "" {
		images += " in this shard"
	}
	if len(parts) > 0 {
		images += ": " + strings.Join(parts, ", ")
	}
	if s.Missing > 0 {
		images += fmt.Sprintf("; missing at the source: %d", s.Missing)
	}
	if r.State != "" {
		images += r.verified()
	}
	return fmt.Sprintf("%s%s; %s; %s\n", verdict, images, copy.FormatBytes(s.Bytes), formatTime(r.Elapsed))
}

// verified says when the children of images that were there already were verified, as far as that
// is known.
func (r *syncReport) verified() string {
	var first, last time.Time
	for _, i := range r.Images {
		if i.Status != imagePresent || i.VerifiedAt.IsZero() {
			continue
		}
		if first.IsZero() || i.VerifiedAt.Before(first) {
			first = i.VerifiedAt
		}
		if i.VerifiedAt.After(last) {
			last = i.VerifiedAt
		}
	}
	switch at := first.UTC().Format(time.RFC3339); {
	case first.IsZero():
		return ""
	case at == last.UTC().Format(time.RFC3339):
		return "; children verified at " + at
	default:
		return "; children verified at " + at + " or later"
	}
}

// failure says in one line what is not as the file says, nil if all is: first what is damaged.
func (r *syncReport) failure() error {
	for _, f := range []struct {
		status imageStatus
		verb   string
		exit   int
	}{{imageDamaged, "damaged", StatusDamaged}, {imageFailed, "failed", StatusFailed}, {imagePostponed, "postponed", StatusPostponed}} {
		n, first := 0, (*syncImage)(nil)
		for i := range r.Images {
			if r.Images[i].Status != f.status {
				continue
			}
			if n++; first == nil {
				first = &r.Images[i]
			}
		}
		if n > 0 {
			return &statusError{f.exit, fmt.Errorf("%d of %s %s; the first, %s: %s", n, counted(len(r.Images), "image"), f.verb, first.name(), first.Error)}
		}
	}
	if n := r.Summary.RemovalsFailed; n > 0 {
		return fmt.Errorf("%s could not be removed; the report says why", counted(n, "manifest"))
	}
	return nil
}
