package registry

import (
	"context"
	"slices"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// This file has what is asked by HEAD because a cache may have the answer to a GET.

// isOf reports whether what was said is true of doc.
func (s statement) isOf(doc endpoint.Document) bool {
	return s.digest == doc.Digest && (s.size < 0 || s.size == int64(len(doc.Bytes)))
}

// unchanged returns what the reference names, if that is kept. It asks by HEAD, where Named has not
// been called before and it is known what the reference named last.
func (s *Source) unchanged(ctx context.Context) (doc endpoint.Document, ok bool) {
	if !s.asked && slices.ContainsFunc(s.endpoints, func(p physical) bool { return p.repo.kept.knows(s.wanted) }) {
		if _, err := s.Named(ctx); err != nil {
			return doc, false // who reads it says why
		}
	}
	doc, ok = s.kept().manifest(s.stated.digest)
	return doc, ok && s.stated.isOf(doc)
}

// unchanged is tagged, where a HEAD tells as much as a GET. Otherwise told is false, and nothing
// else is said.
//
// That there is nothing a HEAD tells only if that was so before, and r has answered one: Nexus 3
// behind a proxy answers 404 to all of them.
func (r *repository) unchanged(ctx context.Context, rt *retrier, tag string) (doc endpoint.Document, told bool, err error) {
	last, known := r.kept.named(tag)
	if !known || last == "" && !r.answersHEAD.Load() {
		return doc, false, nil
	}
	said, err := r.state(ctx, rt, tag)
	if err != nil {
		return doc, last == "" && r.saysNotFound(err), err
	}
	doc, ok := r.kept.manifest(said.digest)
	return doc, ok && said.isOf(doc), nil
}
