// Package naming asks registries what names name, and changes it: tags, the manifests and lists
// that they stand for, and what is attached to these. Copies are made by package copy, a Copier of
// which shares what it knows of registries with this package: see Copier.Registries.
//
//   - tags.go: which tags there are.
//   - created.go: when what a reference names was made.
//   - digest.go: what a reference names; document.go: the same as a document, or an image of it.
//   - tag.go: another tag for what is there.
//   - attached.go: what belongs to something that is there.
//   - remove.go: removes what is there.
//
// An error is a *copy.Error, which says at which end something failed and wraps a
// *copy.RegistryError where a registry has refused, or it is why the context has ended. One that is
// copy.ErrNotFound says that there is definitely no such thing.
package naming

import (
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
)

// Registries are asked for names. Its methods may run concurrently.
type Registries struct{ shared *registry.Shared }

// Over returns Registries whose requests share what shared has; nil for nothing. Programs call
// Copier.Registries in its place.
func Over(shared *registry.Shared) *Registries { return &Registries{shared} }

// Options are the choices of Digest. The zero value is useful, and so is a nil *Options.
type Options struct {
	// SystemContext is the configuration; nil means the defaults.
	SystemContext *types.SystemContext
	// Side says for which end of a copy something is asked. A source is asked where it is read:
	// registries.conf may rewrite its name and name mirrors. A destination is asked itself. ""
	// means a source.
	Side failure.Side
}

// orDefault returns o, which may be nil.
func (o *Options) orDefault() Options {
	if o == nil {
		return Options{}
	}
	return *o
}

// place returns what to open in the place of ref where it is read as of a side, which is one of
// two.
func place(ref types.ImageReference, side failure.Side) (types.ImageReference, failure.Side) {
	if side == failure.DestinationSide {
		return access.Own(ref), side
	}
	return ref, failure.SourceSide
}
