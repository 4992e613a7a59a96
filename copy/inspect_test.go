package copy_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestInspect reads a list with a missing child.
func TestInspect(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Nested()
	r := registrytest.Start(t, registrytest.Options{})
	f.PushTo(r, "app", "v1", imagetest.Top, "arm64")
	found, err := copy.Inspect(t.Context(), copytest.RegistryRef(t, r, "app", "v1"), &copy.ReadOptions{SystemContext: e.Sys})
	require.NoError(t, err)
	assert.Equal(t, copy.InspectionSchema, found.Schema)
	assert.Equal(t, "docker://"+r.Host()+"/app:v1", found.Reference)
	assert.Equal(t, f.Digest(imagetest.Top), found.Digest)
	assert.Nil(t, found.Image)
	require.Len(t, found.Entries, 3)
	inner := found.Entries[1]
	assert.True(t, inner.List)
	assert.False(t, inner.Missing)
	assert.Nil(t, inner.Image)
	assert.True(t, inner.Entries[0].Missing)
	assert.Equal(t, "linux/arm64", inner.Entries[0].Platform)
	assert.Nil(t, inner.Entries[0].Image)
	image := found.Entries[0].Image
	require.NotNil(t, image)
	assert.Equal(t, f.Size("amd64.config"), image.Config.Size)
	assert.Equal(t, 1, found.Totals.Missing)
	assert.Zero(t, r.Count(registrytest.Is(http.MethodGet, registrytest.KindBlob)), "no blob is read")
}

// TestReadsThatFail are *Errors, and ErrNotFound if and only if there is nothing.
func TestReadsThatFail(t *testing.T) {
	e := copytest.NewEnv(t)
	child := imagetest.Nested().Digest("amd64")
	for name, c := range map[string]struct {
		o      registrytest.Options
		absent bool
	}{
		"nothing there": {registrytest.Options{}, true},
		"a page":        {registrytest.Options{AbsentPage: true}, false},
		"no access":     {registrytest.Options{Auth: &registrytest.Auth{}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := registrytest.Start(t, c.o)
			ref := copytest.RegistryRef(t, r, "app", "v1")
			for side, o := range map[copy.Side]*copy.ReadOptions{
				copy.SourceSide:      {SystemContext: e.Sys},
				copy.DestinationSide: {SystemContext: e.Sys, Side: copy.DestinationSide},
			} {
				_, inspecting := copy.Inspect(t.Context(), ref, o)
				_, reading := copy.ReadManifest(t.Context(), ref, o)
				for _, err := range []error{inspecting, reading} {
					failed, ok := errors.AsType[*copy.Error](err)
					require.True(t, ok, err)
					assert.Equal(t, side, failed.Side)
					assert.Equal(t, c.absent, errors.Is(err, copy.ErrNotFound), err)
				}
			}
		})
	}
	t.Run("a child", func(t *testing.T) {
		r := registrytest.Start(t, registrytest.Options{Script: registrytest.Only(
			func(q *http.Request) bool { return filepath.Base(q.URL.Path) == child.String() },
			registrytest.EveryNth(1, registrytest.Fail(http.StatusForbidden, "DENIED", "no")))})
		imagetest.Nested().PushTo(r, "app", "v1", imagetest.Top)
		_, err := copy.Inspect(t.Context(), copytest.RegistryRef(t, r, "app", "v1"), &copy.ReadOptions{SystemContext: e.Sys})
		failed, ok := errors.AsType[*copy.Error](err)
		require.True(t, ok, err)
		assert.Equal(t, "inspecting", failed.Op)
		assert.ErrorContains(t, err, child.String())
	})
}

// TestReadSides: a mirror that registries.conf names stands in for a source, and never for a
// destination.
func TestReadSides(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	own, mirror := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	f.PushTo(own, "app", "v1", "amd64")
	f.PushTo(mirror, "app", "v1", imagetest.Top)
	sys := *e.Sys
	sys.SystemRegistriesConfPath = filepath.Join(t.TempDir(), "registries.conf")
	require.NoError(t, os.WriteFile(sys.SystemRegistriesConfPath, fmt.Appendf(nil,
		"[[registry]]\nlocation = %q\ninsecure = true\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n", own.Host(), mirror.Host()), 0o600))
	for side, want := range map[copy.Side]string{"": imagetest.Top, copy.SourceSide: imagetest.Top, copy.DestinationSide: "amd64"} {
		doc, err := copy.ReadManifest(t.Context(), copytest.RegistryRef(t, own, "app", "v1"), &copy.ReadOptions{SystemContext: &sys, Side: side})
		require.NoError(t, err)
		assert.Equal(t, f.Digest(want), doc.Digest, side)
		content, mediaType := f.Document(want)
		assert.Equal(t, string(content), string(doc.Bytes))
		assert.Equal(t, mediaType, doc.MediaType)
		assert.Equal(t, want == imagetest.Top, doc.IsList())
	}
}

// TestVerify holds a mirror against what a Copier has made of it, before and after something
// happened to it.
func TestVerify(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(3, 2, 100)
	src := registrytest.Start(t, registrytest.Options{Auth: &registrytest.Auth{Bearer: true, AnonymousPull: true}})
	dst := registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, "app", "v1", imagetest.Top)
	from, to := copytest.RegistryRef(t, src, "app", "v1"), copytest.RegistryRef(t, dst, "mirror/app", "v1")
	c := copytest.NewCopier(t, copy.CopierOptions{})
	o := e.Options(copytest.Auto("linux/amd64"))
	o.CompareDestination = true // which makes no difference
	verify := func(readBlobs bool) *copy.Verification {
		v, err := c.Verify(t.Context(), e.Policy, to, from, &copy.VerifyOptions{Options: o, ReadBlobs: readBlobs})
		require.NoError(t, err)
		return v
	}

	v := verify(false)
	assert.Empty(t, v.Found)
	require.Len(t, v.Violations, 1)
	assert.Equal(t, "list "+f.Digest(imagetest.Top).String()+": the destination names nothing", v.Violations[0].String())

	_, err := c.Image(t.Context(), e.Policy, to, from, o)
	require.NoError(t, err)
	imagetest.CheckRegistry(t, dst, "mirror/app", imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Absent: []string{"arm64", "arm/v7"}})
	v = verify(true)
	assert.NotNil(t, v.Violations)
	assert.Empty(t, v.Violations)
	assert.Equal(t, f.Digest(imagetest.Top), v.Found)
	assert.Equal(t, "docker://"+dst.Host()+"/mirror/app:v1", v.Destination)
	assert.Equal(t, f.Size("amd64.config")+f.Size("amd64.0")+f.Size("amd64.1"), v.BytesRead)
	writes := dst.Count(func(r registrytest.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead })

	dst.DeleteBlob("mirror/app", f.Digest("amd64.1"))
	v = verify(false)
	require.Len(t, v.Violations, 1)
	assert.Equal(t, copy.Violation{Digest: f.Digest("amd64.1"), What: "layer", Platform: "linux/amd64", Problem: "it is missing"}, v.Violations[0])
	assert.Equal(t, 3, v.Blobs)
	assert.Equal(t, writes, dst.Count(func(r registrytest.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }), "nothing is written")
	assert.Equal(t, 1, src.Count(registrytest.Is(http.MethodGet, registrytest.KindToken)), "the token is shared")

	f.PushTo(dst, "mirror/app", "v1", "amd64")
	v = verify(false)
	require.Len(t, v.Violations, 1)
	assert.Equal(t, "the destination names "+f.Digest("amd64").String()+" instead", v.Violations[0].Problem)
}

// TestVerifyWhatIsNotForeseen: what images become that change on the way is not known.
func TestVerifyWhatIsNotForeseen(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, "app", "v1", imagetest.Top)
	o := e.Options(copy.Options{ImageListSelection: copy.CopyAllImages, ForceManifestMIMEType: "application/vnd.docker.distribution.manifest.v2+json"})
	_, err := copy.Verify(t.Context(), e.Policy, copytest.RegistryRef(t, dst, "app", "v1"), copytest.RegistryRef(t, src, "app", "v1"), &copy.VerifyOptions{Options: o})
	assert.ErrorContains(t, err, "cannot be told beforehand")
}

// TestAttachedOriginal finds nothing where nothing is attached, or can be, and fails where nobody
// answers.
func TestAttachedOriginal(t *testing.T) {
	e := copytest.NewEnv(t)
	f := copytest.AttachedFixture()
	c := copy.NewCopier(copy.CopierOptions{})
	defer c.Close()
	options := &copy.ReadOptions{SystemContext: e.Sys, Side: copy.DestinationSide}
	for name, newPlace := range copytest.Places {
		at := newPlace(t)
		at.Push(f, "v1", imagetest.Top)
		at.Push(f, "one", "amd64")
		for _, tag := range []string{"v1", "one"} {
			found, err := c.AttachedOriginal(t.Context(), at.Ref(tag), options)
			require.NoError(t, err, name)
			assert.Equal(t, &copy.AttachedOriginal{List: at.Top(tag)}, found, name)
		}
		_, err := c.AttachedOriginal(t.Context(), at.Ref("absent"), options)
		require.ErrorIs(t, err, copy.ErrNotFound, name)
	}
	silent := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{
		Script: registrytest.Only(registrytest.Matching(http.MethodGet, registrytest.KindReferrers), registrytest.EveryNth(1, registrytest.Fail(http.StatusForbidden, "DENIED", ""))),
	}), "app")
	silent.Push(f, "v1", imagetest.Top)
	_, err := c.AttachedOriginal(t.Context(), silent.Ref("v1"), nil)
	var failed *copy.Error
	require.ErrorAs(t, err, &failed)
}
