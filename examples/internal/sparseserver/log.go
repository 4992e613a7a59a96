package sparseserver

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A logEntry collects what the log says about one request. Only the goroutine of the request uses
// it.
type logEntry struct {
	user   string // "" for nobody
	reason string // why it was denied; "" if nobody has said so
	err    error  // nil for none
}

type logKey struct{}

func noteUser(r *http.Request, name string) {
	if entry, ok := r.Context().Value(logKey{}).(*logEntry); ok {
		entry.user = name
	}
}

func noteError(r *http.Request, err error) {
	if entry, ok := r.Context().Value(logKey{}).(*logEntry); ok {
		entry.err = err
	}
}

// noteReason says why r is denied: answered with 401, 403, 405, 429 or 503. The log and a metric
// have it. A reason is a constant of this program, of lower-case letters and underscores.
func noteReason(r *http.Request, reason string) {
	if entry, ok := r.Context().Value(logKey{}).(*logEntry); ok {
		entry.reason = reason
	}
}

// withRequestLog writes one line for each request when it has been answered, and counts it. The
// line leaves out the query, which carries the state of uploads. Those for /healthz and /readyz
// are logged for debugging only, and not counted: who asks for them is no client.
func withRequestLog(next http.Handler, log *slog.Logger, m *metrics) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := clock.System.Now()
		entry := &logEntry{}
		counted := &countingWriter{ResponseWriter: w}
		r = r.WithContext(context.WithValue(r.Context(), logKey{}, entry))
		end := m.begin(r)
		defer func() { // also when a handler panics
			level := slog.LevelInfo
			if isProbe(r) {
				level = slog.LevelDebug
			}
			took := clock.Since(clock.System, start)
			if r.Context().Err() != nil {
				entry.reason = cmp.Or(entry.reason, leftReason)
			}
			log.LogAttrs(r.Context(), level, "request", entry.attributes(r, counted, took)...)
			end(counted, took, entry.reason)
		}()
		next.ServeHTTP(counted, r)
		counted.finish()
	})
}

func (e *logEntry) attributes(r *http.Request, w *countingWriter, took time.Duration) []slog.Attr {
	attributes := []slog.Attr{
		slog.String("method", r.Method),
		slog.String("path", r.URL.Path),
		slog.Int("status", w.status),
		slog.Int64("bytes", w.bytes),
		slog.Duration("took", took.Round(time.Microsecond)),
		slog.String("client", clientHost(r)),
		slog.String("agent", r.UserAgent()),
	}
	if e.user != "" {
		attributes = append(attributes, slog.String("user", e.user))
	}
	if e.reason != "" && slices.Contains(deniedStatuses, w.status) { // else only something that was asked on the way is denied
		attributes = append(attributes, slog.String("reason", e.reason))
	}
	if e.err != nil {
		attributes = append(attributes, slog.Any("error", e.err))
	}
	return attributes
}

func clientHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// logRefusal writes one line for each manifest that was refused.
func logRefusal(log *slog.Logger) func(*http.Request, sparseregistry.Refusal) {
	return func(r *http.Request, refusal sparseregistry.Refusal) {
		attributes := []slog.Attr{
			slog.String("repository", refusal.Repository),
			slog.String("reference", refusal.Reference),
			slog.Int("status", refusal.Status),
		}
		var missing *manifest.MissingChildrenError
		if errors.As(refusal.Err, &missing) {
			attributes = append(attributes, slog.String("missing_architectures", architectures(missing)))
		}
		attributes = append(attributes, slog.Any("reason", refusal.Err))
		log.LogAttrs(r.Context(), slog.LevelWarn, "manifest refused", attributes...)
	}
}

// architectures lists the architectures of the missing children; "-" stands for a child whose entry
// states none.
func architectures(missing *manifest.MissingChildrenError) string {
	names := missing.Architectures()
	for i, name := range names {
		if name == "" {
			names[i] = "-"
		}
	}
	return strings.Join(names, ",")
}

// A countingWriter notes what a handler answers.
type countingWriter struct {
	http.ResponseWriter
	status int // 0 until the header is written
	bytes  int64
}

func (c *countingWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *countingWriter) WriteHeader(status int) {
	if c.status == 0 && status >= 200 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

// finish does what net/http does for a handler that returns without having written anything.
func (c *countingWriter) finish() {
	if c.status == 0 {
		c.status = http.StatusOK
	}
}

func (c *countingWriter) Write(p []byte) (int, error) {
	c.finish()
	n, err := c.ResponseWriter.Write(p)
	c.bytes += int64(n)
	return n, err
}
