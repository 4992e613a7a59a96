package ocihttp

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// A RateLimit is what a registry has said about how much may be pulled from it: how often a
// manifest may be read by GET.
type RateLimit struct {
	Registry  string        // as references call it
	User      string        // whose pulls are counted; "" for those without a name
	Limit     int           // pulls in Window; 0 if the registry did not say
	Remaining int           // as it said last, less what has been pulled since
	Window    time.Duration // 0 if the registry did not say
	Until     time.Time     // when there are more pulls, at the latest
	Said      time.Time     // when the registry said so
}

// A RateLimitError says that something was not pulled, because there are not enough pulls left at a
// registry. Err is what the registry has answered, nil if it was not asked.
type RateLimitError struct {
	RateLimit
	MinRemaining int // how many pulls are to remain
	Err          error
}

func (e *RateLimitError) Error() string {
	text := fmt.Sprintf("nothing can be pulled from %s until %s at the latest: %s",
		e.Registry, e.Until.UTC().Format("2006-01-02 15:04:05 UTC"), e.left())
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// left says how many pulls are left.
func (e *RateLimitError) left() string {
	text := fmt.Sprintf("%d pulls", e.Remaining)
	if e.Limit > 0 {
		text = fmt.Sprintf("%d of %d pulls", e.Remaining, e.Limit)
	}
	if e.Window > 0 {
		text += fmt.Sprintf(" in %s", e.Window)
	}
	text += " are left"
	if e.MinRemaining > 0 {
		text += fmt.Sprintf(", and %d are to remain", e.MinRemaining)
	}
	return text
}

func (e *RateLimitError) Unwrap() error { return e.Err }

// Pulls are those of one account at one registry: they are counted, and held back where the
// registry has said that there are none left, or no more than are to remain. As long as it has said
// nothing, no limit is known. Its fields do not change after the first use. It may be used
// concurrently and must not be copied.
type Pulls struct {
	Registry, User string
	// Remain is how many pulls are to remain.
	Remain int
	// MostWait is how long a pull waits for more to be allowed. Where it takes longer, it fails.
	MostWait time.Duration
	Clock    clock.Clock

	mu       sync.Mutex
	said     *statedLimit  // nil for none, or one that has ended; its remaining counts pulls since; guarded by mu
	at       time.Time     // of said; guarded by mu
	since    int           // the events before said; guarded by mu
	events   int           // how many requests have begun, and limits were said; guarded by mu
	inFlight int           // pulls that are not answered; guarded by mu
	answered bool          // something was, since the beginning or the end of a limit; guarded by mu
	changed  chan struct{} // closed with the next answer; nil if nobody waits for that; guarded by mu
}

// Count is the layer that counts pulls, which are GETs of manifests, by their Call, and reads what
// answers to GET and HEAD say of how many are left. A pull that is not to be sent waits, or fails
// with a *RateLimitError, as MostWait says. HEADs are free.
//
// Answers need not come in the order in which the registry counts: a higher number than the last
// one counts only from a request that was sent after that one was known.
func (p *Pulls) Count(next http.RoundTripper) http.RoundTripper {
	return RoundTripFunc(func(req *http.Request) (*http.Response, error) {
		if !callOf(req.Context()).Manifest {
			return next.RoundTrip(req)
		}
		pull := req.Method == http.MethodGet
		begun, err := p.begin(req.Context(), pull)
		if err != nil {
			return nil, err
		}
		resp, err := next.RoundTrip(req)
		p.end(begun, pull, resp)
		return resp, err
	})
}

// Stated returns what the registry has said. ok reports whether that holds now.
func (p *Pulls) Stated() (limit RateLimit, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget()
	if p.said == nil {
		return RateLimit{}, false
	}
	return p.limit(), true
}

// Refused makes err, the error of a pull that the registry has answered with 429, a
// *RateLimitError, if it is known that others would be answered so, too, for longer than MostWait.
func (p *Pulls) Refused(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if held := p.held(); held != nil && held.Until.Sub(p.Clock.Now()) > p.MostWait {
		held.Err = err
		return held
	}
	return err
}

// begin waits until a request may be sent, and returns its position among the events.
func (p *Pulls) begin(ctx context.Context, pull bool) (position int, err error) {
	for {
		position, wait, held := p.take(pull)
		if wait == nil && held == nil {
			return position, nil
		}
		if err := p.wait(ctx, wait, held); err != nil {
			return 0, err
		}
	}
}

// wait waits for the next answer if there is a channel for that, and otherwise until what is held
// back may go. It fails if that takes too long.
func (p *Pulls) wait(ctx context.Context, answer <-chan struct{}, held *RateLimitError) error {
	if answer != nil {
		select {
		case <-answer:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	delay := held.Until.Sub(p.Clock.Now())
	if delay > p.MostWait {
		return held
	}
	return clock.Sleep(ctx, p.Clock, delay)
}

// take counts a request that may be sent. Otherwise, it returns what to wait for: a channel that is
// closed with the next answer, after which more is known, or why nothing may be sent.
func (p *Pulls) take(pull bool) (position int, wait <-chan struct{}, held *RateLimitError) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pull {
		held = p.held()
		alone := p.Remain > 0 && !p.answered && p.said == nil // how many there are is about to be said
		if p.inFlight > 0 && (held != nil || alone) {
			return 0, p.nextAnswer(), nil
		}
		if held != nil {
			return 0, nil, held
		}
		p.inFlight++
	}
	p.events++
	return p.events, nil, nil
}

// nextAnswer is closed with the next answer. p.mu is held.
func (p *Pulls) nextAnswer() <-chan struct{} {
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return p.changed
}

// held says why one more pull must not be sent, nil if it may. p.mu is held.
func (p *Pulls) held() *RateLimitError {
	p.forget()
	if p.said == nil || p.said.remaining-p.inFlight > p.Remain {
		return nil
	}
	return &RateLimitError{RateLimit: p.limit(), MinRemaining: p.Remain}
}

// forget forgets a limit that has ended. p.mu is held.
func (p *Pulls) forget() {
	if p.said != nil && !p.Clock.Now().Before(p.said.until) {
		p.said, p.answered = nil, false
	}
}

// limit is what was said, which must be something. p.mu is held.
func (p *Pulls) limit() RateLimit {
	return RateLimit{
		Registry: p.Registry, User: p.User, Limit: p.said.limit, Remaining: max(0, p.said.remaining-p.inFlight),
		Window: p.said.window, Until: p.said.until, Said: p.at,
	}
}

// end notes the answer to the request with a position, which is nil if there is none.
func (p *Pulls) end(position int, pull bool, resp *http.Response) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pull {
		p.inFlight--
	}
	p.forget()
	switch stated := p.read(resp, pull); {
	case stated == nil && pull && p.said != nil:
		p.said.remaining = max(0, p.said.remaining-1)
	case stated == nil:
	case p.said == nil || stated.remaining <= p.said.remaining || position > p.since:
		p.events++
		p.said, p.at, p.since = stated, p.Clock.Now(), p.events
	}
	p.answered = p.answered || resp != nil
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// read returns what an answer says, nil for nothing. p.mu is held.
func (p *Pulls) read(resp *http.Response, pull bool) *statedLimit {
	if resp == nil {
		return nil
	}
	now := p.Clock.Now()
	theirs := TimeOf(resp.Header, now)
	stated, ok := readLimit(resp.Header, theirs)
	stated.until = now.Add(stated.until.Sub(theirs))
	if pull && resp.StatusCode == http.StatusTooManyRequests {
		after := ParseRetryAfter(resp.Header.Get("Retry-After"), theirs)
		return p.exhausted(stated, ok, now, after)
	}
	if !ok {
		return nil
	}
	return &stated
}

// exhausted is what the answer 429 to a pull says, with the limit that it states, if it does, and
// its Retry-After: that there are none left, if that is to last. A registry that only wants less at
// a time says so with a short one. p.mu is held.
func (p *Pulls) exhausted(stated statedLimit, ok bool, now time.Time, after time.Duration) *statedLimit {
	switch {
	case after > p.MostWait:
		if !ok && p.said != nil {
			stated = *p.said
		}
		stated.remaining, stated.until = 0, now.Add(min(after, longestLimit))
	case ok:
	case after > 0 || p.said == nil:
		return nil
	default:
		stated = *p.said
		stated.remaining = 0
	}
	return &stated
}
