package registry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"regexp"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/turns"
)

// hiding is whether a repository answers 403 for tags that are not there, as Artifactory does. The
// zero value does not know. Whoever has the turn owns the other fields.
type hiding struct {
	turn         turns.Turn
	asked, hides bool
}

// notTold is endpoint.ErrUnknown, with its reason.
type notTold struct{ err error }

func (e *notTold) Error() string {
	return endpoint.ErrUnknown.Error() + ": " + e.err.Error() + ", and the same for a tag that does not exist"
}
func (e *notTold) Unwrap() error        { return e.err }
func (e *notTold) Is(target error) bool { return target == endpoint.ErrUnknown }

// digestTag is what the URLs of digest tags end with: cosign's, and those of the referrers tag
// schema.
var digestTag = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`/manifests/sha(256|384|512)-[0-9a-f]{8,}(\.[A-Za-z0-9.]+)?$`)
})

// unlessHidden makes err, the failure to read a digest tag of a source, endpoint.ErrUnknown if it
// is a 403 that means nothing: r says that of any tag that is not there. It asks r once, for a tag
// that certainly does not exist. Other errors stay what they are.
func (r *repository) unlessHidden(ctx context.Context, err error) error {
	if e := answered(err); e == nil || e.Status != http.StatusForbidden || !digestTag().MatchString(e.URL) {
		return err
	}
	done, ended := r.hiding.turn.Take(ctx)
	if ended != nil {
		return err
	}
	defer done()
	if !r.hiding.asked {
		random := make([]byte, 32)
		_, _ = rand.Read(random) // which never fails
		tag := "sha256-" + hex.EncodeToString(random) + ".sig"
		_, probe := r.read(ctx, r.shared.newRetrier(), tag)
		if ctx.Err() != nil {
			return err
		}
		answer := answered(probe)
		r.hiding.asked, r.hiding.hides = true, answer != nil && answer.Status == http.StatusForbidden
		logrus.Debugf("%s/%s answers for a tag that does not exist: %v", r.host.Name, r.name, probe)
	}
	if !r.hiding.hides {
		return err
	}
	return &notTold{err}
}
