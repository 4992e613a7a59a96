package registry

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// watchdog ends a request that makes no progress. It is armed while the other side has to do something, and disarmed while the
// request waits for our own side: a slow reader of a download is no stall.
type watchdog struct {
	timer  *time.Timer
	ctx    context.Context
	cancel context.CancelCauseFunc
	late   atomic.Pointer[TimeoutError] // what it is when the timer ends
}

// newWatchdog returns a watchdog that is armed with s, and the context that it ends, with the stall as its cause.
func newWatchdog(ctx context.Context, s TimeoutError) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watchdog{ctx: ctx, cancel: cancel}
	w.late.Store(&s)
	w.timer = time.AfterFunc(s.Limit, func() { cancel(w.late.Load()) })
	return ctx, w
}

// arm gives the other side the time of s.
func (w *watchdog) arm(s TimeoutError) {
	w.late.Store(&s)
	w.timer.Reset(s.Limit)
}

func (w *watchdog) disarm() { w.timer.Stop() }

// stop ends the context for good.
func (w *watchdog) stop() {
	w.timer.Stop()
	w.cancel(context.Canceled)
}

// cause is err, or why the context ended if err says that it did.
func (w *watchdog) cause(err error) error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	return err
}

// answerBody is the body of an answer. Closing it frees what the request holds.
type answerBody struct {
	io.ReadCloser
	watch  *watchdog
	next   TimeoutError      // what it is when the next byte is long in coming
	moving TimeoutError      // what it is from then on
	pace   *pace             // what is read is counted by
	fail   func(error) error // describes an error of the connection
	closed []func()          // to be called once, when it is closed
}

func (b *answerBody) onClose(f func()) { b.closed = append(b.closed, f) }

func (b *answerBody) Read(p []byte) (int, error) {
	b.watch.arm(b.next)
	n, err := b.ReadCloser.Read(p)
	b.watch.disarm()
	if n > 0 {
		b.next = b.moving
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.fail(b.watch.cause(err))
	}
	if ended := b.pace.take(b.watch.ctx, n); ended != nil && err == nil {
		err = b.fail(ended)
	}
	return n, err
}

func (b *answerBody) Close() error {
	err := b.ReadCloser.Close()
	b.watch.stop()
	for _, f := range b.closed {
		f()
	}
	b.closed = nil
	return err
}
