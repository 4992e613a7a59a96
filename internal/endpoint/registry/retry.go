package registry

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// RetryPolicy bounds the retries of one request, or of one blob.
type RetryPolicy struct {
	// Attempts is how often something is tried in all. 8 if 0.
	Attempts int
	// BaseDelay is the mean delay before the first retry; it doubles with each further one. 100 ms if 0.
	BaseDelay time.Duration
	// MaxDelay bounds the delay. 15 s if 0.
	MaxDelay time.Duration
	// MaxElapsed is the time after which nothing is tried again. A Retry-After beyond it fails at once. 5 min if 0.
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

// maxStalls is how many attempts may stall: each takes half of the stall timeout.
const maxStalls = 2

// retrier decides whether something is tried again. It is for one goroutine at a time.
type retrier struct {
	policy   RetryPolicy
	started  time.Time
	failures int
	stalls   int
}

func (s *Shared) newRetrier() *retrier {
	return &retrier{policy: s.Retry.withDefaults(), started: time.Now()}
}

// reset forgets failures, after progress.
func (r *retrier) reset() {
	r.started, r.failures, r.stalls = time.Now(), 0, 0
}

// wait returns nil after a delay if what failed with err may be tried again, and err if not. If ctx ends, it returns ctx's error.
func (r *retrier) wait(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	transient, after := isRetriable(err)
	if !transient {
		return err
	}
	r.failures++
	if errors.Is(err, errStalled) {
		if r.stalls++; r.stalls >= maxStalls {
			return err
		}
	}
	delay := max(after, r.backoff())
	if r.failures >= r.policy.Attempts || time.Since(r.started)+delay > r.policy.MaxElapsed {
		return err
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// backoff is exponential, with jitter of a half in both directions.
func (r *retrier) backoff() time.Duration {
	d := r.policy.MaxDelay
	if shift := r.failures - 1; shift < 30 {
		d = min(d, r.policy.BaseDelay<<shift)
	}
	return d/2 + rand.N(d)
}

// isRetriable says whether err may pass, and how long the registry wants to be left alone.
func isRetriable(err error) (bool, time.Duration) {
	if _, ours := errors.AsType[*contentError](err); ours {
		return false, 0
	}
	if no, ok := errors.AsType[*refusal](err); ok {
		switch no.Status {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
			http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true, no.retryAfter
		}
		// The upload session got lost, for instance in a restart: the blob can be sent again from its start.
		return no.Status == http.StatusNotFound && no.Has("BLOB_UPLOAD_UNKNOWN"), 0
	}
	var broken *transportError
	return errors.As(err, &broken) && broken.retriable, 0
}

// parseRetryAfter reads the value of a Retry-After header: seconds, or a date. RFC 9110, section 10.2.3.
// It returns 0 for anything else.
func parseRetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, date.Sub(now))
	}
	return 0
}
