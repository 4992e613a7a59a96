// Package policy asks signature policies, which evaluate one image at a time.
package policy

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/turns"
)

// A Judge asks a signature policy. Its method is safe for concurrent use, also where Judges of one
// policy share their Turns.
type Judge struct {
	Turns *turns.Turns[*signature.PolicyContext]
	// Context evaluates with its turn only. Nil allows nothing.
	Context *signature.PolicyContext
}

// Ask returns why the policy does not allow image, nil if it does. The error is context.Cause: it
// was not asked.
func (j Judge) Ask(ctx context.Context, image types.UnparsedImage) (why, err error) {
	if j.Context == nil {
		return errors.New("no signature policy was given"), nil
	}
	done, err := j.Turns.Take(ctx, j.Context)
	if err != nil {
		return nil, err
	}
	defer done()
	allowed, why := j.Context.IsRunningImageAllowed(ctx, image)
	if why == nil && !allowed {
		why = errors.New("the signature policy does not allow it")
	}
	return why, nil
}

// AllowsUnseen reports whether the policy allows whatever ref may name, and looks neither at
// manifests nor at signatures. The error is context.Cause: it was not asked.
func (j Judge) AllowsUnseen(ctx context.Context, ref types.ImageReference) (bool, error) {
	image := &unseen{ref: ref}
	why, err := j.Ask(ctx, image)
	return err == nil && why == nil && !image.looked, err
}

// unseen is an image that notes whether anybody looks at it. It is for one goroutine.
type unseen struct {
	ref    types.ImageReference
	looked bool
}

func (u *unseen) Reference() types.ImageReference { return u.ref }

func (u *unseen) Manifest(context.Context) ([]byte, string, error) {
	u.looked = true
	return nil, "", errUnseen
}

func (u *unseen) Signatures(context.Context) ([][]byte, error) {
	u.looked = true
	return nil, errUnseen
}

var errUnseen = errors.New("the image is not to be looked at")

// RejectedError says that the signature policy rejects an image of the source, or a list that names
// blobs. Nothing of it has been read but its manifest, or the list. The cause is the policy's own
// error.
type RejectedError struct {
	Digest digest.Digest
	Err    error
}

func (e *RejectedError) Error() string {
	return fmt.Sprintf("Source image rejected: %v (%s)", e.Err, e.Digest)
}

func (e *RejectedError) Unwrap() error { return e.Err }

// AcceptAnything returns the policy that accepts every image. It has to be destroyed.
func AcceptAnything() (*signature.PolicyContext, error) {
	return signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
}
