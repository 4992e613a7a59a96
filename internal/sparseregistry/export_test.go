package sparseregistry

// Held reports whether a request holds the lock, or somebody alone.
func (l *StorageLock) Held() bool {
	if !l.mu.TryLock() {
		return true
	}
	l.mu.Unlock()
	return false
}
