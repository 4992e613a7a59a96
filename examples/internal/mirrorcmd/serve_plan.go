package mirrorcmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/transports"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorserver"
	"github.com/sparsecopy/sparsecopy/examples/internal/schedule"
	"github.com/sparsecopy/sparsecopy/examples/internal/state"
	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// A servePlan is a sync file as it was read at some time, for a server.
type servePlan struct {
	runner   *runner
	locks    *serveLocks
	elements []mirrorserver.Element
	images   map[string]*syncfile.Image // by the key of the element
	keys     map[*syncfile.Image]string
	lookup   *syncfile.Lookup

	mu    sync.Mutex
	wants map[string]string // the element of each destination that is known; guarded by mu
	// unlisted are elements whose tags were not listed so far, with what the names of their sources
	// begin with; guarded by mu.
	unlisted map[string]string
	// pushed are destinations of tags that were notified of and not listed so far, with their
	// elements; guarded by mu.
	pushed    map[string]string
	forgotten bool // all that is not wanted was forgotten, or need not be; guarded by mu
}

var _ mirrorserver.Plan = (*servePlan)(nil)

// newServePlan returns the plan of a runner, which has a memory and whose signers are open. Images
// without a schedule have the one that is given.
func newServePlan(ctx context.Context, r *runner, locks *serveLocks, usual schedule.Schedule) (*servePlan, error) {
	p := &servePlan{
		runner: r, locks: locks, images: map[string]*syncfile.Image{}, keys: map[*syncfile.Image]string{}, lookup: r.file.Lookup(),
		wants: map[string]string{}, unlisted: map[string]string{}, pushed: map[string]string{},
	}
	known, err := r.memory.store.All()
	if err != nil {
		return nil, err
	}
	past := newPast(known, r.env.now())
	occurrences := map[string]int{}
	for _, image := range r.images() {
		key := image.Source
		if occurrences[key]++; occurrences[key] > 1 {
			key = fmt.Sprintf("%s (%d)", image.Source, occurrences[image.Source])
		}
		p.images[key], p.keys[image] = image, key
		element := mirrorserver.Element{Key: key, Schedule: usual, Settings: image.Whole.String() + r.keys.of(image).String() + reached(r.file)}
		if !image.Schedule.IsZero() {
			element.Schedule = image.Schedule
		}
		if err := p.remember(ctx, &element, image, past); err != nil {
			return nil, err
		}
		p.elements = append(p.elements, element)
	}
	return p, nil
}

// remember notes what an element wants, as far as no list of tags is needed for that, and sets what
// is known of the past.
func (p *servePlan) remember(ctx context.Context, element *mirrorserver.Element, image *syncfile.Image, past *past) error {
	if image.Listed() {
		c, err := image.CopyOf("tag")
		prefix := strings.TrimSuffix(transports.ImageName(c.Source), "tag")
		p.unlisted[element.Key] = prefix
		past.listed(element, prefix)
		return err
	}
	found, err := p.runner.copies(ctx, image) // asks nobody
	if err != nil {
		return err
	}
	for _, c := range found.copies {
		p.wants[transports.ImageName(c.Destination)] = element.Key
	}
	past.named(element, found.copies, p.runner.keys.of(image))
	return nil
}

// Elements implements mirrorserver.Plan.
func (p *servePlan) Elements() []mirrorserver.Element { return p.elements }

// Expand implements mirrorserver.Plan. What an element stands for no longer is forgotten.
func (p *servePlan) Expand(ctx context.Context, element mirrorserver.Element) ([]mirrorserver.Copy, error) {
	image := p.images[element.Key]
	if image == nil {
		return nil, nil
	}
	pushed := p.pushedTo(element.Key)
	found, err := p.runner.copies(ctx, image)
	if err != nil {
		return nil, errors.New(oneLine(p.runner.env.explain(err)))
	}
	copies := make([]mirrorserver.Copy, len(found.copies))
	for i, c := range found.copies {
		copies[i] = p.copyOf(c)
	}
	if err := p.want(element.Key, copies, pushed); err != nil {
		return nil, err
	}
	p.forgetOthers()
	for i, c := range found.copies {
		p.runner.memory.expectOne(copies[i].Destination, transports.ImageName(c.Source))
	}
	return copies, nil
}

// pushedTo are destinations of an element of which the next list of tags says whether it has them.
func (p *servePlan) pushedTo(key string) (destinations []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for destination, of := range p.pushed {
		if of == key {
			destinations = append(destinations, destination)
		}
	}
	return destinations
}

// want notes the destinations of an element, none of which may be another's. pushed are those that
// were pushed to before its tags were listed.
func (p *servePlan) want(key string, copies []mirrorserver.Copy, pushed []string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := map[string]bool{}
	for _, c := range copies {
		if err := p.free(c.Destination, key); err != nil {
			return err
		}
		now[c.Destination] = true
	}
	delete(p.unlisted, key)
	for _, destination := range pushed {
		delete(p.pushed, destination)
	}
	for destination, of := range p.wants {
		if of == key && !now[destination] {
			delete(p.wants, destination)
			p.runner.memory.worked(p.runner.memory.store.Delete(destination))
		}
	}
	for destination := range now {
		p.wants[destination] = key
	}
	return nil
}

// free says why a destination cannot be that of an element: it is another's. Its caller holds mu.
func (p *servePlan) free(destination, key string) error {
	if other, taken := p.wants[destination]; taken && other != key {
		return fmt.Errorf("%s:%d: %s is the destination of the image in line %d too",
			p.runner.fileName, p.images[key].Line, destination, p.images[other].Line)
	}
	return nil
}

// forgetOthers forgets all that the file does not want, as soon as it is known what it does.
func (p *servePlan) forgetOthers() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.forgotten || len(p.unlisted) > 0 {
		return
	}
	p.forgotten = true
	p.runner.memory.forget(&p.runner.flags.shard, func(destination string) bool {
		return p.wants[destination] != "" || p.pushed[destination] != ""
	})
}

// retire says that another plan is in force: what this one wants is its own business.
func (p *servePlan) retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgotten = true
}

// copyOf is how a server calls a copy.
func (p *servePlan) copyOf(c syncfile.Copy) mirrorserver.Copy {
	called := mirrorserver.Copy{Destination: transports.ImageName(c.Destination), Element: p.keys[c.Image]}
	if c.Image.Tags != nil {
		called.Tag = c.Tag
	}
	return called
}

// Pushed implements mirrorserver.Plan.
func (p *servePlan) Pushed(tag reference.NamedTagged) []mirrorserver.Copy {
	var copies []mirrorserver.Copy
	for _, c := range p.lookup.Pushed(tag) {
		if p.keys[c.Image] == "" || !p.runner.flags.shard.has(syncfile.Key(c.Destination)) {
			continue
		}
		if called := p.copyOf(c); p.take(called) {
			copies = append(copies, called)
		}
	}
	return copies
}

// take reports whether a destination that was pushed to is not another element's, and notes it if
// it is not known.
func (p *servePlan) take(c mirrorserver.Copy) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.wants[c.Destination]
	if of == "" {
		p.pushed[c.Destination] = c.Element
	}
	return of == "" || of == c.Element
}

// wanted reports whether a copy is still to be made: its destination is the element's, as far as is
// known.
func (p *servePlan) wanted(c mirrorserver.Copy) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if of := p.wants[c.Destination]; of != "" {
		return of == c.Element
	}
	_, unlisted := p.unlisted[c.Element]
	return unlisted || p.pushed[c.Destination] == c.Element
}

// settle notes what has become of a copy whose tag was not listed: it is the element's if there is
// something now, and otherwise forgotten, since anything may have been notified of.
func (p *servePlan) settle(c mirrorserver.Copy, status state.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, unlisted := p.unlisted[c.Element]
	switch {
	case p.wants[c.Destination] != "":
	case status == state.Mirrored || status == state.Skipped:
		p.wants[c.Destination] = c.Element
	case !unlisted:
		p.runner.memory.worked(p.runner.memory.store.Delete(c.Destination))
	}
}

// Promise implements mirrorserver.Plan.
func (p *servePlan) Promise(called mirrorserver.Copy) {
	if c, err := p.images[called.Element].CopyOf(called.Tag); err == nil {
		p.runner.memory.promise(called.Destination, transports.ImageName(c.Source))
	}
}

// Copy implements mirrorserver.Plan.
func (p *servePlan) Copy(ctx context.Context, called mirrorserver.Copy) mirrorserver.Outcome {
	image := p.images[called.Element]
	if image == nil || !p.wanted(called) {
		return mirrorserver.Outcome{}
	}
	if within, err := p.within(ctx, image, called); err != nil {
		return mirrorserver.Outcome{Status: state.Failed, Error: oneLine(p.runner.env.explain(err)), Retry: true}
	} else if !within {
		p.settle(called, "")
		return mirrorserver.Outcome{}
	}
	c, err := image.CopyOf(called.Tag)
	if err == nil && transports.ImageName(c.Destination) != called.Destination {
		return mirrorserver.Outcome{}
	}
	if err != nil {
		return mirrorserver.Outcome{Status: state.Failed, Error: err.Error()}
	}
	release, err := p.locks.acquire(syncfile.Key(c.Destination))
	if err != nil {
		return mirrorserver.Outcome{Status: state.Failed, Error: err.Error(), Retry: true}
	}
	defer release()
	entry := newEntry(c)
	result := p.runner.copy(ctx, c, &entry)
	outcome := outcomeOf(&entry, result)
	p.settle(called, outcome.Status)
	return outcome
}

// within reports whether a copy is one of its element's now. Of those that were listed it is known.
// Of a tag that was pushed to since then, only a list of all of them says whether it is one of the
// newest.
func (p *servePlan) within(ctx context.Context, image *syncfile.Image, called mirrorserver.Copy) (bool, error) {
	p.mu.Lock()
	listed := p.wants[called.Destination] == called.Element
	p.mu.Unlock()
	if listed || image.Tags == nil {
		return true, nil
	}
	return p.runner.takes(ctx, image, called.Tag)
}

// outcomeOf says how a copy ended.
func outcomeOf(entry *syncImage, result copy.Result) mirrorserver.Outcome {
	o := mirrorserver.Outcome{
		Status: entry.Status.inState(), Error: oneLine(entry.Error), Copied: entry.Status == imageCopied,
		Bytes: entry.Bytes, Requests: entry.Requests, Retries: entry.Retries,
	}
	switch o.Status {
	case state.Postponed:
		o.Until = entry.PostponedUntil
	case state.Failed:
		o.Retry = mayPass(result.Err)
	}
	_, o.Refused = errors.AsType[*copy.SparseRefusedError](result.Err)
	return o
}

// has reports whether an image of the state is one that the file wants.
func (p *servePlan) has(image *state.Image) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wants[image.Destination] != "" {
		return true
	}
	for _, prefix := range p.unlisted {
		if strings.HasPrefix(image.Source, prefix) {
			return true
		}
	}
	return false
}

// Close implements mirrorserver.Plan.
func (p *servePlan) Close() error {
	p.runner.release()
	return nil
}
