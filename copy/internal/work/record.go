package work

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// TellRecorder tells a destination that keeps a record what a copy of source, as planned, makes it
// of.
func TellRecorder(dst endpoint.Destination, source digest.Digest, p *plan.Plan, choices *plan.Choices) {
	recorder, ok := dst.(endpoint.Recorder)
	if !ok {
		return
	}
	var changed []digest.Digest
	if p.List != nil && choices.Attaches() && choices.KeepVoid {
		p.List.Walk(func(l *plan.ListPlan) {
			if l.Result != l.Digest {
				changed = append(changed, l.Digest)
			}
		})
	}
	slices.Reverse(changed) // nested lists first, as they are written
	recorder.Record(source, changed)
}
