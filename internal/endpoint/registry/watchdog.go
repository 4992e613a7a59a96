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
	timer   *time.Timer
	ctx     context.Context
	cancel  context.CancelCauseFunc
	timeout time.Duration
	sentAll atomic.Bool // whether the whole body was sent
}

// newWatchdog returns an armed watchdog and the context that it ends, with the cause errStalled or errStalledAtEnd.
func newWatchdog(ctx context.Context, timeout time.Duration) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watchdog{ctx: ctx, cancel: cancel, timeout: timeout}
	w.timer = time.AfterFunc(timeout, func() {
		if w.sentAll.Load() {
			cancel(errStalledAtEnd)
		} else {
			cancel(errStalled)
		}
	})
	return ctx, w
}

func (w *watchdog) arm()    { w.timer.Reset(w.timeout) }
func (w *watchdog) disarm() { w.timer.Stop() }

// armLast gives the other side time to work on what it has received in full.
func (w *watchdog) armLast(patience time.Duration) {
	w.sentAll.Store(true)
	w.timer.Reset(patience)
}

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
	pace   *pace             // what is read is counted by
	fail   func(error) error // describes an error of the connection
	closed []func()          // to be called once, when it is closed
}

func (b *answerBody) onClose(f func()) { b.closed = append(b.closed, f) }

func (b *answerBody) Read(p []byte) (int, error) {
	b.watch.arm()
	n, err := b.ReadCloser.Read(p)
	b.watch.disarm()
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
