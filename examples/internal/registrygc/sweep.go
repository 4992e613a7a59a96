package registrygc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
)

// A sweep takes the steps of a plan, but for what has come to be needed since that was made.
type sweep struct {
	store *registrystore.Store
	plan  map[string]*planned // by repository
	spare map[string]*spared  // by repository
	stays digestSet           // contents that stay nevertheless

	goes, removed, kept Totals
}

// A planned is what goes from a repository.
type planned struct {
	Repository
	manifests map[digest.Digest]bool
	referrers map[digest.Digest][]digest.Digest // of the manifests, what refers to each subject
}

// A spared is what stays in a repository nevertheless.
type spared struct {
	all               bool // because nobody can tell what it needs that is used
	manifests, layers digestSet
}

func newSweep(store *registrystore.Store, plan *Plan) *sweep {
	s := &sweep{store: store, plan: map[string]*planned{}, spare: map[string]*spared{}, goes: plan.Totals()}
	for _, r := range plan.Repositories {
		p := &planned{r, map[digest.Digest]bool{}, map[digest.Digest][]digest.Digest{}}
		for _, m := range r.Manifests {
			p.manifests[m.Digest] = true
			for _, subject := range m.Subjects {
				p.referrers[subject] = append(p.referrers[subject], m.Digest)
			}
		}
		s.plan[r.Name] = p
	}
	return s
}

// do takes a step, unless what it removes stays.
func (s *sweep) do(ctx context.Context, step step) error {
	if s.isSpared(step) {
		s.kept.count(step)
		return nil
	}
	if err := step.take(ctx, s.store); err != nil {
		return err
	}
	s.removed.count(step)
	return nil
}

func (s *sweep) isSpared(step step) bool {
	in := s.spare[step.repository]
	switch {
	case step.kind == content:
		return s.stays.has(step.digest)
	case in == nil:
		return false
	case in.all:
		return true
	case step.kind == layerLink:
		return in.layers.has(step.digest)
	default:
		return in.manifests.has(step.digest)
	}
}

// spareUsed lets everything stay that is used, with what it needs. What is not in the plan stays
// anyway; but if it is new, the plan may have what it needs. Where that cannot be read, everything
// in its repository stays.
func (s *sweep) spareUsed(ctx context.Context, used map[sparseregistry.Use]bool) error {
	for u := range used {
		var err error
		if u.Manifest {
			err = s.spareManifest(ctx, u.Repository, u.Digest)
		} else {
			err = s.spareLayer(ctx, u.Repository, u.Digest)
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return fmt.Errorf("sparing %s in %s: %w", u.Digest, u.Repository, err)
		default:
			s.spareAll(u.Repository)
		}
	}
	return nil
}

func (s *sweep) spareManifest(ctx context.Context, repository string, d digest.Digest) error {
	in := s.in(repository)
	if in.manifests.has(d) {
		return nil
	}
	in.manifests.add(d)
	s.stays.add(d)
	refs, err := readManifest(ctx, s.store, d)
	switch {
	case errors.Is(err, fs.ErrNotExist): // it was deleted since
		return nil
	case err != nil:
		return err
	}
	needed := []digest.Digest{}
	for _, name := range refs.names {
		if err := s.spareLayer(ctx, repository, name); err != nil {
			return err
		}
		if p := s.plan[repository]; p != nil && p.manifests[name] {
			needed = append(needed, name)
		}
	}
	if p := s.plan[repository]; p != nil {
		needed = append(needed, p.referrers[d]...)
	}
	for _, n := range needed {
		if err := s.spareManifest(ctx, repository, n); err != nil {
			return err
		}
	}
	return nil
}

func (s *sweep) spareLayer(ctx context.Context, repository string, d digest.Digest) error {
	content, err := contentOf(ctx, s.store, repository, d)
	switch {
	case errors.Is(err, fs.ErrNotExist): // it is no layer, or was deleted since
		return nil
	case err != nil:
		return err
	}
	in := s.in(repository)
	in.layers.add(d)
	in.layers.add(content)
	s.stays.add(content)
	return nil
}

// spareAll lets everything stay that is in a repository.
func (s *sweep) spareAll(repository string) {
	s.in(repository).all = true
	p := s.plan[repository]
	if p == nil {
		return
	}
	for _, m := range p.Manifests {
		s.stays.add(m.Digest)
	}
	for _, l := range p.Layers {
		s.stays.add(l.Content)
	}
}

// in is what stays in a repository.
func (s *sweep) in(repository string) *spared {
	in := s.spare[repository]
	if in == nil {
		in = &spared{}
		s.spare[repository] = in
	}
	return in
}
