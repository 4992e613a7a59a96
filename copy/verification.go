package copy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/internal/expected"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/internal/inspect"
)

// What Verify returns.
type (
	// A Verification says whether a destination is what a copy would have made of it. As JSON it
	// has the schema VerificationSchema.
	Verification = inspect.Verification
	// A Violation is one thing that is not as it should be.
	Violation = inspect.Violation
)

// VerificationSchema names the JSON form of a Verification, which docs/report-schema.md describes.
const VerificationSchema = inspect.VerificationSchema

// VerifyOptions are the choices of Verify. The zero value is useful, and so is a nil
// *VerifyOptions.
type VerifyOptions struct {
	// Options are those of the copy whose work is verified; nil means the defaults.
	Options *Options
	// ReadBlobs reads every config and layer and hashes it, instead of asking whether it is there
	// with its size.
	ReadBlobs bool
}

// Verify holds destRef against what Image would make of it, with the same arguments: it names the
// digest that it should; every image that is selected is there; every list and manifest has its
// digest; every config and layer is there with its size, or its digest if it is read; referrers are
// listed and digest tags name what they should, if they are selected; and signatures of the source
// are there too. Layers with URLs, which copies leave where they are, are not looked for. The
// destination itself is asked, never a mirror of it, and nothing is written.
//
// What is wrong with the destination is a Violation, and no error. Errors are those of Prepare, and
// *Errors about what could not be asked. New signatures are not looked for: policies do that. What
// the destination should be must be known beforehand: if images are transformed on the way, and
// what they became is not remembered here or not at the destination, or if the copy is Upstream's,
// that is an error too.
func Verify(
	ctx context.Context, policyContext *signature.PolicyContext, destRef, srcRef types.ImageReference,
	options *VerifyOptions,
) (*Verification, error) {
	c := newOneShot(CopierOptions{})
	defer func() { _ = c.Close() }() // closes connections that nobody uses any more
	return c.Verify(ctx, policyContext, destRef, srcRef, options)
}

func verifyWith(
	ctx context.Context, c *Copier, policyContext *signature.PolicyContext, destRef, srcRef types.ImageReference,
	options *VerifyOptions,
) (*Verification, error) {
	var o Options
	if options.Options != nil {
		o = *options.Options
	}
	o.CompareDestination = false // what is there is looked at afterwards
	o.Signers, o.SignBy, o.SignBySigstorePrivateKeyFile, o.VerifierID, o.PolicyURI, o.PolicyDigest = nil, "", "", "", "", ""
	o.OriginPolicy = nil
	o.ListSignatures = WarnListSignatures // whatever became of the list, nothing is stripped here
	prepared, err := c.Prepare(ctx, policyContext, destRef, srcRef, &o)
	if err == nil && len(prepared.Plan().Transforms()) > 0 { // what is remembered of that counts if the destination has it
		prepared.Close()
		o.CompareDestination = true
		prepared, err = c.Prepare(ctx, policyContext, destRef, srcRef, &o)
	}
	if err != nil {
		return nil, err
	}
	defer prepared.Close() // nothing was written
	p := prepared.Plan()
	switch transforms := p.Transforms(); {
	case p.Way != Native:
		return nil, fmt.Errorf("what the destination should be cannot be told beforehand: %s", p.WayReason)
	case len(transforms) > 0:
		return nil, fmt.Errorf("what the destination should be cannot be told beforehand: %s is transformed, and no result that the destination has is remembered: %s", transforms[0].Digest, transforms[0].Reason)
	}
	dst, err := openToRead(ctx, c, destRef, ReadOptions{SystemContext: o.DestinationCtx, Side: DestinationSide})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	if dst != nil {
		defer dst.Close()
	}
	v, err := inspect.Verify(ctx, dst, prepared.ends.src, expected.Of(p, &prepared.ends.choices), inspect.Options{
		ReadBlobs: options.ReadBlobs, Limit: prepared.ends.budget,
		Attached: func(ctx context.Context, d digest.Digest) (Document, error) {
			return prepared.ends.reader().Manifest(ctx, prepared.survey.source, d)
		},
	})
	if err != nil {
		return nil, failure.Reading(err)
	}
	v.Source, v.Destination = p.Source, p.Destination
	v.Warnings = slices.Sorted(slices.Values(slices.Concat(v.Warnings, p.Warnings, expected.LeftOut(p))))
	return v, nil
}
