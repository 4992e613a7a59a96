package differential

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	encconfig "github.com/containers/ocicrypt/config"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/manifest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// cryptFixture has a list of two images. Each has a compressed layer and one that is not.
func cryptFixture() *imagetest.Fixture {
	f := imagetest.New()
	f.Layer("plain", imagetest.File("etc/motd", "hello\n"), imagetest.Uncompressed())
	for _, arch := range []string{"amd64", "arm64"} {
		f.Layer("of "+arch, imagetest.File("arch", arch))
		f.Image(arch, imagetest.Platform("linux/"+arch), imagetest.Layers("plain", "of "+arch))
	}
	f.Image("docker", imagetest.Docker(), imagetest.Platform("linux/amd64"), imagetest.Layers("of amd64"))
	f.List(imagetest.Top, imagetest.Entries("amd64", "arm64"))
	return f
}

// encryptedTo copies with upstream's package, and returns what was written.
func encryptedTo(t *testing.T, src types.ImageReference, o upstream.Options) types.ImageReference {
	e := newEnv(t)
	dst := copytest.Places["layout"](t).Ref("v1")
	o.SourceCtx, o.DestinationCtx = e.Sys, e.Sys
	_, err := upstream.Image(t.Context(), e.Policy, dst, src, &o)
	require.NoError(t, err)
	return dst
}

// shapeOf describes what a reference names but for what is random in what was encrypted.
func shapeOf(t *testing.T, e *copytest.Env, ref types.ImageReference) []string {
	src, err := ref.NewImageSource(t.Context(), e.Sys)
	require.NoError(t, err)
	defer func() { require.NoError(t, src.Close()) }()
	var lines []string
	var describe func(*digest.Digest)
	describe = func(d *digest.Digest) {
		content, mediaType, err := src.GetManifest(t.Context(), d)
		require.NoError(t, err)
		lines = append(lines, mediaType)
		var doc struct {
			Config    imgspecv1.Descriptor
			Layers    []imgspecv1.Descriptor
			Manifests []imgspecv1.Descriptor
		}
		require.NoError(t, json.Unmarshal(content, &doc))
		for _, child := range doc.Manifests {
			describe(&child.Digest)
		}
		lines = append(lines, doc.Config.Digest.String())
		for _, layer := range doc.Layers {
			line := layer.MediaType + " " + strings.Join(slices.Sorted(maps.Keys(layer.Annotations)), " ")
			if !strings.HasSuffix(layer.MediaType, "+encrypted") {
				line += " " + layer.Digest.String()
			}
			lines = append(lines, line)
		}
	}
	describe(nil)
	return lines
}

// TestEncryptLikeUpstream encrypts layers. What is encrypted is never the same twice; what it is
// made of is.
func TestEncryptLikeUpstream(t *testing.T) {
	f := cryptFixture()
	encrypt, decrypt := copytest.NewCryptKeys(t)
	all := copy.Options{ImageListSelection: copy.CopyAllImages}
	with := func(o copy.Options, set func(*copy.Options)) copy.Options { set(&o); return o }
	for name, c := range map[string]struct {
		options   copy.Options
		layers    []int
		source    string
		encrypted int    // layers
		err       string // upstream's
		ours      string // our error, if it is another one
	}{
		"everything":             {options: all, layers: []int{}, encrypted: 4},
		"the first":              {options: all, layers: []int{0}, encrypted: 2},
		"the last":               {options: all, layers: []int{-1}, encrypted: 2},
		"the system image":       {layers: []int{}, encrypted: 2},
		"some of the list":       {options: copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm64"), SparseManifestListAction: copy.StripSparseManifestList}, layers: []int{}, encrypted: 2},
		"one that there is not":  {options: all, layers: []int{2}, err: "layer index 2 out of range"},
		"digests stay":           {options: with(all, func(o *copy.Options) { o.PreserveDigests = true }), layers: []int{}, err: "can’t modify the manifest", ours: "OciEncryptConfig and PreserveDigests"},
		"as Docker's":            {options: with(all, func(o *copy.Options) { o.ForceManifestMIMEType = manifest.MediaTypeDockerManifest }), layers: []int{}, err: "encryption required together with format", ours: "OciEncryptConfig and ForceManifestMIMEType"},
		"of a Docker image":      {layers: []int{}, source: "docker", encrypted: 1},
		"with zstd":              {options: with(all, func(o *copy.Options) { o.DestinationCtx = &types.SystemContext{CompressionFormat: &compression.Zstd} }), layers: []int{}, encrypted: 4},
		"and decrypt at once":    {options: with(all, func(o *copy.Options) { o.OciDecryptConfig = decrypt }), layers: []int{}, encrypted: 4},
		"no layers named at all": {options: all, encrypted: 0},
	} {
		for _, to := range []string{"oci", "docker", "dir"} {
			t.Run(name+"/"+to, func(t *testing.T) {
				o := c.options
				o.OciEncryptConfig = encrypt
				if c.layers != nil {
					o.OciEncryptLayers = &c.layers
				}
				source := c.source
				if source == "" {
					source = imagetest.Top
				}
				src := copytest.Places["layout"](t)
				src.Push(f, "v1", source)
				var shapes [][]string
				for by, image := range newFixedCase(t, to, o).both() {
					end, err := image(src.Ref("v1"))
					if c.err != "" {
						want := c.err
						if by == "ours" {
							want = cmp.Or(c.ours, c.err)
						}
						require.ErrorContains(t, err, want, by)
						continue
					}
					require.NoError(t, err, by)
					shapes = append(shapes, shapeOf(t, newEnv(t), end.ref))
				}
				if c.err != "" {
					return
				}
				assert.Equal(t, shapes[0], shapes[1])
				n := 0
				for _, line := range shapes[0] {
					if strings.Contains(line, "+encrypted ") {
						n++
					}
				}
				assert.Equal(t, c.encrypted, n, shapes[0])
			})
		}
	}
}

// both returns both packages' ways to make the case's copy.
func (c *diffCase) both() map[string]func(types.ImageReference) (diffEnd, error) {
	return map[string]func(types.ImageReference) (diffEnd, error){
		"upstream": func(src types.ImageReference) (diffEnd, error) {
			end := c.newDestination()
			_, err := upstream.Image(c.t.Context(), c.e.Policy, end.ref, src, c.upstreamOptions())
			return end, err
		},
		"ours": func(src types.ImageReference) (diffEnd, error) {
			end := c.newDestination()
			_, err := copy.Image(c.t.Context(), c.e.Policy, end.ref, src, c.e.Options(c.options))
			return end, err
		},
	}
}

// anyLayer is what an error says, whichever layer it names.
func anyLayer(err error) string { return digest.DigestRegexp.ReplaceAllString(maskedError(err), "X") }

// TestEncryptedLikeUpstream copies what is encrypted: decrypted with the key, not at all without
// the right one, and as it is if nobody asks.
func TestEncryptedLikeUpstream(t *testing.T) {
	f := cryptFixture()
	encrypt, decrypt := copytest.NewCryptKeys(t)
	_, other := copytest.NewCryptKeys(t)
	plain := copytest.Places["layout"](t)
	plain.Push(f, "v1", imagetest.Top)
	src := encryptedTo(t, plain.Ref("v1"), upstream.Options{
		ImageListSelection: upstream.CopyAllImages, OciEncryptConfig: encrypt, OciEncryptLayers: &[]int{},
	})
	again, _ := copytest.NewCryptKeys(t)
	for name, c := range map[string]struct {
		set func(*copy.Options)
		err string // ours
		way copy.Way
	}{
		"as it is":                  {func(*copy.Options) {}, "", copy.Native},
		"as it is, digests stay":    {func(o *copy.Options) { o.PreserveDigests = true }, "", copy.Native},
		"as it is, gzip":            {func(o *copy.Options) { o.DestinationCtx = &types.SystemContext{CompressionFormat: &compression.Gzip} }, "", copy.Native},
		"as it is, zstd":            {func(o *copy.Options) { o.DestinationCtx = &types.SystemContext{CompressionFormat: &compression.Zstd} }, "", copy.Native},
		"as it is, to decompress":   {func(o *copy.Options) { o.DestinationCtx = &types.SystemContext{DirForceDecompress: true} }, "", ""},
		"as Docker's":               {func(o *copy.Options) { o.ForceManifestMIMEType = manifest.MediaTypeDockerManifest }, "encryption required together with format", ""},
		"encrypt what is encrypted": {func(o *copy.Options) { o.OciEncryptConfig, o.OciEncryptLayers = again, &[]int{} }, "", copy.Native},
		"decrypt":                   {func(o *copy.Options) { o.OciDecryptConfig = decrypt }, "", copy.Native},
		"decrypt as Docker's": {func(o *copy.Options) {
			o.OciDecryptConfig, o.ForceManifestMIMEType = decrypt, manifest.MediaTypeDockerManifest
		}, "", ""},
		"decrypt, digests stay": {func(o *copy.Options) { o.OciDecryptConfig, o.PreserveDigests = decrypt, true }, "OciDecryptConfig and PreserveDigests", ""},
		"with another key":      {func(o *copy.Options) { o.OciDecryptConfig = other }, "decrypting layer", copy.Native},
		"with no key":           {func(o *copy.Options) { o.OciDecryptConfig = &encconfig.DecryptConfig{} }, "decrypting layer", copy.Native},
	} {
		for selection, o := range map[string]copy.Options{
			"all": {ImageListSelection: copy.CopyAllImages}, "system": {},
			"some": {ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm64"), SparseManifestListAction: copy.StripSparseManifestList},
		} {
			for _, to := range []string{"oci", "docker", "dir"} {
				if selection == "some" && strings.Contains(name, "digests") {
					continue // nothing may be stripped
				}
				t.Run(name+"/"+selection+"/"+to, func(t *testing.T) {
					o := o
					c.set(&o)
					d := newFixedCase(t, to, o)
					theirs, ours := d.upstreams(src), d.ours(src, d.options)
					if c.err == "" { // which of two layers is named is chance
						require.Empty(t, d.compare(theirs, ours))
					}
					if c.way != "" {
						assert.Equal(t, c.way, ours.plan.Way, ours.plan.WayReason)
					}
					if c.err != "" {
						require.Error(t, theirs.err)
						require.ErrorContains(t, ours.err, c.err)
						if strings.Contains(theirs.err.Error(), c.err) {
							assert.True(t, strings.HasSuffix(anyLayer(ours.err), anyLayer(theirs.err)), "upstream %v\nours %v", theirs.err, ours.err)
						}
						assert.Equal(t, errors.Is(theirs.err, upstream.ErrDecryptParamsMissing), errors.Is(ours.err, copy.ErrDecryptParamsMissing))
						return
					}
					require.NoError(t, ours.err)
				})
			}
		}
	}
	t.Run("what is decrypted is what was encrypted", func(t *testing.T) {
		dst := copytest.Places["layout"](t).(copytest.LayoutPlace)
		e := newEnv(t)
		_, err := e.Image(t.Context(), dst.Ref("v1"), src, copy.Options{ImageListSelection: copy.CopyAllImages, OciDecryptConfig: decrypt})
		require.NoError(t, err)
		for _, layer := range []string{"of amd64", "of arm64"} {
			assert.FileExists(t, dst.Dir+"/blobs/sha256/"+f.Digest(layer).Encoded())
		}
	})
}
