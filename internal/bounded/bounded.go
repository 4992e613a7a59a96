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

// GetOrAdd returns what *m has for key. If that is nothing, it adds what added returns, after
// MakeRoom; *m may be nil.
func GetOrAdd[K comparable, V any](m *map[K]V, key K, most int, added func() V) V {
	if v, ok := (*m)[key]; ok {
		return v
	}
	if *m == nil {
		*m = map[K]V{}
	}
	MakeRoom(*m, most)
	v := added()
	(*m)[key] = v
	return v
}
