// Package reporting collects what happens while a copy executes, for its report.
package reporting

import (
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/copy/report"
	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// A Collector collects what happens while a copy executes. Its methods may run concurrently.
type Collector struct {
	mu       sync.Mutex
	report   report.Report
	images   map[digest.Digest]*imageReport
	blobs    map[digest.Digest]bool // that count
	reused   map[digest.Digest]bool // those of them that the destination said it had
	clock    clock.Clock
	started  time.Time
	plan     *plan.Plan      // the latest; nil if there is none
	complete bool            // everything that was planned is at the destination
	attached bool            // so is everything attached
	original stored          // what was stored of an original
	said     map[string]bool // what was warned of once
}

type imageReport struct {
	outcome   report.Outcome
	converted bool // the destination has it with another digest
	bytes     int64
	elapsed   time.Duration
}

// New returns a Collector for a copy that starts now, by c.
func New(c clock.Clock) *Collector {
	return &Collector{
		report: report.Report{Schema: report.Schema}, images: map[digest.Digest]*imageReport{},
		blobs: map[digest.Digest]bool{}, reused: map[digest.Digest]bool{}, clock: c, started: c.Now(), said: map[string]bool{},
	}
}

// Update changes the report under its lock.
func (r *Collector) Update(f func(*report.Report)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.report)
}

func (r *Collector) image(d digest.Digest, f func(*imageReport)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.images[d]
	if i == nil {
		i = &imageReport{}
		r.images[d] = i
	}
	f(i)
}

// Copied notes that the image with digest d was copied, and how long that took; or, if there is
// set, that nothing was lacking of it at the destination.
func (r *Collector) Copied(d digest.Digest, elapsed time.Duration, there bool) {
	r.image(d, func(i *imageReport) {
		i.outcome, i.elapsed = report.Copied, elapsed
		if there && i.bytes == 0 {
			i.outcome = report.Present
		}
	})
}

// Attached notes that everything that was to be attached is at the destination.
func (r *Collector) Attached() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attached = true
}

// Blob notes that b was copied for the image with digest owner, or that the destination had it.
func (r *Collector) Blob(b endpoint.Blob, owner digest.Digest, reused bool) {
	r.mu.Lock()
	r.blobs[b.Digest] = true
	r.mu.Unlock()
	if reused {
		r.Update(func(rep *report.Report) {
			rep.BlobsReused++
			r.reused[b.Digest] = true
		})
		return
	}
	r.moved(b)
	r.image(owner, func(i *imageReport) { i.bytes = plan.AddSize(i.bytes, max(b.Size, 0)) })
}

// TransformedBlob is Blob for what a transformed image names at the destination, unless it was
// noted before.
func (r *Collector) TransformedBlob(b endpoint.Blob, owner digest.Digest, reused bool) {
	r.mu.Lock()
	counts := r.blobs[b.Digest]
	r.blobs[b.Digest] = true
	r.mu.Unlock()
	if !counts {
		r.Blob(b, owner, reused)
	}
}

// BlobAgain notes that b was sent although it was thought to be at the destination.
func (r *Collector) BlobAgain(b endpoint.Blob) {
	r.Update(func(rep *report.Report) {
		if r.reused[b.Digest] {
			rep.BlobsReused--
			delete(r.reused, b.Digest)
		}
	})
	r.moved(b)
}

func (r *Collector) moved(b endpoint.Blob) {
	r.Update(func(rep *report.Report) {
		rep.BlobsCopied++
		rep.BytesCopied = plan.AddSize(rep.BytesCopied, max(b.Size, 0))
	})
}

// Signed notes that signatures were stored: those of the source, and those that were made.
func (r *Collector) Signed(copied, made int) {
	r.Update(func(rep *report.Report) {
		rep.SignaturesCopied += copied
		rep.SignaturesMade += made
	})
}

// Warn adds a warning.
func (r *Collector) Warn(text string) {
	r.Update(func(rep *report.Report) { rep.Warnings = append(rep.Warnings, text) })
}

// WarnOnce warns of what may be found out more than once.
func (r *Collector) WarnOnce(text string) {
	r.mu.Lock()
	said := r.said[text]
	r.said[text] = true
	r.mu.Unlock()
	if !said {
		r.Warn(text)
	}
}

// TakeWarnings returns what was warned of so far, for the plan to say.
func (r *Collector) TakeWarnings() (warnings []string) {
	r.Update(func(rep *report.Report) { warnings, rep.Warnings = rep.Warnings, nil })
	return warnings
}

// Planned keeps p, nil for none, in the place of the plan before it.
func (r *Collector) Planned(p *plan.Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.plan = p
}

// Named notes that the destination's reference names d, which is what was planned, and whether it
// had to be written.
func (r *Collector) Named(d digest.Digest, written bool) {
	r.Update(func(rep *report.Report) {
		rep.Written, rep.DestinationDigest = written, d
		r.complete = true
	})
}

// Left notes the fingerprint of all that the destination has now because of the copy. What it has
// was asked for by this copy, or by an earlier one, at the given time, if this one has not looked.
func (r *Collector) Left(wanted digest.Digest, earlier time.Time) {
	r.Update(func(rep *report.Report) {
		rep.Wanted, rep.VerifiedAt = wanted, r.started
		if rep.Checked == report.CheckedEarlier || rep.Checked == report.CheckedList {
			rep.VerifiedAt = earlier
		}
	})
}

// SetComplete says that everything that was planned is at the destination.
func (r *Collector) SetComplete() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.complete = true
}

// Finish returns the report of a copy that ended with err.
func (r *Collector) Finish(err error) *report.Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	out, p := r.report, r.plan
	out.Plan = p
	out.Elapsed = clock.Since(r.clock, r.started)
	if p != nil {
		out.Action = p.Action
		out.ActionReason = p.ActionReason
		out.PlatformlessKept, out.PlatformlessLeft = p.PlatformlessKept, p.PlatformlessLeft
		out.Void = p.Void
		out.Warnings = append(append([]string{}, p.Warnings...), r.report.Warnings...)
		out.Instances = r.instances(p)
		out.Attached = attachedReports(p, r.attached, r.original.kept)
		out.Original = r.original.report(p.Original)
	}
	if err != nil {
		out.Error = err.Error()
	}
	return &out
}

// attachedReports says what happened to the attachments of a plan, all of which are at the
// destination if done is set, but for signatures of an original that are not kept.
func attachedReports(p *plan.Plan, done bool, kept []digest.Digest) []report.AttachedReport {
	var all []report.AttachedReport
	for _, a := range p.Attached {
		r := report.AttachedReport{Subject: a.Subject, Digest: a.Digest, ArtifactType: a.ArtifactType, Tag: a.Tag, Elsewhere: a.Elsewhere, Reason: a.Reason}
		switch {
		case a.Decision == plan.Skip:
			r.Outcome = report.Skipped
		case a.Present:
			r.Outcome = report.Present
		case done && (a.Reason.Code != plan.ReasonOriginal || slices.Contains(kept, a.Digest)):
			r.Outcome = report.Copied
		}
		all = append(all, r)
	}
	return all
}

func (r *Collector) instances(p *plan.Plan) []report.InstanceReport {
	if i := p.Image; i != nil {
		ir := report.InstanceReport{Digest: i.Digest, Platform: i.Platform, Kind: i.Kind, Reason: i.Reason, Transform: i.Transform, Became: i.Became}
		r.fill(&ir, i.Present)
		return []report.InstanceReport{ir}
	}
	var all []report.InstanceReport
	var add func(l *plan.ListPlan, there bool)
	add = func(l *plan.ListPlan, there bool) {
		for _, ip := range l.Instances {
			all = append(all, r.instance(l, ip, there))
		}
		for _, ip := range l.Instances {
			if ip.Nested != nil {
				add(ip.Nested, there && ip.Decision == plan.Copy)
			}
		}
	}
	add(p.List, r.complete)
	return all
}

// instance is the report about an entry of l; there is set if the list that l becomes is at the
// destination.
func (r *Collector) instance(l *plan.ListPlan, ip plan.InstancePlan, there bool) report.InstanceReport {
	ir := report.InstanceReport{
		List: l.Digest, Index: ip.Index, Digest: ip.Digest, Platform: ip.Platform, AttestationOf: ip.AttestationOf,
		Relation: ip.Relation, Kind: ip.Kind, Subject: ip.Subject,
		Nested: ip.Nested != nil, Reason: ip.Reason, Missing: ip.Missing, Transform: ip.Transform, Became: ip.Became,
	}
	if ip.Decision == plan.Skip {
		ir.Outcome = report.Skipped
	} else if ip.Nested != nil {
		switch {
		case ip.Present:
			ir.Outcome = report.Present
		case r.complete:
			ir.Outcome = report.Copied
		}
	} else {
		r.fill(&ir, ip.Present)
	}
	if there {
		ir.Entry = map[plan.EntryDecision]report.EntryOutcome{plan.KeepEntry: report.Kept, plan.StripEntry: report.Stripped, plan.UpdateEntry: report.Updated}[ip.Entry]
	}
	if i := r.images[ip.Digest]; ir.Entry == report.Kept && ip.Decision == plan.Copy && i != nil && i.converted {
		ir.Entry = report.Updated
	}
	return ir
}

func (r *Collector) fill(ir *report.InstanceReport, present bool) {
	if present {
		ir.Outcome = report.Present
	}
	if i := r.images[ir.Digest]; i != nil {
		ir.Outcome, ir.Bytes, ir.Elapsed = i.outcome, i.bytes, i.elapsed
	}
}
