package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
)

// orphanAge is how old an orphan must be to be reported: a push stores the content first, and makes
// it part of a repository later.
const orphanAge = time.Hour

// An inventory is what the storage has. Its methods may run concurrently.
type inventory struct {
	mu         sync.Mutex
	contents   map[digest.Digest]content             // guarded by mu
	altered    map[digest.Digest]digest.Digest       // to what; guarded by mu
	unreadable map[digest.Digest]error               // why; guarded by mu
	users      map[digest.Digest]map[string]struct{} // repositories that have what is altered or unreadable; guarded by mu
	read       int64                                 // bytes; guarded by mu
}

// content is what is known of a content of the storage.
type content struct {
	size   int64
	recent bool // too recent to be an orphan
	linked bool // a repository has it
}

func newInventory() *inventory {
	return &inventory{
		contents: map[digest.Digest]content{}, altered: map[digest.Digest]digest.Digest{},
		unreadable: map[digest.Digest]error{}, users: map[digest.Digest]map[string]struct{}{},
	}
}

// takeInventory notes all contents of the storage, and hashes them unless it is told not to.
func (c *checker) takeInventory(ctx context.Context) error {
	return c.readMany(ctx, func(ctx context.Context, start func(func() error)) error {
		return c.store.Blobs(ctx, func(b registrystore.Blob) error {
			c.inventory.add(b, c.begun.Add(-orphanAge))
			if !c.options.SkipContent {
				start(func() error { return c.verify(ctx, b.Digest) })
			}
			return nil
		})
	})
}

func (i *inventory) add(b registrystore.Blob, settled time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.contents[b.Digest] = content{size: b.Size, recent: b.Modified.After(settled)}
}

// verify hashes a content, and notes what is wrong with it. It fails only when ctx ends.
func (c *checker) verify(ctx context.Context, d digest.Digest) error {
	actual, n, err := c.hash(ctx, d, d.Algorithm())
	if err := ctx.Err(); err != nil {
		return err
	}
	c.inventory.note(d, actual, n, err)
	return nil
}

// hash reads a content and returns its digest, and how many bytes it has.
func (c *checker) hash(ctx context.Context, d digest.Digest, algorithm digest.Algorithm) (digest.Digest, int64, error) {
	r, err := c.store.OpenBlob(ctx, d)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = r.Close() }() // reading has told what there is to tell
	digester := algorithm.Digester()
	n, err := io.Copy(digester.Hash(), &endingReader{ctx, r})
	return digester.Digest(), n, err
}

// An endingReader fails when its context ends.
type endingReader struct {
	ctx context.Context
	r   io.Reader
}

func (e *endingReader) Read(p []byte) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	return e.r.Read(p)
}

// note notes the outcome of reading n bytes of d: its true digest, or an error.
func (i *inventory) note(d, actual digest.Digest, n int64, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.read += n
	switch {
	case errors.Is(err, fs.ErrNotExist):
		delete(i.contents, d)
	case err != nil:
		i.unreadable[d] = err
	case actual != d:
		i.altered[d] = actual
	}
}

// known is what the inventory knows of d.
func (i *inventory) known(d digest.Digest) (_ stored, there bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	content, there := i.contents[d]
	_, altered := i.altered[d]
	return stored{content.size, altered}, there
}

// use notes that a repository has d.
func (i *inventory) use(repository string, d digest.Digest) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if content, there := i.contents[d]; there && !content.linked {
		content.linked = true
		i.contents[d] = content
	}
	if i.altered[d] == "" && i.unreadable[d] == nil {
		return
	}
	if i.users[d] == nil {
		i.users[d] = map[string]struct{}{}
	}
	i.users[d][repository] = struct{}{}
}

// linked reports whether a repository has d.
func (i *inventory) linked(d digest.Digest) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.contents[d].linked
}

// sum returns how many contents there are, how many bytes they have, and how many were read.
func (i *inventory) sum() (n int, size, read int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, content := range i.contents {
		size += content.size
	}
	return len(i.contents), size, i.read
}

// stored is what the storage has under d: by the inventory, and, if d came later, by itself.
func (c *checker) stored(ctx context.Context, d digest.Digest) (_ stored, there bool, _ error) {
	if s, there := c.inventory.known(d); there {
		return s, true, nil
	}
	return c.storedNow(ctx, d)
}

// storedNow is what the storage has under d now.
func (c *checker) storedNow(ctx context.Context, d digest.Digest) (_ stored, there bool, _ error) {
	blob, err := c.store.StatBlob(ctx, d)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return stored{}, false, nil
	case err != nil:
		return stored{}, false, err
	}
	known, _ := c.inventory.known(d)
	return stored{blob.Size, known.altered}, true, nil
}

// contentFindings says what is wrong with contents, and which nobody has.
func (c *checker) contentFindings() []Finding {
	i := c.inventory
	i.mu.Lock()
	defer i.mu.Unlock()
	var findings []Finding
	add := func(f Finding) {
		f.Repositories = slices.Sorted(maps.Keys(i.users[f.Digest]))
		findings = append(findings, f)
	}
	for d, actual := range i.altered {
		f := newFinding(BlobAltered, "", d, "the bytes that are kept under this digest have the digest "+actual.String())
		f.Path = c.store.BlobLocation(d)
		add(f)
	}
	for d, err := range i.unreadable {
		add(newFinding(Unreadable, "", d, err.Error()))
	}
	for d, content := range i.contents {
		if !content.linked && !content.recent {
			f := newFinding(Orphan, "", d, fmt.Sprintf("no repository has these %d bytes", content.size))
			f.Bytes = content.size
			add(f)
		}
	}
	return findings
}

// contentsStillSo looks once more at what is wrong with contents, and returns what it finds again.
func (c *checker) contentsStillSo(ctx context.Context, suspects []Finding) ([]Finding, error) {
	var findings []Finding
	for _, f := range suspects {
		again, err := c.contentStillSo(ctx, f)
		if err != nil {
			return nil, err
		}
		if again {
			findings = append(findings, f)
		}
	}
	return findings, nil
}

func (c *checker) contentStillSo(ctx context.Context, f Finding) (bool, error) {
	if f.Kind == Orphan {
		_, there, err := c.storedNow(ctx, f.Digest)
		return there, err
	}
	c.inventory.forget(f.Digest)
	if err := c.verify(ctx, f.Digest); err != nil {
		return false, err
	}
	return c.inventory.faulty(f.Digest), nil
}

// forget forgets what is wrong with d.
func (i *inventory) forget(d digest.Digest) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.altered, d)
	delete(i.unreadable, d)
}

// faulty reports whether something is wrong with d.
func (i *inventory) faulty(d digest.Digest) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.altered[d] != "" || i.unreadable[d] != nil
}
