package copytest

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/transport"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// AttachablePlaces are the places that attachments travel between.
var AttachablePlaces = map[string]func(t testing.TB) Place{
	"registry with the API": func(t testing.TB) Place {
		return RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	},
	"registry without the API": func(t testing.TB) Place {
		return RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true, NoReferrers: true}), "app")
	},
	"layout": func(t testing.TB) Place { return LayoutAt(t, filepath.Join(t.TempDir(), "layout")) },
}

// ManifestAt is what a place has under a digest, nil if nothing.
func ManifestAt(p Place, d digest.Digest) []byte {
	switch p := p.(type) {
	case LayoutPlace:
		content, _ := os.ReadFile(filepath.Join(p.Dir, "blobs", d.Algorithm().String(), d.Encoded()))
		return content
	case RegistryPlace:
		content, _, _ := p.Manifest(p.Repo, d.String())
		return content
	}
	return nil
}

// ReferrersAt returns the referrers of subject at a place, which must have the tag v1.
func ReferrersAt(t testing.TB, e *Env, p Place, subject digest.Digest) []digest.Digest {
	var src endpoint.Source
	var err error
	if _, isRegistry := p.(RegistryPlace); isRegistry {
		var shared registry.Shared
		defer func() { require.NoError(t, shared.Close()) }()
		src, err = registry.OpenSource(t.Context(), p.Ref("v1"), e.Sys, &shared)
	} else {
		src, err = transport.OpenSource(t.Context(), p.Ref("v1"), e.Sys)
	}
	require.NoError(t, err)
	defer func() { require.NoError(t, src.Close()) }()
	referrers, err := endpoint.ReferrersAt(src)
	require.NoError(t, err)
	found, err := referrers.Referrers(t.Context(), subject, "")
	require.NoError(t, err)
	var digests []digest.Digest
	for _, r := range found {
		digests = append(digests, r.Digest)
	}
	return digests
}

// A Place is one end of a copy in tests.
type Place interface {
	Ref(tag string) types.ImageReference
	Push(f *imagetest.Fixture, tag, name string, omit ...string)
	Check(want imagetest.Want)
	// Top is what a tag names, "" if nothing.
	Top(tag string) digest.Digest
}

// A RegistryPlace is a repository of a test registry.
type RegistryPlace struct {
	T testing.TB
	*registrytest.Registry
	Repo string
}

// Ref returns the reference of a tag.
func (p RegistryPlace) Ref(tag string) types.ImageReference {
	return RegistryRef(p.T, p.Registry, p.Repo, tag)
}

// Push stores what a fixture has under name, and names it tag; not what is to be omitted.
func (p RegistryPlace) Push(f *imagetest.Fixture, tag, name string, omit ...string) {
	f.PushTo(p.Registry, p.Repo, tag, name, omit...)
}

// Check fails the test unless the checker of package imagetest finds what is wanted.
func (p RegistryPlace) Check(want imagetest.Want) {
	p.T.Helper()
	imagetest.CheckRegistry(p.T, p.Registry, p.Repo, want)
}

// Top returns what a tag names, "" if nothing.
func (p RegistryPlace) Top(tag string) digest.Digest {
	d, _ := p.Resolve(p.Repo, tag)
	return d
}

// A LayoutPlace is an OCI layout, which need not be there yet.
type LayoutPlace struct {
	T   testing.TB
	Dir string
}

// Ref returns the reference of a tag.
func (p LayoutPlace) Ref(tag string) types.ImageReference { return LayoutRef(p.T, p.Dir, tag) }

// Push stores what a fixture has under name, and names it tag; not what is to be omitted.
func (p LayoutPlace) Push(f *imagetest.Fixture, tag, name string, omit ...string) {
	require.NoError(p.T, f.WriteLayout(p.Dir, tag, name, omit...))
}

// Check fails the test unless the checker of package imagetest finds what is wanted.
func (p LayoutPlace) Check(want imagetest.Want) {
	p.T.Helper()
	imagetest.CheckLayout(p.T, p.Dir, want)
}

// Top returns what a tag names, "" if nothing.
func (p LayoutPlace) Top(tag string) digest.Digest {
	d, err := imagetest.LayoutStore(p.Dir).Top(tag)
	if err != nil {
		return ""
	}
	return d.Digest
}

// Places are the kinds of ends that the engine serves natively.
var Places = map[string]func(t testing.TB) Place{
	"registry": func(t testing.TB) Place {
		return RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "team/app")
	},
	"layout": func(t testing.TB) Place { return LayoutAt(t, filepath.Join(t.TempDir(), "layout")) },
}

// PutsOf is the number of PUTs of a tag.
func (p RegistryPlace) PutsOf(tag string) int {
	return p.Count(func(q registrytest.Request) bool {
		return q.Method == http.MethodPut && q.Kind == registrytest.KindManifest && q.Ref == tag
	})
}

// RegistryAt is a repository of a registry as a place.
func RegistryAt(t testing.TB, r *registrytest.Registry, repo string) RegistryPlace {
	return RegistryPlace{t, r, repo}
}

// LayoutAt is an OCI layout as a place.
func LayoutAt(t testing.TB, dir string) LayoutPlace { return LayoutPlace{t, dir} }
