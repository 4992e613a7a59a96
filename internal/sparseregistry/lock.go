package sparseregistry

import "sync"

// repositoryLocks is a sync.RWMutex for every name, which exists while somebody uses it. The zero
// value is ready.
type repositoryLocks struct {
	mu    sync.Mutex
	locks map[string]*repositoryLock // guarded by mu
}

type repositoryLock struct {
	sync.RWMutex
	users int // who hold it or wait for it; guarded by repositoryLocks.mu
}

// shared waits until nobody holds name exclusively, and holds it until release is called.
func (l *repositoryLocks) shared(name string) (release func()) {
	lock := l.acquire(name)
	lock.RLock()
	return func() {
		lock.RUnlock()
		l.drop(name, lock)
	}
}

// exclusive waits until nobody holds name, and holds it until release is called.
func (l *repositoryLocks) exclusive(name string) (release func()) {
	lock := l.acquire(name)
	lock.Lock()
	return func() {
		lock.Unlock()
		l.drop(name, lock)
	}
}

func (l *repositoryLocks) acquire(name string) *repositoryLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	lock := l.locks[name]
	if lock == nil {
		lock = &repositoryLock{}
		if l.locks == nil {
			l.locks = map[string]*repositoryLock{}
		}
		l.locks[name] = lock
	}
	lock.users++
	return lock
}

func (l *repositoryLocks) drop(name string, lock *repositoryLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lock.users--
	if lock.users == 0 {
		delete(l.locks, name)
	}
}
