package sparsesupport

import (
	"context"
	"slices"
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
	// RequiredPlatforms, as manifest.SparsePolicy has them, must be there besides. Only if Accepts.
	RequiredPlatforms []string
	// RequiresWithoutPlatform is set if children must be there whose entry states no architecture,
	// as soon as anything is required. Only if Accepts. Many registries do not tell.
	RequiresWithoutPlatform bool
	// Widens is set if children stay which are added to a list that is there. Only if Accepts.
	Widens bool
	// Unanswered is set if the registry was asked and did not tell. Only if not Known.
	Unanswered bool
	// Basis says how that is known.
	Basis string
}

// An Announcer tells what a registry announces: for all repositories, and for its own.
type Announcer interface {
	Announcement(ctx context.Context) (endpoint.Announcement, error)
	OwnAnnouncement(ctx context.Context) (endpoint.Announcement, error)
}

// Ask asks what dst announces about sparse lists. A registry that has policies for repositories
// announces the strictest of them: it is asked for that of dst's own only if the strictest will
// not do. With an error, nothing is known. That a registry refused some earlier says nothing: it
// may have been configured anew, and another repository or list is another question.
func Ask(ctx context.Context, dst Announcer, willDo func(Support) bool) (Support, error) {
	support, err := supportOf(dst.Announcement(ctx))
	if err == nil && support.Known && !willDo(support) {
		return supportOf(dst.OwnAnnouncement(ctx))
	}
	return support, err
}

func supportOf(said endpoint.Announcement, err error) (Support, error) {
	if err != nil {
		return Support{Unanswered: endpoint.IsUnanswered(err)}, err
	}
	return parse(said), nil
}

// parse reads what a registry announces.
func parse(said endpoint.Announcement) Support {
	switch value(said.SparseManifests) {
	case "true":
		s := Support{
			Known: true, Accepts: true, Widens: value(said.Widening) == "true",
			RequiredArchitectures: commaSeparated(said.RequiredArchitectures), RequiredPlatforms: commaSeparated(said.RequiredPlatforms),
			Basis: "it announces that it takes sparse lists",
		}
		if required := slices.Concat(s.RequiredArchitectures, s.RequiredPlatforms); len(required) > 0 {
			s.RequiresWithoutPlatform = value(said.RequiredWithoutPlatform) == "true"
			s.Basis += ", and requires " + prose.And(required)
		}
		return s
	case "false":
		return Support{Known: true, Basis: "it announces that it does not take them"}
	}
	return Support{}
}

func value(text string) string { return strings.ToLower(strings.TrimSpace(text)) }

func commaSeparated(text string) []string {
	var values []string
	for v := range strings.SplitSeq(text, ",") {
		if v = strings.TrimSpace(v); v != "" {
			values = append(values, v)
		}
	}
	return values
}
