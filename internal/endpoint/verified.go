package endpoint

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
)

// A Checkpoint is a place in a blob, and what a reader has to know to go on from there.
type Checkpoint struct {
	Offset int64  // bytes before it
	Hash   []byte // state of the hash of these, as encoding.BinaryMarshaler writes it
}

// A Resumable is a reader of a blob that can begin at a Checkpoint of another reader of the same
// blob, of another process perhaps. Readers of Openers are Resumable where they can be.
type Resumable interface {
	io.ReadCloser
	// Checkpoint returns the place behind what Read has returned so far. It may not be called while
	// Read is.
	Checkpoint() (Checkpoint, error)
	// SkipTo makes the reader, of which nothing was read, begin at c, which Checkpoint has
	// returned. If that fails, the reader is of no use any more.
	SkipTo(c Checkpoint) error
}

type skipKey struct{}

// BeforeSkip marks the context of an Opener whose reader will be told to SkipTo somewhere before
// anything is read: it need not ask anybody for what comes before.
func BeforeSkip(ctx context.Context) context.Context {
	return context.WithValue(ctx, skipKey{}, true)
}

// WillSkip reports whether ctx is marked by BeforeSkip.
func WillSkip(ctx context.Context) bool { return ctx.Value(skipKey{}) != nil }

// A Skipper is a reader, of which nothing was read, that can begin at an offset without reading
// what comes before. If that fails, it is of no use any more.
type Skipper interface {
	SkipTo(offset int64) error
}

// Verified takes source over, the content of b, and returns a reader of the same that fails instead
// of handing out the last bytes of what does not match the digest and size of b: nobody can mistake
// what was read before for the blob. The chunk that completes the size is judged before it is
// handed out. The reader is Resumable.
//
// If source is a Doubter, and what was read has another digest, then it is told so, and the error
// wraps ErrReadAgain if it says that another attempt may bring the blob.
//
// read, if not nil, is told how many bytes each Read has got. Errors are as fail makes them.
func Verified(source io.ReadCloser, b Blob, read func(n int), fail func(error) error) io.ReadCloser {
	return &verifier{source: source, content: source, blob: b, digester: b.Digest.Algorithm().Hash(), tell: read, failed: fail}
}

// A Doubter is the content of a blob that may have come in a way that has damaged it.
type Doubter interface {
	// Doubt notes that what was read is not the blob, and reports whether the blob will be read in
	// another way when it is opened again.
	Doubt() bool
}

// ErrReadAgain says that content was not what it should be, and that it is to be opened once more,
// as it will be read in another way.
var ErrReadAgain = errors.New("it is worth reading it again in another way")

// Twice calls put, which reads content, and once more if what it has read is to be read again.
func Twice(put func() error) error {
	err := put()
	if errors.Is(err, ErrReadAgain) {
		return put()
	}
	return err
}

type verifier struct {
	source   io.ReadCloser
	content  io.Reader // what is read: source, or what source is copied to
	blob     Blob
	digester hash.Hash
	read     int64
	tell     func(n int)
	failed   func(error) error
	one      [1]byte
	err      error // sticky
}

func (v *verifier) Close() error { return v.source.Close() }

func (v *verifier) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := v.content.Read(p)
	v.read += int64(n)
	_, _ = v.digester.Write(p[:n]) // a hash never fails
	v.told(n)
	switch {
	case v.blob.Size >= 0 && v.read > v.blob.Size:
		return 0, v.fail(fmt.Errorf("it is longer than the %d bytes that its manifest states", v.blob.Size))
	case v.blob.Size >= 0 && v.read == v.blob.Size && err == nil:
		err = v.expectEnd()
	}
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		return v.end(n)
	}
	return 0, v.fail(err)
}

func (v *verifier) told(n int) {
	if v.tell != nil {
		v.tell(n)
	}
}

// toldAll is told for what an int may not hold.
func (v *verifier) toldAll(bytes int64) {
	const most = 1 << 30
	for ; bytes > 0; bytes -= most {
		v.told(int(min(bytes, most)))
	}
}

func (v *verifier) Checkpoint() (Checkpoint, error) {
	state, ok := v.digester.(encoding.BinaryMarshaler)
	if !ok {
		return Checkpoint{}, fmt.Errorf("the state of %s cannot be kept", v.blob.Digest.Algorithm())
	}
	kept, err := state.MarshalBinary()
	return Checkpoint{Offset: v.read, Hash: kept}, err
}

func (v *verifier) SkipTo(c Checkpoint) error {
	source, skips := v.source.(Skipper)
	if !skips {
		_, err := io.CopyN(io.Discard, v, c.Offset)
		return err
	}
	state, ok := v.digester.(encoding.BinaryUnmarshaler)
	if !ok {
		return v.fail(fmt.Errorf("the state of %s cannot be kept", v.blob.Digest.Algorithm()))
	}
	if err := state.UnmarshalBinary(c.Hash); err != nil {
		return v.fail(err)
	}
	if err := source.SkipTo(c.Offset); err != nil {
		return v.fail(err)
	}
	v.read = c.Offset
	v.toldAll(c.Offset)
	return nil
}

// expectEnd reads what follows the last byte that the manifest states: nothing, so that it returns
// io.EOF.
func (v *verifier) expectEnd() error {
	for range 100 { // as io.ErrNoProgress is for others
		n, err := v.content.Read(v.one[:])
		if n > 0 {
			return fmt.Errorf("it is longer than the %d bytes that its manifest states", v.blob.Size)
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// end judges the blob, n bytes of which are still to be handed out.
func (v *verifier) end(n int) (int, error) {
	if v.blob.Size >= 0 && v.read < v.blob.Size {
		return 0, v.fail(fmt.Errorf("it ends after %d of the %d bytes that its manifest states: %w", v.read, v.blob.Size, io.ErrUnexpectedEOF))
	}
	if digest.NewDigest(v.blob.Digest.Algorithm(), v.digester) != v.blob.Digest {
		return 0, v.fail(Mismatched(v.source))
	}
	v.err = io.EOF
	return n, io.EOF
}

// Mismatched is the error of content, all of which was read, that has another digest than the blob
// it should be. It wraps ErrReadAgain if content is a Doubter that says so.
func Mismatched(content any) error {
	doubter, ok := content.(Doubter)
	return &mismatchError{again: ok && doubter.Doubt()}
}

type mismatchError struct{ again bool }

func (e *mismatchError) Error() string        { return "its content does not match the digest" }
func (e *mismatchError) Is(target error) bool { return target == ErrReadAgain && e.again }

func (v *verifier) fail(err error) error {
	v.err = v.failed(err)
	return v.err
}
