package registrygc

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
)

// A step removes one thing.
type step struct {
	kind       kind
	repository string // "" for a content
	digest     digest.Digest
	subject    digest.Digest // of a referrer
	tag        string        // that names the digest, or of a note
	size       int64         // of a content
}

type kind int

const (
	madeTag kind = iota
	referrerLink
	tagNote
	manifestLink
	layerLink
	content
)

// steps are the removals of a plan, in an order in which nothing that is there at any moment names
// something that was there and is gone: tags, links to what refers, and notes, before manifests;
// manifests before what they name; links, of all repositories, before contents.
func (p *Plan) steps() iter.Seq[step] {
	return func(yield func(step) bool) {
		for _, r := range p.Repositories {
			for s := range r.steps() {
				if !yield(s) {
					return
				}
			}
		}
		for _, b := range p.Blobs {
			if !yield(step{kind: content, digest: b.Digest, size: b.Size}) {
				return
			}
		}
	}
}

func (r *Repository) steps() iter.Seq[step] {
	var all []step
	for _, t := range r.Tags {
		all = append(all, step{kind: madeTag, repository: r.Name, digest: t.Digest, tag: t.Tag})
	}
	for _, l := range r.Referrers {
		all = append(all, step{kind: referrerLink, repository: r.Name, digest: l.Referrer, subject: l.Subject})
	}
	for _, n := range r.Notes {
		all = append(all, step{kind: tagNote, repository: r.Name, digest: n.Digest, tag: n.Tag})
	}
	for _, m := range r.Manifests {
		all = append(all, step{kind: manifestLink, repository: r.Name, digest: m.Digest})
	}
	for _, l := range r.Layers {
		all = append(all, step{kind: layerLink, repository: r.Name, digest: l.Digest})
	}
	return slices.Values(all)
}

// take takes a step. It does not mind if the thing is gone already.
func (s step) take(ctx context.Context, store *registrystore.Store) error {
	switch s.kind {
	case madeTag:
		return s.takeTag(ctx, store)
	case referrerLink:
		return store.RemoveReferrer(ctx, s.repository, s.subject, s.digest)
	case tagNote:
		return store.ForgetTagged(ctx, s.repository, s.tag, s.digest)
	case manifestLink:
		return store.RemoveRevision(ctx, s.repository, s.digest)
	case layerLink:
		return store.RemoveLayer(ctx, s.repository, s.digest)
	default:
		return store.RemoveBlob(ctx, s.digest)
	}
}

// takeTag removes a tag, unless it names something else by now.
func (s step) takeTag(ctx context.Context, store *registrystore.Store) error {
	switch current, err := store.Current(ctx, s.repository, s.tag); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case current != s.digest:
		return nil
	}
	return store.RemoveTag(ctx, s.repository, s.tag)
}

// count adds what a step removes.
func (t *Totals) count(s step) {
	switch s.kind {
	case madeTag:
		t.Tags++
	case referrerLink:
		t.Referrers++
	case manifestLink:
		t.Manifests++
	case layerLink:
		t.Layers++
	case content:
		t.Blobs++
		t.Bytes += s.size
	}
}

// Sweep removes what a plan says. Nobody else may use the storage since the plan was made. It
// returns what it has removed, also with an error; what is left then is as complete as before, and
// another collection goes on.
func (p *Plan) Sweep(ctx context.Context, store *registrystore.Store) (Totals, error) {
	var removed Totals
	for s := range p.steps() {
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		if err := s.take(ctx, store); err != nil {
			return removed, err
		}
		removed.count(s)
	}
	return removed, nil
}
