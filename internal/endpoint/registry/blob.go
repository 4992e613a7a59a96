package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
)

// enoughProgress is how much of a blob must arrive between two failures for the first one to be
// forgotten.
const enoughProgress = 1 << 20

// blobReader reads one blob. When the connection breaks it goes on with a new one, from where it
// stopped.
type blobReader struct {
	ctx    context.Context
	source *Source
	blob   endpoint.Blob
	retry  *retrier

	body     io.ReadCloser  // nil between a failure and the next Read, and after Close
	total    int64          // size of the blob, -1 if unknown; does not change once it is known
	offset   int64          // of the next byte
	end      int64          // of the part that is wanted, 0 for that of the blob
	url      string         // that was read from last, clean
	from     *repository    // that was read from last
	answer   *http.Response // that body is of
	failure  error          // what made body nil, nil if nothing was asked for yet
	failedAt int64          // offset of the failure before
	closed   bool
}

// openBlob starts reading, unless the reader will skip to where it has to start. It does not verify
// the content.
func openBlob(ctx context.Context, s *Source, b endpoint.Blob) (io.ReadCloser, error) {
	r := &blobReader{ctx: ctx, source: s, blob: b, retry: s.shared.newRetrier(), total: b.Size}
	if endpoint.WillSkip(ctx) {
		return &skippingReader{ReadCloser: r, lead: r}, nil
	}
	if err := r.request(); err != nil {
		return nil, fmt.Errorf("reading blob %s: %w", b.Digest, err)
	}
	return r.inRanges(), nil
}

// inRanges returns r, which nothing was read from, or a reader in ranges of the same blob if that
// suits it.
func (r *blobReader) inRanges() io.ReadCloser {
	if r.source.shared.ranging().suits(r) {
		return newRangedReader(r)
	}
	return r
}

// A skippingReader asks for nothing before it knows where to start.
type skippingReader struct {
	io.ReadCloser // lead, or what has taken it over
	lead          *blobReader
}

// SkipTo implements endpoint.Skipper.
func (r *skippingReader) SkipTo(offset int64) error {
	r.lead.offset, r.lead.failedAt = offset, offset
	if err := r.lead.resume(); err != nil {
		return fmt.Errorf("reading blob %s: %w", r.lead.blob.Digest, err)
	}
	r.ReadCloser = r.lead.inRanges()
	return nil
}

// Doubt implements endpoint.Doubter.
func (r *skippingReader) Doubt() bool {
	doubter, ok := r.ReadCloser.(endpoint.Doubter)
	return ok && doubter.Doubt()
}

func (r *blobReader) Read(p []byte) (int, error) {
	for {
		if r.closed {
			return 0, errors.New("read of a closed blob")
		}
		if r.body == nil {
			if err := r.resume(); err != nil {
				return 0, fmt.Errorf("reading blob %s: %w", r.blob.Digest, err)
			}
		}
		n, err := r.body.Read(p)
		r.offset += int64(n)
		r.source.stats.bytesRead.Add(int64(n))
		switch {
		case err == nil:
			return n, nil
		case r.total >= 0 && r.offset >= r.stop(), r.total < 0 && errors.Is(err, io.EOF):
			return n, io.EOF
		case errors.Is(err, io.EOF):
			err = &ocihttp.TransportError{Method: http.MethodGet, URL: r.url, Retriable: true,
				Err: fmt.Errorf("the connection ended after %d of %d bytes: %w", r.offset, r.total, io.ErrUnexpectedEOF)}
		}
		_ = r.body.Close()
		r.body, r.failure = nil, err
		if n > 0 {
			return n, nil
		}
	}
}

// stop is where r ends: the size of the blob, or the end of what is wanted of it.
func (r *blobReader) stop() int64 {
	if r.end > 0 {
		return r.end
	}
	return r.total
}

// resume goes on after a failure, if retries are allowed.
func (r *blobReader) resume() error {
	if r.failure == nil {
		if r.failure = r.request(); r.failure == nil {
			return nil
		}
	}
	if r.offset-r.failedAt >= enoughProgress {
		r.retry.reset()
	}
	r.failedAt = r.offset
	for {
		if err := r.retry.wait(r.ctx, r.failure); err != nil {
			return err
		}
		r.source.stats.retries.Add(1)
		err := r.request()
		if err == nil {
			return nil
		}
		r.failure = err
	}
}

// request asks for the blob from the current offset.
func (r *blobReader) request() error {
	return r.source.fromEndpoints(r.ctx, func(repo *repository, rt *retrier) error {
		if r.offset > 0 {
			rt.policy.Attempts = 1 // resume counts attempts
		}
		return repo.retry(r.ctx, rt, func() error { return r.get(repo) })
	})
}

// get asks repo for the blob from the current offset on, or, if it does not answer that, for all of
// it, to pass over what was read already.
func (r *blobReader) get(repo *repository) error {
	if r.offset == 0 {
		if err := r.getBy(repo, nil); err != nil {
			return err
		}
		repo.has(r.blob.Digest)
		return nil
	}
	err := r.getBy(repo, http.Header{"Range": {byteRange(r.offset, r.end)}})
	if hasNoRange(err) {
		repo.host.ranges.refuse(r.source.shared.now())
		err = r.getBy(repo, nil)
	}
	return err
}

// getBy sends one request for the blob.
func (r *blobReader) getBy(repo *repository, header http.Header) error {
	resp, err := repo.send(r.ctx, &request{
		method: http.MethodGet, path: "blobs/" + r.blob.Digest.String(), header: header, slow: true,
		// Whoever reads may hold a slot of the other side: it must not wait for one of this side.
		forced: r.offset > 0 || ocihttp.HoldsSlot(r.ctx),
	})
	if err != nil {
		return err
	}
	if err := r.position(resp); err != nil {
		resp.Body.Close()
		return err
	}
	r.body, r.url, r.from, r.answer = resp.Body, ocihttp.CleanURL(resp.Request.URL), repo, resp
	return nil
}

// A rangeError is an answer that is not the range that was asked for.
type rangeError struct{ text string }

func (e *rangeError) Error() string { return e.text }

// hasNoRange reports whether err says that there is no range where one was asked for.
func hasNoRange(err error) bool {
	no, refused := errors.AsType[*refusal](err)
	_, other := errors.AsType[*rangeError](err)
	return other || refused && no.Status == http.StatusRequestedRangeNotSatisfiable
}

// byteRange is the Range header for the bytes from start on, up to end unless that is 0.
func byteRange(start, end int64) string {
	if end == 0 {
		return fmt.Sprintf("bytes=%d-", start)
	}
	return fmt.Sprintf("bytes=%d-%d", start, end-1)
}

// position makes sure that the next byte of the answer is the one at the current offset.
func (r *blobReader) position(resp *http.Response) error {
	size := resp.ContentLength
	skip := r.offset
	if resp.StatusCode == http.StatusPartialContent {
		start, complete, ok := parseContentRange(resp.Header.Get("Content-Range"))
		if coding := resp.Header.Get("Content-Encoding"); !ok || start != r.offset || coding != "" {
			return &rangeError{fmt.Sprintf("%s: the answer to a request for bytes from %d on has Content-Range %q and Content-Encoding %q",
				ocihttp.CleanURL(resp.Request.URL), r.offset, resp.Header.Get("Content-Range"), coding)}
		}
		size, skip = complete, 0
	}
	switch {
	case r.total < 0:
		r.total = size
	case size >= 0 && size != r.total:
		return fmt.Errorf("%s: the blob has %d bytes, not %d", ocihttp.CleanURL(resp.Request.URL), size, r.total)
	}
	if skip == 0 {
		return nil
	}
	_, err := io.CopyN(io.Discard, resp.Body, skip)
	if errors.Is(err, io.EOF) {
		err = ocihttp.NewTransportError(resp.Request, io.ErrUnexpectedEOF, true)
	}
	return err
}

// parseContentRange reads "bytes 5-9/10". complete is -1 if it is "*". RFC 9110, section 14.4.
func parseContentRange(value string) (start, complete int64, ok bool) {
	value, ok = strings.CutPrefix(value, "bytes ")
	if !ok {
		return 0, 0, false
	}
	span, size, ok := strings.Cut(value, "/")
	if !ok {
		return 0, 0, false
	}
	first, _, ok := strings.Cut(span, "-")
	if !ok {
		return 0, 0, false
	}
	start, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, 0, false
	}
	if size == "*" {
		return start, -1, true
	}
	complete, err = strconv.ParseInt(size, 10, 64)
	return start, complete, err == nil && start >= 0 && complete >= start
}

func (r *blobReader) Close() error {
	r.closed = true
	if r.body == nil {
		return nil
	}
	err := r.body.Close()
	r.body = nil
	return err
}
