// Package access knows what the engine can do with each transport, and opens its ends: a registry
// directly where that is possible, and anything else through its transport.
package access

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/copy/report"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/transport"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Traits are what the engine needs to know about a transport without opening anything: opening some
// destinations erases them.
type Traits struct {
	Source      bool             // can be read natively
	Destination bool             // can be written natively
	Peekable    bool             // a destination can be opened without changing it
	MediaTypes  []string         // that a destination stores; nil means any
	Layers      plan.LayerChange // what a destination wants done to layers
	Foreign     bool             // a destination leaves layers with URLs where they are
	Timestamps  bool             // a destination can date what it creates
	Single      bool             // a destination holds images, and has no place for lists
	Referrers   bool             // knows what is attached to what it has
	Native      bool             // its references are endpoint.Native: upstream cannot write them
}

// Transports has the traits of the transports that the engine serves natively, and of those that
// upstream has to serve of which something is known. It is not to be modified.
var Transports = map[string]Traits{
	"containers-storage": {Single: true}, "docker-archive": {Single: true}, "docker-daemon": {Single: true},
	"docker": {Source: true, Destination: true, Peekable: true, Layers: plan.CompressLayers, Foreign: true, Referrers: true},
	"oci": {
		Source: true, Destination: true, Peekable: true, Layers: plan.CompressLayers, Foreign: true, Referrers: true,
		MediaTypes: []string{imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex},
	},
	"oci-archive": {
		Source: true, Destination: true, Layers: plan.CompressLayers, Foreign: true, Timestamps: true,
		MediaTypes: []string{imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex},
	},
	"dir":    {Source: true, Destination: true, Layers: plan.KeepLayers},
	"bundle": {Source: true, Destination: true, Layers: plan.KeepLayers, Foreign: true, Referrers: true, Native: true},
}

// Wanted returns the traits of a destination that is opened with sys.
func Wanted(destination string, sys *types.SystemContext) Traits {
	t := Transports[destination]
	switch {
	case sys == nil:
	case destination == "dir" && sys.DirForceCompress:
		t.Layers = plan.CompressLayers
	case destination == "dir" && sys.DirForceDecompress:
		t.Layers = plan.DecompressLayers
	case t.MediaTypes != nil && sys.OCIAcceptUncompressedLayers:
		t.Layers = plan.KeepLayers
	}
	return t
}

// TransportOf returns what the transport of a reference is called in Transports. References of
// other packages that wrap one have another name, and are not served natively.
func TransportOf(ref types.ImageReference) string {
	ref, _ = withoutOwn(ref)
	name := ref.Transport().Name()
	if _, native := ref.(endpoint.Native); transport.Wrapped(ref) || Transports[name].Native && !native {
		return name + ", wrapped,"
	}
	return name
}

// Own returns a reference to the same that OpenSource opens without the mirrors that
// registries.conf may have for it: it is for whoever reads a destination.
func Own(ref types.ImageReference) types.ImageReference { return ownReference{ref} }

type ownReference struct{ types.ImageReference }

// withoutOwn returns the reference that Own was given, and whether it was.
func withoutOwn(ref types.ImageReference) (types.ImageReference, bool) {
	own, ok := ref.(ownReference)
	if ok {
		ref = own.ImageReference
	}
	return ref, ok
}

// OpenSource opens what ref names for reading, and says how.
func OpenSource(ctx context.Context, ref types.ImageReference, sys *types.SystemContext, shared *registry.Shared) (endpoint.SizedSource, report.EndReport, error) {
	ref, own := withoutOwn(ref)
	open := registry.OpenSource
	if own {
		open = registry.OpenOwn
	}
	return either(TransportOf(ref), func() (endpoint.SizedSource, error) {
		if ref, native := ref.(endpoint.Native); native {
			return ref.OpenSource(ctx, sys)
		}
		return open(ctx, ref, sys, shared)
	}, func() (endpoint.SizedSource, error) {
		return fileOptions(shared).OpenSource(ctx, ref, shared.PullContext(ref, sys))
	})
}

// NewSource is OpenSource for a registry that is spoken to directly, before it is asked for
// anything: see registry.NewSource. It returns nil for any other source.
func NewSource(ref types.ImageReference, sys *types.SystemContext, shared *registry.Shared) (*registry.Source, report.EndReport, error) {
	how := report.EndReport{Transport: "registry"}
	ref, own := withoutOwn(ref)
	if TransportOf(ref) != "docker" {
		return nil, how, nil
	}
	prepare := registry.NewSource
	if own {
		prepare = registry.NewOwn
	}
	src, err := prepare(ref, sys, shared)
	if _, unsupported := errors.AsType[*registry.Unsupported](err); unsupported {
		return nil, how, nil
	}
	return src, how, err
}

// OpenDestination opens what ref names for writing, and says how.
func OpenDestination(ctx context.Context, ref types.ImageReference, sys *types.SystemContext, shared *registry.Shared) (endpoint.Destination, report.EndReport, error) {
	return either(TransportOf(ref), func() (endpoint.Destination, error) {
		if ref, native := ref.(endpoint.Native); native {
			return ref.OpenDestination(ctx, sys)
		}
		return registry.OpenDestination(ctx, ref, sys, shared)
	}, func() (endpoint.Destination, error) { return OpenThrough(ctx, ref, sys, shared) })
}

// OpenThrough opens what ref names for writing through its transport.
func OpenThrough(ctx context.Context, ref types.ImageReference, sys *types.SystemContext, shared *registry.Shared) (*transport.Destination, error) {
	return fileOptions(shared).OpenDestination(ctx, ref, shared.PushContext(ref, sys))
}

func fileOptions(shared *registry.Shared) transport.Options {
	return transport.Options{NoSync: shared.NoSync, HardLinks: shared.HardLinks, TrustFiles: shared.TrustFiles}
}

// either opens an end directly, if it is a registry or the end of a transport that has its own, and
// through its transport otherwise. A registry that only its transport can speak to says why.
func either[E any](name string, directly, through func() (E, error)) (end E, how report.EndReport, err error) {
	how.Transport = "transport"
	if name == "docker" || Transports[name].Native {
		end, err = directly()
		var unsupported *registry.Unsupported
		if !errors.As(err, &unsupported) {
			if name == "docker" {
				how.Transport = "registry"
			}
			return end, how, err
		}
		logrus.Debugf("registry is accessed through its transport: %v", unsupported)
		how.TransportReason = unsupported.Error()
	}
	end, err = through()
	return end, how, err
}

// ReadBlob reads a blob of an image at a registry to which a request is under way: it must not wait
// for others of these. The caller must close the reader.
func ReadBlob(ctx context.Context, image types.ImageReference, b endpoint.Blob, sys *types.SystemContext, shared *registry.Shared) (io.ReadCloser, error) {
	ctx = ocihttp.HoldingSlot(ctx)
	src, _, err := OpenSource(ctx, image, sys, shared)
	if err != nil {
		return nil, err
	}
	r, err := src.Blob(ctx, b)
	if err != nil {
		return nil, errors.Join(err, src.Close())
	}
	return endpoint.CloseBoth(r, src), nil
}

// CheckCredentials returns an error if a registry refuses the credentials for ref, which names a
// destination: the end open, or one that is not open if that is nil or another one. It is nil for
// other transports, and where nothing is known before ref is opened.
func CheckCredentials(ctx context.Context, open endpoint.Destination, ref types.ImageReference, sys *types.SystemContext, shared *registry.Shared) error {
	if TransportOf(ref) != "docker" {
		return nil
	}
	dst, ok := open.(*registry.Destination)
	if !ok {
		opened, err := registry.OpenDestination(ctx, ref, sys, shared)
		if err != nil {
			logrus.Debugf("Credentials for %s are not checked: %v", transports.ImageName(ref), err)
			return nil // whoever opens it says what is wrong
		}
		defer opened.Close()
		dst = opened
	}
	return dst.CheckCredentials(ctx)
}

// MountAcross lets a registry take blobs from the source's repository, if it has that too, or from
// those that the source knows of.
func MountAcross(to endpoint.Destination, from endpoint.Source) {
	dst, ok := to.(*registry.Destination)
	if !ok {
		return
	}
	switch src := from.(type) {
	case *registry.Source:
		dst.MountFrom(src)
	case endpoint.Scattered:
		dst.MountEach(src.Elsewhere)
	}
}

// DigestOf returns the digest that a reference names, "" if it names none.
func DigestOf(ref types.ImageReference) digest.Digest {
	if digested, ok := ref.DockerReference().(reference.Digested); ok {
		return digested.Digest()
	}
	return ""
}

// RepositoryOf returns the name of the repository that a reference names, without its tag or
// digest; "" if it names none.
func RepositoryOf(ref types.ImageReference) string {
	if named := ref.DockerReference(); named != nil {
		return named.Name()
	}
	return ""
}
