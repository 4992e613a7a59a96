package mirrorcmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

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
	lock, err := lockAll(s.env, s.flags.stateDir, repositories(s.todo))
	if err != nil {
		return err
	}
	defer lock.release()
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
	pending := make([]int, len(s.todo))
	for i := range pending {
		pending[i] = i
	}
	pending = s.attempt(ctx, pending, s.overview.ImageDone)
	for range s.command.retries {
		pending = s.attempt(ctx, pending, func() {})
	}
}

// attempt makes the copies with these numbers, and returns those that failed and might not fail
// again. done is called after each.
func (s *syncRun) attempt(ctx context.Context, numbers []int, done func()) (again []int) {
	var (
		mu    sync.Mutex // about how many have ended, and again
		ended int
	)
	eachOf(ctx, s.command.jobs, len(numbers), func(i int) {
		entry := &s.report.Images[numbers[i]]
		result := s.copy(ctx, s.todo[numbers[i]], entry)
		done()
		mu.Lock()
		defer mu.Unlock()
		ended++
		s.overview.Print(fmt.Sprintf("[%d/%d] %s %s", ended, len(numbers), entry.Status, printable(entry.name())))
		if entry.Status == imageFailed && mayPass(result.Err) {
			again = append(again, numbers[i])
		}
	})
	for _, i := range numbers {
		if entry := &s.report.Images[i]; entry.Status == "" {
			s.unbegun(entry, context.Cause(ctx))
		}
	}
	slices.Sort(again)
	return again
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
