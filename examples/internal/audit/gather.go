package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A lookUp says what the storage has under a digest.
type lookUp func(context.Context, digest.Digest) (_ stored, there bool, _ error)

// gather reads what a repository has. It reads tags before manifests and manifests before blobs: a
// push writes them the other way round, so that what it writes meanwhile is there in full.
func (c *checker) gather(ctx context.Context, repository string, look lookUp) (*facts, error) {
	g := &gathering{checker: c, look: look, facts: &facts{
		repository: repository, tags: map[string]link{},
		manifests: map[digest.Digest]link{}, blobs: map[digest.Digest]link{}, referrers: map[referral]bool{},
		stored: map[digest.Digest]stored{}, documents: map[digest.Digest]document{},
	}}
	steps := []func(context.Context) error{g.readTags, g.readManifests, g.readBlobs, g.readReferrers}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("repository %s: %w", repository, err)
		}
	}
	return g.facts, nil
}

// A gathering reads the facts about one repository.
type gathering struct {
	*checker
	look lookUp

	mu    sync.Mutex
	facts *facts // its maps are guarded by mu
}

func (g *gathering) readTags(ctx context.Context) error {
	return g.store.Tags(ctx, g.facts.repository, func(t registrystore.Tag) error {
		l, err := judgeLink(t.Digest, t.Err)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		g.facts.tags[t.Name] = l
		return nil
	})
}

// judgeLink says what a link says that was read as target, or with an error. The error is returned
// if the link is not there, or if reading was ended.
func judgeLink(target digest.Digest, err error) (link, error) {
	switch {
	case err == nil:
		return link{target: target}, nil
	case errors.Is(err, digest.ErrDigestInvalidFormat), errors.Is(err, digest.ErrDigestInvalidLength), errors.Is(err, digest.ErrDigestUnsupported):
		return link{problem: "names no digest"}, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return link{}, err
	}
	return link{problem: "cannot be read: " + err.Error(), unreadable: true}, nil
}

func (g *gathering) readManifests(ctx context.Context) error {
	links := linksOf{g.store.Revisions, g.store.RevisionTarget, g.store.RevisionLocation, g.facts.manifests}
	return g.readLinks(ctx, links, g.readDocument)
}

func (g *gathering) readBlobs(ctx context.Context) error {
	links := linksOf{g.store.Layers, g.store.LayerTarget, g.store.LayerLocation, g.facts.blobs}
	return g.readLinks(ctx, links, func(context.Context, digest.Digest, *stored) (*document, error) { return nil, nil })
}

// linksOf are the links of one sort: who lists them, reads one, and knows where it is, and where
// they are noted.
type linksOf struct {
	list   func(context.Context, string, func(registrystore.Link) error) error
	read   func(context.Context, string, digest.Digest) (digest.Digest, error)
	locate func(string, digest.Digest) string
	facts  map[digest.Digest]link
}

// readLinks reads links and what they name, many at the same time. What vanishes meanwhile is none
// of the facts.
func (g *gathering) readLinks(ctx context.Context, links linksOf,
	readDocument func(context.Context, digest.Digest, *stored) (*document, error),
) error {
	readLink := func(ctx context.Context, d digest.Digest) error {
		l, have, err := g.readLink(ctx, links, d)
		var read *document
		if err == nil && have != nil && !have.altered {
			read, err = readDocument(ctx, l.target, have)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			g.note(links, d, l, have, read)
		}
		return err
	}
	return g.readMany(ctx, func(ctx context.Context, start func(func() error)) error {
		return links.list(ctx, g.facts.repository, func(l registrystore.Link) error {
			start(func() error { return readLink(ctx, l.Digest) })
			return nil
		})
	})
}

// note notes a link, and, if it is there, what the storage has of what it names.
func (g *gathering) note(links linksOf, d digest.Digest, l link, have *stored, read *document) {
	g.mu.Lock()
	defer g.mu.Unlock()
	links.facts[d] = l
	if have != nil {
		g.facts.stored[l.target] = *have
	}
	if read != nil {
		g.facts.documents[d] = *read
	}
}

// readMany runs what walk starts, as much of it at the same time as there are readers, until walk
// and all of it have ended.
func (c *checker) readMany(ctx context.Context, walk func(ctx context.Context, start func(func() error)) error) error {
	readers, reading := errgroup.WithContext(ctx)
	readers.SetLimit(c.options.Readers)
	err := walk(reading, readers.Go)
	if failed := readers.Wait(); failed != nil {
		return failed
	}
	if err != nil {
		return err
	}
	return ctx.Err()
}

// readLink reads the link by which a repository has d, and what the storage has of what it names,
// nil for nothing.
func (g *gathering) readLink(ctx context.Context, links linksOf, d digest.Digest) (link, *stored, error) {
	l, err := judgeLink(links.read(ctx, g.facts.repository, d))
	if err != nil {
		return link{}, nil, err
	}
	g.inventory.use(g.facts.repository, d)
	var (
		have  stored
		there bool
	)
	if l.problem == "" {
		if have, there, err = g.look(ctx, l.target); err != nil {
			return link{}, nil, err
		}
	}
	if l.problem == "" && l.target != d {
		if l, err = g.judgeAlias(ctx, d, l, there); err != nil {
			return link{}, nil, err
		}
	}
	switch {
	case l.problem != "":
		l.path = links.locate(g.facts.repository, d)
		return l, nil, nil
	case !there:
		return l, nil, nil
	}
	g.inventory.use(g.facts.repository, l.target)
	return l, &have, nil
}

// judgeAlias judges a link that names another digest than its path: that may be the same content's
// in another algorithm, which only reading tells.
func (g *gathering) judgeAlias(ctx context.Context, d digest.Digest, l link, there bool) (link, error) {
	same := l.target.Algorithm() != d.Algorithm()
	if same && there && !g.options.SkipContent {
		actual, _, err := g.hash(ctx, l.target, d.Algorithm())
		if err != nil {
			return link{}, err
		}
		same = actual == d
	}
	if !same {
		return link{problem: "names " + l.target.String()}, nil
	}
	return l, nil
}

// readDocument reads a manifest; nil if it is altered or cannot be read, which it notes.
func (g *gathering) readDocument(ctx context.Context, d digest.Digest, have *stored) (*document, error) {
	if have.size > manifest.MaxSize {
		return &document{problem: fmt.Sprintf("it has %d bytes, more than the %d of a manifest", have.size, manifest.MaxSize)}, nil
	}
	r, err := g.store.OpenBlob(ctx, d)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // reading has told what there is to tell
	body, err := io.ReadAll(&endingReader{ctx, io.LimitReader(r, manifest.MaxSize)})
	if ended := ctx.Err(); ended != nil {
		return nil, ended
	}
	actual := d.Algorithm().FromBytes(body)
	if err != nil || actual != d {
		g.inventory.note(d, actual, 0, err)
		g.inventory.use(g.facts.repository, d)
		have.altered = true
		return nil, nil
	}
	read := parse(body)
	return &read, nil
}

func (g *gathering) readReferrers(ctx context.Context) error {
	return g.store.Referrers(ctx, g.facts.repository, func(r registrystore.Referrer) error {
		g.facts.referrers[referral{r.Subject, r.Referrer}] = true
		return nil
	})
}
