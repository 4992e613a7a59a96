package mirrorserver

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/sparsecopy/sparsecopy/copy"
)

// pageLasts is how long a page is shown again as it is: it takes a while to write one about many
// images.
const pageLasts = time.Second

// A Page answers with a page that is written when somebody wants to see it, once for all who ask at
// the same time.
type Page struct {
	Clock copy.Clock
	Log   *slog.Logger
	// Policy is the Content-Security-Policy.
	Policy string
	// Write writes the page.
	Write func(io.Writer) error

	mu      sync.Mutex
	content []byte
	written time.Time
}

func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, err := p.now()
	if err != nil {
		p.Log.Error("the page cannot be written", "error", err)
		http.Error(w, "the page cannot be written; the log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", p.Policy)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// now is the page, a second old at most.
func (p *Page) now() ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.content != nil && p.Clock.Now().Sub(p.written) < pageLasts {
		return p.content, nil
	}
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		return nil, err
	}
	p.content, p.written = b.Bytes(), p.Clock.Now()
	return p.content, nil
}
