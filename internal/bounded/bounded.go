// Package bounded keeps maps from growing without end.
package bounded

// MakeRoom deletes some element of m if it has most or more.
func MakeRoom[K comparable, V any](m map[K]V, most int) {
	if len(m) < most {
		return
	}
	for key := range m {
		delete(m, key)
		return
	}
}
