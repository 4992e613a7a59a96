package sparsesupport

import (
	"context"
	"strings"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/prose"
)

// Support says whether a registry accepts sparse lists, as far as that is known. The zero value
// knows nothing.
type Support struct {
	Known bool
	// Accepts is meaningful only if Known.
	Accepts bool
	// RequiredArchitectures must be there all the same. Only if Accepts.
	RequiredArchitectures []string
	// Widens is set if children stay which are added to a list that is there. Only if Accepts.
	Widens bool
	// Unanswered is set if the registry was asked and did not tell. Only if not Known.
	Unanswered bool
	// Basis says how that is known.
	Basis string
}

// An Announcer tells what a registry announces.
type Announcer interface {
	Announcement(ctx context.Context) (endpoint.Announcement, error)
}

// Ask asks what dst announces about sparse lists. With an error, nothing is known. That a registry
// refused some earlier says nothing: it may have been configured anew, and another repository or
// list is another question.
func Ask(ctx context.Context, dst Announcer) (Support, error) {
	said, err := dst.Announcement(ctx)
	if err != nil {
		return Support{Unanswered: endpoint.IsUnanswered(err)}, err
	}
	return parse(said), nil
}

// parse reads what a registry announces.
func parse(said endpoint.Announcement) Support {
	value := func(text string) string { return strings.ToLower(strings.TrimSpace(text)) }
	switch value(said.SparseManifests) {
	case "true":
		s := Support{
			Known: true, Accepts: true, Widens: value(said.Widening) == "true",
			Basis: "it announces that it takes sparse lists",
		}
		for arch := range strings.SplitSeq(said.RequiredArchitectures, ",") {
			if arch = strings.TrimSpace(arch); arch != "" {
				s.RequiredArchitectures = append(s.RequiredArchitectures, arch)
			}
		}
		if len(s.RequiredArchitectures) > 0 {
			s.Basis += ", and requires " + prose.And(s.RequiredArchitectures)
		}
		return s
	case "false":
		return Support{Known: true, Basis: "it announces that it does not take them"}
	}
	return Support{}
}
