package sparseserver

import (
	"io"
	"net/http"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// withStallTimeout closes the connection of a client that sends nothing for so long while a body is
// being read from it.
func withStallTimeout(next http.Handler, timeout time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != http.NoBody {
			body := &stallReader{ReadCloser: r.Body, control: http.NewResponseController(w), timeout: timeout}
			body.extend() // also for what the server itself reads, of a body that no handler wants
			r.Body = body
		}
		next.ServeHTTP(w, r)
	})
}

type stallReader struct {
	io.ReadCloser
	control *http.ResponseController
	timeout time.Duration
}

func (s *stallReader) extend() {
	_ = s.control.SetReadDeadline(clock.System.Now().Add(s.timeout)) // all of net/http's connections have deadlines
}

func (s *stallReader) Read(p []byte) (int, error) {
	s.extend()
	n, err := s.ReadCloser.Read(p)
	if err == io.EOF {
		// From here on the server watches the connection, and would take a deadline for its end.
		_ = s.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
