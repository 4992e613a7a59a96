package copy

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
)

// What this process has learnt about registries, by host.
var (
	// refusals are the sparse lists that registries have refused, to take the stripped ones, by refusedList.
	refusals sync.Map // refusedList → string, what the registry said
	// announcements are what registries say about sparse lists themselves. Each is asked once.
	announcements sync.Map // string → *announcement
)

type announcement struct {
	asking  *semaphore.Weighted // of one slot; not a mutex, so that whoever waits can be cancelled
	known   bool                // guarded by asking, as is support
	support SparseSupport
}

// hostOf returns the registry of a reference, "" if it is at none.
func hostOf(ref types.ImageReference) string {
	if named := ref.DockerReference(); named != nil && ref.Transport().Name() == "docker" {
		return reference.Domain(named)
	}
	return ""
}

// A refusedList is a list that a repository refused while certain children were absent. By itself that says nothing about other lists,
// or about the same one with other children: registries require architectures.
type refusedList struct {
	repository string
	list       digest.Digest
	absent     string // digests, sorted
}

// anyList stands for every sparse list at a registry.
func anyList(host string) refusedList { return refusedList{repository: host} }

func newRefusedList(ref types.ImageReference, l *ListPlan) refusedList {
	return refusedList{ref.DockerReference().Name(), l.Result, strings.Join(digestStrings(sorted(l.Absent)), " ")}
}

// rememberRefusal notes that the registry of ref refused a sparse list, and took the stripped one. A registry that asked for all that was
// absent, of several platforms, will not take other sparse lists either.
func rememberRefusal(ref types.ImageReference, put *listPutError) {
	host := hostOf(ref)
	if host == "" {
		return
	}
	refusals.Store(newRefusedList(ref, put.list), put.err.Error())
	if put.list.absentPlatforms() > 1 && namesAll(put.err, put.list.Absent) {
		refusals.Store(anyList(host), put.err.Error())
	}
}

// absentPlatforms is the number of distinct platforms of the children that will be absent.
func (l *ListPlan) absentPlatforms() int {
	absent := map[digest.Digest]bool{}
	for _, d := range l.Absent {
		absent[d] = true
	}
	platforms := map[string]bool{}
	for _, ip := range l.Instances {
		if absent[ip.Digest] && ip.AttestationOf == "" {
			platforms[ip.Platform] = true
		}
	}
	return len(platforms)
}

// refusedEarlier returns what the destination said when it refused a list of the plan, or all sparse lists, earlier in this process.
func (j *job) refusedEarlier(p *Plan) (said string) {
	host := hostOf(j.destRef)
	if host == "" {
		return ""
	}
	if refusal, ok := refusals.Load(anyList(host)); ok {
		return refusal.(string)
	}
	p.List.walk(func(l *ListPlan) {
		if refusal, ok := refusals.Load(newRefusedList(j.destRef, l)); ok && said == "" {
			said = refusal.(string)
		}
	})
	return said
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
	if said := j.refusedEarlier(j.plan); said != "" {
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
	entry, _ := announcements.LoadOrStore(hostOf(j.destRef), &announcement{asking: semaphore.NewWeighted(1)})
	a := entry.(*announcement)
	if a.asking.Acquire(ctx, 1) != nil {
		return SparseSupport{} // the context has ended: whatever comes next will say so
	}
	defer a.asking.Release(1)
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
