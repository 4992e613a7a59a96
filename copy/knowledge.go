package copy

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"
)

// refusals are the registries that have refused a sparse list to this process, by host, with what they said.
var refusals sync.Map // string → string

// rememberRefusal notes that the registry of ref refused a sparse list, and took the stripped one.
func rememberRefusal(ref types.ImageReference, refusal error) {
	if named := ref.DockerReference(); named != nil {
		refusals.Store(reference.Domain(named), refusal.Error())
	}
}

// An announcer is a destination that asks a registry, at most once a process, what it says about sparse lists.
type announcer interface {
	SparseSupport(ctx context.Context) (supported, requiredArchitectures string, err error)
}

// sparseSupport returns what is known about the destination's view of sparse lists. An announcement is about all copies; a refusal
// that was seen earlier only makes Auto strip at once: under Keep, the registry is asked again.
func (j *job) sparseSupport(ctx context.Context) SparseSupport {
	if a, ok := j.dst.(announcer); ok {
		var supported, required string
		err := one(ctx, j.budget, func() (err error) {
			supported, required, err = a.SparseSupport(ctx)
			return err
		})
		if s := parseAnnouncement(supported, required); err == nil && s.Known {
			return s
		}
	}
	named := j.destRef.DockerReference()
	if named == nil || j.o.SparseManifestListAction != AutoSparseManifestList {
		return SparseSupport{}
	}
	if said, ok := refusals.Load(reference.Domain(named)); ok {
		return SparseSupport{Known: true, Basis: fmt.Sprintf("it refused one earlier: %s", said)}
	}
	return SparseSupport{}
}

// parseAnnouncement reads the headers X-Sparse-Manifest-Support and X-Required-Architectures.
func parseAnnouncement(supported, required string) SparseSupport {
	switch strings.ToLower(strings.TrimSpace(supported)) {
	case "true":
		s := SparseSupport{Known: true, Accepts: true, Basis: "it announces that it takes them"}
		for arch := range strings.SplitSeq(required, ",") {
			if arch = strings.TrimSpace(arch); arch != "" {
				s.RequiredArchitectures = append(s.RequiredArchitectures, arch)
			}
		}
		if len(s.RequiredArchitectures) > 0 {
			s.Basis = fmt.Sprintf("it announces that it takes them if %s is there", joinAnd(s.RequiredArchitectures))
		}
		return s
	case "false":
		return SparseSupport{Known: true, Basis: "it announces that it does not take them"}
	}
	return SparseSupport{}
}
