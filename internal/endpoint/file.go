package endpoint

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/sparsecopy/sparsecopy/internal/filecopy"
)

// A Filed is the content of a blob, nothing of which was read, that may be in a regular file.
type Filed interface {
	// File returns where the content is, for as long as that is open; false if it is in no regular
	// file.
	File() (File, bool)
}

// A File is where the content of a blob is.
type File struct {
	filecopy.Part
	// Trusted is set if nobody wants to know whether it has the digest of the blob.
	Trusted bool
}

// A BlobFile is a blob as a file has it, for a Destination that stores blobs in files. It is used
// once, in place of the reader that it belongs to. Its errors are those of that reader, but for
// what is wrong with the destination's own file.
type BlobFile struct {
	v    *verifier
	file File
}

// FileOf returns the file behind r, a reader of an Opener from which nothing was read; nil if there
// is none, or one that has not the size of the blob: then reading says what is wrong.
func FileOf(r io.Reader) *BlobFile {
	v, ok := r.(*verifier)
	if !ok || v.read > 0 {
		return nil
	}
	filed, ok := v.source.(Filed)
	if !ok {
		return nil
	}
	file, ok := filed.File()
	if !ok || v.blob.Size >= 0 && v.blob.Size != file.Size {
		return nil
	}
	file.Trusted = file.Trusted && v.blob.Size >= 0
	return &BlobFile{v, file}
}

// CopyTo makes the blob the content of to, an empty file that is open for reading and writing, as
// the system does it best, and tells written, again and again, how much of it is there. What is
// verified is what to has in the end. On error that may be anything.
func (f *BlobFile) CopyTo(ctx context.Context, to *os.File, written func(int64)) error {
	var err error
	if f.file.Trusted {
		err = filecopy.New(ctx, to, f.file.Part, f.telling(written)).All()
	} else {
		f.v.content = filecopy.New(ctx, to, f.file.Part, written)
		err = filecopy.Drain(f.v)
	}
	if failed, ok := errors.AsType[*filecopy.WriteError](err); ok {
		return failed.Err
	}
	if err != nil && f.file.Trusted {
		return f.v.fail(err)
	}
	return err
}

// telling returns what tells written, and whoever wants to know how much was read.
func (f *BlobFile) telling(written func(int64)) func(int64) {
	var told int64
	return func(done int64) {
		written(done)
		f.v.toldAll(done - told)
		told = done
	}
}

// Whole returns the file if the blob is all that it has, for whoever gives it another name; nil
// otherwise.
func (f *BlobFile) Whole() *os.File {
	if f.file.IsWhole() {
		return f.file.File
	}
	return nil
}

// Verify reads the blob where it is, unless it is trusted.
func (f *BlobFile) Verify() error {
	if !f.file.Trusted {
		return filecopy.Drain(f.v)
	}
	f.v.toldAll(f.file.Size)
	return nil
}
