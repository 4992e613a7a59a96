package registrytest

import (
	"sync"

	"github.com/opencontainers/go-digest"
)

// EventKind says what happened to a repository.
type EventKind string

const (
	EventBlob           EventKind = "blob"     // a blob was uploaded, mounted or put in
	EventManifest       EventKind = "manifest" // a manifest or list was stored
	EventTag            EventKind = "tag"      // a tag was pointed at a manifest or list
	EventDeleteBlob     EventKind = "delete blob"
	EventDeleteManifest EventKind = "delete manifest"
	EventDeleteTag      EventKind = "delete tag"
)

// Event is one step in the history of a repository. A PUT of a manifest by tag makes two: the
// manifest, then the tag.
type Event struct {
	Seq     int // counts the events of all repositories of a registry from 1, in the order in which they took effect
	Kind    EventKind
	Digest  digest.Digest
	Tag     string // of EventTag and EventDeleteTag
	Changed bool   // false if what was stored was there already, the same
	Request int    // N of the request that did it; 0 for methods of Registry
}

// store is the content of a registry. Bodies are read and written without its lock.
type store struct {
	mu      sync.Mutex
	repos   map[string]*repository
	uploads map[string]*upload
	seq     int // of the last event
}

type repository struct {
	blobs     map[digest.Digest]Content
	phantoms  map[digest.Digest]bool // blobs whose content is lost, which HEAD does not know
	manifests map[digest.Digest]storedManifest
	tags      map[string]digest.Digest
	history   []Event
}

type storedManifest struct {
	mediaType string
	bytes     []byte // never modified
	since     int    // the event before it came
}

func newStore() *store {
	return &store{repos: map[string]*repository{}, uploads: map[string]*upload{}}
}

// repo returns the repository, nil if there is none. The caller holds mu.
func (s *store) repo(name string) *repository { return s.repos[name] }

// make returns the repository, which it creates if need be. The caller holds mu.
func (s *store) make(name string) *repository {
	r := s.repos[name]
	if r == nil {
		r = &repository{
			blobs:     map[digest.Digest]Content{},
			phantoms:  map[digest.Digest]bool{},
			manifests: map[digest.Digest]storedManifest{},
			tags:      map[string]digest.Digest{},
		}
		s.repos[name] = r
	}
	return r
}

// record adds an event to the history. The caller holds mu.
func (s *store) record(r *repository, e Event) {
	s.seq++
	e.Seq = s.seq
	r.history = append(r.history, e)
}

func (s *store) putBlob(name string, c Content, request int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.make(name)
	old, there := r.blobs[c.Digest]
	if !there || old.at == nil {
		r.blobs[c.Digest] = c
	}
	delete(r.phantoms, c.Digest)
	s.record(r, Event{Kind: EventBlob, Digest: c.Digest, Changed: !there, Request: request})
}

func (s *store) blob(name string, d digest.Digest) (Content, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.repo(name); r != nil {
		c, ok := r.blobs[d]
		return c, ok
	}
	return Content{}, false
}

// lose loses the content of a blob.
func (s *store) lose(name string, d digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.make(name).phantoms[d] = true
}

// lost reports whether the content of a blob is lost.
func (s *store) lost(name string, d digest.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.repo(name)
	return r != nil && r.phantoms[d]
}

// mount makes a blob of the repository from one of name, too, and reports whether it was there.
func (s *store) mount(name, from string, d digest.Digest, request int) bool {
	c, ok := s.blob(from, d)
	if !ok {
		return false
	}
	lost := s.lost(from, d)
	s.putBlob(name, c, request)
	if lost {
		s.lose(name, d)
	}
	return true
}

// putManifest stores m under its digest d and, unless tag is "", points the tag at it.
// The caller holds mu.
func (s *store) putManifest(name, tag string, d digest.Digest, m storedManifest, request int) {
	r := s.make(name)
	old, there := r.manifests[d]
	if m.since = s.seq; there {
		m.since = old.since
	}
	r.manifests[d] = m
	s.record(r, Event{
		Kind: EventManifest, Digest: d, Changed: !there || old.mediaType != m.mediaType, Request: request,
	})
	if tag == "" {
		return
	}
	changed := r.tags[tag] != d
	r.tags[tag] = d
	s.record(r, Event{Kind: EventTag, Digest: d, Tag: tag, Changed: changed, Request: request})
}

// manifest returns the manifest that ref, a tag or a digest, names.
func (s *store) manifest(name, ref string) (storedManifest, digest.Digest, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.repo(name)
	if r == nil {
		return storedManifest{}, "", false
	}
	d, tagged := r.tags[ref]
	if !tagged {
		d = digest.Digest(ref)
	}
	m, ok := r.manifests[d]
	return m, d, ok
}

func (s *store) deleteBlob(name string, d digest.Digest, request int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.repo(name)
	if r == nil {
		return false
	}
	_, ok := r.blobs[d]
	if ok {
		delete(r.blobs, d)
		s.record(r, Event{Kind: EventDeleteBlob, Digest: d, Changed: true, Request: request})
	}
	return ok
}

// deleteManifest removes the manifest and the tags that point at it.
func (s *store) deleteManifest(name string, d digest.Digest, request int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.repo(name)
	if r == nil {
		return false
	}
	if _, ok := r.manifests[d]; !ok {
		return false
	}
	for _, tag := range sortedKeys(r.tags) {
		if r.tags[tag] == d {
			delete(r.tags, tag)
			s.record(r, Event{Kind: EventDeleteTag, Digest: d, Tag: tag, Changed: true, Request: request})
		}
	}
	delete(r.manifests, d)
	s.record(r, Event{Kind: EventDeleteManifest, Digest: d, Changed: true, Request: request})
	return true
}

func (s *store) deleteTag(name, tag string, request int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.repo(name)
	if r == nil {
		return false
	}
	d, ok := r.tags[tag]
	if ok {
		delete(r.tags, tag)
		s.record(r, Event{Kind: EventDeleteTag, Digest: d, Tag: tag, Changed: true, Request: request})
	}
	return ok
}
