package mirrorserver

import (
	"context"
	"time"

	"go.podman.io/image/v5/docker/reference"

	"github.com/sparsecopy/sparsecopy/examples/internal/schedule"
	"github.com/sparsecopy/sparsecopy/examples/internal/state"
)

// A Plan is what a mirror is to have, as its file says now. Its methods may be called concurrently.
type Plan interface {
	// Elements are the elements of the file, each with another Key.
	Elements() []Element
	// Expand returns what an element stands for now, which may take a list of tags.
	Expand(ctx context.Context, element Element) ([]Copy, error)
	// Copy makes a copy, and notes in the state how it ended. If nobody wants it any more, it does
	// nothing, and the Outcome has no Status.
	Copy(ctx context.Context, c Copy) Outcome
	// Pushed returns the copies of which a tag is the source. It asks nobody.
	Pushed(tag reference.NamedTagged) []Copy
	// Promise notes in the state that a copy is to be made, until it was: it is, then, also if the
	// process ends before. It may be called after Close.
	Promise(c Copy)
	// Close gives back what the plan holds. No other call is made then, or under way.
	Close() error
}

// An Element is an element of the file: one image, or the tags of a repository.
type Element struct {
	Key      string
	Schedule schedule.Schedule
	// Settings is a fingerprint of all else that the file says of it.
	Settings string
	// Last is when it was last looked at as a whole, zero if that is not known.
	Last time.Time
	// Again is when it is looked at whatever its schedule says, because something of it was not
	// done when the process before ended; zero if nothing is known of that.
	Again time.Time
}

// A Copy is one copy that an element stands for.
type Copy struct {
	// Destination is the key: two copies to one destination are not made at the same time.
	Destination string
	Element     string // its key
	Tag         string // of the source, "" if it has none
}

// An Outcome is how a copy ended.
type Outcome struct {
	Status state.Status
	// Error is why it failed, "" if it did not.
	Error string
	// Retry is set if it failed and may succeed when it is tried again.
	Retry bool
	// Until is when it can be tried again if it was postponed, at the latest.
	Until time.Time

	Copied   bool  // something was written
	Bytes    int64 // of blobs that were copied
	Requests int64 // to registries, Retries included
	Retries  int64
	Refused  bool // the destination refused the list as it is
}
