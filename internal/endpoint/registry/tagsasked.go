package registry

import (
	"context"
	"sync"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/turns"
)

// tagsAsked are answers to questions for tags. The zero value has none.
type tagsAsked struct {
	asking turns.Turns[string]

	mu   sync.Mutex
	told map[string]tagAnswer // guarded by mu
}

type tagAnswer struct {
	doc endpoint.Document
	err error
}

// once returns what ask does, which it calls unless it has done so for the tag, with an error that
// is definite.
func (t *tagsAsked) once(
	ctx context.Context, tag string, ask func() (endpoint.Document, error), definite func(error) bool,
) (endpoint.Document, error) {
	done, err := t.asking.Take(ctx, tag)
	if err != nil {
		return endpoint.Document{}, err
	}
	defer done()
	if a, ok := t.answer(tag); ok {
		return a.doc, a.err
	}
	doc, err := ask()
	if definite(err) {
		t.note(tag, tagAnswer{doc, err})
	}
	return doc, err
}

func (t *tagsAsked) answer(tag string) (tagAnswer, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a, ok := t.told[tag]
	return a, ok
}

func (t *tagsAsked) note(tag string, a tagAnswer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.told == nil {
		t.told = map[string]tagAnswer{}
	}
	t.told[tag] = a
}
