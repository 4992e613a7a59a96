package referrers

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/manifest"
)

const (
	// maxEntries is how many entries a page has at most: as many as a list may have.
	maxEntries = sparseregistry.MaxEntries

	// maxPageBytes is how large a page is at most, unless a single entry is larger: what clients
	// read of a manifest, and of an answer like this one.
	maxPageBytes = manifest.MaxSize

	// readAhead is how many manifests are read at a time for one page.
	readAhead = 16
)

// A question is for a page of the referrers of a subject.
type question struct {
	repository   string
	subject      digest.Digest
	artifactType string        // "" for all
	after        digest.Digest // the page begins behind it; "" for the first page
	limit        int           // at most that many entries
}

// A page is a part of the referrers of a subject, by digest.
type page struct {
	entries [][]byte      // JSON objects
	last    digest.Digest // behind which the next page begins; "" if this is the last page
}

// size is how many bytes write writes.
func (p page) size() int64 {
	n := len(indexHead) + len(indexTail) + max(len(p.entries)-1, 0)
	for _, entry := range p.entries {
		n += len(entry)
	}
	return int64(n)
}

// write writes the page as an index.
func (p page) write(w io.Writer) error {
	b := bufio.NewWriter(w)
	_, _ = b.WriteString(indexHead) // what fails is told by Flush
	for i, entry := range p.entries {
		if i > 0 {
			_ = b.WriteByte(',')
		}
		_, _ = b.Write(entry)
	}
	_, _ = b.WriteString(indexTail)
	return b.Flush()
}

// listPage answers a question. A page of more than smallList bytes, and what it takes to make it,
// is for who has the share.
func (l *Links) listPage(ctx context.Context, s *share, q question) (page, error) {
	candidates, err := l.candidates(ctx, s, q.repository, q.subject)
	if err != nil {
		return page{}, err
	}
	from, found := slices.BinarySearch(candidates, q.after)
	if found {
		from++
	}
	b := builder{question: q, maxRead: l.maxRead}
	for chunk := range slices.Chunk(candidates[from:], readAhead) {
		read, err := l.readAll(ctx, q.repository, chunk)
		if err != nil {
			return page{}, err
		}
		for _, c := range read {
			if c.large {
				if c, err = l.readLarge(ctx, s, q.repository, c.digest); err != nil {
					return page{}, err
				}
			}
			if !b.add(c) {
				return b.page, nil
			}
		}
		if b.size > smallList {
			if err := s.take(ctx); err != nil {
				return page{}, err
			}
		}
	}
	b.last = ""
	return b.page, nil
}

// candidates are the digests of what may be a referrer, in order.
func (l *Links) candidates(ctx context.Context, s *share, repository string, subject digest.Digest) ([]digest.Digest, error) {
	linked, err := l.store.ReferrersOf(ctx, repository, subject)
	if err != nil {
		return nil, err
	}
	tagged, err := l.readTag(ctx, s, repository, tagOf(subject))
	if err != nil {
		return nil, err
	}
	if tagged.list == nil {
		return linked, nil
	}
	for _, in := range tagged.list.Instances() {
		linked = append(linked, in.Digest)
	}
	slices.Sort(linked)
	return slices.Compact(linked), nil
}

// A candidate is what was read of a manifest that may be a referrer.
type candidate struct {
	digest       digest.Digest
	large        bool          // it was not read, because it is large
	subject      digest.Digest // "" if it is nobody's referrer here
	artifactType string
	entry        []byte // for an index
	read         int    // bytes
}

// readAll reads those candidates that are small, in their order.
func (l *Links) readAll(ctx context.Context, repository string, digests []digest.Digest) ([]candidate, error) {
	all := make([]candidate, len(digests))
	var g errgroup.Group
	for i, d := range digests {
		g.Go(func() (err error) {
			all[i], err = l.read(ctx, repository, d, smallManifest)
			return err
		})
	}
	return all, g.Wait()
}

// readLarge reads a candidate of any size.
func (l *Links) readLarge(ctx context.Context, s *share, repository string, d digest.Digest) (candidate, error) {
	if err := s.take(ctx); err != nil {
		return candidate{}, err
	}
	return l.read(ctx, repository, d, manifest.MaxSize)
}

// read reads a manifest of a repository, unless it has more than limit bytes. What is not there is
// nobody's referrer.
func (l *Links) read(ctx context.Context, repository string, d digest.Digest, limit int64) (candidate, error) {
	select {
	case l.reading <- struct{}{}:
		defer func() { <-l.reading }()
	case <-ctx.Done():
		return candidate{}, context.Cause(ctx)
	}
	c := candidate{digest: d}
	has, err := l.store.HasRevision(ctx, repository, d)
	if !has || err != nil {
		return c, err
	}
	body, err := l.store.ReadBlob(ctx, d, limit)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c, nil
	case limit < manifest.MaxSize && errors.Is(err, registrystore.ErrTooLarge):
		c.large = true
		return c, nil
	case err != nil:
		return c, err
	}
	c.read = len(body)
	if r, ok := describe(body); ok {
		r.descriptor.Digest = d
		c.subject, c.artifactType = r.subject, strings.Clone(r.descriptor.ArtifactType) // and not the whole manifest
		c.entry, err = encode(r.descriptor)
	}
	return c, err
}

// A builder makes a page of candidates that come in order.
type builder struct {
	question question
	page
	size, read, maxRead int // bytes: of the entries with their commas, and of manifests
}

// add takes the next candidate, and reports whether it did: if not, the page is full.
func (b *builder) add(c candidate) bool {
	if b.read > b.maxRead {
		return false
	}
	b.read += c.read
	if c.subject == b.question.subject && (b.question.artifactType == "" || b.question.artifactType == c.artifactType) {
		size := b.size + len(c.entry) + 1
		if len(b.entries) == b.question.limit || len(b.entries) > 0 && size > maxEntriesBytes {
			return false
		}
		b.entries, b.size = append(b.entries, c.entry), size
	}
	b.last = c.digest
	return true
}
