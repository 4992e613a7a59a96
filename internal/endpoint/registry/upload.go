package registry

import (
	"context"
	"io"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// mountSupport is what was learned about mounting blobs.
type mountSupport int

const (
	mountsUnknown mountSupport = iota
	mountsWork                 // a blob was mounted
	mountsIgnored              // a blob that was there was not mounted, or the question was refused
)

// maxProbes is how many existence checks are spent on finding out whether a host ignores mounts.
const maxProbes = 4

// howToStart says how to ask whether a blob is there and to start its upload.
type howToStart struct {
	check   bool // for existence, first
	mount   bool
	probe   bool // for existence, at the same time as mount
	overlap bool // ask for the content at the same time
}

// howToStart decides for a blob of the given size, -1 if unknown. elsewhere says that there is another repository to mount from.
func (h *host) howToStart(size int64, elsewhere bool) howToStart {
	h.mu.Lock()
	defer h.mu.Unlock()
	small := 0 <= size && size <= maxOverlapped
	switch h.mounts {
	case mountsWork:
		return howToStart{mount: true, overlap: small && !elsewhere}
	case mountsIgnored:
		return howToStart{check: true, overlap: true}
	}
	if !small && !elsewhere {
		return howToStart{check: true, mount: true, overlap: true}
	}
	how := howToStart{mount: true, overlap: small && !elsewhere}
	if h.probes < maxProbes {
		h.probes++
		how.probe = true
	}
	return how
}

func (h *host) noteMounts(m mountSupport) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mounts = m
}

// earlyContent is the content of a blob, opened while it is not certain yet that it is needed.
type earlyContent struct {
	open    endpoint.Opener
	opening chan opened // nil if it was not started, or was taken
}

type opened struct {
	content io.ReadCloser
	err     error
}

// start opens the content in the background.
func (c *earlyContent) start(ctx context.Context) {
	opening := make(chan opened, 1)
	c.opening = opening
	go func() {
		content, err := c.open(ctx)
		opening <- opened{content, err}
	}()
}

// take returns the content, to be closed by the caller. When it is called again it opens it again.
func (c *earlyContent) take(ctx context.Context) (io.ReadCloser, error) {
	if c.opening == nil {
		return c.open(ctx)
	}
	o := <-c.opening
	c.opening = nil
	return o.content, o.err
}

// close closes content that nobody took. The context of start must end soon.
func (c *earlyContent) close() {
	if c.opening == nil {
		return
	}
	opening := c.opening
	go func() {
		if o := <-opening; o.err == nil {
			_ = o.content.Close()
		}
	}()
}
