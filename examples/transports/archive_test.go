package transports

import (
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"
	"time"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/tarball"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// What is copied of a list.
var (
	all  = copy.Options{ImageListSelection: copy.CopyAllImages}
	some = copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: []copy.InstancePlatformFilter{{OS: "linux", Architecture: "arm64"}}}
	none = copy.Options{ImageListSelection: copy.CopySpecificImages}
)

// notAGroup is upstream's refusal of lists by destinations that have no place for them.
const notAGroup = "does not support copying multiple images as a group"

// TestToDockerArchive writes archives: one image each, of a list or by itself.
func TestToDockerArchive(t *testing.T) {
	dst := parsed(archive.Transport, "DIR/a.tar:example.com/app:v1")
	preserve := copy.Options{PreserveDigests: true}
	for format, f := range fixtures {
		list, image := layoutOf(f, imagetest.Top), layoutOf(f, "arm64")
		cases := map[string]both{
			"the system image of a list": {src: list, dst: dst},
			"a list":                     {src: list, dst: dst, options: all, want: notAGroup},
			"some of a list":             {src: list, dst: dst, options: some, want: notAGroup},
			"none of a list":             {src: list, dst: dst, options: none, want: notAGroup},
			"an image":                   {src: image, dst: dst},
			"an image, all of it":        {src: image, dst: dst, options: all},
			"without a name":             {src: image, dst: parsed(archive.Transport, "DIR/a.tar")},
			"more names": {src: image, dst: dst, sys: func(s *types.SystemContext) {
				s.DockerArchiveAdditionalTags = []reference.NamedTagged{tagged(t, "example.com/b:v2")}
			}},
			"a source reference":       {src: image, dst: parsed(archive.Transport, "DIR/a.tar:@0"), want: "must not contain a manifest index"},
			"an archive that is there": {src: image, dst: existingArchive, want: "doesn't support modifying existing images"},
			"digests stay":             {src: image, dst: dst, options: preserve},
		}
		if format == "OCI" {
			cases["digests stay"] = both{src: image, dst: dst, options: preserve, want: "need a Docker schema 2 manifest"}
		}
		for name, b := range cases {
			t.Run(format+"/"+name, func(t *testing.T) { b.run(t) })
		}
	}
}

func tagged(t *testing.T, text string) reference.NamedTagged {
	named, err := reference.ParseNormalizedNamed(text)
	require.NoError(t, err)
	return named.(reference.NamedTagged)
}

// TestFromDockerArchive reads archives.
func TestFromDockerArchive(t *testing.T) {
	archiveWith := func(ref string, names ...string) kind {
		return func(t *testing.T, dir string) place {
			makeArchive(t, filepath.Join(dir, "a.tar"), fixtures["Docker"], names...)
			return parsed(archive.Transport, ref)(t, dir)
		}
	}
	compressed := func(t *testing.T, dir string) place {
		p := archiveWith("DIR/a.tar:@1", "amd64", "arm64")(t, dir)
		compress(t, filepath.Join(dir, "a.tar"))
		return p
	}
	broken := func(t *testing.T, dir string) place {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "a.tar"), []byte("no archive"), 0o600))
		return parsed(archive.Transport, "DIR/a.tar")(t, dir)
	}
	for to, dst := range map[string]kind{"layout": emptyLayout, "directory": emptyDirectory, "archive": parsed(archive.Transport, "DIR/b.tar")} {
		for name, b := range map[string]both{
			"the only image":         {src: archiveWith("DIR/a.tar", "amd64")},
			"all of the only image":  {src: archiveWith("DIR/a.tar", "amd64"), options: all},
			"the second":             {src: archiveWith("DIR/a.tar:@1", "amd64", "arm64")},
			"the second, compressed": {src: compressed},
			"one that is not there":  {src: archiveWith("DIR/a.tar:@2", "amd64"), want: "Invalid source index @2, only 1 manifest items available"},
			"a name that is not":     {src: archiveWith("DIR/a.tar:app:v2", "amd64"), want: "not found"},
			"one of two":             {src: archiveWith("DIR/a.tar", "amd64", "arm64"), want: "expected 1 item, got 2"},
			"no archive":             {src: broken, want: "loading tar component"},
			"nothing":                {src: parsed(archive.Transport, "DIR/a.tar"), want: "no such file"},
		} {
			t.Run(to+"/"+name, func(t *testing.T) {
				b.dst = dst
				b.run(t)
			})
		}
	}
}

// makeArchive makes an archive of images, by upstream's own copy.
func makeArchive(t *testing.T, file string, f *imagetest.Fixture, names ...string) {
	t.Helper()
	sys := newSystem(t)
	policy := acceptAnything(t)
	w, err := archive.NewWriter(sys, file)
	require.NoError(t, err)
	for _, name := range names {
		dest, err := w.NewReference(tagged(t, "example.com/app:"+name))
		require.NoError(t, err)
		_, err = upstream.Image(t.Context(), policy, dest, layoutOf(f, name)(t, t.TempDir()).ref, &upstream.Options{DestinationCtx: sys})
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
}

func existingArchive(t *testing.T, dir string) place {
	makeArchive(t, filepath.Join(dir, "a.tar"), fixtures["Docker"], "amd64")
	return parsed(archive.Transport, "DIR/a.tar:example.com/app:v1")(t, dir)
}

// compress compresses a file in its place.
func compress(t *testing.T, file string) {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	out, err := os.Create(file)
	require.NoError(t, err)
	w := gzip.NewWriter(out)
	_, err = w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, out.Close())
}

// TestArchivesOfManyImages writes two images into one archive, and reads them by references that
// share it, as tools that save and load do.
func TestArchivesOfManyImages(t *testing.T) {
	f, sys, policy := fixtures["OCI"], newSystem(t), acceptAnything(t)
	contents := map[string][]string{}
	for by, image := range imagesBy(t, policy, sys) {
		file := filepath.Join(t.TempDir(), "a.tar")
		w, err := archive.NewWriter(sys, file)
		require.NoError(t, err)
		for _, name := range []string{"amd64", "arm64"} {
			dest, err := w.NewReference(tagged(t, "example.com/app:"+name))
			require.NoError(t, err)
			require.NoError(t, image(dest, layoutOf(f, name)(t, t.TempDir()).ref), by)
		}
		require.NoError(t, w.Close())
		contents[by] = files(t, filepath.Dir(file))

		r, err := archive.NewReader(sys, file)
		require.NoError(t, err)
		list, err := r.List()
		require.NoError(t, err)
		require.Len(t, list, 2)
		for _, refs := range list {
			out := emptyDirectory(t, t.TempDir())
			require.NoError(t, image(out.ref, refs[0]), by)
			contents[by] = append(contents[by], out.content()...)
		}
		require.NoError(t, r.Close())
	}
	assert.Equal(t, contents["upstream"], contents["sparsecopy"])
	assert.NotEmpty(t, contents["sparsecopy"])
}

// imagesBy returns both packages' ways to copy an image, with no options.
func imagesBy(t *testing.T, policy *signature.PolicyContext, sys *types.SystemContext) map[string]func(dest, src types.ImageReference) error {
	return map[string]func(dest, src types.ImageReference) error{
		"upstream": func(dest, src types.ImageReference) error {
			_, err := upstream.Image(t.Context(), policy, dest, src, &upstream.Options{SourceCtx: sys, DestinationCtx: sys})
			return err
		},
		"sparsecopy": func(dest, src types.ImageReference) error {
			_, err := copy.Image(t.Context(), policy, dest, src, &copy.Options{SourceCtx: sys, DestinationCtx: sys})
			return err
		},
	}
}

// TestFromTarball reads images that are made of archives of files.
func TestFromTarball(t *testing.T) {
	// Two layers, the second one compressed; their times are in the image.
	layers := func(t *testing.T, dir string) {
		for _, name := range []string{"a.tar", "b.tar"} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), uncompressed(t, name), 0o600))
		}
		compress(t, filepath.Join(dir, "b.tar"))
		for _, name := range []string{"a.tar", "b.tar"} {
			at := time.Unix(1_000_000_000, 0)
			require.NoError(t, os.Chtimes(filepath.Join(dir, name), at, at))
		}
	}
	tars := func(ref string) kind {
		return func(t *testing.T, dir string) place {
			layers(t, dir)
			return parsed(tarball.Transport, ref)(t, dir)
		}
	}
	configured := func(t *testing.T, dir string) place {
		p := tars("DIR/a.tar:DIR/b.tar")(t, dir)
		config := imgspecv1.Image{Author: "somebody", Platform: imgspecv1.Platform{OS: "linux", Architecture: "s390x"}}
		require.NoError(t, p.ref.(tarball.ConfigUpdater).ConfigUpdate(config, map[string]string{"name": "value"}))
		return p
	}
	for to, dst := range map[string]kind{
		"layout": emptyLayout, "directory": emptyDirectory, "archive": parsed(archive.Transport, "DIR/b.tar:app:v1"),
	} {
		for name, b := range map[string]both{
			"one file":           {src: tars("DIR/a.tar")},
			"two files":          {src: tars("DIR/a.tar:DIR/b.tar")},
			"all of two files":   {src: tars("DIR/a.tar:DIR/b.tar"), options: all},
			"with configuration": {src: configured},
		} {
			t.Run(to+"/"+name, func(t *testing.T) {
				b.dst = dst
				b.run(t)
			})
		}
	}
	t.Run("no file", func(t *testing.T) {
		gone := func(t *testing.T, dir string) place {
			p := tars("DIR/a.tar")(t, dir)
			require.NoError(t, os.Remove(filepath.Join(dir, "a.tar")))
			return p
		}
		both{src: gone, dst: emptyLayout, want: "no such file"}.run(t)
	})
	t.Run("as a destination", func(t *testing.T) {
		both{src: layoutOf(fixtures["OCI"], "amd64"), dst: tars("DIR/a.tar"), want: `"tarball:" locations can only be read from, not written to`}.run(t)
	})
}

// uncompressed is an archive with one file.
func uncompressed(t *testing.T, name string) []byte {
	t.Helper()
	f := imagetest.New()
	f.Layer(name, imagetest.File("name", name), imagetest.Uncompressed())
	return f.Content(name)
}
