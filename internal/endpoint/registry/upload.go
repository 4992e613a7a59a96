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
	mountsWork                 // a blob was mounted from the repository that it was to be in
	mountsIgnored              // a blob that was there was not mounted, or the question was refused
)

// maxProbes is how many existence checks are spent on finding out whether a host ignores mounts.
const maxProbes = 4

// howToStart says how to ask whether a blob is there and to start its upload.
type howToStart struct {
	check   bool   // for existence, first
	from    string // repository to mount from, "" for not to mount
	probe   bool   // for existence, at the same time as the mount
	overlap bool   // ask for the content at the same time
}

// howToStart decides for b.
func (d *Destination) howToStart(b endpoint.Blob) howToStart {
	small := 0 <= b.Size && b.Size <= maxOverlapped
	if origin := d.origin.Load(); origin != nil {
		return howToStart{from: *origin}
	}
	if from := d.elsewhere(b); from != "" {
		return howToStart{check: true, from: from} // it may be here, and not there any more
	}
	if origin := d.repo.host.blobs.origin(b.Digest, d.repo); origin != "" {
		return howToStart{from: origin}
	}
	h := d.repo.host
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.mounts == mountsWork:
		return howToStart{from: d.repo.name, overlap: small}
	case h.mounts == mountsIgnored:
		return howToStart{check: true, overlap: true}
	case !small:
		return howToStart{check: true, from: d.repo.name, overlap: true}
	}
	how := howToStart{from: d.repo.name, overlap: true}
	if d.inUse.Load() && h.probes < maxProbes {
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

// failedMount notes that a mount has failed without a definite answer, and reports whether that is
// as good as one by now.
func (h *host) failedMount() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unanswered++
	return h.unanswered >= maxMountMisses
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

// ready waits until the content is open, or that failed.
func (c *earlyContent) ready(ctx context.Context) {
	if c.opening == nil {
		c.start(ctx)
	}
	o := <-c.opening
	c.opening <- o
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
