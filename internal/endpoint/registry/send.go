package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
)

// An uploadWay is how content is sent to a registry.
type uploadWay struct {
	known bool  // the registry has taken content in this way
	patch bool  // by PATCH, and not in the PUT that ends the upload
	most  int64 // bytes that one request may bring, 0 if no bound is known: longer content goes by PATCH, in pieces
}

// pieceSizes are what is tried, in this order, when a request is refused for the length of its
// body. Cloudflare takes 100 MB, or more for more money; nginx takes 1 MiB unless it is configured.
var pieceSizes = []int64{64 << 20, 16 << 20, 4 << 20, 1 << 20, 256 << 10}

// uploads is what a host is known to take.
type uploads struct {
	takesPUT bool  // content in the PUT
	byPatch  bool  // content by PATCH only; not if takesPUT
	most     int64 // see uploadWay
	chunk    int64 // most that is wanted, by Shared.ChunkSize or since the host resumes; 0 for any, and if the host has lost pieces
}

func (h *host) uploadWay() uploadWay {
	h.mu.Lock()
	defer h.mu.Unlock()
	return uploadWay{
		known: h.uploads.takesPUT || h.uploads.byPatch, patch: h.uploads.byPatch, most: lesserBound(h.uploads.most, h.uploads.chunk),
	}
}

// lesserBound returns the lesser of two bounds, where 0 is for none.
func lesserBound(a, b int64) int64 {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// losesPieces notes that the host has not kept a piece, and reports whether content of the given
// size may go in one now: only Shared.ChunkSize wanted it in pieces.
func (h *host) losesPieces(size int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.uploads.chunk = 0
	return h.uploads.most == 0 || size <= h.uploads.most
}

// resumed notes that the host has gone on with an upload: what goes in pieces there is not lost on
// the way, whatever stands before the host.
func (h *host) resumed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.uploads.chunk = lesserBound(h.uploads.chunk, pieceSizes[0])
}

// took notes that content of the given size has arrived.
func (h *host) took(way uploadWay, size int64) {
	if size == 0 || way.splits(size) {
		return // every registry takes that so
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.uploads.takesPUT = h.uploads.takesPUT || !way.patch
	h.uploads.byPatch = way.patch && !h.uploads.takesPUT
}

// noteMost notes that bodies may not be longer than most.
func (h *host) noteMost(most int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.uploads.most == 0 || most < h.uploads.most {
		h.uploads.most = most
	}
}

// splits reports whether content of the given size goes in pieces.
func (w uploadWay) splits(size int64) bool { return w.most > 0 && size > w.most }

// after returns the way to try when the first request with content of the given size was refused,
// if there is another one.
func (w uploadWay) after(no *refusal, size int64) (next uploadWay, ok bool) {
	tooLong := no.Status == http.StatusRequestEntityTooLarge ||
		no.Status == http.StatusRequestedRangeNotSatisfiable && w.splits(size) // GHCR says so of long pieces
	if !tooLong {
		return uploadWay{patch: true, most: w.most}, !w.known && !w.patch && !w.splits(size) && mayWantPatch(no)
	}
	return w.shorter(size)
}

// shorter returns the same way in pieces that are shorter than content of the given size, and than
// those of w, if there are any.
func (w uploadWay) shorter(size int64) (next uploadWay, ok bool) {
	for _, most := range pieceSizes {
		if most < size && (w.most == 0 || most < w.most) {
			return uploadWay{w.known, w.patch, most}, true
		}
	}
	return w, false
}

// mayWantPatch reports whether a registry that does not take content in the PUT may have answered
// so: Artifactory 6 says 404, others that the method or the length is wrong, or, having ignored the
// body, that the digest is.
func mayWantPatch(no *refusal) bool {
	switch no.Status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusConflict, http.StatusLengthRequired,
		http.StatusUnsupportedMediaType, http.StatusRequestedRangeNotSatisfiable, http.StatusUnprocessableEntity, http.StatusNotImplemented:
		return !endpoint.AboutAccess(no.RegistryError)
	}
	return false
}

// laterRequest is the error of a request that follows others with content of the same blob, which
// were accepted.
type laterRequest struct{ err error }

func (e *laterRequest) Error() string { return e.err.Error() }
func (e *laterRequest) Unwrap() error { return e.err }

// lostUpload is a refusal by which an upload has come to nothing, and which says nothing against
// the blob: it can be sent again from its start.
type lostUpload struct{ err error }

func (e *lostUpload) Error() string { return e.err.Error() }
func (e *lostUpload) Unwrap() error { return e.err }

// refusedContent returns the refusal that err, of a request with content, is. One of the registry
// that the content comes from is none.
func refusedContent(err error) (*refusal, bool) {
	if _, ours := errors.AsType[*ocihttp.ContentError](err); ours {
		return nil, false
	}
	return errors.AsType[*refusal](err)
}

// orLost makes err, of a request to the location of an upload, a *lostUpload if it is one: the
// registry was restarted, or the next request came to another of its servers (404), or something is
// at the upload still (409), or it is not where it should be (416).
func orLost(err error) error {
	no, refused := refusedContent(err)
	if !refused || endpoint.AboutAccess(no.RegistryError) {
		return err
	}
	switch {
	case no.Status == http.StatusNotFound, no.Status == http.StatusConflict, no.Status == http.StatusRequestedRangeNotSatisfiable,
		no.Status == http.StatusBadRequest && (no.Has("BLOB_UPLOAD_UNKNOWN") || no.Has("BLOB_UPLOAD_INVALID")):
		return &lostUpload{err}
	}
	return err
}

// A session is an upload that has begun.
type session struct {
	location *url.URL // where the next request goes
	least    int64    // bytes of each piece but the last; 0 if the registry states none (OCI-Chunk-Min-Length)
	sent     int64    // bytes that the registry has
	memory   *memory  // of the upload; nil if it is not remembered
}

// upload sends the content of b to at. If the registry does not take it as it is sent, it finds out
// how it does, and that is remembered.
func (d *Destination) upload(ctx context.Context, b endpoint.Blob, at *session, content *earlyContent, s *sending) error {
	way := d.repo.host.uploadWay()
	memory := at.memory
	var first *refusal
	for {
		memory.begun(at.location)
		err := d.sendContent(ctx, b, at, content, way)
		if err == nil {
			d.repo.host.took(way, b.Size)
			return nil
		}
		no, refused := refusedContent(err)
		if _, later := errors.AsType[*laterRequest](err); !refused || later {
			return err
		}
		if no.Has("BLOB_UPLOAD_UNKNOWN") && !s.lost {
			s.lost = true // perhaps it was that
			return err
		}
		next, other := way.after(no, b.Size)
		busy, _ := isRetriable(no)
		switch {
		case !other && (first == nil || busy):
			return err
		case !other:
			both := fmt.Errorf("%w (and in another way: %v)", first, no) //nolint:errorlint // programs follow Unwrap, which has one way only
			if s.both {
				return both
			}
			s.both = true // the second may have had a reason of its own
			return &lostUpload{both}
		}
		if first == nil {
			first = no
		}
		if next.most != way.most {
			d.repo.host.noteMost(next.most)
		}
		way = next
		if at, _, err = d.post(ctx, "", ""); err != nil {
			return err
		}
		at.memory = memory
	}
}

// sendContent sends the content of b that at does not have yet, which it uses up, in the given way.
func (d *Destination) sendContent(ctx context.Context, b endpoint.Blob, at *session, content *earlyContent, way uploadWay) error {
	if at.sent == 0 {
		content.ready(ctx) // before this side's slot is taken: see ocihttp.HoldingSlot
	}
	rest := b.Size - at.sent
	if at.sent > 0 && rest == 0 {
		return d.endComplete(ctx, b, at, content)
	}
	if b.Size == 0 || !way.patch && !way.splits(rest) {
		return d.endUpload(ctx, b, at.rest(b, content))
	}
	p := &pieces{sent: at.sent, open: func(from int64) (io.ReadCloser, error) {
		return at.memory.open(ocihttp.HoldingSlot(ctx), content, from)
	}}
	defer p.close()
	size, numbered := rest, at.sent > 0 || way.splits(rest)
	if way.splits(rest) {
		size = max(way.most, at.least)
	}
	for first := true; first || p.sent < b.Size; first = false {
		if err := d.sendPiece(ctx, at, p, min(size, b.Size-p.sent), b.Size, numbered); err != nil && !first {
			return &laterRequest{err}
		} else if err != nil {
			return err
		}
	}
	if err := d.endUpload(ctx, b, &request{location: at.location}); err != nil {
		if no, refused := refusedContent(err); refused && saysUnlike(no) {
			d.repo.host.losesPieces(b.Size)
		}
		return &laterRequest{err}
	}
	return nil
}

// rest is the request that brings all of b that at does not have yet.
func (at *session) rest(b endpoint.Blob, content *earlyContent) *request {
	rq := &request{location: at.location, size: b.Size, body: func(ctx context.Context) (io.ReadCloser, error) {
		return at.memory.open(ctx, content, at.sent)
	}}
	if at.sent > 0 {
		rq.size = b.Size - at.sent
		rq.header = http.Header{"Content-Range": {fmt.Sprintf("%d-%d", at.sent, b.Size-1)}}
	}
	return rq
}

// sendPiece sends the next size bytes of the whole, or all that follow if size is -1, and moves at
// to where the next ones go. numbered says that they are not all of the content: a PATCH with all
// of it is best sent as docker sends it, without Content-Range.
func (d *Destination) sendPiece(ctx context.Context, at *session, p *pieces, size, whole int64, numbered bool) error {
	header := http.Header{"Content-Type": {"application/octet-stream"}}
	if numbered {
		header.Set("Content-Range", fmt.Sprintf("%d-%d", p.sent, p.sent+size-1))
	}
	resp, err := d.repo.send(ctx, &request{
		method: http.MethodPatch, location: at.location, header: header, size: size,
		body: func(ctx context.Context) (io.ReadCloser, error) {
			r, err := p.next(ctx, size)
			if err != nil {
				return nil, err
			}
			return &countedReader{r, d.stats}, nil
		},
	})
	if err != nil {
		return orLost(err)
	}
	discard(resp)
	if err := p.took(ctx, size); err != nil {
		return &lostUpload{fmt.Errorf("%s %s: %w", resp.Request.Method, ocihttp.CleanURL(resp.Request.URL), err)}
	}
	if numbered && !keptAll(resp, p.sent) && d.repo.host.losesPieces(whole) {
		return &lostUpload{fmt.Errorf("%s %s: after %d bytes the answer is %d with the range %q",
			resp.Request.Method, ocihttp.CleanURL(resp.Request.URL), p.sent, resp.StatusCode, resp.Header.Get("Range"))}
	}
	if resp.Header.Get("Location") == "" {
		return nil
	}
	if at.location, err = d.uploadLocation(resp); err == nil {
		at.memory.moved(at.location)
	}
	return err
}

// keptAll reports whether the successful answer to a PATCH with a piece does not contradict that
// the first sent bytes have arrived, and that more may come: ECR answers 201 to the first one, and
// drops the others. Some registries state the number of bytes for the last one, some nothing.
func keptAll(resp *http.Response, sent int64) bool {
	if resp.StatusCode == http.StatusCreated {
		return false
	}
	stated := resp.Header.Get("Range")
	if stated == "" {
		return true
	}
	last, ok := lastOfRange(stated)
	return ok && (last == sent-1 || last == sent)
}

// lastOfRange reads "0-LAST", which Quay writes as "bytes=0-LAST".
func lastOfRange(stated string) (last int64, ok bool) {
	stated, ok = strings.CutPrefix(strings.TrimPrefix(stated, "bytes="), "0-")
	if !ok {
		return 0, false
	}
	last, err := strconv.ParseInt(stated, 10, 64)
	return last, err == nil && last >= 0
}

// endUpload sends the PUT that ends the upload of b. rq has its location and perhaps its content.
func (d *Destination) endUpload(ctx context.Context, b endpoint.Blob, rq *request) error {
	rq.method, rq.slow = http.MethodPut, true
	rq.query = "digest=" + url.QueryEscape(b.Digest.String())
	if content := rq.body; content != nil {
		if rq.header == nil {
			rq.header = http.Header{}
		}
		rq.header.Set("Content-Type", "application/octet-stream")
		rq.body = func(ctx context.Context) (io.ReadCloser, error) {
			r, err := content(ctx)
			if err != nil {
				return nil, err
			}
			return &countedReader{r, d.stats}, nil
		}
	}
	resp, err := d.repo.send(ctx, rq)
	if err != nil {
		return orLost(err)
	}
	a := discard(resp)
	switch resp.StatusCode {
	case http.StatusCreated, http.StatusOK, http.StatusAccepted, http.StatusNoContent:
		return checkStored(a, b.Digest)
	}
	return fmt.Errorf("%s %s: unexpected status %d", resp.Request.Method, ocihttp.CleanURL(resp.Request.URL), resp.StatusCode)
}

// pieces hands out content piece by piece, each as the body of a request. A piece can be handed out
// again.
type pieces struct {
	open   func(from int64) (io.ReadCloser, error) // behind the first bytes; what it returns outlives the requests
	stream io.ReadCloser                           // nil if none is open
	at     int64                                   // how far stream was read, but for what the last piece has taken
	last   *piece                                  // that was handed out and may still be read, nil for none
	sent   int64                                   // what the registry has
}

// A piece is a part of a stream.
type piece struct {
	io.Reader
	taken  atomic.Int64
	closed chan struct{}
}

func (p *piece) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	p.taken.Add(int64(n))
	return n, err
}

// Close says that nobody reads the piece any more. The stream stays open.
func (p *piece) Close() error {
	close(p.closed)
	return nil
}

// next returns the size bytes, all if that is -1, that follow what the registry has.
func (p *pieces) next(ctx context.Context, size int64) (io.ReadCloser, error) {
	if err := p.settle(ctx); err != nil {
		return nil, err
	}
	if p.stream != nil && p.at != p.sent { // the piece before was read in vain
		_ = p.stream.Close()
		p.stream = nil
	}
	if p.stream == nil {
		stream, err := p.open(p.sent)
		if err != nil {
			return nil, err
		}
		p.stream, p.at = stream, p.sent
	}
	p.last = &piece{Reader: p.stream, closed: make(chan struct{})}
	if size >= 0 {
		p.last.Reader = io.LimitReader(p.stream, size)
	}
	return p.last, nil
}

// settle waits until the last piece is not read any more.
func (p *pieces) settle(ctx context.Context) error {
	if p.last == nil {
		return nil
	}
	select {
	case <-p.last.closed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	p.at += p.last.taken.Load()
	p.last = nil
	return nil
}

// took notes that the registry has the last piece, of the given size.
func (p *pieces) took(ctx context.Context, size int64) error {
	if err := p.settle(ctx); err != nil {
		return err
	}
	if size >= 0 && p.at != p.sent+size {
		return fmt.Errorf("answered after %d of %d bytes", p.at-p.sent, size)
	}
	p.sent = p.at
	return nil
}

// close closes what is open, once nobody reads it.
func (p *pieces) close() {
	if p.stream == nil {
		return
	}
	go func(stream io.Closer, last *piece) {
		if last != nil {
			<-last.closed
		}
		_ = stream.Close()
	}(p.stream, p.last)
}
