// Package naming asks registries what names name: tags, and the manifests and lists that they stand
// for. Copies are made by package copy, a Copier of which shares what it knows of registries with
// this package: see Copier.Registries.
package naming

import (
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
)

// Registries are asked for names. Its methods may run concurrently.
type Registries struct{ shared *registry.Shared }

// Over returns Registries whose requests share what shared has; nil for nothing. Programs call
// Copier.Registries in its place.
func Over(shared *registry.Shared) *Registries { return &Registries{shared} }
