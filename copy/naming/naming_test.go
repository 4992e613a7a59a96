package naming_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
	"github.com/sparsecopy/sparsecopy/copy/naming"
	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

const app = "app"

// registries returns what a Copier knows of names, in an environment of its own.
func registries(t *testing.T) (*copytest.Env, *naming.Registries) {
	e := copytest.NewEnv(t)
	return e, e.Copier(copy.Options{}).Registries()
}

func methods(r *registrytest.Registry) (all []string) {
	for _, q := range r.Requests() {
		if q.Kind == registrytest.KindManifest {
			all = append(all, q.Method)
		}
	}
	return all
}

// TestDigest asks every kind of registry: by HEAD alone, wherever that is answered.
func TestDigest(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	for name, c := range map[string]struct {
		options registrytest.Options
		asked   []string
	}{
		"as specified":          {registrytest.Options{}, []string{"HEAD"}},
		"without a digest":      {registrytest.Options{HEADs: registrytest.HEADWithoutDigest}, []string{"HEAD", "GET"}},
		"404 to all HEADs":      {registrytest.Options{HEADs: registrytest.HEADAbsent}, []string{"HEAD", "GET"}},
		"HEAD is refused":       {registrytest.Options{RefuseHEAD: true}, []string{"HEAD", "GET"}},
		"by the types accepted": {registrytest.Options{HonourAccept: true}, []string{"HEAD"}},
	} {
		for _, side := range []copy.Side{"", copy.DestinationSide} {
			t.Run(fmt.Sprintf("%s, side %q", name, side), func(t *testing.T) {
				e, names := registries(t)
				r := registrytest.Start(t, c.options)
				want := f.PushTo(r, app, "v1", imagetest.Top)
				got, err := names.Digest(t.Context(), copytest.RegistryRef(t, r, app, "v1"), &naming.Options{SystemContext: e.Sys, Side: side})
				require.NoError(t, err)
				assert.Equal(t, want, got)
				assert.Equal(t, c.asked, methods(r))
				_, err = names.Digest(t.Context(), copytest.RegistryRef(t, r, app, "v2"), &naming.Options{SystemContext: e.Sys, Side: side})
				require.ErrorIs(t, err, copy.ErrNotFound)
				failed := copytest.ErrorAs[*copy.Error](t, err)
				if side == "" {
					side = copy.SourceSide
				}
				assert.Equal(t, side, failed.Side)
			})
		}
	}
}

// TestDigestElsewhere reads what is no registry.
func TestDigestElsewhere(t *testing.T) {
	e, names := registries(t)
	f := imagetest.Platforms(2, 1, 100)
	r := registrytest.Start(t, registrytest.Options{})
	want := f.PushTo(r, app, "v1", imagetest.Top)
	to, err := layout.ParseReference(filepath.Join(t.TempDir(), "layout") + ":v1")
	require.NoError(t, err)
	_, err = e.Image(t.Context(), to, copytest.RegistryRef(t, r, app, "v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
	require.NoError(t, err)
	for _, side := range []copy.Side{copy.SourceSide, copy.DestinationSide} {
		got, err := names.Digest(t.Context(), to, &naming.Options{SystemContext: e.Sys, Side: side})
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

// TestTag makes tags of a sparse list, at registries that would not take it as a new one.
func TestTag(t *testing.T) {
	f := imagetest.Platforms(3, 1, 100)
	for name, o := range map[string]registrytest.Options{
		"lax": {}, "needs a login": {Auth: &registrytest.Auth{Bearer: true, Accounts: []registrytest.Account{{Username: "u", Password: "p"}}}},
		"knows no HEAD": {RefuseHEAD: true}, "says little": {BareSuccess: true},
	} {
		t.Run(name, func(t *testing.T) {
			e, names := registries(t)
			r := registrytest.Start(t, o)
			old := f.PushTo(r, app, "old", "amd64")
			list := f.PushTo(r, app, "v1", imagetest.Top, "arm/v7")
			options := &naming.TagOptions{SystemContext: e.WithAccount("u", "p")}
			from := copytest.RegistryRef(t, r, app, "v1")

			done, err := names.Tag(t.Context(), from, "new", options)
			require.NoError(t, err)
			assert.Equal(t, naming.Tagged{Tag: "new", Digest: list, Written: true}, done)
			got, _ := r.Resolve(app, "new")
			assert.Equal(t, list, got)

			r.ResetLog()
			done, err = names.Tag(t.Context(), from, "new", options)
			require.NoError(t, err)
			assert.Equal(t, naming.Tagged{Tag: "new", Digest: list}, done)
			assert.Zero(t, r.Count(func(q registrytest.Request) bool { return q.Method == http.MethodPut }))

			only := *options
			only.IfAbsent = true
			_, err = names.Tag(t.Context(), from, "old", &only)
			assert.Equal(t, &naming.TakenError{Tag: "old", Digest: old}, copytest.ErrorAs[*naming.TakenError](t, err))
			got, _ = r.Resolve(app, "old")
			assert.Equal(t, old, got)

			done, err = names.Tag(t.Context(), copytest.RegistryRef(t, r, app, list.String()), "old", options)
			require.NoError(t, err)
			assert.Equal(t, naming.Tagged{Tag: "old", Digest: list, Replaced: old, Written: true}, done)
			bytes, mediaType, _ := r.Manifest(app, "old")
			wantBytes, wantType := f.Document(imagetest.Top)
			assert.Equal(t, string(wantBytes), string(bytes))
			assert.Equal(t, wantType, mediaType)
			assert.NotContains(t, r.Manifests(app), f.Digest("arm/v7"))
		})
	}
}

func TestTagFails(t *testing.T) {
	e, names := registries(t)
	f := imagetest.Platforms(2, 1, 100)
	r := registrytest.Start(t, registrytest.Options{ImmutableTags: true})
	old := f.PushTo(r, app, "old", "amd64")
	f.PushTo(r, app, "v1", imagetest.Top)
	from := copytest.RegistryRef(t, r, app, "v1")
	options := &naming.TagOptions{SystemContext: e.Sys}

	_, err := names.Tag(t.Context(), from, "old", options)
	assert.Equal(t, "TAG_INVALID", copytest.ErrorAs[*copy.RegistryError](t, err).Errors[0].Code)
	got, _ := r.Resolve(app, "old")
	assert.Equal(t, old, got)

	_, err = names.Tag(t.Context(), copytest.RegistryRef(t, r, app, "absent"), "new", options)
	require.ErrorIs(t, err, copy.ErrNotFound)
	_, err = names.Tag(t.Context(), from, "no tag", options)
	require.ErrorContains(t, err, `tag "no tag"`)
	elsewhere, err := layout.ParseReference(t.TempDir() + ":v1")
	require.NoError(t, err)
	_, err = names.Tag(t.Context(), elsewhere, "new", options)
	require.ErrorContains(t, err, "no repository of a registry")
}

// TestAttached finds referrers, theirs, and digest tags of any kind, with and without a referrers
// API.
func TestAttached(t *testing.T) {
	for _, api := range []bool{true, false} {
		t.Run(fmt.Sprintf("API %t", api), func(t *testing.T) {
			e, names := registries(t)
			f := copytest.AttachedFixture()
			r := registrytest.Start(t, registrytest.Options{NoReferrers: !api})
			at := copytest.RegistryAt(t, r, app)
			image := f.PushTo(r, app, "v1", "amd64")
			copytest.AttachTo(t, at, f, "amd64", "sbom-amd64")
			copytest.AttachTo(t, at, f, "sbom-amd64", "sig-sbom-amd64")
			signature, source := digesttag.Name(image, ".sig"), digesttag.Name(image, ".src")
			at.Push(f, signature, "cosign-amd64")
			at.Push(f, source, "cosign-amd64")

			for _, ref := range []types.ImageReference{copytest.RegistryRef(t, r, app, "v1"), copytest.RegistryRef(t, r, app, image.String())} {
				found, err := names.Attached(t.Context(), ref, &naming.Options{SystemContext: e.Sys, Side: copy.DestinationSide})
				require.NoError(t, err)
				assert.Equal(t, image, found.Subject)
				assert.Empty(t, found.Warnings)
				got, tags := map[digest.Digest]digest.Digest{}, map[string]digest.Digest{}
				for _, a := range found.Attached {
					got[a.Digest] = a.Subject
					if a.Tag != "" {
						tags[a.Tag] = a.Digest
					}
				}
				assert.Equal(t, image, got[f.Digest("sbom-amd64")])
				assert.Equal(t, f.Digest("sbom-amd64"), got[f.Digest("sig-sbom-amd64")])
				assert.Equal(t, f.Digest("cosign-amd64"), tags[signature])
				assert.Equal(t, f.Digest("cosign-amd64"), tags[source])
			}
		})
	}
}

// TestAttachedOfNothing is about what has nothing attached, and what is not there.
func TestAttachedOfNothing(t *testing.T) {
	e, names := registries(t)
	r := registrytest.Start(t, registrytest.Options{})
	want := imagetest.Platforms(2, 1, 100).PushTo(r, app, "v1", imagetest.Top)
	found, err := names.Attached(t.Context(), copytest.RegistryRef(t, r, app, "v1"), &naming.Options{SystemContext: e.Sys})
	require.NoError(t, err)
	assert.Equal(t, &naming.AttachedTo{Subject: want}, found)
	_, err = names.Attached(t.Context(), copytest.RegistryRef(t, r, app, "v2"), &naming.Options{SystemContext: e.Sys})
	require.ErrorIs(t, err, copy.ErrNotFound)
}

// TestMirrorsAreForSources asks a mirror of registries.conf for a source, and the repository itself
// for a destination, which alone is tagged.
func TestMirrorsAreForSources(t *testing.T) {
	e, names := registries(t)
	f := imagetest.Platforms(2, 1, 100)
	original, mirror := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	own, others := f.PushTo(original, app, "v1", "amd64"), f.PushTo(mirror, app, "v1", "arm64")
	sys := copytest.Mirrored(t, e, original, mirror)
	ref := copytest.RegistryRef(t, original, app, "v1")
	for side, want := range map[copy.Side]digest.Digest{copy.SourceSide: others, copy.DestinationSide: own} {
		got, err := names.Digest(t.Context(), ref, &naming.Options{SystemContext: sys, Side: side})
		require.NoError(t, err)
		assert.Equal(t, want, got, side)
		attached, err := names.Attached(t.Context(), ref, &naming.Options{SystemContext: sys, Side: side})
		require.NoError(t, err)
		assert.Equal(t, want, attached.Subject, side)
	}
	mirror.ResetLog()
	done, err := names.Tag(t.Context(), ref, "new", &naming.TagOptions{SystemContext: sys})
	require.NoError(t, err)
	assert.Equal(t, own, done.Digest)
	got, _ := original.Resolve(app, "new")
	assert.Equal(t, own, got)
	assert.Empty(t, mirror.Requests())
}

// TestRemove removes a manifest with all of its tags, and its signatures in a directory, with a
// token for everything.
func TestRemove(t *testing.T) {
	e, names := registries(t)
	f := imagetest.Platforms(2, 1, 100)
	r := registrytest.Start(t, registrytest.Options{Auth: &registrytest.Auth{Bearer: true, Accounts: []registrytest.Account{{Username: "u", Password: "p"}}}})
	list, other := f.PushTo(r, app, "v1", imagetest.Top), f.PushTo(r, app, "other", "amd64")
	f.PushTo(r, app, "v2", imagetest.Top)
	lookaside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(e.Sys.RegistriesDirPath, "default.yaml"), []byte("default-docker:\n  lookaside-staging: file://"+lookaside+"\n"), 0o600))
	signatures := func(d digest.Digest) string { return filepath.Join(lookaside, app+"@sha256="+d.Encoded()) }
	for _, d := range []digest.Digest{list, other} {
		require.NoError(t, os.MkdirAll(signatures(d), 0o700))
		for _, name := range []string{"signature-1", "signature-2"} {
			require.NoError(t, os.WriteFile(filepath.Join(signatures(d), name), []byte("signature"), 0o600))
		}
	}
	sys := e.WithAccount("u", "p")

	err := names.Remove(t.Context(), copytest.RegistryRef(t, r, app, "v1"), sys)
	require.ErrorContains(t, err, "it names no digest")
	require.NoError(t, names.Remove(t.Context(), copytest.RegistryRef(t, r, app, list.String()), sys))
	assert.Equal(t, []string{"other"}, r.Tags(app))
	assert.NoDirExists(t, signatures(list))
	assert.DirExists(t, signatures(other))
	asked := func(q registrytest.Request) bool {
		query, err := url.ParseQuery(q.Query)
		return err == nil && q.Kind == registrytest.KindToken && slices.Contains(query["scope"], "repository:"+app+":*")
	}
	assert.Equal(t, 1, r.Count(asked))
	err = names.Remove(t.Context(), copytest.RegistryRef(t, r, app, list.String()), sys)
	require.ErrorIs(t, err, copy.ErrNotFound)
	assert.Equal(t, copy.DestinationSide, copytest.ErrorAs[*copy.Error](t, err).Side)
}
