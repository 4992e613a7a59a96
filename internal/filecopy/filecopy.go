// Package filecopy copies parts of regular files, and leaves to the system how: a file system may
// let two files share what they have in common, or copy it without handing it out. What the system
// does not do is read and written.
package filecopy

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
)

// A Part is a part of a regular file.
type Part struct {
	File         *os.File
	Offset, Size int64
}

// IsWhole reports whether the part is all that its file has.
func (p Part) IsWhole() bool {
	info, err := p.File.Stat()
	return err == nil && p.Offset == 0 && info.Size() == p.Size
}

// A WriteError is what failed about the new file.
type WriteError struct{ Err error }

func (e *WriteError) Error() string { return e.Err.Error() }
func (e *WriteError) Unwrap() error { return e.Err }

// Of what is copied at once: by the system, few enough bytes to end soon when that is wanted; and
// where they pass through memory.
const (
	piece      = 8 << 20
	bufferSize = 256 << 10
)

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// A Copy copies a Part into a file, which is its own only once all was copied. Its methods must not
// be called concurrently.
type Copy struct {
	ctx    context.Context
	from   Part
	to     *os.File
	shared bool // to has everything already
	byHand bool // the system does not copy from one file to the other
	done   int64
	tell   func(done int64)
}

// New begins to copy from into to, an empty file that is open for reading and writing. Both stay
// the caller's. What is copied after the end of ctx fails. tell is told how many bytes were copied,
// again and again.
func New(ctx context.Context, to *os.File, from Part, tell func(done int64)) *Copy {
	return &Copy{ctx: ctx, from: from, to: to, shared: share(to, from), tell: tell}
}

// share lets to have what from has, without copying, and reports whether it does.
func share(to *os.File, from Part) bool {
	if !from.IsWhole() || clone(to, from.File) != nil {
		return false
	}
	if (Part{to, 0, from.Size}).IsWhole() { // from may have grown
		return true
	}
	_ = to.Truncate(0) // what fails about the file, writing it says
	return false
}

// Read copies what comes next, and hands out what the new file has then, whatever becomes of the
// old one. An old file that ends before the part does is an io.ErrUnexpectedEOF. What fails about
// the new file is a *WriteError.
func (c *Copy) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := c.move(len(p))
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return c.pass(p)
	}
	if _, err := c.to.ReadAt(p[:n], c.done); err != nil {
		return 0, &WriteError{whole(err)}
	}
	c.advance(n)
	return n, nil
}

func (c *Copy) advance(n int) {
	c.done += int64(n)
	c.tell(c.done)
}

// whole is err where what was read should have been there.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// All copies what is left. For errors see Read.
func (c *Copy) All() error {
	buffer := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buffer)
	for {
		n, err := c.move(piece)
		if n > 0 {
			c.advance(n)
		} else if err == nil {
			_, err = c.pass(buffer[:])
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// move has the system copy at most that many of the bytes that come next, and returns how many
// there are in the new file now; 0 if the system does not do that. The error is io.EOF at the end.
func (c *Copy) move(most int) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	rest := c.from.Size - c.done
	if rest == 0 {
		return 0, io.EOF
	}
	most = int(min(int64(most), rest))
	if c.shared {
		return most, nil
	}
	if !c.byHand {
		if n, err := copyRange(c.to, c.done, c.from.File, c.from.Offset+c.done, most); n > 0 && err == nil {
			return n, nil
		}
		c.byHand = true // if there is more to it, reading or writing fails, too, and says which
	}
	return 0, nil
}

// pass copies at most len(p) of the bytes that come next, of which there are some, through p.
func (c *Copy) pass(p []byte) (int, error) {
	p = p[:min(int64(len(p)), c.from.Size-c.done)]
	n, err := c.from.File.ReadAt(p, c.from.Offset+c.done)
	if n == 0 {
		return 0, whole(err)
	}
	if _, err := c.to.WriteAt(p[:n], c.done); err != nil {
		return 0, &WriteError{err}
	}
	c.advance(n)
	return n, nil
}

// Drain reads r to its end, in large pieces.
func Drain(r io.Reader) error {
	buffer := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buffer)
	for {
		_, err := r.Read(buffer[:])
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
