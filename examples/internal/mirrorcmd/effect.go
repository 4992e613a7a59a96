package mirrorcmd

import (
	"slices"
	"strings"
)

// checkEffect refuses flags that have no effect on a copy between these ends.
func (c *copyCommand) checkEffect(ends *ends) error {
	from, to := ends.source.Transport().Name(), ends.destination.Transport().Name()
	layouts, uploads := &c.access.layouts, &c.access.uploads
	for _, flag := range []struct {
		name        string
		given       bool
		sources     []string // transports; nil for all
		destination string   // transport
	}{
		{"fsync=off", layouts.noSync, nil, "oci"},
		{"hard-links", layouts.hardLinks, []string{"oci", "dir"}, "oci"},
		{"trust-source", layouts.trustSource, []string{"oci", "oci-archive", "dir"}, "oci"},
		{"chunk-size", uploads.chunk != 0, nil, "docker"},
		{"resume-dir", uploads.resumeDir != "", nil, "docker"},
	} {
		switch {
		case !flag.given:
		case to != flag.destination:
			return misusef("--%s has no effect on a copy to DESTINATION %s:, only to %s:", flag.name, to, flag.destination)
		case flag.sources != nil && !slices.Contains(flag.sources, from):
			return misusef("--%s has no effect on a copy from SOURCE %s:, only from %s:", flag.name, from, strings.Join(flag.sources, ":, "))
		}
	}
	return nil
}
