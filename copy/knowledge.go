package copy

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
)

// What this process has learnt about registries, by host.
var (
	// refusals are the registries that have refused a sparse list and taken the stripped one, with what they said.
	refusals sync.Map // string → string
	// announcements are what registries say about sparse lists themselves. Each is asked once.
	announcements sync.Map // string → *announcement
)

type announcement struct {
	asked   sync.Mutex
	known   bool // guarded by asked
	support SparseSupport
}

// hostOf returns the registry of a reference, "" if it is at none.
func hostOf(ref types.ImageReference) string {
	if named := ref.DockerReference(); named != nil && ref.Transport().Name() == "docker" {
		return reference.Domain(named)
	}
	return ""
}

// rememberRefusal notes that the registry of ref refused a sparse list, and took the stripped one.
func rememberRefusal(ref types.ImageReference, refusal error) {
	if host := hostOf(ref); host != "" {
		refusals.Store(host, refusal.Error())
	}
}

// sparseSupport returns what is known about the destination's view of sparse lists. An announcement is about all copies; a refusal
// that was seen earlier only makes Auto strip at once: under Keep, the registry is asked again.
func (j *job) sparseSupport(ctx context.Context) SparseSupport {
	if s := j.announced(ctx); s.Known {
		return s
	}
	if j.o.SparseManifestListAction != AutoSparseManifestList {
		return SparseSupport{}
	}
	if said, ok := refusals.Load(hostOf(j.destRef)); ok {
		return SparseSupport{Known: true, Basis: fmt.Sprintf("it refused one earlier: %s", said)}
	}
	return SparseSupport{}
}

// announced returns what the destination's registry says of itself. It costs one request a registry and process.
func (j *job) announced(ctx context.Context) SparseSupport {
	dst, ok := j.dst.(*registry.Destination)
	if !ok {
		return SparseSupport{}
	}
	entry, _ := announcements.LoadOrStore(hostOf(j.destRef), &announcement{})
	a := entry.(*announcement)
	a.asked.Lock()
	defer a.asked.Unlock()
	if a.known {
		return a.support
	}
	err := one(ctx, j.budget, func() error {
		said, err := dst.Announcement(ctx)
		a.support = parseAnnouncement(said.SparseManifests, said.RequiredArchitectures)
		return err
	})
	if err != nil {
		logrus.Debugf("%s announces nothing about sparse lists: %v", j.in.Destination, err)
	}
	a.known = ctx.Err() == nil
	return a.support
}

// parseAnnouncement reads the values of X-Sparse-Manifest-Support and X-Required-Architectures.
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
			s.Basis = "it announces that it takes them, and requires " + joinAnd(s.RequiredArchitectures)
		}
		return s
	case "false":
		return SparseSupport{Known: true, Basis: "it announces that it does not take them"}
	}
	return SparseSupport{}
}
