package registrytest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Content is what a blob holds. Copies share the bytes. A copy whose Digest or Size was changed
// makes a blob that lies: with another digest than its bytes have, or one whose download breaks off
// because there are less bytes than it says.
type Content struct {
	Digest digest.Digest
	Size   int64
	at     io.ReaderAt // nil if the bytes were thrown away
}

// Bytes is b as content. b must not be modified afterwards.
func Bytes(b []byte) Content {
	return Content{Digest: digest.FromBytes(b), Size: int64(len(b)), at: bytes.NewReader(b)}
}

// Seeded is content of the given size that depends on seed and offset only and takes no memory: the
// same seed gives the same bytes, and a larger size only more of them. It looks random, but repeats
// itself: compressed, it shrinks. Seeded reads all of it once, to know the digest: keep the result
// and put it into as many repositories as needed.
func Seeded(seed uint64, size int64) Content {
	at := seeded{seed: seed, size: size}
	d, err := digest.FromReader(io.NewSectionReader(at, 0, size))
	if err != nil {
		panic(err) // it has no source of errors
	}
	return Content{Digest: d, Size: size, at: at}
}

// Reader reads the content from its start. If the bytes were thrown away, all reads fail.
func (c Content) Reader() *io.SectionReader {
	at := c.at
	if at == nil {
		at = discarded{}
	}
	return io.NewSectionReader(at, 0, c.Size)
}

// discarded is the content of blobs of which only digest and size are kept.
type discarded struct{}

func (discarded) ReadAt([]byte, int64) (int, error) {
	return 0, errors.New("the content of this blob was not kept")
}

const (
	seededPage = 4096     // a page is a header of 16 bytes, seed and page number, and then a part of the noise
	noiseSize  = 64 << 10 // a power of two
)

// noise is what pages are filled from: copying is much cheaper than computing.
var noise = sync.OnceValue(func() []byte {
	b := make([]byte, noiseSize+seededPage)
	r := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b
})

type seeded struct {
	seed uint64
	size int64
}

// ReadAt implements io.ReaderAt.
func (s seeded) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	n := 0
	for n < len(p) && off < s.size {
		want := min(int64(len(p)-n), s.size-off)
		m := s.readPage(p[n:n+int(want)], uint64(off/seededPage), int(off%seededPage))
		n += m
		off += int64(m)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readPage copies from the given page, starting at from, and returns how much.
func (s seeded) readPage(p []byte, page uint64, from int) int {
	var header [16]byte
	binary.LittleEndian.PutUint64(header[:], s.seed)
	binary.LittleEndian.PutUint64(header[8:], page)
	n := 0
	if from < len(header) {
		n = copy(p, header[from:])
		from += n
	}
	start := int((page*31+s.seed*17)%(noiseSize/8)) * 8
	return n + copy(p[n:], noise()[start+from:start+seededPage])
}
