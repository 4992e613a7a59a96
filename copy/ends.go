package copy

import (
	"context"
	"errors"
	"io"

	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/transport"
	"github.com/sparsecopy/sparsecopy/internal/progress"
)

// transportOf returns the name of a reference's transport. References of other packages that wrap one are not served natively.
func transportOf(ref types.ImageReference) string {
	if name := ref.Transport().Name(); transport.Wrapped(ref) {
		return name + ", wrapped,"
	}
	return ref.Transport().Name()
}

// openSource opens the source: a registry directly where that is possible, and anything else through its transport.
func (j *job) openSource(ctx context.Context) error {
	src, reason, err := openDirectly(j.from, func() (endpoint.Source, error) {
		return registry.OpenSource(ctx, j.srcRef, j.o.SourceCtx, j.copier.shared)
	})
	if src == nil && err == nil {
		src, err = transport.OpenSource(ctx, j.srcRef, j.o.SourceCtx)
	}
	if err != nil {
		return &Error{opening, SourceSide, j.in.Source, err}
	}
	j.src = src
	j.reporter.update(func(r *Report) { r.Source = EndReport{Transport: how(src), TransportReason: reason} })
	return nil
}

// openDestination opens the destination, unless it is open.
func (j *job) openDestination(ctx context.Context) error {
	if j.dst != nil {
		return nil
	}
	dst, reason, err := openDirectly(j.to, func() (endpoint.Destination, error) {
		return registry.OpenDestination(ctx, j.destRef, j.o.DestinationCtx, j.copier.shared)
	})
	if dst == nil && err == nil {
		dst, err = transport.OpenDestination(ctx, j.destRef, j.o.DestinationCtx)
	}
	if err != nil {
		return &Error{opening, DestinationSide, j.in.Destination, err}
	}
	j.dst = dst
	j.reporter.update(func(r *Report) { r.Destination = EndReport{Transport: how(dst), TransportReason: reason} })
	return nil
}

// openDirectly opens a registry with open. It returns nothing, with a reason if there is something to say, if the transport has to be
// used instead.
func openDirectly[E any](transportName string, open func() (E, error)) (end E, reason string, err error) {
	var none E
	if transportName != "docker" {
		return none, "", nil
	}
	end, err = open()
	var unsupported *registry.Unsupported
	if errors.As(err, &unsupported) {
		logrus.Debugf("registry is accessed through its transport: %v", unsupported)
		return none, unsupported.Error(), nil
	}
	if err != nil {
		return none, "", err
	}
	return end, "", nil
}

func how(end any) string {
	switch end.(type) {
	case *registry.Source, *registry.Destination:
		return "registry"
	}
	return "transport"
}

// mountAcross lets a registry take blobs from the source's repository, if it has that too.
func (j *job) mountAcross() {
	src, ok := j.src.(*registry.Source)
	if dst, both := j.dst.(*registry.Destination); ok && both {
		dst.MountFrom(src)
	}
}

// opener returns an Opener of b at the source. bp, if not nil, is told what is read.
func (j *job) opener(b endpoint.Blob, bp *progress.Blob) endpoint.Opener {
	return func(ctx context.Context) (io.ReadCloser, error) {
		stream, err := j.src.Blob(ctx, b)
		if err != nil {
			return nil, &Error{"reading blob", SourceSide, b.Digest.String(), err}
		}
		if bp != nil {
			bp.Restart()
		}
		return newVerifier(stream, b, bp), nil
	}
}
