package imagetest

import (
	"archive/tar"
	"compress/gzip"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
)

// An encoding is what a layer's tar archive is wrapped in.
type encoding string

const (
	gzipped encoding = ""
	plain   encoding = "plain"
	zstd    encoding = "zstd"
)

// A tarFile is a regular file with the given text, or with random content.
type tarFile struct {
	path   string
	text   string
	size   int64
	random bool
	seed   uint64
}

func (t tarFile) content() io.Reader {
	if !t.random {
		return strings.NewReader(t.text)
	}
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], t.seed)
	return rand.NewChaCha8(seed)
}

// measure returns the size and digest of a layer, and the digest of its tar archive.
func measure(files []tarFile, as encoding) (size int64, d, diffID digest.Digest, err error) {
	var counter counter
	whole, archive := digest.SHA256.Digester(), digest.SHA256.Digester()
	err = writeLayer(io.MultiWriter(&counter, whole.Hash()), archive.Hash(), files, as)
	return counter.n, whole.Digest(), archive.Digest(), err
}

// gzipWriters are for one layer after another: to make one costs more than to write a small layer.
var gzipWriters = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(io.Discard, gzip.NoCompression)
	if err != nil {
		panic(err) // there is such a level
	}
	return w
}}

// writeLayer writes a layer to w, and its tar archive to archive as well.
func writeLayer(w, archive io.Writer, files []tarFile, as encoding) error {
	var frame io.WriteCloser
	switch as {
	case plain:
		frame = nopCloser{w}
	case zstd:
		frame = &zstdWriter{w: w}
	default:
		stored := gzipWriters.Get().(*gzip.Writer)
		defer gzipWriters.Put(stored)
		stored.Reset(w)
		frame = stored
	}
	if err := writeTar(io.MultiWriter(frame, archive), files); err != nil {
		return err
	}
	return frame.Close()
}

// writeTar writes an archive whose bytes depend on nothing but the files.
func writeTar(w io.Writer, files []tarFile) error {
	tw := tar.NewWriter(w)
	for _, file := range files {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: file.path, Size: file.size, Mode: 0o644, Format: tar.FormatUSTAR}
		if err := tw.WriteHeader(header); err != nil {
			return err
		}
		if _, err := io.CopyN(tw, file.content(), file.size); err != nil {
			return err
		}
	}
	return tw.Close()
}

// zstdBlock is the largest content of a block (RFC 8878, section 3.1.1.2.4), and the window that
// zstdWriter declares.
const zstdBlock = 128 << 10

// A zstdWriter writes a zstd frame of raw blocks (RFC 8878, section 3.1.1): no compressor is needed
// for that.
type zstdWriter struct {
	w       io.Writer
	started bool
	buf     []byte // of the next block; a full one waits until it is known whether it is the last
}

func (z *zstdWriter) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		if len(z.buf) == zstdBlock {
			if err := z.flush(false); err != nil {
				return written, err
			}
		}
		n := min(len(p), zstdBlock-len(z.buf))
		z.buf = append(z.buf, p[:n]...)
		p = p[n:]
		written += n
	}
	return written, nil
}

func (z *zstdWriter) Close() error { return z.flush(true) }

func (z *zstdWriter) flush(last bool) error {
	var head []byte
	if !z.started {
		z.started = true
		head = append(head, 0x28, 0xb5, 0x2f, 0xfd) // magic number
		head = append(head, 0x00)                   // neither content size nor checksum nor dictionary
		head = append(head, 7<<3)                   // window of 2^(10+7) bytes
	}
	block := uint32(len(z.buf)) << 3 // type 0: raw
	if last {
		block |= 1
	}
	head = append(head, byte(block), byte(block>>8), byte(block>>16))
	if _, err := z.w.Write(head); err != nil {
		return err
	}
	_, err := z.w.Write(z.buf)
	z.buf = z.buf[:0]
	return err
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// counter counts what is written to it.
type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}
