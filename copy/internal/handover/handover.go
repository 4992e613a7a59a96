// Package handover hands the work of a copy, and its source, to upstream's copy.
package handover

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/transport"
	"github.com/sparsecopy/sparsecopy/internal/progress"
	"github.com/sparsecopy/sparsecopy/internal/systemimage"
)

// A Source is an open source, and what was read from it.
type Source struct {
	End       endpoint.SizedSource
	Ref       types.ImageReference // by which it was opened
	Transport string               // what access calls it

	Sys        *types.SystemContext // it was opened with, and System chosen by; may be nil
	PreferGzip types.OptionalBool

	Tree        *plan.Tree
	Top         endpoint.Document
	System      digest.Digest // the image for the running system; "" if none is wanted
	Misdeclared bool          // it declares something to be what it is not

	Signatures map[digest.Digest]endpoint.Signatures // those that are copied
}

// Reference returns a reference by which upstream reads what was planned, whatever the source's tag
// names by now. It names the image for the running system where upstream would choose another one
// of the list. It serves as long as the source is open.
func (s *Source) Reference(ctx context.Context) (types.ImageReference, error) {
	if s.System != "" {
		theirs, err := systemimage.Choose(s.Tree.List().Instances(), s.Top.MediaType, s.Sys, s.PreferGzip)
		if err != nil || theirs != s.System {
			return s.system(ctx)
		}
	}
	if open, ok := s.End.(*transport.Source); ok {
		return transport.OpenedSource(s.Ref, open.HandOver), nil
	}
	if access.Transports[s.Transport].Native {
		return s.Ref, nil // names the same as long as it is open
	}
	if s.Misdeclared && len(s.Signatures) == 0 {
		return transport.OpenedSource(s.Ref, func() types.ImageSource { return transport.AsItIs(s.End) }), nil
	}
	return s.pinnedTo(s.Top.Digest)
}

// pinnedTo names what has the digest d in the source's repository.
func (s *Source) pinnedTo(d digest.Digest) (types.ImageReference, error) {
	pinned, err := reference.WithDigest(reference.TrimNamed(s.Ref.DockerReference()), d)
	if err != nil {
		return nil, err
	}
	return docker.NewReference(pinned)
}

// system returns a reference by which upstream reads the image for the running system alone.
func (s *Source) system(ctx context.Context) (types.ImageReference, error) {
	if s.Transport == "docker" {
		return s.pinnedTo(s.System)
	}
	if s.Signatures[s.System] != nil {
		return nil, fmt.Errorf("the image %s cannot be handed over with its signatures", s.System)
	}
	image, read := s.Tree.Document(s.System)
	if !read {
		var err error
		if image, err = s.End.Manifest(ctx, s.System); err != nil {
			return nil, fmt.Errorf("reading manifest %s: %w", s.System, err)
		}
	}
	return transport.OpenedSource(s.Ref, func() types.ImageSource { return transport.AsItIs(endpoint.Only(s.End, image)) }), nil
}

// Image lets upstream copy src to dst, and returns what it has written. Nobody judges what is
// copied.
func Image(ctx context.Context, dst, src types.ImageReference, options *upstream.Options) (copied []byte, err error) {
	accept, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, accept.Destroy()) }()
	return upstream.Image(ctx, accept, dst, src, options)
}

// Select makes options those for what was planned.
func Select(options *upstream.Options, p *plan.Plan) {
	if p.List == nil {
		return
	}
	options.ImageListSelection = upstream.CopySpecificImages
	if p.List.Everything() {
		options.ImageListSelection = upstream.CopyAllImages
		return
	}
	for _, ip := range p.List.Instances {
		if ip.Decision == plan.Copy {
			options.Instances = append(options.Instances, ip.Digest)
		}
	}
	options.SparseManifestListAction = upstream.SparseManifestListAction(p.Action)
}

// Tell tells that the images of a list begin, all together: upstream says of each in its own
// words when it does.
func Tell(to *progress.Copy, p *plan.Plan) {
	if p.List == nil {
		return
	}
	for i, d := range p.Copies {
		to.Tell(progress.ImageBegins{Digest: d, Position: i + 1, Of: len(p.Copies)})
	}
}
