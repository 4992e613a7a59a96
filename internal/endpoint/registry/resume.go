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
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
	"github.com/sparsecopy/sparsecopy/internal/unfinished"
)

// noteEach is how many bytes lie between two points of an upload that are remembered. Blobs that
// are not larger are not remembered.
var noteEach int64 = 8 << 20

// LowerNotes makes so many bytes lie between two points of an upload that are remembered. It is for
// tests that cannot wait for large blobs, which call it before anything else of this package is in
// use.
func LowerNotes(each int64) { noteEach = each }

// A memory notes how far the upload of one blob has come, for whoever goes on with it. nil notes
// nothing.
type memory struct {
	mu     sync.Mutex
	upload *unfinished.Upload // nil after release; guarded by mu
	state  unfinished.State   // without a location if there is no upload; guarded by mu
}

// remember returns the memory of the upload of b, nil if it is not to be remembered, or somebody
// else is at it.
func (d *Destination) remember(b endpoint.Blob) *memory {
	if d.shared.Unfinished == nil || b.Size <= noteEach {
		return nil
	}
	upload, err := d.shared.Unfinished.Take(unfinished.Key{Registry: d.repo.host.Name, Repository: d.repo.name, Digest: b.Digest})
	switch {
	case errors.Is(err, unfinished.ErrBusy):
		return nil
	case err != nil:
		if text := err.Error(); d.repo.host.firstWarning(text) {
			logrus.Warnf("Uploads to %s are not remembered: %s", d.repo.host.Name, text)
		}
		return nil
	}
	m := &memory{upload: upload}
	m.state, _ = upload.State()
	return m
}

// release lets others go on with the upload.
func (m *memory) release() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.upload.Release()
	m.upload = nil
}

// remembers reports whether there is an upload that may go on.
func (m *memory) remembers() bool { return m != nil && m.location() != "" }

// location is where the upload goes on, "" if there is none.
func (m *memory) location() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Location
}

// before is the last place that is known up to an offset; the zero value is the start.
func (m *memory) before(offset int64) endpoint.Checkpoint {
	if m == nil {
		return endpoint.Checkpoint{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return endpoint.Checkpoint(m.state.Before(offset))
}

// forget removes what was noted.
func (m *memory) forget() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = unfinished.State{}
	m.upload.Forget()
}

// begun notes that a new upload goes on at location.
func (m *memory) begun(location *url.URL) {
	m.forget()
	m.moved(location)
}

// moved notes that the upload goes on at location.
func (m *memory) moved(location *url.URL) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.Location = location.String()
	if len(m.state.Points) > 0 {
		m.save()
	}
}

// passed notes a place that the content was read up to.
func (m *memory) passed(c endpoint.Checkpoint) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.state.Points); m.state.Location == "" || n > 0 && m.state.Points[n-1].Offset >= c.Offset {
		return
	}
	m.state.Points = append(m.state.Points, unfinished.Point(c))
	m.save()
}

// save writes what was noted. m.mu is held.
func (m *memory) save() {
	if m.upload == nil {
		return
	}
	if err := m.upload.Save(m.state); err != nil {
		logrus.Debugf("Remembering an upload: %v", err)
	}
}

// ended forgets an upload that has ended with err, unless it may go on.
func (m *memory) ended(ctx context.Context, err error) {
	_, ours := errors.AsType[*ocihttp.ContentError](err)
	if err == nil || !ours && !mayGoOn(ctx, err) {
		m.forget()
	}
}

// mayGoOn reports whether err says that an upload has ended before anybody could say anything
// against it: neither the registry, unless it only has too much to do, nor whoever verifies the
// content.
func mayGoOn(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return true
	}
	if _, ours := errors.AsType[*ocihttp.ContentError](err); ours {
		return false
	}
	_, silent := errors.AsType[*ocihttp.TransportError](err)
	_, lost := errors.AsType[*lostUpload](err)
	passes, _ := isRetriable(err)
	return silent || passes && !lost
}

// tooLong reports whether err says that the first request of several, or the only one, was too
// long.
func tooLong(err error) bool {
	no, refused := refusedContent(err)
	_, later := errors.AsType[*laterRequest](err)
	return refused && !later && no.Status == http.StatusRequestEntityTooLarge
}

// goOn sends what the registry lacks of b, if m remembers an upload of it, and reports whether that
// is the end of the attempt, with its error. It is not if the registry, or whoever verifies the
// content, does not like it: the upload begins anew.
func (d *Destination) goOn(ctx context.Context, b endpoint.Blob, m *memory, content *earlyContent, s *sending) (done bool, err error) {
	for m.remembers() {
		at, err := d.resume(ctx, b, m, s)
		if err == nil {
			err = d.sendRest(ctx, b, at, content)
		}
		switch {
		case err == nil:
			m.forget()
			d.stats.resumed.Add(1)
			d.repo.host.resumed()
			return true, nil
		case at != nil && mayGoOn(ctx, err), ctx.Err() != nil:
			return true, err
		}
		if _, lost := errors.AsType[*lostUpload](err); at == nil || !lost {
			m.forget()
			d.stats.begunAnew.Add(1)
		}
		logrus.Debugf("The upload of blob %s does not go on: %v", b.Digest, err)
	}
	return false, nil
}

// sendRest sends what at does not have of b.
func (d *Destination) sendRest(ctx context.Context, b endpoint.Blob, at *session, content *earlyContent) error {
	way := d.repo.host.uploadWay()
	way.patch = way.patch || !way.known // which every registry takes that resumes, and answers with how far it is
	err := d.sendContent(ctx, b, at, content, way)
	for tooLong(err) {
		shorter, ok := way.shorter(b.Size - at.sent)
		if !ok {
			break
		}
		way = shorter
		d.repo.host.noteMost(way.most)
		err = d.sendContent(ctx, b, at, content, way)
	}
	return err
}

// maxStuck is how often an upload is resumed where it was resumed before.
const maxStuck = 1

// resume returns the upload of b that m remembers, if the registry has some of it still. Any doubt
// about that is an error.
func (d *Destination) resume(ctx context.Context, b endpoint.Blob, m *memory, s *sending) (*session, error) {
	at, err := d.uploadStatus(ctx, m.location())
	if err != nil {
		return nil, err
	}
	if at.sent > s.resumedAt {
		s.resumedAt, s.stuck = at.sent, 0
	} else if s.stuck++; s.stuck > maxStuck {
		return nil, fmt.Errorf("the registry has no more than %d bytes again", at.sent)
	}
	if at.sent > b.Size {
		return nil, fmt.Errorf("the registry has %d bytes of %d", at.sent, b.Size)
	}
	at.memory = m
	m.moved(at.location)
	logrus.Debugf("The upload of blob %s goes on after %d of %d bytes", b.Digest, at.sent, b.Size)
	return at, nil
}

// uploadStatus asks how the upload at location goes on. Registries that keep its state in the
// location (distribution) want the rest where this answer says.
func (d *Destination) uploadStatus(ctx context.Context, location string) (*session, error) {
	saved, err := url.Parse(location)
	if err != nil {
		return nil, errors.New("its location is no URL")
	}
	rt := d.shared.newRetrier()
	rt.policy.Attempts = min(rt.policy.Attempts, attemptsOfOneOfSeveral)
	var resp *http.Response
	err = d.repo.retry(ctx, rt, func() error {
		answer, err := d.repo.send(ctx, &request{method: http.MethodGet, location: saved})
		if err != nil {
			return orLost(err) // it may be at what has come last
		}
		discard(answer)
		resp = answer
		return nil
	})
	if err != nil {
		return nil, err
	}
	at, err := d.uploadLocation(resp)
	if err != nil {
		return nil, err
	}
	if at.Scheme != saved.Scheme || !strings.EqualFold(at.Host, saved.Host) {
		return nil, errors.New("it has moved to another host")
	}
	last, ok := lastOfRange(resp.Header.Get("Range"))
	if !ok || last == 0 { // "0-0" is nothing, or one byte
		return nil, errors.New("the registry has nothing of it")
	}
	return &session{location: at, least: leastChunk(resp), sent: last + 1}, nil
}

// endComplete ends an upload of which the registry has everything, once the content is verified:
// the process that has sent it may not have come so far.
func (d *Destination) endComplete(ctx context.Context, b endpoint.Blob, at *session, content *earlyContent) error {
	stream, err := at.memory.open(ctx, content, b.Size)
	if err != nil {
		return err
	}
	_ = stream.Close()
	return d.endUpload(ctx, b, &request{location: at.location})
}

// leastChunk is how many bytes each piece but the last must have; 0 if the answer says nothing.
func leastChunk(resp *http.Response) int64 {
	least, _ := strconv.ParseInt(resp.Header.Get("OCI-Chunk-Min-Length"), 10, 64)
	return least
}

// open returns the content of a blob behind its first from bytes, of which m notes how far it is
// read.
func (m *memory) open(ctx context.Context, content *earlyContent, from int64) (io.ReadCloser, error) {
	point := m.before(from)
	if point.Offset > 0 {
		ctx = endpoint.BeforeSkip(ctx)
	}
	stream, err := content.take(ctx)
	if err != nil {
		return nil, err
	}
	if err := skip(stream, point, from); err != nil {
		_ = stream.Close()
		return nil, err
	}
	resumable, ok := stream.(endpoint.Resumable)
	if m == nil || !ok {
		return stream, nil
	}
	return &notingReader{Resumable: resumable, memory: m, read: from, next: afterNote(from)}, nil
}

// skip passes over the first bytes of a stream, those before point without reading them, if it can.
func skip(stream io.Reader, point endpoint.Checkpoint, bytes int64) error {
	passed := int64(0)
	if resumable, ok := stream.(endpoint.Resumable); ok && point.Offset > 0 {
		if err := resumable.SkipTo(point); err != nil {
			return err
		}
		passed = point.Offset
	}
	_, err := io.CopyN(io.Discard, stream, bytes-passed)
	return err
}

// afterNote is where the next point after an offset is due: at a multiple of noteEach, so that what
// Reads return beyond it does not add up.
func afterNote(offset int64) int64 { return offset - offset%noteEach + noteEach }

// A notingReader notes how far a blob was read.
type notingReader struct {
	endpoint.Resumable
	memory     *memory
	read, next int64
}

func (r *notingReader) Read(p []byte) (int, error) {
	n, err := r.Resumable.Read(p)
	r.read += int64(n)
	if err != nil || r.read < r.next {
		return n, err
	}
	r.next = afterNote(r.read)
	if c, err := r.Checkpoint(); err == nil {
		r.memory.passed(c)
	}
	return n, nil
}
