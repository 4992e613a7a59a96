package main

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// A bound is one promise and what was measured.
type bound struct {
	text string
	met  bool
}

func (b bound) String() string {
	if b.met {
		return "met: " + b.text
	}
	return "NOT met: " + b.text
}

// bounds returns the promises that the results are enough to judge.
func (r results) bounds() []bound {
	var all []bound
	for _, tls := range []bool{false, true} {
		for _, workload := range []string{largeLayers, smallLayers} {
			for _, e := range []environment{near, far} {
				e.TLS = tls
				all = append(all, r.time(e, workload)...)
			}
		}
	}
	for _, e := range []environment{near, far} {
		for _, workload := range []string{nothingToDo, twoPlatforms} {
			all = append(all, r.fasterThanPeers(e, workload, 1)...)
		}
	}
	all = append(all, r.huge()...)
	all = append(all, r.manyImages()...)
	all = append(all, r.again()...)
	for _, one := range r.as(command).again() {
		all = append(all, bound{command + ": " + one.text, one.met})
	}
	all = append(all, r.changing()...)
	all = append(all, r.attaching()...)
	return append(all, r.fewRequests()...)
}

// upstreamFactor is how much faster than upstream's copy a copy over plain HTTP is to be.
func upstreamFactor(e environment, workload string) float64 {
	switch {
	case e == near:
		return 5
	case workload == smallLayers:
		return 15
	default:
		return 8
	}
}

// time is the bounds on wall time of a fresh copy with injected round-trip time.
func (r results) time(e environment, workload string) []bound {
	all := r.nearFloor(e, workload, 1.3)
	if e.TLS && workload == largeLayers {
		return append(all, r.fasterThanPeers(e, workload, 2)...)
	}
	all = append(all, r.fasterThanPeers(e, workload, 1)...)
	if e.TLS {
		return all
	}
	return append(all, r.fasterThanUpstream(e, workload, upstreamFactor(e, workload))...)
}

// fasterThanUpstream holds sparsecopy against upstream's copy.
func (r results) fasterThanUpstream(e environment, workload string, least float64) []bound {
	took, ok := middle(r, cell{e, workload, ours}, wall)
	theirs, measured := middle(r, cell{e, workload, upstream}, wall)
	if !ok || !measured {
		return nil
	}
	factor := ratio(theirs, took)
	return []bound{{fmt.Sprintf("%s: %.1f times as fast as upstream's copy, at least %.0f", e.title(workload), factor, least), factor >= least}}
}

func (r results) nearFloor(e environment, workload string, most float64) []bound {
	took, ok := middle(r, cell{e, workload, ours}, wall)
	floor, measured := r.floor(e, workload)
	if !ok || !measured {
		return nil
	}
	least, _ := middle(r, floor, wall)
	factor := ratio(took, least)
	return []bound{{fmt.Sprintf("%s: %.2f times the floor's time, at most %.1f", e.title(workload), factor, most), factor <= most}}
}

// fasterThanPeers holds sparsecopy against the fastest peer. With a factor above 1, upstream's copy
// counts too, as everywhere.
func (r results) fasterThanPeers(e environment, workload string, least float64) []bound {
	took, ok := middle(r, cell{e, workload, ours}, wall)
	name, measured := r.fastestPeer(e, workload)
	if !ok || !measured {
		return nil
	}
	best, _ := middle(r, cell{e, workload, name}, wall)
	factor := ratio(best, took)
	return []bound{{fmt.Sprintf("%s: %.2f times as fast as the fastest peer (%s), more than %.0f", e.title(workload), factor, name, least),
		factor > least}}
}

// fastestPeer returns the name of the tool; ok is false if none was measured.
func (r results) fastestPeer(e environment, workload string) (name string, ok bool) {
	var best time.Duration
	for _, t := range tools {
		theirs, measured := middle(r, cell{e, workload, t.name}, wall)
		if t.peer && measured && (!ok || theirs < best) {
			best, name, ok = theirs, t.name, true
		}
	}
	return name, ok
}

// huge is the bounds on copies that are about CPU time and memory.
func (r results) huge() []bound {
	all := r.nearFloor(local, hugeLayers, 1.3)
	us, floor := cell{local, hugeLayers, ours}, cell{local, hugeLayers, floor1}
	took, ok := middle(r, us, cpu)
	least, measured := middle(r, floor, cpu)
	if ok && measured {
		factor := ratio(took, least)
		var beside []string
		for _, t := range tools {
			if theirs, measured := middle(r, cell{local, hugeLayers, t.name}, cpu); measured && t.peer {
				beside = append(beside, fmt.Sprintf("%s %.2f", t.name, ratio(theirs, least)))
			}
		}
		text := fmt.Sprintf("%s: %.2f times the floor's CPU time, at most 1.2", hugeLayers, factor)
		if beside != nil {
			text += " (" + strings.Join(beside, ", ") + "; oras-go verifies no digest)"
		}
		all = append(all, bound{text, factor <= 1.2})
	}
	if most, ok := middle(r, us, peak); ok {
		idle, _ := middle(r, us, func(s sample) int64 { return s.Idle })
		all = append(all, bound{fmt.Sprintf("%s: %.0f MiB resident, below 64 (%.0f of them before the copy)",
			hugeLayers, mebibytes(most), mebibytes(idle)), most < 64<<20})
	}
	return all
}

// What copies of many images are held to.
const (
	// flatMemory is how many times the peak of few images that of many may be.
	flatMemory = 1.5
	// mostConnections are made to one registry, whatever the number of images.
	mostConnections = 2 * largeAtOnce * largeWeight
)

// manyImages is the bounds on one call of copy.Images.
func (r results) manyImages() []bound {
	all := r.nearFloor(near, fewImages, 1.5)
	took, ok := middle(r, cell{near, fewImages, ours}, wall)
	for _, other := range []struct {
		tool, what string
		least      float64
	}{{singly, "copies of ours", 5}, {upstream, "upstream's", 10}} {
		theirs, measured := middle(r, cell{near, fewImages, other.tool}, wall)
		if ok && measured {
			factor := ratio(theirs, took)
			all = append(all, bound{fmt.Sprintf("%s: %.1f times as fast as %s, one after the other, at least %.0f",
				near.title(fewImages), factor, other.what, other.least), factor >= other.least})
		}
	}
	overTLS := near
	overTLS.TLS = true
	for _, e := range []environment{near, overTLS} {
		c := cell{e, manyImages, ours}
		all = append(all, r.nearFloor(e, manyImages, 1.5)...)
		source, ok := middle(r, c, func(s sample) int { return s.SourceConnections })
		destination, _ := middle(r, c, func(s sample) int { return s.DestinationConnections })
		if ok {
			all = append(all, bound{fmt.Sprintf("%s: %d connections to the source and %d to the destination, at most %d each",
				e.title(manyImages), source, destination, mostConnections), max(source, destination) <= mostConnections})
		}
	}
	few, ok := middle(r, cell{near, fewImages, ours}, peak)
	if many, measured := middle(r, cell{near, manyImages, ours}, peak); ok && measured {
		factor := float64(many) / float64(max(few, 1))
		all = append(all, bound{fmt.Sprintf("%s: %.2f times the memory of %s, at most %.1f", manyImages, factor, fewImages, flatMemory),
			factor <= flatMemory})
	}
	return all
}

// What later runs of a mirror are held to, in which there is nothing to do.
const (
	// againMemory is the most resident memory, in bytes, of the largest mirror.
	againMemory = 100 << 20
	// linear is how many times the time of an image of a small mirror one of a large one may take.
	linear = 1.2
)

// as is what another tool took in the place of what ours did.
func (r results) as(tool string) results {
	all := results{}
	for c, samples := range r {
		switch c.Tool {
		case ours:
		case tool:
			c.Tool = ours
			all[c] = samples
		default:
			all[c] = samples
		}
	}
	return all
}

// again is the bounds on runs that find nothing to do, after others that have left what they know.
func (r results) again() []bound {
	all := append(r.heads(manyAgain, 500), r.nearFloor(near, manyAgain, 1.2)...)
	us, them := cell{near, manyAgain, ours}, cell{near, manyAgain, regsync3}
	for _, other := range []struct {
		what  string
		value func(sample) time.Duration
		most  float64
	}{{"time", wall, 0.25}, {"CPU time", cpu, 1.5}} {
		took, ok := middle(r, us, other.value)
		theirs, measured := middle(r, them, other.value)
		if ok && measured {
			factor := ratio(took, theirs)
			all = append(all, bound{fmt.Sprintf("%s: %.2f times regsync's %s, at most %.2f", near.title(manyAgain), factor, other.what, other.most),
				factor <= other.most})
		}
	}
	all = append(all, r.heads(mostAgain, 10_000)...)
	most, large := middle(r, cell{near, mostAgain, ours}, wall)
	few, small := middle(r, us, wall)
	if large && small {
		factor := ratio(most/10_000, few/500)
		all = append(all, bound{fmt.Sprintf("%s: an image takes %.2f times as long as one of %s, at most %.1f", mostAgain, factor, manyAgain, linear),
			factor <= linear})
	}
	if memory, ok := middle(r, cell{near, mostAgain, ours}, peak); ok {
		all = append(all, bound{fmt.Sprintf("%s: %.0f MiB resident, below %.0f", mostAgain, mebibytes(memory), mebibytes(againMemory)),
			memory < againMemory})
	}
	return all
}

// heads is the bound on what a run with nothing to do asks the source.
func (r results) heads(workload string, images int) []bound {
	c := cell{near, workload, ours}
	asked, ok := middle(r, c, func(s sample) int { return s.SourceRequests })
	heads, _ := middle(r, c, func(s sample) int { return s.SourceHeads })
	if !ok {
		return nil
	}
	return []bound{{fmt.Sprintf("%s: %d HEADs and %d other requests to the source, exactly %d and none", near.title(workload), heads, asked-heads, images),
		heads == images && asked == heads}}
}

// What copies of images that change on the way are held to.
const (
	// signingTakes is how many times the time of an unsigned copy a signed one may take, far away.
	signingTakes = 1.5
	// besideOthers is how many times the time that images take in a copy of which nothing changes
	// they may take beside one that does: no more, but for what times vary by.
	besideOthers = 1.1
	// changingMemory is the most resident memory, in bytes, whatever the size of layers.
	changingMemory = 128 << 20
)

// changing is the bounds on images that change on the way.
func (r results) changing() []bound {
	all := append(r.fasterThanUpstream(near, signed, 12), r.fasterThanUpstream(far, signed, 12)...)
	took, ok := middle(r, cell{far, signed, ours}, wall)
	if unsigned, measured := middle(r, cell{far, carried, ours}, wall); ok && measured {
		factor := ratio(took, unsigned)
		all = append(all, bound{fmt.Sprintf("%s: %.2f times the time of an unsigned copy, at most %.1f", far.title(signed), factor, signingTakes),
			factor <= signingTakes})
	}
	for _, workload := range []string{zstd, plain} {
		all = append(all, r.fasterThanUpstream(far, workload, 8)...)
	}
	for _, e := range []environment{near, far} {
		all = append(all, r.besideOne(e)...)
	}
	for _, workload := range []string{hugeSigned, hugeZstd, hugePlain} {
		if most, ok := middle(r, cell{local, workload, ours}, peak); ok {
			all = append(all, bound{fmt.Sprintf("%s: %.0f MiB resident, at most %.0f", workload, mebibytes(most), mebibytes(changingMemory)),
				most <= changingMemory})
		}
	}
	return all
}

// besideOne is the bounds on the images that stay as they are beside one that changes.
func (r results) besideOne(e environment) []bound {
	some, others := cell{e, onePlain, ours}, cell{e, carried, ours}
	if len(r[some]) == 0 || len(r[others]) == 0 {
		return nil
	}
	source, destination := func(s sample) int { return s.Carried.SourceRequests }, func(s sample) int { return s.Carried.DestinationRequests }
	asked, _ := middle(r, some, source)
	written, _ := middle(r, some, destination)
	allAsked, _ := middle(r, others, source)
	allWritten, _ := middle(r, others, destination)
	n, of := r[some][0].Carried.Images, r[others][0].Carried.Images
	end := func(s sample) time.Duration { return s.Carried.Done }
	done, _ := middle(r, some, end)
	allDone, _ := middle(r, others, end)
	factor := ratio(done, allDone)
	return []bound{
		{fmt.Sprintf("%s: %d + %d requests for the %d images that stay as they are, and %d + %d for the %d of a copy in which all do",
			e.title(onePlain), asked, written, n, allAsked, allWritten, of), asked*of <= allAsked*n && written*of <= allWritten*n},
		{fmt.Sprintf("%s: those images are there after %.2f times the time of that copy's, at most %.1f", e.title(onePlain), factor, besideOthers),
			factor <= besideOthers},
	}
}

// fewRequests is the bound on requests of a fresh copy.
func (r results) fewRequests() []bound {
	for _, e := range []environment{near, far, local} {
		c := cell{e, largeLayers, ours}
		source, ok := middle(r, c, func(s sample) int { return s.SourceRequests })
		destination, _ := middle(r, c, func(s sample) int { return s.DestinationRequests })
		if ok {
			return []bound{{fmt.Sprintf("%s: %d requests to the source, at most 60, and %d to the destination, at most 115",
				largeLayers, source, destination), source <= 60 && destination <= 115}}
		}
	}
	return nil
}

// attaching is the bounds on what it costs to attach what was stripped: the first time, and when it
// is there. Requests that look for signatures at the source do not count.
func (r results) attaching() []bound {
	var all []bound
	for _, e := range []environment{near, far} {
		all = append(all, r.costs(e, withOriginal, twoPlatforms, 6, 2)...)
		all = append(all, r.costs(e, withOriginalAgain, twoPlatformsAgain, 1, 0)...)
	}
	return all
}

// costs holds a copy against one that does less. What is less than half a round trip is no waiting
// for one, but the time that something else takes.
func (r results) costs(e environment, more, less string, requests, roundTrips int) []bound {
	took, ok := middle(r, cell{e, more, ours}, wall)
	least, measured := middle(r, cell{e, less, ours}, wall)
	if !ok || !measured {
		return nil
	}
	asked := func(s sample) int { return s.SourceRequests - s.Attached + s.DestinationRequests }
	all, _ := middle(r, cell{e, more, ours}, asked)
	fewer, _ := middle(r, cell{e, less, ours}, asked)
	trips := ratio(took-least, e.RTT)
	return []bound{
		{fmt.Sprintf("%s: %d requests more than %s, at most %d", e.title(more), all-fewer, less, requests), all-fewer <= requests},
		{fmt.Sprintf("%s: %.2f round trips longer than %s, at most %d", e.title(more), trips, less, roundTrips),
			math.Round(trips) <= float64(roundTrips)},
	}
}
