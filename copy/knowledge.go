package copy

import (
	"strings"

	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/prose"
)

// parseAnnouncement reads what the registry announces.
func parseAnnouncement(said registry.Announcement) SparseSupport {
	value := func(text string) string { return strings.ToLower(strings.TrimSpace(text)) }
	switch value(said.SparseManifests) {
	case "true":
		s := SparseSupport{Known: true, Accepts: true, Widens: value(said.Widening) == "true", Basis: "it announces that it takes them"}
		for arch := range strings.SplitSeq(said.RequiredArchitectures, ",") {
			if arch = strings.TrimSpace(arch); arch != "" {
				s.RequiredArchitectures = append(s.RequiredArchitectures, arch)
			}
		}
		if len(s.RequiredArchitectures) > 0 {
			s.Basis = "it announces that it takes them, and requires " + prose.And(s.RequiredArchitectures)
		}
		return s
	case "false":
		return SparseSupport{Known: true, Basis: "it announces that it does not take them"}
	}
	return SparseSupport{}
}
