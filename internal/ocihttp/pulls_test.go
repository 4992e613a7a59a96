package ocihttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
)

// A desk is where requests wait for the test to answer them.
type desk struct {
	*testing.T
	clock *clocktest.Fake
	pulls *Pulls
}

func newDesk(t *testing.T, remain int) *desk {
	c := clocktest.New(time.Time{})
	return &desk{T: t, clock: c, pulls: &Pulls{Registry: "hub.example", User: "alice", Remain: remain, MostWait: time.Minute, Clock: c}}
}

// A visit is a request.
type visit struct {
	*testing.T
	came   chan struct{}       // closed when the request has arrived
	answer chan *http.Response // gets the answer, nil for none
	ended  chan error
}

// ask sends a request.
func (d *desk) ask(ctx context.Context, method string) *visit {
	v := &visit{T: d.T, came: make(chan struct{}), answer: make(chan *http.Response, 1), ended: make(chan error, 1)}
	layer := d.pulls.Count(RoundTripFunc(func(*http.Request) (*http.Response, error) {
		close(v.came)
		if resp := <-v.answer; resp != nil {
			return resp, nil
		}
		return nil, errors.New("no answer")
	}))
	req, err := http.NewRequestWithContext(WithCall(ctx, Call{Manifest: true}), method, "https://hub.example/v2/a/manifests/tag", nil)
	require.NoError(d, err)
	go func() {
		resp, err := layer.RoundTrip(req)
		if resp != nil {
			_ = resp.Body.Close()
		}
		v.ended <- err
	}()
	return v
}

// arrives waits for the request.
func (v *visit) arrives() *visit {
	<-v.came
	return v
}

// gets answers the request, nil for not at all.
func (v *visit) gets(resp *http.Response) {
	v.answer <- resp
	err := <-v.ended
	assert.Equal(v, resp == nil, err != nil, "%v", err)
}

// answers are answers with a status and headers.
func answers(status int, lines string) *http.Response {
	return &http.Response{StatusCode: status, Header: header(lines), Body: http.NoBody}
}

// left is an answer that says how many pulls are left.
func left(n int) *http.Response {
	return answers(http.StatusOK, fmt.Sprintf("ratelimit-limit: 100;w=21600\nratelimit-remaining: %d;w=21600", n))
}

// through sends a request, and answers it.
func (d *desk) through(method string, resp *http.Response) { d.ask(d.Context(), method).gets(resp) }

// held is the error of a pull that did not arrive.
func (v *visit) held() *RateLimitError {
	v.Helper()
	held, ok := errors.AsType[*RateLimitError](<-v.ended)
	require.True(v, ok)
	return held
}

func (d *desk) refused() *RateLimitError {
	d.Helper()
	return d.ask(d.Context(), http.MethodGet).held()
}

func (d *desk) remaining() int {
	d.Helper()
	limit, ok := d.pulls.Stated()
	require.True(d, ok)
	return limit.Remaining
}

func TestPullsWithoutALimit(t *testing.T) {
	d := newDesk(t, 10)
	for range 3 {
		d.through(http.MethodGet, answers(http.StatusOK, ""))
		d.through(http.MethodHead, answers(http.StatusNotFound, ""))
		d.through(http.MethodGet, nil)
	}
	_, ok := d.pulls.Stated()
	assert.False(t, ok, "no header means that no limit is known")
}

// TestPullsThatAreToRemain are not made, and HEADs go on.
func TestPullsThatAreToRemain(t *testing.T) {
	d := newDesk(t, 10)
	d.through(http.MethodGet, left(12))
	d.through(http.MethodGet, answers(http.StatusOK, ""))
	assert.Equal(t, 11, d.remaining(), "our own pulls are counted without a header, too")
	d.through(http.MethodGet, nil)
	assert.Equal(t, 10, d.remaining(), "one without an answer may have been counted")

	held := d.refused()
	want := RateLimit{Registry: "hub.example", User: "alice", Limit: 100, Remaining: 10, Window: 6 * time.Hour, Until: clocktest.Start.Add(6 * time.Hour), Said: clocktest.Start}
	assert.Equal(t, &RateLimitError{RateLimit: want, MinRemaining: 10}, held)
	assert.EqualError(t, held, "nothing can be pulled from hub.example until 2026-03-02 14:00:00 UTC at the latest: 10 of 100 pulls in 6h0m0s are left, and 10 are to remain")

	d.clock.Advance(time.Hour)
	d.through(http.MethodHead, left(10))
	assert.Equal(t, clocktest.Start.Add(7*time.Hour), d.refused().Until, "the answer to a HEAD says so, too")
	d.through(http.MethodHead, left(11))
	d.through(http.MethodGet, left(10))
	d.refused()
	d.clock.Advance(6*time.Hour - time.Minute - 1)
	d.refused()
	d.clock.Advance(time.Minute + 1)
	d.through(http.MethodGet, left(99))
	assert.Equal(t, 99, d.remaining())
}

// TestPullsInFlight are counted: one more waits until it is known whether there is one.
func TestPullsInFlight(t *testing.T) {
	d := newDesk(t, 0)
	d.through(http.MethodGet, left(2))
	first, second := d.ask(t.Context(), http.MethodGet).arrives(), d.ask(t.Context(), http.MethodGet).arrives()
	assert.Zero(t, d.remaining())
	ctx, cancel := context.WithCancelCause(t.Context())
	impatient := d.ask(ctx, http.MethodGet)
	reason := errors.New("enough")
	cancel(reason)
	require.ErrorIs(t, <-impatient.ended, reason)

	third := d.ask(t.Context(), http.MethodGet)
	first.gets(left(5)) // somebody's window has passed
	third.arrives().gets(left(3))
	second.gets(left(4)) // an older answer
	assert.Equal(t, 3, d.remaining(), "answers do not come in the order in which pulls are counted")
	d.through(http.MethodGet, left(50))
	assert.Equal(t, 50, d.remaining(), "what was asked for later is known better")
}

// TestFirstPullGoesAlone where some are to remain: how many there are is not known before.
func TestFirstPullGoesAlone(t *testing.T) {
	d := newDesk(t, 5)
	first := d.ask(t.Context(), http.MethodGet).arrives()
	second := d.ask(t.Context(), http.MethodGet)
	d.through(http.MethodHead, nil) // which is free, and says nothing
	first.gets(left(5))
	assert.Equal(t, 5, second.held().Remaining)
}

// TestPullsWait where it does not take long.
func TestPullsWait(t *testing.T) {
	d := newDesk(t, 0)
	d.through(http.MethodGet, answers(http.StatusOK, "x-ratelimit-limit: 10\nx-ratelimit-remaining: 0\nx-ratelimit-reset: 60"))
	waiting := d.ask(t.Context(), http.MethodGet)
	require.NoError(t, d.clock.WaitForSleepers(t.Context(), 1))
	d.clock.Advance(time.Minute)
	waiting.gets(answers(http.StatusOK, ""))
}

// TestPullsThatAreRefused by the registry: there are none left.
func TestPullsThatAreRefused(t *testing.T) {
	const hub = "ratelimit-limit: 100;w=21600\nratelimit-remaining: 0;w=21600"
	refusal := errors.New("status 429")
	for name, c := range map[string]struct {
		before, answer string
		until          time.Duration // 0 for no limit
	}{
		"it states the limit":                         {"", hub, 6 * time.Hour},
		"it has stated the limit":                     {"ratelimit-limit: 100;w=21600\nratelimit-remaining: 7;w=21600", "", 6 * time.Hour},
		"it says when":                                {"", hub + "\nRetry-After: 600", 10 * time.Minute},
		"it says when, and has stated the limit":      {"ratelimit-remaining: 7;w=21600", "Retry-After: 600", 10 * time.Minute},
		"it says when by its own clock":               {"", "Date: Mon, 02 Mar 2026 07:00:00 GMT\nRetry-After: Mon, 02 Mar 2026 08:00:00 GMT", time.Hour},
		"it says when, as Docker Hub's API does":      {"", "Retry-After: 1772442000", time.Hour},
		"it says the end of time":                     {"", "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT", 24 * time.Hour},
		"it only wants less at a time":                {"", "Retry-After: 1", 0},
		"it only wants less at a time, and has limit": {"", "Retry-After: 1\nratelimit-remaining: 50;w=21600", 0},
		"it says nothing":                             {"", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, 0)
			if c.before != "" {
				d.through(http.MethodHead, answers(http.StatusOK, c.before))
			}
			d.through(http.MethodGet, answers(http.StatusTooManyRequests, c.answer))
			err := d.pulls.Refused(refusal)
			require.ErrorIs(t, err, refusal)
			held, ok := errors.AsType[*RateLimitError](err)
			require.Equal(t, c.until > 0, ok)
			if !ok {
				d.through(http.MethodGet, answers(http.StatusOK, ""))
				return
			}
			assert.Equal(t, clocktest.Start.Add(c.until), held.Until)
			assert.Zero(t, held.Remaining)
			assert.ErrorContains(t, err, ": status 429")
			assert.Equal(t, held.Until, d.refused().Until)
		})
	}
}

// TestHEADsThatAreRefused say nothing of pulls.
func TestHEADsThatAreRefused(t *testing.T) {
	d := newDesk(t, 0)
	d.through(http.MethodHead, answers(http.StatusTooManyRequests, "Retry-After: 600"))
	d.through(http.MethodGet, answers(http.StatusOK, ""))
}

// TestOtherRequestsAreNotCounted, whatever the limit.
func TestOtherRequestsAreNotCounted(t *testing.T) {
	d := newDesk(t, 0)
	d.through(http.MethodHead, left(0))
	next := d.pulls.Count(RoundTripFunc(func(*http.Request) (*http.Response, error) { return left(7), nil }))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://hub.example/v2/a/blobs/sha256:0", nil)
	require.NoError(t, err)
	resp, err := next.RoundTrip(req)
	require.NoError(t, err)
	_ = resp.Body.Close()
	assert.Zero(t, d.remaining())
}
