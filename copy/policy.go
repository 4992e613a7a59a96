package copy

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/turns"
)

// A judge asks the signature policy, one image at a time.
type judge struct {
	turns   *turns.Turns[*signature.PolicyContext]
	context *signature.PolicyContext // evaluates with its turn only
}

// allow reports whether the policy allows the image with digest d: nil, a *RejectedError, or
// context.Cause.
func (j judge) allow(ctx context.Context, d digest.Digest, image types.UnparsedImage) error {
	if j.context == nil {
		return &RejectedError{d, errors.New("no signature policy was given")}
	}
	done, err := j.turns.Take(ctx, j.context)
	if err != nil {
		return err
	}
	defer done()
	if allowed, err := j.context.IsRunningImageAllowed(ctx, image); err != nil {
		return &RejectedError{d, err}
	} else if !allowed {
		return &RejectedError{d, errors.New("the signature policy does not allow it")}
	}
	logrus.Debugf("signature policy allows %s", d)
	return nil
}
