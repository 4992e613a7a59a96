package copy

import (
	"context"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/budget"
	"github.com/sparsecopy/sparsecopy/copy/internal/verifying"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inspect"
	"github.com/sparsecopy/sparsecopy/internal/policy"
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
	// Orphans verifies also what has outlived its source. If that definitely lacks what srcRef
	// names, or an image that is wanted, destRef is held against what it names itself, of what
	// Options select, and Verification.Orphaned says what the source lacks. No policy is asked
	// then, and signatures are not looked for. Without it, that is an error.
	Orphans bool
}

// Verify holds destRef against what Image would make of it, with the same arguments: it names the
// digest that it should; every image that is selected is there; every list and manifest has its
// digest; every config and layer is there with its size, or its digest if it is read; referrers are
// listed and digest tags name what they should, if they are selected; and signatures of the source
// are there too. Layers with URLs, which copies leave where they are, are not looked for. The
// destination itself is asked, never a mirror of it, and nothing is written.
//
// What is wrong with the destination is a Violation, and no error; what is Lost no copy mends.
// Errors are those of Prepare, and *Errors about what could not be asked. New signatures are not
// looked for: policies do that. What the destination should be must be known beforehand: if images
// are transformed on the way, and what they became is not remembered here or not at the
// destination, or if the copy is Upstream's, that is an error too.
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
	o.Signers, o.SignBy, o.SignBySigstorePrivateKeyFile, o.VerifierID, o.PolicyURI, o.PolicyDigest = nil, "", "", "", "", ""
	o.OriginPolicy = nil
	o.ListSignatures = WarnListSignatures // whatever became of the list, nothing is stripped here
	return verifying.Verify(ctx, verifying.Copy{
		Source: transports.ImageName(srcRef), Destination: transports.ImageName(destRef),
		Options: inspect.Options{ReadBlobs: options.ReadBlobs, Limit: budget.Or(c.budget)}, Orphans: options.Orphans,
		Prepare: func(ctx context.Context, compare bool) (*verifying.Prepared, error) {
			o := o
			o.CompareDestination = compare
			return forVerification(c.Prepare(ctx, policyContext, destRef, srcRef, &o))
		},
		PrepareOwn: func(ctx context.Context, missing MissingInstanceAction) (*verifying.Prepared, error) {
			anything, err := policy.AcceptAnything() // nobody has to have signed it as what is there
			if err != nil {
				return nil, err
			}
			defer func() { _ = anything.Destroy() }()
			return forVerification(c.Prepare(ctx, anything, destRef, access.Own(destRef), ontoItself(&o, missing)))
		},
		OpenSource: func(ctx context.Context) (endpoint.SizedSource, error) {
			return openToRead(ctx, c, srcRef, ReadOptions{SystemContext: o.SourceCtx, Side: SourceSide})
		},
		OpenDestination: func(ctx context.Context) (endpoint.SizedSource, error) {
			return openToRead(ctx, c, destRef, ReadOptions{SystemContext: o.DestinationCtx, Side: DestinationSide})
		},
	})
}

func forVerification(p *Prepared, err error) (*verifying.Prepared, error) {
	if err != nil {
		return nil, err
	}
	return &verifying.Prepared{
		Plan: p.Plan(), Choices: &p.ends.choices, Source: p.ends.src, Limit: p.ends.budget, Close: p.Close,
		Manifest: func(ctx context.Context, d digest.Digest) (Document, error) {
			return p.ends.reader().Manifest(ctx, p.survey.source, d)
		},
		Blob: func(owner digest.Digest, b endpoint.Blob) endpoint.Opener {
			return p.ends.opener(p.survey.source, owner, b, nil)
		},
	}, nil
}

// ontoItself are the options of a copy of what a destination has onto itself, of what o selects.
func ontoItself(o *Options, missing MissingInstanceAction) *Options {
	return &Options{
		SourceCtx: o.DestinationCtx, DestinationCtx: o.DestinationCtx, PreserveDigests: true, RemoveSignatures: true,
		ImageListSelection: o.ImageListSelection, Instances: o.Instances, InstancePlatforms: o.InstancePlatforms,
		OptionalPlatforms: o.OptionalPlatforms, InstanceIndexes: o.InstanceIndexes, Attestations: o.Attestations,
		SingleImage: o.SingleImage, PlatformlessEntries: o.PlatformlessEntries, MissingInstances: missing,
		Referrers: o.Referrers, ReferrerTypes: o.ReferrerTypes, DigestTags: o.DigestTags, DigestTagSuffixes: o.DigestTagSuffixes,
		ConcurrentBlobCopiesSemaphore: o.ConcurrentBlobCopiesSemaphore, MaxParallelDownloads: o.MaxParallelDownloads,
	}
}
