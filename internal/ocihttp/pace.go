package ocihttp

import (
	"context"
	"io"
	"math"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// NewRate is the rate of all that shares it, for Pace: nil, which is none, if bytesPerSecond is 0.
// What is saved up by doing less lasts for a tenth of a second.
func NewRate(bytesPerSecond int64) *rate.Limiter {
	if bytesPerSecond == 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(bytesPerSecond), int(min(max(1, bytesPerSecond/10), math.MaxInt32)))
}

// Pace is the layer that lets the contents of requests and answers through at a rate: what was read
// is counted, and waited for before the next Read. Waiting ends with the request's context, and
// with Close. It must be above Stall, for which it is our own side that waits.
func Pace(limit *rate.Limiter) Layer {
	return func(next http.RoundTripper) http.RoundTripper {
		if limit == nil {
			return next
		}
		return RoundTripFunc(func(req *http.Request) (*http.Response, error) {
			paced := req.WithContext(req.Context())
			if open := req.GetBody; open != nil {
				paced.GetBody = func() (io.ReadCloser, error) {
					body, err := open()
					if err != nil {
						return nil, err
					}
					return newPacedBody(req.Context(), body, limit), nil
				}
			}
			resp, err := next.RoundTrip(paced)
			if err == nil {
				resp.Body = newPacedBody(req.Context(), resp.Body, limit)
			}
			return resp, err
		})
	}
}

type pacedBody struct {
	io.ReadCloser
	limit *rate.Limiter
	ctx   context.Context // of the request; ends with Close, too
	end   context.CancelFunc
}

func newPacedBody(ctx context.Context, body io.ReadCloser, limit *rate.Limiter) *pacedBody {
	b := &pacedBody{ReadCloser: body, limit: limit}
	b.ctx, b.end = context.WithCancel(ctx)
	return b
}

func (b *pacedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	_ = clock.Sleep(b.ctx, clock.System, book(b.limit, n, clock.System.Now()))
	return n, err
}

func (b *pacedBody) Close() error {
	b.end()
	return b.ReadCloser.Close()
}

// book takes n bytes, which may be more than what is allowed at once, and returns how long to wait.
func book(limit *rate.Limiter, n int, now time.Time) (delay time.Duration) {
	for n > 0 {
		part := min(n, limit.Burst())
		delay = limit.ReserveN(now, part).DelayFrom(now)
		n -= part
	}
	return delay
}
