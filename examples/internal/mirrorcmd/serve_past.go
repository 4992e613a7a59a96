package mirrorcmd

import (
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/transports"

	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorserver"
	"github.com/sparsecopy/sparsecopy/examples/internal/schedule"
	"github.com/sparsecopy/sparsecopy/examples/internal/state"
	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// A past is what a state says of all images when a server begins.
type past struct {
	now    time.Time
	images map[string]state.Image // by destination
}

func newPast(images []state.Image, now time.Time) *past {
	p := &past{now: now, images: make(map[string]state.Image, len(images))}
	for _, i := range images {
		p.images[i.Destination] = i
	}
	return p
}

// named sets in an element when it was last looked at as a whole, these being its copies, and when
// it has to be again. What was looked at for another source or with another key does not count.
func (p *past) named(element *mirrorserver.Element, copies []syncfile.Copy, key digest.Digest) {
	for n, c := range copies {
		i := p.images[transports.ImageName(c.Destination)]
		if i.Source != transports.ImageName(c.Source) || i.Options != key {
			i.Tried = time.Time{}
		}
		if n == 0 || i.Tried.Before(element.Last) {
			element.Last = i.Tried
		}
		element.Again = state.Earlier(element.Again, p.again(&i))
	}
}

// listed does that for an element with patterns: it has those images of which the names of the
// sources begin with prefix. Which others it stands for is known when its tags are listed, for
// which an interval does not wait.
func (p *past) listed(element *mirrorserver.Element, prefix string) {
	for _, i := range p.images {
		if !strings.HasPrefix(i.Source, prefix) {
			continue
		}
		element.Again = state.Earlier(element.Again, p.again(&i))
		if !i.Tried.IsZero() {
			element.Last = state.Earlier(element.Last, i.Tried)
		}
	}
	if element.Schedule.Periodic() {
		element.Last = time.Time{}
	}
}

// again is when an image can be tried again that is not done, zero if it is.
func (p *past) again(i *state.Image) time.Time {
	switch {
	case !i.Pushed.IsZero(), i.Status == state.Pending, i.Tried.After(p.now):
		return p.now
	case i.Status == state.Failed:
		return i.Tried.Add(schedule.Backoff(1))
	case i.Status == state.Postponed:
		return i.PostponedUntil
	}
	return time.Time{}
}
