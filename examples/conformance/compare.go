package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A shortcoming is why tests fail.
type shortcoming struct {
	reason string
	names  []string // how the names of these tests begin
	most   int      // how many of a name may fail; 0 for any number
}

// known are all shortcomings of sparse-registry.
var known = []shortcoming{
	{reason: "distribution's: it stores what has a sha512 digest under its sha256 digest", names: []string{"sha512 blobs/", "sha512/"}},
	{reason: "meant: without --allow-layer-urls, layers that are elsewhere are refused", names: []string{"non-distributable-layers/"}},
	// Beside the image, there is a list whose child is missing, for which the same is done.
	{reason: "meant: an image that lacks a layer is refused", names: []string{"sparse/"}, most: 1},
}

// compare demands that what passes with plain distribution passes here, and that all failures are
// known. It counts these by their reasons.
func (v verdict) compare(plain verdict, reasons map[string]int) error {
	var complaints []error
	here, there := v.times(passed), plain.times(passed)
	for _, name := range slices.Sorted(maps.Keys(there)) {
		if here[name] < there[name] {
			complaints = append(complaints, fmt.Errorf("%s: %s passes %d times, %d with plain distribution", v.name, name, here[name], there[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.times(failed))) {
		n := v.times(failed)[name]
		at := slices.IndexFunc(known, func(s shortcoming) bool { return s.covers(name, n) })
		if at < 0 {
			complaints = append(complaints, fmt.Errorf("%s: %s fails %d times", v.name, name, n))
			continue
		}
		reasons[known[at].reason] += n
	}
	return errors.Join(complaints...)
}

// covers reports whether tests of a name are known to fail so often.
func (s shortcoming) covers(name string, times int) bool {
	begins := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
	return slices.ContainsFunc(s.names, begins) && (s.most == 0 || times <= s.most)
}
