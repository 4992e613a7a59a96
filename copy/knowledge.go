package copy

import (
	"context"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/prose"
)

// askSupport learns what the destination's registry says of sparse lists. That it refused some earlier says nothing: it may have been
// configured anew, and another repository or list is another question.
func (j *job) askSupport(ctx context.Context) {
	j.support = &SparseSupport{}
	dst, ok := j.dst.(*registry.Destination)
	if !ok {
		return
	}
	j.supportErr = one(ctx, j.budget, func() error {
		said, err := dst.Announcement(ctx)
		*j.support = parseAnnouncement(said)
		return err
	})
	if j.supportErr != nil {
		logrus.Debugf("%s announces nothing about sparse lists: %v", j.dstName, j.supportErr)
		j.support.Unanswered = isUnanswered(j.supportErr)
	}
}

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
