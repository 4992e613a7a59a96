package registrygc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/examples/internal/referrers"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
)

// A sweep takes the steps of a plan, but for what has come to be needed since that was made.
type sweep struct {
	store *registrystore.Store
	plan  map[string]*planned // by repository
	spare map[string]*spared  // by repository
	stays digestSet           // contents that stay nevertheless

	links  *referrers.Links
	cut    map[string]bool                              // repositories from which links to referrers, or their tags, have gone
	relink map[string]map[digest.Digest][]digest.Digest // by repository and subject, what stays and may have lost its link

	goes, removed, kept Totals
}

// A planned is what goes from a repository.
type planned struct {
	Repository
	manifests map[digest.Digest]Manifest
	referrers map[digest.Digest][]digest.Digest // of the manifests, what refers to each, or is the index of a tag that lists it
}

// A spared is what stays in a repository nevertheless.
type spared struct {
	all               bool // because nobody can tell what it needs that is used
	manifests, layers digestSet
}

func newSweep(store *registrystore.Store, plan *Plan) *sweep {
	s := &sweep{
		store: store, plan: map[string]*planned{}, spare: map[string]*spared{}, goes: plan.Totals(),
		cut: map[string]bool{}, relink: map[string]map[digest.Digest][]digest.Digest{},
	}
	s.links = referrers.New(store.WithNote(func(repository string, d digest.Digest) {
		s.in(repository).manifests.add(d)
		s.stays.add(d)
	}))
	for _, r := range plan.Repositories {
		p := &planned{r, map[digest.Digest]Manifest{}, map[digest.Digest][]digest.Digest{}}
		for _, m := range r.Manifests {
			p.manifests[m.Digest] = m
			for _, d := range slices.Concat(m.Subjects, m.Lists) {
				p.referrers[d] = append(p.referrers[d], m.Digest)
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
	if step.kind == madeTag || step.kind == referrerLink {
		s.cut[step.repository] = true
	}
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
	s.noteRelink(repository, d)
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
		if p := s.plan[repository]; p != nil && p.manifests[name].Digest != "" {
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

// noteRelink notes that a manifest stays whose link, or tag, may have gone before.
func (s *sweep) noteRelink(repository string, d digest.Digest) {
	p := s.plan[repository]
	if p == nil || !s.cut[repository] {
		return
	}
	for _, subject := range p.manifests[d].Subjects {
		if s.relink[repository] == nil {
			s.relink[repository] = map[digest.Digest][]digest.Digest{}
		}
		s.relink[repository][subject] = append(s.relink[repository][subject], d)
	}
}

// mend links the referrers again that stay and have lost their links, and makes their tags anew.
// Nobody else may use the storage meanwhile.
func (s *sweep) mend(ctx context.Context) error {
	for repository, bySubject := range s.relink {
		for subject, stay := range bySubject {
			if err := s.mendSubject(ctx, repository, subject, stay); err != nil {
				return fmt.Errorf("linking what refers to %s in %s again: %w", subject, repository, err)
			}
		}
	}
	clear(s.relink)
	return nil
}

func (s *sweep) mendSubject(ctx context.Context, repository string, subject digest.Digest, stay []digest.Digest) error {
	linked, err := s.store.ReferrersOf(ctx, repository, subject)
	if err != nil {
		return err
	}
	for _, d := range stay {
		has, err := s.store.HasRevision(ctx, repository, d)
		if err == nil && has && !slices.Contains(linked, d) {
			err = s.store.PutReferrer(ctx, repository, subject, d)
		}
		if err != nil {
			return err
		}
	}
	return s.links.Refresh(ctx, repository, subject)
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
		s.noteRelink(repository, m.Digest)
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
