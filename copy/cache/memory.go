package cache

import (
	"container/list"
	"sync"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// What caches keep that are given no bound: thousands of lists with their images, and tens of
// thousands. Whoever asks for more in turn, again and again, finds none of it.
const (
	DefaultMemory    = 128 << 20
	DefaultDirectory = 1 << 30
)

// Memory returns a cache that lasts as long as its program and keeps maxBytes at most, keys
// included; DefaultMemory if that is not positive. What was not used for the longest time goes
// first.
func Memory(maxBytes int64) endpoint.DocumentCache {
	return &memory{most: orDefault(maxBytes, DefaultMemory), entries: map[string]*list.Element{}}
}

func orDefault(maxBytes, other int64) int64 {
	if maxBytes <= 0 {
		return other
	}
	return maxBytes
}

type memory struct {
	most int64

	mu      sync.Mutex
	bytes   int64                    // of all entries; guarded by mu
	used    list.List                // of *entry, what was used last in front; guarded by mu
	entries map[string]*list.Element // guarded by mu
}

type entry struct {
	key     string
	content []byte
}

func (e *entry) size() int64 { return int64(len(e.key) + len(e.content)) }

func (m *memory) Get(key string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.entries[key]
	if !ok {
		return nil
	}
	m.used.MoveToFront(at)
	return at.Value.(*entry).content
}

func (m *memory) Put(key string, content []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(key)
	e := &entry{key, content}
	m.entries[key] = m.used.PushFront(e)
	for m.bytes += e.size(); m.bytes > m.most; {
		m.remove(m.used.Back().Value.(*entry).key)
	}
}

func (m *memory) Remove(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(key)
}

// remove is Remove. m.mu is held.
func (m *memory) remove(key string) {
	if at, ok := m.entries[key]; ok {
		m.bytes -= m.used.Remove(at).(*entry).size()
		delete(m.entries, key)
	}
}
