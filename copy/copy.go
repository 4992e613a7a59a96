package copy

import (
	"context"
	"errors"

	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
)

// Image copies the image or list that srcRef names to destRef, and returns the manifest or list that the destination names then. It
// is a drop-in for the function of the same name in go.podman.io/image/v5/copy.
//
// policyContext judges every image that is copied, by its manifest and signatures, before its config or any layer is read. It
// must not be used concurrently elsewhere.
//
// Until the last request, the destination's reference names what it named before, and after an error it still does, unless
// Report.Written says otherwise: closing the ends comes after it, and so does what is attached if the reference names a digest. What is
// at the destination already is not copied again. When ctx ends, everything is closed, and the error wraps context.Cause.
//
// Errors that a caller can act on are *OptionsError, *NoMatchError, *RequiredError, *MissingError, *EmptyError, *CannotModifyError,
// *SparseRefusedError, *WidenError, *SubjectError, *AttachmentError, *RejectedError, *LimitError, *TimeoutError, and *Error around whatever an end said; use errors.As.
func Image(ctx context.Context, policyContext *signature.PolicyContext, destRef, srcRef types.ImageReference, options *Options) (copiedManifest []byte, retErr error) {
	c := newOneShot(CopierOptions{})
	defer func() { _ = c.Close() }() // closes connections that nobody uses any more
	return c.Image(ctx, policyContext, destRef, srcRef, options)
}

// image is Image.
func (c *call) image(ctx context.Context) (copiedManifest []byte, retErr error) {
	e := &ends{call: c}
	defer func() {
		if retErr = e.close(registry.AtDeadline(ctx, retErr, e.src, e.dst)); retErr != nil {
			copiedManifest = nil
		}
	}()
	s, err := c.survey(ctx, e, true)
	if err != nil {
		return nil, err
	}
	return newJob(e, s).run(ctx)
}

// survey opens the source, and the destination if that is to be compared, finds out what a plan depends on, and plans. Nothing is written.
func (c *call) survey(ctx context.Context, e *ends, compare bool) (survey, error) {
	if err := c.o.validate(); err != nil {
		return survey{}, err
	}
	if err := checkAttachable(c); err != nil {
		return survey{}, err
	}
	opened, err := open(ctx, e, compare)
	if err != nil {
		return survey{}, err
	}
	s, err := loadTree(ctx, e, opened)
	for _, step := range []func(context.Context, *ends, survey) (survey, error){
		compareTree, loadImages, foresee, settle,
	} {
		if err != nil {
			return s, err
		}
		if !s.settled {
			s, err = step(ctx, e, s)
		}
	}
	if err == nil && !s.settled {
		s, err = decideWay(e, s)
	}
	if err != nil {
		return s, err
	}
	return c.planned(s, s.plan.WithWarnings(c.reporter.takeWarnings())), nil
}

// run executes the plan and returns what the destination names.
func (j *job) run(ctx context.Context) ([]byte, error) {
	defer j.progress.End()
	if j.plan.Way == Upstream {
		j.tellImages()
		return j.handOver(ctx)
	}
	if err := j.runNatively(ctx); err != nil {
		through := j.rejectedType(err)
		if through == nil {
			return nil, err
		}
		j.setPlan(through)
		return j.handOver(ctx)
	}
	if resolved := j.o.ReportResolvedReference; resolved != nil {
		*resolved = nil // the transports that are written natively have none
	}
	if j.plan.Image != nil {
		doc, err := j.manifest(ctx, j.plan.Digest)
		if err != nil {
			return nil, &Error{"reading manifest", SourceSide, j.plan.Digest.String(), err}
		}
		return doc.Bytes, nil
	}
	return j.plan.List.Written(), nil
}

// runNatively executes the plan with this package's own engine. What is attached comes after what it is attached to, which the
// destination may refuse, and before the reference names that, so that nobody sees an image without it.
func (j *job) runNatively(ctx context.Context) error {
	j.progress.Release()
	attaches := len(j.plan.ToAttach()) > 0
	if j.settled && !attaches {
		return nil
	}
	if err := j.openDestination(ctx); err != nil {
		return err
	}
	tellRecorder(j.dst, j.in.Digest, j.plan, &j.choices)
	if err := j.checkSignatureStore(ctx); err != nil {
		return err
	}
	if attaches {
		if _, err := attachedTo(j.ends); err != nil {
			return err
		}
	}
	j.mountAcross()
	if !j.settled {
		if err := j.execute(ctx); err != nil {
			return err
		}
		if !j.intact(ctx) {
			if err := j.write(ctx); err != nil {
				return err
			}
		}
	}
	if err := copyAttachments(ctx, j, j.plan.ToAttach()); err != nil { // of the plan that the destination has accepted
		return err
	}
	if err := j.nameTop(ctx); err != nil {
		return err
	}
	if attaches {
		if err := flushAttachments(ctx, j.ends); err != nil {
			return err
		}
	}
	j.reporter.update(func(r *Report) { r.attached = true })
	return nil
}

// Prepared is a copy that has been planned. Its source stays open until Close. It must not be used concurrently.
type Prepared struct {
	job      *job
	plan     *Plan
	own      *Copier // that nobody else uses; nil if there is none
	executed bool
	err      error // of Execute
}

// Prepare opens the source, reads what a plan depends on, and plans. Nothing is written, and the destination is not touched unless
// Options.CompareDestination is set. The arguments and errors are those of Image. The caller must Close what is returned.
func Prepare(ctx context.Context, policyContext *signature.PolicyContext, destRef, srcRef types.ImageReference, options *Options) (*Prepared, error) {
	c := newOneShot(CopierOptions{})
	prepared, err := c.Prepare(ctx, policyContext, destRef, srcRef, options)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	prepared.own = c
	return prepared, nil
}

// prepare is Prepare.
func (c *call) prepare(ctx context.Context) (*Prepared, error) {
	e := &ends{call: c}
	s, err := c.survey(ctx, e, c.o.CompareDestination)
	if err != nil {
		return nil, e.close(registry.AtDeadline(ctx, err, e.src, e.dst))
	}
	return &Prepared{job: newJob(e, s), plan: s.plan}, nil
}

// Plan returns what Execute does. It does not change: what a registry decided under Auto is in the Report.
func (p *Prepared) Plan() *Plan { return p.plan }

// Execute copies exactly what was planned, once. If the plan was made against the destination and that names something else by
// now, it refuses with a *ChangedError. The report is there also when the copy fails; it is nil for a second call.
func (p *Prepared) Execute(ctx context.Context) (*Report, error) {
	if p.executed {
		return nil, errors.New("a prepared copy executes once")
	}
	p.executed = true
	err := p.unchanged(ctx)
	if err == nil {
		_, err = p.job.run(ctx)
	}
	p.err = registry.AtDeadline(ctx, err, p.job.src, p.job.dst)
	p.job.count()
	return p.job.reporter.finish(p.err), p.err
}

// unchanged holds the destination against the plan.
func (p *Prepared) unchanged(ctx context.Context) error {
	j := p.job
	if !j.compare {
		return nil
	}
	now, known := j.destinationTop(ctx)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if known && j.there.topKnown && now != j.there.top {
		return &ChangedError{Side: DestinationSide, Planned: j.there.top, Found: now}
	}
	return nil
}

// Close releases the source, and the destination if it was opened.
func (p *Prepared) Close() error {
	err := p.job.close(p.err)
	if p.own != nil {
		_ = p.own.Close()
	}
	if p.err != nil && err == p.err { //nolint:errorlint // close returns it as it is if there is nothing to add
		return nil
	}
	return err
}
