package copy

import (
	"context"
	"fmt"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/prose"
)

// sparseSupport returns what the destination's registry says of sparse lists. That it refused some earlier says nothing: it may have been
// configured anew, and another repository or list is another question.
func (j *job) sparseSupport(ctx context.Context) SparseSupport {
	dst, ok := j.dst.(*registry.Destination)
	if !ok {
		return SparseSupport{}
	}
	var said registry.Announcement
	err := one(ctx, j.budget, func() (err error) {
		said, err = dst.Announcement(ctx)
		return err
	})
	if err != nil {
		logrus.Debugf("%s announces nothing about sparse lists: %v", j.in.Destination, err)
	}
	if isUnanswered(err) && j.o.CompareDestination { // a copy will see for itself
		j.reporter.warn(fmt.Sprintf("whether the destination takes sparse lists could not be asked, and is not known: %v", err))
	}
	return parseAnnouncement(said)
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
