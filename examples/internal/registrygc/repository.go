package registrygc

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/examples/internal/referrers"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A contents is what a repository has.
type contents struct {
	name      string
	revisions map[digest.Digest]*revision
	tags      []string
	tagged    map[string]digest.Digest // what tags name
	layers    []layer
	referrers []registrystore.Referrer
	damage    []Damage
}

// A revision is a manifest that a repository has.
type revision struct {
	references
	made    bool      // an index of referrers that the server made itself, for a tag
	tagged  bool      // a tag names it
	written time.Time // the link
	stays   bool
}

// A layer is a link to a blob.
type layer struct {
	digest  digest.Digest
	content digest.Digest
	written time.Time // the link
}

// read reads what a repository has.
func read(ctx context.Context, store *registrystore.Store, name string) (*contents, error) {
	c := &contents{name: name, revisions: map[digest.Digest]*revision{}, tagged: map[string]digest.Digest{}}
	var manifests, layers []registrystore.Link
	err := errors.Join(
		store.Tags(ctx, name, func(t registrystore.Tag) error { c.addTag(t); return nil }),
		store.Revisions(ctx, name, func(l registrystore.Link) error { manifests = append(manifests, l); return nil }),
		store.Layers(ctx, name, func(l registrystore.Link) error { layers = append(layers, l); return nil }),
		store.Referrers(ctx, name, func(r registrystore.Referrer) error { c.referrers = append(c.referrers, r); return nil }),
	)
	if err != nil {
		return nil, err
	}
	for _, l := range manifests {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r, err := readManifest(ctx, store, l.Digest)
		if err != nil {
			c.addDamage("manifest "+l.Digest.String(), err)
		}
		r.written = l.Modified
		c.revisions[l.Digest] = &r
	}
	for _, d := range c.tagged {
		if r := c.revisions[d]; r != nil {
			r.tagged = true
		}
	}
	for _, l := range layers {
		content, err := contentOf(ctx, store, name, l.Digest)
		if err != nil {
			c.addDamage("layer "+l.Digest.String(), err)
			content = l.Digest
		}
		c.layers = append(c.layers, layer{l.Digest, content, l.Modified})
	}
	for _, r := range c.referrers {
		if referrer := c.revisions[r.Referrer]; referrer != nil {
			referrer.subjects = append(referrer.subjects, r.Subject)
		}
	}
	return c, nil
}

func (c *contents) addTag(t registrystore.Tag) {
	c.tags = append(c.tags, t.Name)
	switch {
	case t.Err == nil:
		c.tagged[t.Name] = t.Digest
	case !errors.Is(t.Err, fs.ErrNotExist): // else it names nothing
		c.addDamage("tag "+t.Name, t.Err)
	}
}

func (c *contents) addDamage(object string, err error) {
	c.damage = append(c.damage, Damage{c.name, object, err})
}

// readManifest says what a manifest names. An error says that nobody can tell.
func readManifest(ctx context.Context, store *registrystore.Store, d digest.Digest) (revision, error) {
	content, err := store.ReadBlob(ctx, d, manifest.MaxSize)
	if err != nil {
		return revision{}, err
	}
	refs, err := readReferences(content)
	return revision{references: refs, made: referrers.IsMade(content)}, err
}

// contentOf is the content that a repository has as a layer. distribution stores every content
// under its sha256.
func contentOf(ctx context.Context, store *registrystore.Store, repository string, layer digest.Digest) (digest.Digest, error) {
	if layer.Algorithm() == digest.Canonical {
		return layer, nil
	}
	return store.LayerTarget(ctx, repository, layer)
}
