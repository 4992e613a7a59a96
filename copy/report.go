package copy

import (
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// ReportSchema names the JSON form of a Report. The number changes when a reader of the old form would go wrong.
const ReportSchema = "sparsecopy.report/v1"

// A Report says what a copy did, in the words of its Plan. It is filled in on errors too, as far as the copy came; what was
// never decided is absent. It must not be read before Image or Execute returned.
type Report struct {
	Schema string `json:"schema"` // ReportSchema

	// Plan is what was to be done, nil if the copy failed before.
	Plan *Plan `json:"plan,omitempty"`
	// SourceDigest is what the source named.
	SourceDigest digest.Digest `json:"sourceDigest,omitempty"`
	// DestinationDigest is what the destination names now because of this copy, "" if it failed.
	DestinationDigest digest.Digest `json:"destinationDigest,omitempty"`
	// Action is what became of the list: Keep or Strip. ActionReason says why, as in the Plan.
	Action       SparseManifestListAction `json:"action"`
	ActionReason string                   `json:"actionReason,omitempty"`
	// Refusal is the registry's answer to the list that it refused, "" if there was none.
	Refusal string `json:"refusal,omitempty"`
	// Written is set if the destination's reference was written; it is not when it named the right digest already.
	Written bool `json:"written"`
	// Checked is how much was looked at to find that something is there already.
	Checked CheckLevel `json:"checked,omitempty"`

	// Instances are those of all lists, parents before what is nested in them; or the single image.
	Instances []InstanceReport `json:"instances,omitempty"`

	// Attached are the referrers and digest tags that were found.
	Attached []AttachedReport `json:"attached,omitempty"`

	// BlobsCopied were moved, BytesCopied in all; BlobsReused were at the destination already.
	BlobsCopied int   `json:"blobsCopied"`
	BytesCopied int64 `json:"bytesCopied"`
	BlobsReused int   `json:"blobsReused"`
	// ManifestsCopied are the manifests and lists written, the one that the reference names included.
	ManifestsCopied int `json:"manifestsCopied"`
	// SignaturesCopied are the signatures stored, of images and lists, as registries.d says; those that are attached are in Attached.
	SignaturesCopied int `json:"signaturesCopied,omitempty"`

	// Source and Destination count what the ends did.
	Source      EndReport `json:"source"`
	Destination EndReport `json:"destination"`

	// Void names what is without effect at the destination: signatures of a list that changed, and what else is attached to one.
	Void []string `json:"void,omitempty"`
	// Warnings are for people.
	Warnings []string `json:"warnings,omitempty"`
	// Elapsed is how long the copy took, in nanoseconds.
	Elapsed time.Duration `json:"elapsed"`
	// Error is why the copy failed, "" if it did not.
	Error string `json:"error,omitempty"`

	attached bool // everything attached that was planned is at the destination
}

// An AttachedReport says what happened to a referrer, to what a digest tag names, or to a child of either.
type AttachedReport struct {
	Subject      digest.Digest `json:"subject"`
	Digest       digest.Digest `json:"digest"`
	ArtifactType string        `json:"artifactType,omitempty"`
	Tag          string        `json:"tag,omitempty"`
	Outcome      Outcome       `json:"outcome,omitempty"`
	Reason       Reason        `json:"reason"`
}

// CheckLevel is how much of what is at a destination was looked at.
type CheckLevel string

// The levels, from the least to the most.
const (
	// CheckedList compared the digest of what the destination names.
	CheckedList CheckLevel = "list"
	// CheckedChildren asked for each manifest too.
	CheckedChildren CheckLevel = "children"
	// CheckedBlobs asked for each blob too (Options.CheckBlobs).
	CheckedBlobs CheckLevel = "blobs"
)

// Outcome is what happened to an instance.
type Outcome string

// The outcomes. An instance that a failed copy did not get to has none.
const (
	Copied  Outcome = "copied"
	Present Outcome = "present" // at the destination already
	Skipped Outcome = "skipped" // not selected, or missing: the Reason says which
)

// EntryOutcome is what happened to an entry of a list that was written.
type EntryOutcome string

// The outcomes of an entry. The entries of lists that were not written have none.
const (
	Kept     EntryOutcome = "kept"
	Stripped EntryOutcome = "stripped"
	Updated  EntryOutcome = "updated" // names the new digest of a nested list, or of an image that was converted
)

// An InstanceReport says what happened to one instance.
type InstanceReport struct {
	// List is the list, as it is at the source, that Index is a position of; "" for a single image.
	List          digest.Digest `json:"list,omitempty"`
	Index         int           `json:"index"`
	Digest        digest.Digest `json:"digest"`
	Platform      string        `json:"platform"`
	AttestationOf digest.Digest `json:"attestationOf,omitempty"`
	Nested        bool          `json:"nested,omitempty"` // it is a list
	Outcome       Outcome       `json:"outcome,omitempty"`
	Entry         EntryOutcome  `json:"entry,omitempty"`
	Reason        Reason        `json:"reason"`
	// Missing is set if it was selected and is missing at the source.
	Missing bool `json:"missing,omitempty"`
	// Bytes are those of blobs moved for this instance; a blob that several share counts for the first.
	Bytes int64 `json:"bytes,omitempty"`
	// Elapsed is from the start of its first blob to its manifest, in nanoseconds.
	Elapsed time.Duration `json:"elapsed,omitempty"`
}

// An EndReport counts what one end of the copy did. Ends that are not spoken to directly count nothing.
type EndReport struct {
	// Transport is how the end was accessed: "registry" if it was spoken to directly, else "transport".
	Transport string `json:"transport,omitempty"`
	// TransportReason says why a registry was not spoken to directly.
	TransportReason string `json:"transportReason,omitempty"`
	// Requests and Retries are HTTP requests; Retries are among them.
	Requests int64 `json:"requests,omitempty"`
	Retries  int64 `json:"retries,omitempty"`
}

// A reporter collects what happens while a copy executes. Its methods may run concurrently.
type reporter struct {
	mu       sync.Mutex
	report   Report
	images   map[digest.Digest]*imageReport
	reused   map[digest.Digest]bool // blobs that the destination said it had
	started  time.Time
	plan     *Plan           // the latest; nil if there is none
	complete bool            // everything that was planned is at the destination
	said     map[string]bool // what was warned of once
}

type imageReport struct {
	outcome   Outcome
	converted bool // the destination has it with another digest
	bytes     int64
	elapsed   time.Duration
}

func newReporter(started time.Time) *reporter {
	return &reporter{
		report: Report{Schema: ReportSchema}, images: map[digest.Digest]*imageReport{}, reused: map[digest.Digest]bool{},
		started: started, said: map[string]bool{},
	}
}

// update changes the report under its lock.
func (r *reporter) update(f func(*Report)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.report)
}

func (r *reporter) image(d digest.Digest, f func(*imageReport)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.images[d]
	if i == nil {
		i = &imageReport{}
		r.images[d] = i
	}
	f(i)
}

// blob notes that b was copied for the image with digest owner, or that the destination had it.
func (r *reporter) blob(b endpoint.Blob, owner digest.Digest, reused bool) {
	if reused {
		r.update(func(rep *Report) {
			rep.BlobsReused++
			r.reused[b.Digest] = true
		})
		return
	}
	r.moved(b)
	r.image(owner, func(i *imageReport) { i.bytes = plan.AddSize(i.bytes, max(b.Size, 0)) })
}

// blobAgain notes that b was sent although it was thought to be at the destination.
func (r *reporter) blobAgain(b endpoint.Blob) {
	r.update(func(rep *Report) {
		if r.reused[b.Digest] {
			rep.BlobsReused--
			delete(r.reused, b.Digest)
		}
	})
	r.moved(b)
}

func (r *reporter) moved(b endpoint.Blob) {
	r.update(func(rep *Report) {
		rep.BlobsCopied++
		rep.BytesCopied = plan.AddSize(rep.BytesCopied, max(b.Size, 0))
	})
}

func (r *reporter) warn(text string) {
	r.update(func(rep *Report) { rep.Warnings = append(rep.Warnings, text) })
}

// warnOnce warns of what may be found out more than once.
func (r *reporter) warnOnce(text string) {
	r.mu.Lock()
	said := r.said[text]
	r.said[text] = true
	r.mu.Unlock()
	if !said {
		r.warn(text)
	}
}

// takeWarnings returns what was warned of so far, for the plan to say.
func (r *reporter) takeWarnings() (warnings []string) {
	r.update(func(rep *Report) { warnings, rep.Warnings = rep.Warnings, nil })
	return warnings
}

// planned keeps p, nil for none, in the place of the plan before it.
func (r *reporter) planned(p *Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.plan = p
}

// named notes that the destination's reference names d, which is what was planned, and whether it had to be written.
func (r *reporter) named(d digest.Digest, written bool) {
	r.update(func(rep *Report) {
		rep.Written, rep.DestinationDigest = written, d
		r.complete = true
	})
}

// setComplete says that everything that was planned is at the destination.
func (r *reporter) setComplete() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.complete = true
}

// finish returns the report of a copy that ended with err.
func (r *reporter) finish(err error) *Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	out, plan := r.report, r.plan
	out.Plan = plan
	out.Elapsed = time.Since(r.started)
	if plan != nil {
		out.Action = plan.Action
		out.ActionReason = plan.ActionReason
		out.Void = plan.Void
		out.Warnings = append(append([]string{}, plan.Warnings...), r.report.Warnings...)
		out.Instances = r.instances(plan)
		out.Attached = attachedReports(plan, out.attached)
	}
	if err != nil {
		out.Error = err.Error()
	}
	return &out
}

// attachedReports says what happened to the attachments of a plan, all of which are at the destination if done is set.
func attachedReports(plan *Plan, done bool) []AttachedReport {
	var all []AttachedReport
	for _, a := range plan.Attached {
		r := AttachedReport{Subject: a.Subject, Digest: a.Digest, ArtifactType: a.ArtifactType, Tag: a.Tag, Reason: a.Reason}
		switch {
		case a.Decision == Skip:
			r.Outcome = Skipped
		case a.Present:
			r.Outcome = Present
		case done:
			r.Outcome = Copied
		}
		all = append(all, r)
	}
	return all
}

func (r *reporter) instances(plan *Plan) []InstanceReport {
	if i := plan.Image; i != nil {
		ir := InstanceReport{Digest: i.Digest, Platform: i.Platform, Reason: i.Reason}
		r.fill(&ir, i.Present)
		return []InstanceReport{ir}
	}
	var all []InstanceReport
	var add func(l *ListPlan)
	add = func(l *ListPlan) {
		for _, ip := range l.Instances {
			all = append(all, r.instance(l, ip))
		}
		for _, ip := range l.Instances {
			if ip.Nested != nil {
				add(ip.Nested)
			}
		}
	}
	add(plan.List)
	return all
}

func (r *reporter) instance(l *ListPlan, ip InstancePlan) InstanceReport {
	ir := InstanceReport{
		List: l.Digest, Index: ip.Index, Digest: ip.Digest, Platform: ip.Platform, AttestationOf: ip.AttestationOf,
		Nested: ip.Nested != nil, Reason: ip.Reason, Missing: ip.Missing,
	}
	if ip.Decision == Skip {
		ir.Outcome = Skipped
	} else if ip.Nested != nil {
		switch {
		case ip.Present:
			ir.Outcome = Present
		case r.complete:
			ir.Outcome = Copied
		}
	} else {
		r.fill(&ir, ip.Present)
	}
	if r.complete {
		ir.Entry = map[EntryDecision]EntryOutcome{KeepEntry: Kept, StripEntry: Stripped, UpdateEntry: Updated}[ip.Entry]
	}
	if i := r.images[ip.Digest]; ir.Entry == Kept && ip.Decision == Copy && i != nil && i.converted {
		ir.Entry = Updated
	}
	return ir
}

func (r *reporter) fill(ir *InstanceReport, present bool) {
	if present {
		ir.Outcome = Present
	}
	if i := r.images[ir.Digest]; i != nil {
		ir.Outcome, ir.Bytes, ir.Elapsed = i.outcome, i.bytes, i.elapsed
	}
}
