package registry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
)

// A RetryPolicy bounds the retries of one request, or of one blob. Fields that are 0 have the
// default.
type RetryPolicy struct {
	// Attempts is how often something is tried in all. 8 if 0.
	Attempts int
	// BaseDelay is the mean delay before the first retry; it doubles with each further one. 100 ms
	// if 0.
	BaseDelay time.Duration
	// MaxDelay bounds the delay. 15 s if 0.
	MaxDelay time.Duration
	// MaxElapsed is the time after which nothing is tried again. A Retry-After beyond it fails at
	// once. 5 min if 0.
	MaxElapsed time.Duration
}

func (p RetryPolicy) withDefaults() RetryPolicy {
	if p.Attempts == 0 {
		p.Attempts = 8
	}
	if p.BaseDelay == 0 {
		p.BaseDelay = 100 * time.Millisecond
	}
	if p.MaxDelay == 0 {
		p.MaxDelay = 15 * time.Second
	}
	if p.MaxElapsed == 0 {
		p.MaxElapsed = 5 * time.Minute
	}
	return p
}

// maxStalls is how many attempts may stall: each takes one of the limits of Shared.
const maxStalls = 2

// Bounds for a host that has not done anything yet of what it was asked for: it may not be a
// registry, or be out of order.
const (
	attemptsUnproven = 2
	waitUnproven     = 3 * time.Second
)

// retrier decides whether something is tried again. It is for one goroutine at a time.
type retrier struct {
	policy   RetryPolicy
	clock    clock.Clock
	started  time.Time
	failures int
	stalls   int
	unproven bool  // the host has not done anything yet of what it was asked for
	last     error // the last answer of the host, nil if there was none
}

func (s *Shared) newRetrier() *retrier {
	return &retrier{policy: s.Retry.withDefaults(), clock: s.clock(), started: s.now()}
}

// reset forgets failures, after progress.
func (r *retrier) reset() {
	r.started, r.failures, r.stalls = r.clock.Now(), 0, 0
}

// wait returns nil after a delay if what failed with err may be tried again, and err if not, with
// the time at which the host wants to be asked again. If ctx ends, it returns context.Cause, with
// the last answer if it was a deadline.
func (r *retrier) wait(ctx context.Context, err error) error {
	if _, held := errors.AsType[*ocihttp.RateLimitError](err); held {
		return err
	}
	if no, ok := errors.AsType[*refusal](err); ok {
		if no.RetryAfter > 0 {
			err = &laterError{err, no.RetryAfter, r.clock.Now().Add(no.RetryAfter)}
		}
		r.last = err
	}
	if ctx.Err() != nil {
		return r.ended(ctx)
	}
	transient, after := isRetriable(err)
	if !transient {
		return err
	}
	r.failures++
	if errors.Is(err, ocihttp.ErrStalled) {
		if r.stalls++; r.stalls >= maxStalls {
			return err
		}
	}
	delay := max(after, r.backoff())
	attempts := r.policy.Attempts
	if r.unproven {
		attempts = min(attempts, attemptsUnproven)
	}
	if r.failures >= attempts || delay > r.policy.MaxElapsed-clock.Since(r.clock, r.started) || r.unproven && delay > waitUnproven {
		return err
	}
	if clock.Sleep(ctx, r.clock, delay) != nil {
		return r.ended(ctx)
	}
	return nil
}

// ended is the error of what ended with ctx.
func (r *retrier) ended(ctx context.Context) error {
	return atDeadline(ctx, context.Cause(ctx), r.last)
}

// AtDeadline returns err, the error of what was done with ends, registries or not. If it only says
// that a deadline has ended ctx, and a registry has last answered that it cannot do now what it was
// asked for, then the error says that too.
func AtDeadline(ctx context.Context, err error, ends ...any) error {
	if _, told := errors.AsType[*endpoint.RegistryError](err); err == nil || told {
		return err
	}
	for _, end := range ends {
		switch end := end.(type) {
		case *Source:
			if end == nil {
				continue
			}
			err = end.endpoints[end.current.Load()].repo.atDeadline(ctx, err)
		case *Destination:
			err = end.repo.atDeadline(ctx, err)
		}
	}
	return err
}

func (r *repository) atDeadline(ctx context.Context, err error) error {
	if said := r.host.busy.Load(); said != nil {
		return atDeadline(ctx, err, said)
	}
	return err
}

func atDeadline(ctx context.Context, err, last error) error {
	if last == nil || !errors.Is(ctx.Err(), context.DeadlineExceeded) || !errors.Is(err, context.Cause(ctx)) && !errors.Is(err, ctx.Err()) {
		return err
	}
	return &endedError{err, last}
}

// An endedError says that retries were cut short because a context was cancelled or timed out. It
// unwraps to that cause alone: programs follow Unwrap.
type endedError struct{ cause, last error }

func (e *endedError) Error() string {
	return e.cause.Error() + "; the last answer was: " + e.last.Error()
}
func (e *endedError) Unwrap() error        { return e.cause }
func (e *endedError) Is(target error) bool { return errors.Is(e.last, target) }
func (e *endedError) As(target any) bool   { return errors.As(e.last, target) }

// A laterError is a refusal that is not waited for, with when the host wants to be asked again.
type laterError struct {
	err   error
	after time.Duration
	at    time.Time
}

func (e *laterError) Error() string {
	return fmt.Sprintf("%v; it wants to be asked again after %s, at %s", e.err, e.after, e.at.UTC().Format("2006-01-02 15:04:05 UTC"))
}
func (e *laterError) Unwrap() error { return e.err }

// backoff is exponential, with jitter of a half in both directions.
func (r *retrier) backoff() time.Duration {
	d := r.policy.MaxDelay
	if shift := r.failures - 1; shift < 30 {
		d = min(d, r.policy.BaseDelay<<shift)
	}
	return d/2 + rand.N(d)
}

// isRetriable reports whether err may pass, and how long the registry wants to be left alone.
func isRetriable(err error) (bool, time.Duration) {
	if _, ours := errors.AsType[*ocihttp.ContentError](err); ours {
		return false, 0
	}
	if _, lost := errors.AsType[*lostUpload](err); lost {
		return true, 0
	}
	if no, ok := errors.AsType[*refusal](err); ok {
		switch no.Status {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
			http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true, no.RetryAfter
		}
		// The upload session got lost, for instance in a restart: the blob can be sent again from
		// its start.
		return no.Status == http.StatusNotFound && no.Has("BLOB_UPLOAD_UNKNOWN"), 0
	}
	var broken *ocihttp.TransportError
	return errors.As(err, &broken) && broken.Retriable, 0
}
