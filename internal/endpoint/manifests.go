package endpoint

import (
	"context"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/inflight"
)

// Answers are what a destination said to the question which manifests it has.
type Answers struct {
	Has    map[digest.Digest]bool
	Untold map[digest.Digest]error // those of which it did not tell, and why
}

// All says that a destination has all of digests.
func All(digests []digest.Digest) Answers {
	all := Answers{Has: make(map[digest.Digest]bool, len(digests))}
	for _, d := range digests {
		all.Has[d] = true
	}
	return all
}

// AskManifests asks a destination which manifests it has, with a slot of the budget for each. That
// it does not tell is never an error, which says that ctx has ended.
func AskManifests(ctx context.Context, budget *semaphore.Weighted, dst Destination, digests []digest.Digest) (Answers, error) {
	out := Answers{Has: map[digest.Digest]bool{}, Untold: map[digest.Digest]error{}}
	note := func(d digest.Digest, has bool, err error) error {
		if err != nil {
			logrus.Debugf("%s does not tell whether it has %s: %v", dst.Reference().StringWithinTransport(), d, err)
			out.Untold[d] = err
			return nil
		}
		out.Has[d] = has
		return nil
	}
	err := inflight.Ask(ctx, budget, digests, dst.HasManifest, note)
	return out, err
}

// Unanswered returns those of digests that could not be asked for, and why not; a nil error if
// there are none.
func (a Answers) Unanswered(digests []digest.Digest) (unanswered []string, why error) {
	for _, d := range digests {
		if err := a.Untold[d]; IsUnanswered(err) {
			unanswered, why = append(unanswered, d.String()), err
		}
	}
	return unanswered, why
}
