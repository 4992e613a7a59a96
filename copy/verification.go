package copy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/inspect"
	"github.com/sparsecopy/sparsecopy/internal/prose"
)

// What Verify returns.
type (
	// A Verification says whether a destination is what a copy would have made of it. As JSON it has the
	// schema VerificationSchema.
	Verification = inspect.Verification
	// A Violation is one thing that is not as it should be.
	Violation = inspect.Violation
)

// VerificationSchema names the JSON form of a Verification, which docs/report-schema.md describes.
const VerificationSchema = inspect.VerificationSchema

// VerifyOptions are the choices of Verify. The zero value is useful, and so is a nil *VerifyOptions.
type VerifyOptions struct {
	// Options are those of the copy whose work is verified; nil means the defaults.
	Options *Options
	// ReadBlobs reads every config and layer and hashes it, instead of asking whether it is there with its
	// size.
	ReadBlobs bool
}

// Verify holds destRef against what Image would make of it, with the same arguments: it names the digest
// that it should; every image that is selected is there; every list and manifest has its digest; every
// config and layer is there with its size, or its digest if it is read; referrers are listed and digest tags
// name what they should, if they are selected; and signatures of the source are there too. Layers with
// URLs, which copies leave where they are, are not looked for. The destination itself is asked, never a
// mirror of it, and nothing is written.
//
// What is wrong with the destination is a Violation, and no error. Errors are those of Prepare, and *Errors
// about what could not be asked. What the destination should be must be known beforehand: if images are
// changed on the way, which is Upstream's, that is an error too.
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
	o.CompareDestination = false          // what is there is looked at afterwards
	o.ListSignatures = WarnListSignatures // whatever became of the list, nothing is stripped here
	prepared, err := c.Prepare(ctx, policyContext, destRef, srcRef, &o)
	if err != nil {
		return nil, err
	}
	defer prepared.Close() // nothing was written
	p := prepared.Plan()
	if p.Way != Native {
		return nil, fmt.Errorf("what the destination should be cannot be told beforehand: %s", p.WayReason)
	}
	dst, err := openToRead(ctx, c, destRef, ReadOptions{SystemContext: o.DestinationCtx, Side: DestinationSide})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	if dst != nil {
		defer dst.Close()
	}
	v, err := inspect.Verify(ctx, dst, prepared.ends.src, wantOf(p, &o), inspect.Options{
		ReadBlobs: options.ReadBlobs, Limit: prepared.ends.budget,
	})
	if err != nil {
		return nil, asError(err)
	}
	v.Source, v.Destination = p.Source, p.Destination
	v.Warnings = slices.Sorted(slices.Values(slices.Concat(v.Warnings, p.Warnings, leftOut(p))))
	return v, nil
}

// wantOf returns what a plan wants to be at the destination.
func wantOf(p *Plan, o *Options) inspect.Want {
	want := inspect.Want{Digest: p.Digest, IsList: p.List != nil, Images: p.Names()}
	for _, a := range p.Attached {
		if a.Decision == Copy {
			want.Attached = append(want.Attached, inspect.Attached{
				Subject: a.Subject, Digest: a.Digest, ArtifactType: a.ArtifactType, Tag: a.Tag, Child: a.Child,
			})
		}
	}
	if p.List != nil {
		want.Lists = p.List.NestedLists()
	}
	if !o.RemoveSignatures {
		want.Signed = p.Wanted()
		if p.List != nil && !o.RemoveListSignatures {
			want.Signed = append(want.Signed, unchangedLists(p.List)...)
		}
	}
	if p.IfRefused != nil {
		other := wantOf(p.IfRefused, o)
		want.Else = &other
	}
	return want
}

// unchangedLists are the distinct lists that are written as they are: the others have no signatures to carry.
func unchangedLists(top *ListPlan) []digest.Digest {
	var unchanged []digest.Digest
	top.Walk(func(l *ListPlan) {
		if l.Result == l.Digest && !slices.Contains(unchanged, l.Digest) {
			unchanged = append(unchanged, l.Digest)
		}
	})
	return unchanged
}

// leftOut says what a plan leaves out because it is missing.
func leftOut(p *Plan) []string {
	if p.List == nil {
		return nil
	}
	var all []string
	p.List.Walk(func(l *ListPlan) {
		for _, in := range l.Instances {
			if in.Missing {
				name := in.Platform
				if in.AttestationOf != "" {
					name = "attestation of " + prose.Short(in.AttestationOf)
				}
				all = append(all, fmt.Sprintf("missing at the source, and left out: %s (%s)", in.Digest, name))
			}
		}
	})
	return all
}
