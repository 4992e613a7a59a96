package mirrorcmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// A syncRun is one run of mirror sync.
type syncRun struct {
	*runner
	command *syncCommand
	todo    []syncfile.Copy
	report  syncReport // its Images are those of todo, then those that failed before
}

func (s *syncRun) do(ctx context.Context) error {
	found, err := s.expand(ctx)
	s.todo, s.report.Images, s.report.PassedOver = found.todo, found.images, found.passedOver
	s.report.Warnings = append(s.report.Warnings, found.warnings...)
	if err != nil {
		return err
	}
	if s.command.dryRun {
		s.planAll(ctx)
		if err := context.Cause(ctx); err != nil {
			return err
		}
		return s.remove(ctx)
	}
	locks, err := lockAll(s.env, s.flags.stateDir, repositories(s.todo))
	if err != nil {
		return err
	}
	defer locks.release()
	if err := s.openSigners(s.todo); err != nil {
		return err
	}
	if s.memory != nil && len(s.todo) == len(s.report.Images) { // no list of tags is lacking
		s.memory.expect(s.report.Images[:len(s.todo)], &s.flags.shard)
	}
	s.copyAll(ctx)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := s.command.files.write(s); err != nil {
		return err
	}
	return s.remove(ctx)
}

// copyAll copies what is to be done, and then, some times more, what failed and might not fail
// again.
func (s *syncRun) copyAll(ctx context.Context) {
	s.overview = s.env.startProgress(&s.command.out, len(s.todo))
	defer s.overview.Close()
	var pending []*task
	for i, c := range s.todo {
		if t := s.task(c, &s.report.Images[i]); s.postponed(t) {
			s.overview.ImageDone()
		} else {
			pending = append(pending, t)
		}
	}
	for attempt := uint(0); len(pending) > 0 && attempt <= s.command.retries && ctx.Err() == nil; attempt++ {
		done := 0
		results := s.run(ctx, pending, s.command.jobs, func(t *task) {
			if attempt == 0 {
				s.overview.ImageDone()
			}
			done++
			s.overview.Print(fmt.Sprintf("[%d/%d] %s %s", done, len(pending), t.entry.Status, printable(t.entry.name())))
		})
		var again []*task
		for i, r := range results {
			if pending[i].entry.Status == imageFailed && mayPass(r.Err) {
				again = append(again, pending[i])
			}
		}
		pending = again
	}
}

// copiedAnything reports whether something was copied although the list or image was there.
func copiedAnything(report *copy.Report) bool {
	if report.BlobsCopied > 0 || report.ManifestsCopied > 0 || signatures(report) > 0 {
		return true
	}
	for _, a := range report.Attached {
		if a.Outcome == copy.Copied {
			return true
		}
	}
	return false
}

// isOther reports whether an image was left out because it is a single one, for a platform that
// nobody asked for.
func isOther(image *syncfile.Image, err error) bool {
	var no *copy.NoMatchError
	return image.Single == syncfile.SkipSingle && errors.As(err, &no) && no.Single
}

// isDamaged reports whether a copy failed because the destination has lost something that the
// source does not have any more.
func isDamaged(err error) bool {
	_, damaged := errors.AsType[*copy.DamagedError](err)
	return damaged
}

// isPostponed reports whether a copy failed because the rate limit of the source is used up.
func isPostponed(err error) bool {
	_, held := errors.AsType[*copy.RateLimitError](err)
	return held
}

// mayPass reports whether a copy that failed with err may succeed when it is tried again.
func mayPass(err error) bool {
	var (
		options  *copy.OptionsError
		match    *copy.NoMatchError
		required *copy.RequiredError
		empty    *copy.EmptyError
		locked   *copy.CannotModifyError
		rejected *copy.RejectedError
		refused  *copy.SparseRefusedError
		blobs    *copy.BlobsRefusedError
		widen    *copy.WidenError
		alone    *copy.OriginalRefusedError
	)
	return !errors.As(err, &options) && !errors.As(err, &match) && !errors.As(err, &required) && !errors.As(err, &empty) &&
		!errors.As(err, &locked) && !errors.As(err, &rejected) && !errors.As(err, &refused) && !errors.As(err, &blobs) && !errors.As(err, &widen) &&
		!errors.As(err, &alone)
}

// planAll plans every copy.
func (s *syncRun) planAll(ctx context.Context) {
	jobs := make([]copy.Job, len(s.todo))
	for i, c := range s.todo {
		jobs[i] = copy.Job{Source: c.Source, Destination: c.Destination, Options: s.options(c)}
		jobs[i].Options.CompareDestination = true
	}
	s.copier.PlanImages(ctx, s.policy, jobs, &copy.ImagesOptions{MaxJobs: s.command.jobs}, func(p copy.PlannedImage) {
		entry := &s.report.Images[p.Job]
		entry.Kind = kindOf(nil, p.Err)
		switch {
		case isOther(s.todo[p.Job].Image, p.Err):
			entry.Status, entry.Reason = imageSkipped, p.Err.Error()
		case p.Err != nil:
			entry.Status, entry.Error = imageFailed, s.env.explain(orStopped(ctx, p.Err))
		default:
			entry.planned(p.Plan, p.UpToDate)
		}
	})
}
