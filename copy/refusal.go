package copy

import (
	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/sparsesupport"
)

// asPut is l as a list that a destination may refuse.
func asPut(l *ListPlan) sparsesupport.List {
	put, leftOut := sparsesupport.List{Digest: l.Result}, map[digest.Digest]bool{}
	for _, d := range l.Absent {
		leftOut[d] = true
	}
	for _, ip := range l.Instances {
		d := ip.Digest
		if ip.Nested != nil {
			d = ip.Nested.Result
		}
		if ip.Entry != StripEntry {
			put.Add(d, ip.MediaType, leftOut[ip.Digest])
		}
	}
	return put
}
