package copy

import (
	"context"
	"errors"

	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/internal/budget"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/internal/trust"
)

// What VerifyStripped returns, and what it asks.
type (
	// A StripVerification says whether a stripped list is proven to be a publisher's, with entries
	// taken out. As JSON it has the schema StripVerificationSchema.
	StripVerification = trust.Verification
	// A JudgedSignature is a signature of the original, and what became of it.
	JudgedSignature = trust.Signature
	// A StripVerificationError says why nothing is proven, and what to do about it. Its Reason is
	// one of those that docs/report-schema.md lists.
	StripVerificationError = trust.Error
	// A StripReason says for programs why nothing is proven, or a signature is not accepted.
	StripReason = trust.Reason
	// VerifyStrippedOptions are the choices of VerifyStripped. Origin must be given.
	VerifyStrippedOptions = trust.Options
	// A BundleVerifier verifies sigstore bundles, which signature policies cannot judge.
	BundleVerifier = trust.BundleVerifier
)

// StripVerificationSchema names the JSON form of a StripVerification, which docs/report-schema.md
// describes.
const StripVerificationSchema = trust.Schema

// VerifyStripped verifies a list that was stripped with Options.AttachOriginal, without its source:
// that the list which destRef names is its original with whole entries taken out and nothing else
// touched, and that the original is signed. Only the list is read, those nested in it, and what is
// attached to it; the images are not. The destination itself is asked, never a mirror of it, and
// nothing is written.
//
// What is not proven is a *StripVerificationError, which comes with a verification as far as that
// got. Any other error comes without one: an *OptionsError, or an *Error about what could not be
// read.
func VerifyStripped(ctx context.Context, destRef types.ImageReference, options *VerifyStrippedOptions) (*StripVerification, error) {
	c := newOneShot(CopierOptions{})
	defer func() { _ = c.Close() }() // closes connections that nobody uses any more
	return c.VerifyStripped(ctx, destRef, options)
}

// VerifyStripped is the function VerifyStripped, with what the copies of c share.
func (c *Copier) VerifyStripped(ctx context.Context, destRef types.ImageReference, options *VerifyStrippedOptions) (*StripVerification, error) {
	if options == nil || options.Origin == nil {
		return nil, &OptionsError{Options: []string{"Origin"}, Reason: "the publisher's reference has to be given: nobody else may say whose list it is"}
	}
	dst, err := openToRead(ctx, c, destRef, ReadOptions{SystemContext: options.SystemContext, Side: DestinationSide})
	switch {
	case err == nil:
		defer dst.Close() // nothing was written
	case !errors.Is(err, ErrNotFound):
		return nil, err
	}
	v, err := trust.Verify(ctx, dst, *options, trust.Means{Turns: &c.policies, Limit: budget.Or(c.budget), Name: transports.ImageName(destRef)})
	if v == nil {
		return nil, failure.Reading(err)
	}
	return v, err
}
