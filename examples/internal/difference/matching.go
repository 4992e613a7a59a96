package difference

// A matching says which things at both sides belong together. Each belongs to one other at most.
type matching struct {
	of    []int  // the position at the right of what each at the left belongs to, -1 for none
	taken []bool // which at the right belong to one
}

func newMatching(left, right int) *matching {
	m := &matching{of: make([]int, left), taken: make([]bool, right)}
	for i := range m.of {
		m.of[i] = -1
	}
	return m
}

// by matches what is left over and has the same key, in order. It takes time for each thing once,
// whatever their number.
func (m *matching) by(left, right func(i int) string) *matching {
	free := map[string][]int{}
	for j, taken := range m.taken {
		if !taken {
			free[right(j)] = append(free[right(j)], j)
		}
	}
	for i, j := range m.of {
		if j >= 0 {
			continue
		}
		if same := free[left(i)]; len(same) > 0 {
			m.of[i], m.taken[same[0]] = same[0], true
			free[left(i)] = same[1:]
		}
	}
	return m
}
