package endpoint

import (
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
)

// Verified takes source over, the content of b, and returns a reader of the same that fails instead
// of handing out the last bytes of what does not match the digest and size of b: nobody can mistake
// what was read before for the blob. The chunk that completes the size is judged before it is
// handed out.
//
// read, if not nil, is told how many bytes each Read has got. Errors are as fail makes them.
func Verified(source io.ReadCloser, b Blob, read func(n int), fail func(error) error) io.ReadCloser {
	return &verifier{source: source, blob: b, digester: b.Digest.Verifier(), tell: read, failed: fail}
}

type verifier struct {
	source   io.ReadCloser
	blob     Blob
	digester digest.Verifier
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
	n, err := v.source.Read(p)
	v.read += int64(n)
	_, _ = v.digester.Write(p[:n]) // a hash never fails
	if v.tell != nil {
		v.tell(n)
	}
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

// expectEnd reads what follows the last byte that the manifest states: nothing, so that it returns
// io.EOF.
func (v *verifier) expectEnd() error {
	for range 100 { // as io.ErrNoProgress is for others
		n, err := v.source.Read(v.one[:])
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
	if !v.digester.Verified() {
		return 0, v.fail(fmt.Errorf("its content does not match the digest"))
	}
	v.err = io.EOF
	return n, io.EOF
}

func (v *verifier) fail(err error) error {
	v.err = v.failed(err)
	return v.err
}
