package copy

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/internal/attached"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/internal/handover"
	"github.com/sparsecopy/sparsecopy/copy/internal/known"
	"github.com/sparsecopy/sparsecopy/copy/internal/originals"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
)

// Image copies the image or list that srcRef names to destRef, and returns the manifest or list
// that the destination names then, or nil if Options.Earlier settles that. It is a drop-in for the
// function of the same name in go.podman.io/image/v5/copy.
//
// policyContext judges every image that is copied, by its manifest and signatures, before its
// config or any layer is read. It must not be used concurrently elsewhere.
//
// Until the last request, the destination's reference names what it named before, and after an
// error it still does, unless Report.Written says otherwise: closing the ends comes after it, and
// so does what is attached if the reference names a digest. What is at the destination already is
// not copied again. When ctx ends, everything is closed, and the error wraps context.Cause.
//
// Errors that a caller can act on are *OptionsError, *NoMatchError, *RequiredError, *MissingError,
// *EmptyError, *CannotModifyError, *SparseRefusedError, *WidenError, *SubjectError,
// *AttachmentError, *OriginalRefusedError, *RejectedError, *DamagedError, *LimitError,
// *RateLimitError, *TimeoutError, and *Error around whatever an end said; use errors.As.
func Image(ctx context.Context, policyContext *signature.PolicyContext, destRef, srcRef types.ImageReference, options *Options) (copiedManifest []byte, retErr error) {
	c := newOneShot(CopierOptions{MaxParallelDownloads: cmp.Or(options, &Options{}).MaxParallelDownloads})
	defer func() { _ = c.Close() }() // closes connections that nobody uses any more
	return c.Image(ctx, policyContext, destRef, srcRef, options)
}

// copyImage is Image.
func copyImage(ctx context.Context, c *call) (copiedManifest []byte, retErr error) {
	e := &ends{call: c}
	defer func() {
		if retErr = e.close(registry.AtDeadline(ctx, retErr, e.src, e.dst, e.referrers)); retErr != nil {
			copiedManifest = nil
		}
	}()
	s, err := planCopy(ctx, e, true)
	if ask := e.o.Replacing; err == nil && ask != nil && s.plan != nil && s.there.Top != "" && s.there.Top != s.plan.Digest {
		err = ask(ctx, s.there.Top, s.plan)
	}
	if err == nil && s.plan != nil { // otherwise Options.Earlier says all that there is to say
		copiedManifest, err = carryOut(ctx, e, s)
	}
	if err = e.earlier().Damaged(ctx, s.plan, s.source, s.there, err); err != nil {
		heal(ctx, e, s, err)
	}
	return copiedManifest, err
}

// planCopy takes the steps up to the plan, each of which finds out more than the one before it.
// Nothing is written. The destination is asked what it has if compare is set, and if it can tell.
func planCopy(ctx context.Context, e *ends, compare bool) (survey, error) {
	s := survey{there: known.Destination{Asked: compare}}
	err := e.o.validate()
	if err == nil {
		err = attached.Check(&e.choices, e.from, e.to)
	}
	if err == nil {
		err = e.openKeys()
	}
	for _, step := range []func(context.Context, *ends, survey) (survey, error){
		open,        // the source, and what the destination's reference names
		loadTree,    // what there is to choose from: the lists, and what is attached
		recall,      // what became of images that earlier copies have transformed
		compareTree, // which of what is wanted the destination has
		loadImages,  // the manifests that it does not have
		compareList, // what it makes of the list
		checkPlan,   // that it can be carried out
		checkLost,   // that nothing is left out which an earlier copy has left
		sayCold,     // if an earlier copy may have done it
	} {
		if err != nil {
			return s, err
		}
		if !s.settled { // otherwise the plan is made, and nothing is left to find out
			s, err = step(ctx, e, s)
		}
	}
	if err != nil || s.plan == nil {
		return s, err
	}
	s.warnings = e.reporter.TakeWarnings()
	return e.planned(s, s.plan.WithWarnings(s.warnings)), nil
}

// carryOut executes the plan, writes, and returns what the destination names.
func carryOut(ctx context.Context, e *ends, s survey) ([]byte, error) {
	defer e.progress.End()
	if s.plan.Way == Upstream {
		handover.Tell(e.progress, s.plan)
		return handOver(ctx, e, s)
	}
	e.progress.Release()
	done, err := copyNatively(ctx, e, s)
	for err != nil {
		refusal := err
		other, ok := converted(ctx, e, done, refusal)
		if !ok {
			return nil, refusal
		}
		if done, err = copyNatively(ctx, e, other); err != nil {
			err = fmt.Errorf("%w; before, it was refused as it is: %v", err, refusal) //nolint:errorlint // programs unwrap one error
		}
	}
	remember(ctx, e, done)
	if err := mended(ctx, e, done); err != nil {
		return nil, err
	}
	leave(e, done)
	if resolved := e.o.ReportResolvedReference; resolved != nil {
		*resolved = nil // the transports that are written natively have none
	}
	if done.plan.List != nil {
		return done.plan.List.Written(), nil
	}
	doc, err := manifestOf(ctx, e, done, done.plan.Digest)
	if err != nil {
		return nil, failure.New("reading manifest", SourceSide, done.plan.Digest.String(), err)
	}
	return doc.Bytes, nil
}

// copyNatively carries out the plan with this package's own engine, and returns what is known then,
// with the plan that the destination has accepted. What is attached comes after what it is attached
// to, which the destination may refuse, and before the reference names that, so that nobody sees an
// image without it.
func copyNatively(ctx context.Context, e *ends, s survey) (survey, error) {
	attaches := len(s.plan.ToAttach())+len(originals.Lacking(s.plan)) > 0
	if s.settled && !attaches && (e.kept == nil || s.asEarlier) {
		return s, nil
	}
	to, err := openStorer(ctx, e, s)
	if err != nil {
		return s, err
	}
	done := written{plan: s.plan}
	if !s.settled {
		executed, err := execute(ctx, to)
		if err == nil {
			to.survey, err = e.withTransformed(executed.survey, executed.transformed)
		}
		if err != nil {
			return s, err
		}
		if done, err = write(ctx, to, executed.late); err != nil {
			return to.survey, err
		}
	}
	to.survey = e.planned(to.survey, done.plan)
	if err := copyAttachments(ctx, to, done.plan.ToAttach()); err != nil {
		return s, err
	}
	if err := attachOriginal(ctx, to, done.plan); err != nil {
		return s, err
	}
	if err := vouch(ctx, to); err != nil {
		return s, err
	}
	if done.unnamed != nil {
		if err := nameTop(ctx, e, *done.unnamed); err != nil {
			return s, err
		}
	}
	if attaches || len(originals.Lacking(done.plan)) > 0 || e.kept != nil && originals.Wanted(done.plan) {
		if err := flushAttachments(ctx, e); err != nil {
			return s, err
		}
	}
	e.reporter.Attached()
	return to.survey, nil
}

// Prepared is a copy that has been planned. Its source stays open until Close. It must not be used
// concurrently.
type Prepared struct {
	ends     *ends
	survey   survey
	own      *Copier // that nobody else uses; nil if there is none
	executed bool
	err      error // of Execute
}

// Prepare opens the source, reads what a plan depends on, and plans. Nothing is written, and the
// destination is not touched unless Options.CompareDestination is set. The arguments and errors are
// those of Image. The caller must Close what is returned.
func Prepare(ctx context.Context, policyContext *signature.PolicyContext, destRef, srcRef types.ImageReference, options *Options) (*Prepared, error) {
	c := newOneShot(CopierOptions{MaxParallelDownloads: cmp.Or(options, &Options{}).MaxParallelDownloads})
	prepared, err := c.Prepare(ctx, policyContext, destRef, srcRef, options)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	prepared.own = c
	return prepared, nil
}

// prepare is Prepare.
func prepare(ctx context.Context, c *call) (*Prepared, error) {
	c.o.Earlier = nil // who prepares wants a plan
	e := &ends{call: c}
	s, err := planCopy(ctx, e, c.o.CompareDestination)
	if err == nil {
		s, err = askUnasked(ctx, e, s)
	}
	if err != nil {
		return nil, e.close(registry.AtDeadline(ctx, err, e.src, e.dst, e.referrers))
	}
	return &Prepared{ends: e, survey: s}, nil
}

// Plan returns what Execute does. It does not change: what a registry decided under Auto is in the
// Report.
func (p *Prepared) Plan() *Plan { return p.survey.plan }

// Execute copies exactly what was planned, once. If the plan was made against the destination and
// that names something else by now, it refuses with a *ChangedError. The report is there also when
// the copy fails; it is nil for a second call.
func (p *Prepared) Execute(ctx context.Context) (*Report, error) {
	if p.executed {
		return nil, errors.New("a prepared copy executes once")
	}
	p.executed = true
	err := unchanged(ctx, p.ends, p.survey.there)
	if err == nil {
		_, err = carryOut(ctx, p.ends, p.survey)
	}
	p.err = registry.AtDeadline(ctx, err, p.ends.src, p.ends.dst, p.ends.referrers)
	p.ends.count()
	return p.ends.reporter.Finish(p.err), p.err
}

// unchanged holds the destination against what it named when the plan was made.
func unchanged(ctx context.Context, e *ends, there known.Destination) error {
	if !there.Asked {
		return nil
	}
	now, known := e.asks().Top(ctx)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if known && there.TopKnown && now != there.Top {
		return &ChangedError{Side: DestinationSide, Planned: there.Top, Found: now}
	}
	return nil
}

// Close releases the source, and the destination if it was opened.
func (p *Prepared) Close() error {
	err := p.ends.close(p.err)
	if p.own != nil {
		_ = p.own.Close()
	}
	if p.err != nil && err == p.err { //nolint:errorlint // close returns it as it is if there is nothing to add
		return nil
	}
	return err
}
