package main

import (
	"fmt"
	"time"
)

// The bounds on ways that are no loopback between two registries: connections with a cap, files,
// and links.

// cappedMemory is the most resident memory, in bytes, whatever the number of connections.
const cappedMemory = 128 << 20

// capped is the bounds on one large layer over connections with a cap.
func (r results) capped() []bound {
	all := r.fasterThanPeers(capped, oneHuge, 4)
	if most, ok := middle(r, cell{capped, oneHuge, ours}, peak); ok {
		all = append(all, bound{fmt.Sprintf("%s: %.0f MiB resident, below %.0f", oneHuge, mebibytes(most), mebibytes(cappedMemory)),
			most < cappedMemory})
	}
	return all
}

// layouts is the bounds on copies into a layout: one whose files reach the disk, and one that
// leaves that to the system.
func (r results) layouts() []bound {
	var all []bound
	for _, one := range []struct {
		us, other, what string
		value           func(sample) time.Duration
		most            float64
	}{
		{ours, floorSync, "time", wall, 1.05},
		{ours, floorSync, "CPU time", cpu, 1.05},
		{ours, upstream, "time", wall, 1},
		{oursNoSync, floor1, "time", wall, 1.05},
		{oursNoSync, floor1, "CPU time", cpu, 1.05},
		{oursNoSync, "oras", "time", wall, 1},
	} {
		all = append(all, r.against(local, intoLayout, one.us, one.other, one.what, one.value, one.most)...)
	}
	return all
}

// against holds one of ours against another contestant.
func (r results) against(e environment, workload, us, other, what string, value func(sample) time.Duration, most float64) []bound {
	took, ok := middle(r, cell{e, workload, us}, value)
	theirs, measured := middle(r, cell{e, workload, other}, value)
	if !ok || !measured {
		return nil
	}
	factor := ratio(took, theirs)
	return []bound{{fmt.Sprintf("%s: %s takes %.2f times the %s of %s, at most %.2f", e.title(workload), us, factor, what, other, most), factor <= most}}
}

// chance is how many times the time of the fastest peer a copy over a link may take: no more, but
// for which packets are lost, and when.
const chance = 1.05

// links is the bounds on copies over links.
func (r results) links() []bound {
	var all []bound
	for _, e := range links {
		for _, w := range workloads {
			if name, ok := r.fastestPeer(e, w.Name); ok {
				all = append(all, r.against(e, w.Name, ours, name, "time", wall, chance)...)
			}
		}
	}
	return all
}
