package ocihttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// Timeouts are how long a host may do nothing for a request.
type Timeouts struct {
	// Stall is how long no byte may move in the middle of a transfer.
	Stall time.Duration
	// Blob is how long the answer to a slow request may take, and the first byte of its body.
	Blob time.Duration
	// Answer is how long any other answer may take, from connecting on.
	Answer time.Duration
}

// Stalled is the end of a request that stalls in the middle of a transfer.
func (t Timeouts) Stalled() TimeoutError {
	return TimeoutError{What: "no byte has moved", Limit: t.Stall, Option: "StallTimeout"}
}

// Unanswered is the end of a request without an answer, of a slow one or of any other.
func (t Timeouts) Unanswered(slow bool) TimeoutError {
	if slow {
		return TimeoutError{What: "no answer about a blob", Limit: t.Blob, Option: "BlobTimeout"}
	}
	return TimeoutError{What: "no answer", Limit: t.Answer, Option: "AnswerTimeout"}
}

// A TimeoutError is the end of a request for which a registry did nothing for longer than a limit.
type TimeoutError struct {
	What   string // did not happen, such as "no answer"
	Limit  time.Duration
	Option string // that sets the limit: StallTimeout, BlobTimeout or AnswerTimeout
	final  bool   // it is not worth another try: a long upload was complete
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("%s within %s (%s)", e.What, e.Limit, e.Option)
}

// Timeout says what it is to those who ask net.Error.
func (e *TimeoutError) Timeout() bool { return true }

// Is says that it is ErrStalled, or ErrStalledAtEnd too.
func (e *TimeoutError) Is(target error) bool {
	return target == ErrStalled || e.final && target == ErrStalledAtEnd
}

// What a *TimeoutError is, to errors.Is.
var (
	ErrStalled      = errors.New("a request stalled")
	ErrStalledAtEnd = errors.New("a complete upload stalled") // long enough not to be sent again
)

// LongUpload is the size from which on a complete upload to which there is no answer is not sent
// again.
const LongUpload = 16 << 20

// Stall is the layer that ends requests that make no progress: with a *TimeoutError, from RoundTrip
// or from Read of the answer's body.
//
// Time counts while the other side has to do something, and not while the request waits for ours: a
// slow reader of a download is no stall, nor are contents that are long in coming. The answer to an
// upload must come within the time for one after its last byte.
//
// If the request's context ends, errors are its context.Cause. The body of an answer must be
// closed, which ends all that belongs to the request.
func Stall(limits Timeouts) Layer {
	moving, quick, slow := limits.Stalled(), limits.Unanswered(false), limits.Unanswered(true)
	return func(next http.RoundTripper) http.RoundTripper {
		return RoundTripFunc(func(req *http.Request) (*http.Response, error) {
			late := &quick
			if callOf(req.Context()).Slow {
				late = &slow
			}
			ctx, watch := newWatchdog(req.Context(), late)
			resp, err := next.RoundTrip(watchContent(req.WithContext(ctx), watch, &moving, *late))
			watch.disarm()
			if err != nil {
				defer watch.stop()
				return nil, watch.cause(err)
			}
			body := &receivedBody{ReadCloser: resp.Body, watch: watch, next: &moving, moving: &moving}
			if late == &slow {
				body.next = late // it may be the header only that is sent at once
			}
			resp.Body = body
			return resp, nil
		})
	}
}

// watchContent makes watch look at the content of req, of which no part may take as long as moving,
// and to which the answer must not be late.
func watchContent(req *http.Request, watch *watchdog, moving *TimeoutError, late TimeoutError) *http.Request {
	if req.Body == nil || req.Body == http.NoBody {
		return req
	}
	late.final = req.ContentLength < 0 || req.ContentLength > LongUpload
	piece := pieceWithin(moving.Limit)
	watched := func(body io.ReadCloser) io.ReadCloser {
		return &sentBody{ReadCloser: body, watch: watch, moving: moving, late: &late, piece: piece}
	}
	req.Body = watched(req.Body)
	if again := req.GetBody; again != nil {
		req.GetBody = func() (io.ReadCloser, error) {
			body, err := again()
			if err != nil {
				return nil, err
			}
			return watched(body), nil
		}
	}
	return req
}

// sentBody is the body of a request. While the transport reads from it, the other side is not
// expected to do anything.
type sentBody struct {
	io.ReadCloser
	watch  *watchdog
	moving *TimeoutError // what it is when what was read is not sent
	late   *TimeoutError // what it is when there is no answer after the end
	piece  int           // the most that is read, and then sent, at once
	closed atomic.Bool   // then it is of no interest how it goes on
}

func (b *sentBody) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, errBodyClosed
	}
	b.watch.disarm()
	n, err := b.ReadCloser.Read(p[:min(len(p), b.piece)])
	if errors.Is(err, io.EOF) {
		b.watch.arm(b.late)
	} else {
		b.watch.arm(b.moving)
	}
	return n, err
}

func (b *sentBody) Close() error {
	b.closed.Store(true)
	return b.ReadCloser.Close()
}

// receivedBody is the body of an answer.
type receivedBody struct {
	io.ReadCloser
	watch  *watchdog
	next   *TimeoutError // what it is when the next byte is long in coming
	moving *TimeoutError // what it is from then on
}

func (b *receivedBody) Read(p []byte) (int, error) {
	b.watch.arm(b.next)
	n, err := b.ReadCloser.Read(p)
	b.watch.disarm()
	if n > 0 {
		b.next = b.moving
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.watch.cause(err)
	}
	return n, err
}

func (b *receivedBody) Close() error {
	defer b.watch.stop()
	return b.ReadCloser.Close()
}

// A watchdog ends a context when it was armed for too long.
type watchdog struct {
	timer  *time.Timer
	ctx    context.Context
	cancel context.CancelCauseFunc
	late   atomic.Pointer[TimeoutError] // what it is when the timer ends
}

// newWatchdog returns a watchdog that is armed with s, and the context that it ends, with the stall
// as its cause.
func newWatchdog(ctx context.Context, s *TimeoutError) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watchdog{ctx: ctx, cancel: cancel}
	w.late.Store(s)
	w.timer = time.AfterFunc(s.Limit, func() { cancel(w.late.Load()) })
	return ctx, w
}

// arm gives the other side the time of s.
func (w *watchdog) arm(s *TimeoutError) {
	w.late.Store(s)
	w.timer.Reset(s.Limit)
}

func (w *watchdog) disarm() { w.timer.Stop() }

// stop ends the context for good.
func (w *watchdog) stop() {
	w.timer.Stop()
	w.cancel(context.Canceled)
}

// cause is err, or why the context ended if it has.
func (w *watchdog) cause(err error) error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	return err
}
