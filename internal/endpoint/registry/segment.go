package registry

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// A segment is a part of a blob that is fetched while what comes before it is read. One goroutine
// fills it, and another reads it.
type segment struct {
	start, end int64 // in the blob
	buf        []byte
	cancel     context.CancelFunc // ends filling it
	took       time.Duration      // from the answer to the last byte; once it has ended, 0 if it is not full

	mu     sync.Mutex
	moved  *sync.Cond // with mu
	filled int        // bytes of buf; guarded by mu
	ended  bool       // nothing comes any more; guarded by mu
	err    error      // why it has ended before it was full; guarded by mu
	told   bool       // seen has said so; guarded by mu
	began  time.Time  // when the answer came, zero before; guarded by mu
}

// newSegment makes a segment that is to be filled into buf, which is long enough, until cancel is
// called.
func newSegment(start, end int64, buf []byte, cancel context.CancelFunc) *segment {
	s := &segment{start: start, end: end, buf: buf, cancel: cancel}
	s.moved = sync.NewCond(&s.mu)
	return s
}

// answered notes when the answer came that brings s.
func (s *segment) answered(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.began = at
}

// lasts is how long s has been coming by now, 0 if it has ended, or not begun.
func (s *segment) lasts(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.began.IsZero() {
		return 0
	}
	return now.Sub(s.began)
}

// fill reads all of s from body, and tells got how many bytes each Read has brought.
func (s *segment) fill(body io.Reader, got func(n int)) error {
	size := int(s.end - s.start)
	for at := 0; at < size; {
		n, err := body.Read(s.buf[at:min(size, at+readSize)])
		at += n
		got(n)
		s.mu.Lock()
		s.filled = at
		s.moved.Signal()
		s.mu.Unlock()
		if err != nil && at < size {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// readSize bounds how much is read into a segment before its reader gets it.
const readSize = 256 << 10

// finish notes that nothing comes any more, because s is full if err is nil.
func (s *segment) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended, s.err = true, err
	s.moved.Signal()
}

// read copies bytes from the offset in the blob on into p, and waits until there are some. It
// returns 0 if none will come.
func (s *segment) read(p []byte, offset int64) int {
	at := int(offset - s.start)
	s.mu.Lock()
	for s.filled <= at && !s.ended {
		s.moved.Wait()
	}
	filled := s.filled
	s.mu.Unlock()
	return copy(p, s.buf[at:filled])
}

// wait waits until s has ended.
func (s *segment) wait() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.ended {
		s.moved.Wait()
	}
}

// state is how far s has come.
func (s *segment) state() (filled int, ended bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.filled, s.ended, s.err
}

// seen returns how s has ended, and reports whether it has since seen was called last.
func (s *segment) seen() (err error, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended || s.told {
		return nil, false
	}
	s.told = true
	return s.err, true
}

// segmentBuffers is the memory for the segments of all blobs that are read at the same time. The
// zero value is to be used.
type segmentBuffers struct {
	mu   sync.Mutex
	used int64     // bytes; guarded by mu
	free sync.Pool // of *[]byte
}

// get returns memory for a segment, nil if so much is in use already that there is none.
func (b *segmentBuffers) get(r *ranging) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used+r.segment > r.memory {
		return nil
	}
	b.used += r.segment
	if buf, ok := b.free.Get().(*[]byte); ok {
		return *buf
	}
	return make([]byte, r.segment)
}

// put gives back what get has returned.
func (b *segmentBuffers) put(buf []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= int64(len(buf))
	b.free.Put(&buf)
}
