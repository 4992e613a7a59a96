package mirrorcmd

import (
	"sync"
)

// serveLocks are the locks of a server: one for each repository, layout or file that it writes to,
// as long as it does. They keep out other processes; copies of this one share them.
type serveLocks struct {
	env *environment
	dir string

	mu   sync.Mutex
	held map[string]*sharedLock // by key; guarded by mu
}

// A sharedLock is held by so many copies.
type sharedLock struct {
	lock    *syncLock
	holders int
}

// acquire takes the lock for a key, and returns what gives it back. It does not wait: the error
// says who else has it.
func (l *serveLocks) acquire(key string) (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	shared := l.held[key]
	if shared == nil {
		lock, err := lockAll(l.env, l.dir, []string{key})
		if err != nil {
			return nil, err
		}
		shared = &sharedLock{lock: lock}
		if l.held == nil {
			l.held = map[string]*sharedLock{}
		}
		l.held[key] = shared
	}
	shared.holders++
	return func() { l.release(key) }, nil
}

func (l *serveLocks) release(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	shared := l.held[key]
	if shared.holders--; shared.holders == 0 {
		shared.lock.release()
		delete(l.held, key)
	}
}
