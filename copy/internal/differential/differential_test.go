package differential

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/directory"
	dockerarchive "go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/docker/reference"
	upstreammanifest "go.podman.io/image/v5/manifest"
	ociarchive "go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/tarball"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

var (
	differentialSeed  = flag.Uint64("differential.seed", 1, "seed of TestDifferential")
	differentialCases = flag.Int("differential.cases", 300, "number of cases of TestDifferential")
)

// TestDifferential copies generated images and lists, with generated options and between generated
// pairs of transports, by upstream's copy.Image and by ours. Both must end alike: the same kind of
// error or none, the same manifest returned, the same content at the destination; but for the
// deliberate differences.
func TestDifferential(t *testing.T) {
	var used sync.Map
	t.Cleanup(func() {
		if *differentialSeed != 1 || *differentialCases < 300 {
			return
		}
		for _, d := range differences {
			_, ok := used.Load(d.name)
			assert.True(t, ok || t.Failed(), "no case shows the difference %q", d.name)
		}
	})
	for n := range *differentialCases {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			again := fmt.Sprintf("go test ./copy/internal/differential -run 'TestDifferential/^%d$' -differential.seed=%d -differential.cases=%d",
				n, *differentialSeed, n+1)
			c := newDiffCase(t, rand.New(rand.NewPCG(*differentialSeed, uint64(n))))
			c.used = &used
			c.run(again)
		})
	}
}

// TestDifferencesAreDocumented looks for each rule in the table for people, and for the tests that
// rows name.
func TestDifferencesAreDocumented(t *testing.T) {
	table, err := os.ReadFile(filepath.Join(top, "docs", "differences.md"))
	require.NoError(t, err)
	assert.Contains(t, string(table), "\n| "+sparseStays+" |")
	for _, d := range differences {
		assert.Contains(t, string(table), "\n| "+d.name+" |")
	}
	_, rest, ok := strings.Cut(string(table), "\n## Documents\n")
	require.True(t, ok)
	_, after, ok := strings.Cut(rest, "\n## ")
	require.True(t, ok)
	tests := regexp.MustCompile("(?m)^\\| .*\\| `(Test[A-Za-z]*)[^`]*` \\|$").FindAllStringSubmatch(after, -1)
	assert.Len(t, tests, strings.Count(after, "\n| ")-2, "a test in each row")
	for _, test := range tests {
		assert.True(t, definesTest(t, test[1]), test[1])
	}
}

// top is the top of the checkout.
var top = filepath.Join("..", "..", "..")

// definesTest reports whether a test of package copy, or of its suites, has this name.
func definesTest(t *testing.T, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(top, "copy", "*_test.go"))
	require.NoError(t, err)
	suites, err := filepath.Glob(filepath.Join("..", "*", "*_test.go"))
	require.NoError(t, err)
	for _, file := range slices.Concat(files, suites) {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		if strings.Contains(string(source), "\nfunc "+name+"(t *testing.T)") {
			return true
		}
	}
	return false
}

// A diffCase is one copy, to be made twice.
type diffCase struct {
	t *testing.T
	r *rand.Rand
	e *copytest.Env

	fixture  *imagetest.Fixture
	source   string // name of what is copied
	isList   bool
	docker   bool
	foreign  bool
	shape    []string                                        // what is special about the fixture
	images   []string                                        // of the top list
	from, to string                                          // transports
	digested string                                          // name of the document whose digest the destination names, if any
	before   string                                          // what the destination named before
	registry registrytest.Options                            // of the destination
	wrap     func(types.ImageReference) types.ImageReference // what becomes of the destination's reference; nil for nothing
	options  copy.Options
	chosen   []string // what the options are, for people

	used *sync.Map // names of the differences that were seen
}

// An outcome is how a copy ended.
type outcome struct {
	err      error
	copied   []byte
	resolved types.ImageReference
	lines    []string   // what is at the destination
	top      string     // what the destination's reference names
	plan     *copy.Plan // ours only
}

// newEnv is an environment without a blob-info cache on disk: upstream syncs it several times a
// copy, where programs are built with cgo.
func newEnv(t testing.TB) *copytest.Env {
	e := copytest.NewEnv(t)
	e.Sys.BlobInfoCacheDir = nowhere
	return e
}

// newSigningEnv is newEnv with sigstore attachments, and the files of a key pair.
func newSigningEnv(t testing.TB) (e *copytest.Env, private, public string) {
	e, private, public = copytest.NewSigningEnv(t)
	e.Sys.BlobInfoCacheDir = nowhere
	return e, private, public
}

// nowhere is a path at which there is nothing, and can be nothing.
var nowhere = filepath.Join(os.DevNull, "nowhere")

func (c *diffCase) pick(n int) bool { return c.r.IntN(n) == 0 }

func newDiffCase(t *testing.T, r *rand.Rand) *diffCase {
	c := &diffCase{t: t, r: r, e: newEnv(t)}
	c.makeFixture()
	c.makeOptions()
	c.makeEnds()
	return c
}

// newFixedCase is a case with given options to a given transport, and nothing random. Of a
// SystemContext it takes what concerns layers and formats.
func newFixedCase(t *testing.T, to string, o copy.Options) *diffCase {
	c := &diffCase{t: t, e: newEnv(t), to: to, used: &sync.Map{}}
	sys := *c.e.Sys
	if set := o.DestinationCtx; set != nil {
		sys.CompressionFormat, sys.DirForceDecompress = set.CompressionFormat, set.DirForceDecompress
		sys.DockerDisableDestSchema1MIMETypes = set.DockerDisableDestSchema1MIMETypes
	}
	o.DestinationCtx = &sys
	c.options = o
	return c
}

var diffPlatforms = []string{"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/s390x", "windows/amd64"}

func (c *diffCase) makeFixture() {
	f := imagetest.New()
	c.fixture = f
	c.docker = c.pick(3)
	c.isList = !c.pick(4)
	n := 1
	if c.isList {
		n += c.r.IntN(4)
	}
	f.Layer("base", imagetest.File("etc/motd", "hello\n"))
	for i := range n {
		name := imagetest.PlatformName(diffPlatforms[i])
		layers := []string{"base"}
		for j := range c.r.IntN(2) + 1 {
			layers = append(layers, c.makeLayer(fmt.Sprintf("%s.%d", name, j)))
		}
		options := []imagetest.Option{imagetest.Platform(diffPlatforms[i]), imagetest.Layers(layers...)}
		if c.docker {
			options = append(options, imagetest.Docker())
		}
		if c.pick(3) {
			options = append(options, imagetest.Indent("  "))
		}
		f.Image(name, options...)
		c.images = append(c.images, name)
	}
	c.source = c.images[0]
	if c.isList {
		c.makeList()
	}
}

func (c *diffCase) makeLayer(name string) string {
	options := []imagetest.LayerOption{imagetest.File("name", name)}
	switch k := c.r.IntN(24) / 2; {
	case k == 3 && c.pick(2):
		// A layer that is not what its media type says.
		mediaType := imgspecv1.MediaTypeImageLayerGzip
		if c.docker {
			mediaType = manifest.MediaTypeDockerLayerGzip
		}
		c.fixture.Blob(name, mediaType, []byte("no archive, and not compressed: "+name))
		c.shape = append(c.shape, "mislabelled layer")
		return name
	case k == 0:
		options = append(options, imagetest.Uncompressed())
		c.shape = append(c.shape, "uncompressed layer")
	case k == 1 && !c.docker:
		options = append(options, imagetest.Zstd())
		c.shape = append(c.shape, "zstd layer")
	case k == 2:
		options = append(options, imagetest.Foreign("http://127.0.0.1:1/layer"))
		c.shape = append(c.shape, "layer that is elsewhere")
		c.foreign = true
	}
	c.fixture.Layer(name, options...)
	return name
}

func (c *diffCase) makeList() {
	f := c.fixture
	options := []imagetest.Option{imagetest.Entries(c.images...)}
	if c.docker {
		options = append(options, imagetest.Docker())
	} else {
		switch c.r.IntN(8) {
		case 0, 3:
			for _, name := range c.images {
				f.Attestation("attestation of "+name, name)
				options = append(options, imagetest.Entries("attestation of "+name))
			}
			c.shape = append(c.shape, "attestation")
		case 1:
			f.Artifact("chart")
			options = append(options, imagetest.Entries("chart"))
			c.shape = append(c.shape, "artifact")
		case 2, 4:
			f.Image("inner-image", imagetest.Platform("linux/riscv64"), imagetest.Layers("base"))
			f.List("inner", imagetest.Entries("inner-image"))
			options = append(options, imagetest.Entries("inner"))
			c.shape = append(c.shape, "nested list")
		case 5:
			var first []imagetest.Option
			for _, name := range c.images {
				f.SOCIIndex("SOCI index of "+name, name)
				first = append(first, imagetest.Entries("SOCI index of "+name))
			}
			options = append(first, options...)
			c.shape = append(c.shape, "accelerator")
		}
	}
	if c.pick(5) {
		options = append(options, imagetest.Entry(c.images[0], imagetest.Platform("linux/ppc64le")))
		c.shape = append(c.shape, "repeated digest")
	}
	if c.pick(2) {
		options = append(options, imagetest.Indent("   "))
	}
	f.List(imagetest.Top, options...)
	c.source = imagetest.Top
}

func (c *diffCase) has(shape string) bool { return slices.Contains(c.shape, shape) }

// choose notes a choice.
func (c *diffCase) choose(format string, args ...any) {
	c.chosen = append(c.chosen, fmt.Sprintf(format, args...))
}

func (c *diffCase) makeOptions() {
	o := &c.options
	sys := *c.e.Sys
	o.DestinationCtx = &sys
	c.makeSelection()
	if c.pick(2) {
		o.SparseManifestListAction = copy.StripSparseManifestList
		c.choose("strip")
	}
	for _, option := range []struct {
		oneIn int
		set   func() string
	}{
		{8, func() string { o.PreserveDigests = true; return "PreserveDigests" }},
		{10, func() string { o.RemoveSignatures = true; return "RemoveSignatures" }},
		{16, func() string { o.RemoveListSignatures = true; return "RemoveListSignatures" }},
		{8, func() string { o.ForceManifestMIMEType = imgspecv1.MediaTypeImageManifest; return "force OCI" }},
		{8, func() string { o.ForceManifestMIMEType = manifest.MediaTypeDockerManifest; return "force Docker" }},
		{40, func() string { o.ForceManifestMIMEType = "text/plain"; return "force text/plain" }},
		{10, func() string { sys.CompressionFormat = &compression.Gzip; return "gzip" }},
		{10, func() string { sys.CompressionFormat = &compression.Zstd; return "zstd" }},
		{30, func() string { o.ForceCompressionFormat = true; return "ForceCompressionFormat" }},
		{12, func() string { sys.OCIAcceptUncompressedLayers = true; return "OCIAcceptUncompressedLayers" }},
		{12, func() string { sys.DirForceCompress = true; return "DirForceCompress" }},
		{12, func() string { sys.DirForceDecompress = true; return "DirForceDecompress" }},
		{12, func() string {
			sys.DockerDisableDestSchema1MIMETypes = true
			return "DockerDisableDestSchema1MIMETypes"
		}},
		{12, func() string { o.DownloadForeignLayers = true; return "DownloadForeignLayers" }},
		{8, func() string {
			o.OptimizeDestinationImageAlreadyExists = true
			return "OptimizeDestinationImageAlreadyExists"
		}},
		{6, func() string { o.MaxParallelDownloads = 1; return "MaxParallelDownloads" }},
		{12, func() string { o.PreferGzipInstances = types.OptionalBoolTrue; return "PreferGzipInstances" }},
		{8, func() string {
			at := time.Unix(1_000_000_000, 0)
			o.DestinationTimestamp = &at
			return "DestinationTimestamp"
		}},
		{12, func() string {
			if c.isList && !c.pick(4) {
				o.ImageListSelection = copy.CopyAllImages
				if c.pick(4) {
					o.ImageListSelection, o.Instances = copy.CopySpecificImages, c.fixture.Digests(c.images...)
				}
			}
			o.EnsureCompressionVariantsExist = []copy.OptionCompressionVariant{{Algorithm: compression.Zstd}}
			return "EnsureCompressionVariantsExist of " + []string{"the system image", "all", "some"}[o.ImageListSelection]
		}},
	} {
		if c.pick(option.oneIn) {
			c.choose("%s", option.set())
		}
	}
}

func (c *diffCase) makeSelection() {
	o := &c.options
	selection := c.r.IntN(8)
	if c.has("attestation") && c.pick(2) {
		selection = 7
	}
	switch selection {
	case 0:
		c.choose("system")
	case 1, 2:
		o.ImageListSelection = copy.CopyAllImages
		c.choose("all")
	case 3:
		o.ImageListSelection = copy.CopySpecificImages
		c.choose("list only")
	case 4, 5:
		o.ImageListSelection = copy.CopySpecificImages
		for _, name := range c.images {
			if c.pick(2) {
				o.Instances = append(o.Instances, c.fixture.Digest(name))
				c.choose("digest of %s", name)
			}
		}
		if c.pick(4) {
			o.Instances = append(o.Instances, digest.FromString("unknown"))
			c.choose("unknown digest")
		}
	default:
		o.ImageListSelection = copy.CopySpecificImages
		p := c.r.IntN(len(diffPlatforms))
		if !c.pick(6) {
			p %= len(c.images)
		}
		osName, rest, _ := strings.Cut(diffPlatforms[p], "/")
		arch, _, _ := strings.Cut(rest, "/")
		o.InstancePlatforms = []copy.InstancePlatformFilter{{OS: osName, Architecture: arch}}
		c.choose("%s/%s", osName, arch)
	}
}

func (c *diffCase) makeEnds() {
	ends := []string{"docker", "docker", "oci", "oci-archive", "dir"}
	c.from = ends[c.r.IntN(len(ends))]
	switch {
	case c.pick(12):
		c.from = "tarball"
		c.isList, c.docker, c.foreign, c.shape = false, false, false, nil // not of the fixture
	case !c.isList && !c.foreign && !c.has("mislabelled layer") && c.pick(2):
		c.from = "docker-archive"
	case c.from == "dir" && (c.foreign || c.has("nested list")):
		c.from = "oci" // upstream cannot make such a directory for us
	}
	ends = append(ends, "docker", "docker-archive")
	c.to = ends[c.r.IntN(len(ends))]
	if c.to == "docker-archive" && c.isList && !c.pick(3) {
		c.to = "docker"
	}
	if c.to == "docker" && c.pick(6) {
		c.digested = c.source
		if c.pick(4) {
			c.digested = c.images[0]
		}
	}
	if c.pick(3) {
		c.before = "old"
		if c.pick(2) && !c.foreign && c.from != "tarball" {
			c.before = c.source
		}
	}
	if c.to == "oci-archive" && c.before == c.source && c.pick(2) {
		c.options.OptimizeDestinationImageAlreadyExists = true
		c.choose("OptimizeDestinationImageAlreadyExists")
	}
}

func (c *diffCase) String() string {
	before := ""
	if c.before != "" {
		before = ", which has " + c.before
	}
	if c.digested != "" {
		before += ", by the digest of " + c.digested
	}
	kind := "OCI"
	if c.docker {
		kind = "Docker"
	}
	return fmt.Sprintf("%s %s of %v with %v, from %s to %s%s: %s",
		kind, c.source, c.images, c.shape, c.from, c.to, before, strings.Join(c.chosen, ", "))
}

// A diffEnd is a place that a case reads from or writes to.
type diffEnd struct {
	ref types.ImageReference
	dir string // holds the files of transports that have files
	// lines is everything that is there, top what the reference names.
	lines func() []string
	top   func() string
}

func (c *diffCase) newEnd(transport string, digested digest.Digest) diffEnd {
	dir := c.t.TempDir()
	var ref types.ImageReference
	var err error
	switch transport {
	case "docker":
		reg := registrytest.Start(c.t, c.registry)
		at := "v1"
		if digested != "" {
			at = digested.String()
		}
		return diffEnd{
			ref:   copytest.RegistryRef(c.t, reg, "team/app", at),
			lines: func() []string { return strings.Split(reg.Snapshot("team/app"), "\n") },
			top: func() string {
				if digested != "" {
					_, _, ok := reg.Manifest("team/app", digested.String())
					return fmt.Sprint(ok)
				}
				d, _ := reg.Resolve("team/app", "v1")
				return d.String()
			},
		}
	case "oci":
		ref = copytest.LayoutRef(c.t, filepath.Join(dir, "end"), "v1")
	case "oci-archive":
		ref, err = ociarchive.NewReference(filepath.Join(dir, "end"), "v1")
	case "dir":
		ref, err = directory.NewReference(filepath.Join(dir, "end"))
	case "docker-archive":
		named, parseErr := reference.ParseNormalizedNamed("example.com/app:v1")
		require.NoError(c.t, parseErr)
		ref, err = dockerarchive.NewReference(filepath.Join(dir, "end"), named.(reference.NamedTagged))
	}
	require.NoError(c.t, err)
	return diffEnd{
		ref:   ref,
		dir:   dir,
		lines: func() []string { return copytest.FileLines(c.t, filepath.Join(dir, "end")) },
		top:   func() string { return topOf(c.t, c.e, ref) },
	}
}

// topOf returns the digest of what a reference names, "" if nothing.
func topOf(t testing.TB, e *copytest.Env, ref types.ImageReference) string {
	src, err := ref.NewImageSource(t.Context(), e.Sys)
	if err != nil {
		return ""
	}
	defer func() { require.NoError(t, src.Close()) }()
	content, _, err := src.GetManifest(t.Context(), nil)
	if err != nil {
		return ""
	}
	return digest.FromBytes(content).String()
}

// fill puts a document into an end.
func (c *diffCase) fill(end diffEnd, transport string, f *imagetest.Fixture, name string) {
	stage := filepath.Join(c.t.TempDir(), "stage")
	require.NoError(c.t, f.WriteLayout(stage, "v1", name))
	_, err := upstream.Image(c.t.Context(), c.e.Policy, end.ref, copytest.LayoutRef(c.t, stage, "v1"), &upstream.Options{
		SourceCtx: c.e.Sys, DestinationCtx: c.e.Sys, ImageListSelection: upstream.CopyAllImages, PreserveDigests: transport == "docker" || transport == "dir",
	})
	require.NoError(c.t, err)
}

func (c *diffCase) newSource() types.ImageReference {
	dir := c.t.TempDir()
	stage := filepath.Join(dir, "stage")
	switch c.from {
	case "docker":
		reg := registrytest.Start(c.t, registrytest.Options{})
		c.fixture.PushTo(reg, "team/app", "v1", c.source)
		return copytest.RegistryRef(c.t, reg, "team/app", "v1")
	case "dir", "docker-archive":
		end := c.newEnd(c.from, "")
		c.fill(end, c.from, c.fixture, c.source)
		if c.from == "docker-archive" && c.pick(2) {
			c.compress(filepath.Join(end.dir, "end"))
		}
		return end.ref
	case "tarball":
		return c.newTarball(dir)
	}
	require.NoError(c.t, c.fixture.WriteLayout(stage, "v1", c.source))
	if c.from == "oci" {
		return copytest.LayoutRef(c.t, stage, "v1")
	}
	archive := filepath.Join(dir, "archive.tar")
	file, err := os.Create(archive)
	require.NoError(c.t, err)
	w := tar.NewWriter(file)
	require.NoError(c.t, w.AddFS(os.DirFS(stage)))
	require.NoError(c.t, w.Close())
	require.NoError(c.t, file.Close())
	ref, err := ociarchive.NewReference(archive, "v1")
	require.NoError(c.t, err)
	return ref
}

// compress compresses a file in its place.
func (c *diffCase) compress(file string) {
	content, err := os.ReadFile(file)
	require.NoError(c.t, err)
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	_, err = w.Write(content)
	require.NoError(c.t, err)
	require.NoError(c.t, w.Close())
	require.NoError(c.t, os.WriteFile(file, compressed.Bytes(), 0o600))
}

// newTarball makes a source of archives of files: one, or two of which one is compressed.
func (c *diffCase) newTarball(dir string) types.ImageReference {
	f := imagetest.New()
	f.Layer("plain", imagetest.File("name", "plain"), imagetest.Uncompressed())
	f.Layer("compressed", imagetest.File("name", "compressed"))
	var files []string
	for _, name := range []string{"plain", "compressed"}[c.r.IntN(2):] {
		file := filepath.Join(dir, name)
		files = append(files, file)
		require.NoError(c.t, os.WriteFile(file, f.Content(name), 0o600))
	}
	ref, err := tarball.NewReference(files, nil)
	require.NoError(c.t, err)
	return ref
}

// newDestination makes a destination with what the case says that it has. It is the same each time.
func (c *diffCase) newDestination() diffEnd {
	var d digest.Digest
	if c.digested != "" {
		d = c.fixture.Digest(c.digested)
	}
	end := c.newEnd(c.to, d)
	if c.wrap != nil {
		end.ref = c.wrap(end.ref)
	}
	if c.before == "" || d != "" || c.to == "docker-archive" || c.has("nested list") {
		return end
	}
	f, name := c.fixture, c.before
	if name == "old" {
		f, name = imagetest.Platforms(1, 1, 10), "amd64"
	}
	c.fill(end, c.to, f, name)
	return end
}

func (c *diffCase) upstreams(src types.ImageReference) outcome {
	end, out := c.newDestination(), outcome{}
	o := c.upstreamOptions()
	o.ReportResolvedReference = &out.resolved
	out.copied, out.err = upstream.Image(c.t.Context(), c.e.Policy, end.ref, src, o)
	out.lines, out.top = end.lines(), end.top()
	return out
}

// upstreamOptions are the case's options for upstream.
func (c *diffCase) upstreamOptions() *upstream.Options {
	o, sys := c.options, *c.e.Sys
	return &upstream.Options{
		RemoveSignatures: o.RemoveSignatures, RemoveListSignatures: o.RemoveListSignatures,
		SourceCtx: &sys, DestinationCtx: o.DestinationCtx, PreserveDigests: o.PreserveDigests,
		ForceManifestMIMEType: o.ForceManifestMIMEType, ImageListSelection: o.ImageListSelection, Instances: o.Instances,
		InstancePlatforms:        copytest.UpstreamFilters(o.InstancePlatforms),
		SparseManifestListAction: upstream.SparseManifestListAction(o.SparseManifestListAction),
		PreferGzipInstances:      o.PreferGzipInstances, MaxParallelDownloads: o.MaxParallelDownloads,
		OciEncryptConfig: o.OciEncryptConfig, OciEncryptLayers: o.OciEncryptLayers, OciDecryptConfig: o.OciDecryptConfig,
		OptimizeDestinationImageAlreadyExists: o.OptimizeDestinationImageAlreadyExists,
		DownloadForeignLayers:                 o.DownloadForeignLayers,
		EnsureCompressionVariantsExist:        o.EnsureCompressionVariantsExist, ForceCompressionFormat: o.ForceCompressionFormat,
		DestinationTimestamp: o.DestinationTimestamp,
	}
}

func (c *diffCase) ours(src types.ImageReference, o copy.Options) outcome {
	end, out := c.newDestination(), outcome{}
	before := end.top()
	var r copy.Report
	o.Report, o.ReportResolvedReference = &r, &out.resolved
	out.copied, out.err = copy.Image(c.t.Context(), c.e.Policy, end.ref, src, c.e.Options(o))
	out.lines, out.top, out.plan = end.lines(), end.top(), r.Plan
	if out.err != nil {
		assert.Equal(c.t, before, out.top, "after a failure, the reference names what it named before")
	} else {
		d, err := upstreammanifest.Digest(out.copied)
		require.NoError(c.t, err)
		assert.Equal(c.t, d, r.DestinationDigest)
	}
	return out
}

// Kinds of errors.
const (
	noError     = "none"
	rejected    = "rejected by the policy"
	refused     = "refused: the call asks for what is not there or not possible" // there may be several reasons, of which one is told
	failedLater = "failed while copying"
)

// upstreamRefusals are what upstream says when it refuses a call. It finds some of the reasons in
// the middle.
var upstreamRefusals = []string{
	"does not support copying multiple images as a group",
	"is not implemented",
	"is not applicable",
	"cannot use ForceCompressionFormat",
	"no instances found for platform",
	"would create an empty image",
	"but we cannot",
	"would not match destination reference",
	"digest invalid",
	"Unexpectedly received a manifest list",
}

// kindOf classifies errors by what they are about.
func kindOf(err error) string {
	if err == nil {
		return noError
	}
	var (
		options   *copy.OptionsError
		match     *copy.NoMatchError
		empty     *copy.EmptyError
		unchanged *copy.CannotModifyError
		verdict   *copy.RejectedError
	)
	says := func(s string) bool { return strings.Contains(err.Error(), s) }
	switch {
	case errors.As(err, &verdict), says("Source image rejected"):
		return rejected
	case errors.As(err, &options), errors.As(err, &match), errors.As(err, &empty), errors.As(err, &unchanged), slices.ContainsFunc(upstreamRefusals, says):
		return refused
	}
	return failedLater
}

func (c *diffCase) run(again string) {
	src := c.newSource()
	theirs, ours := c.upstreams(src), c.ours(src, c.options)
	complaints := c.compare(theirs, ours)
	// Where ours can be told to do as upstream does, the rest of the difference is looked at.
	o := c.options
	left := slices.Clone(differences)
	for len(complaints) > 0 {
		i := slices.IndexFunc(left, func(d difference) bool { return d.is(c, theirs, ours) })
		if i < 0 {
			break
		}
		d := left[i]
		left = slices.Delete(left, i, i+1)
		c.used.Store(d.name, true)
		if d.adjust == nil {
			return
		}
		d.adjust(&o)
		ours = c.ours(src, o)
		complaints = c.compare(theirs, ours)
	}
	if len(complaints) == 0 {
		return
	}
	way := ""
	if ours.plan != nil {
		way = fmt.Sprintf("%s (%s)", ours.plan.Way, ours.plan.WayReason)
	}
	c.t.Errorf("%s\n%s\nway: %s\n%s", c, again, way, strings.Join(complaints, "\n"))
}

// compare says what differs. Lists that this package writes differ in their bytes where upstream
// serializes them anew; then what they say is compared. Which of several layers that are elsewhere
// is the first to fail is chance here, where images are copied at the same time.
func (c *diffCase) compare(theirs, ours outcome) []string {
	complaints := compareOutcomes(theirs, ours)
	elsewhere := 0
	for _, shape := range c.shape {
		if shape == "layer that is elsewhere" {
			elsewhere++
		}
	}
	if elsewhere > 1 && kindOf(theirs.err) == failedLater && kindOf(ours.err) == failedLater && strings.HasSuffix(anyLayer(ours.err), anyLayer(theirs.err)) {
		return nil
	}
	if len(complaints) == 0 || theirs.err != nil || ours.err != nil || ours.plan.Way != copy.Native || ours.plan.List == nil {
		return complaints
	}
	before, after := listSays(theirs.copied), listSays(ours.copied)
	relisted := compareLines(withoutLists(theirs.lines, theirs, ours), withoutLists(ours.lines, theirs, ours))
	switch {
	case len(relisted) > 0:
		return complaints
	case len(ours.plan.List.Edits) > 0 && assert.ObjectsAreEqual(before, after):
		c.used.Store(bytesStay, true)
		return nil
	case assert.ObjectsAreEqual(withoutMarks(before), withoutMarks(after)):
		c.used.Store(noMarks, true)
		return nil
	}
	return complaints
}

// listSays is what a list says, as JSON that is independent of its form.
func listSays(list []byte) any {
	var v any
	_ = json.Unmarshal(list, &v) // what is no list is compared as nil
	return v
}

// withoutMarks returns what a list says without the annotations by which upstream marks instances
// with zstd layers.
func withoutMarks(list any) any {
	entries, _ := list.(map[string]any)["manifests"].([]any)
	for _, e := range entries {
		entry := e.(map[string]any)
		if annotations, ok := entry["annotations"].(map[string]any); ok {
			delete(annotations, "io.github.containers.compression.zstd")
			if len(annotations) == 0 {
				delete(entry, "annotations")
			}
		}
	}
	return list
}

// withoutLists returns lines without what depends on the bytes of the lists that were written.
func withoutLists(lines []string, outcomes ...outcome) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		return strings.HasPrefix(line, "manifest.json ") || strings.HasPrefix(line, "index.json ") ||
			slices.ContainsFunc(outcomes, func(o outcome) bool { return strings.Contains(line, digest.FromBytes(o.copied).Encoded()) })
	})
}

// A difference is a deliberate one between upstream's package and this.
type difference struct {
	name string // in docs/differences.md, with the reason
	// is reports whether outcomes that differ do so for this reason.
	is func(c *diffCase, theirs, ours outcome) bool
	// adjust makes ours do as upstream does, if that is possible.
	adjust func(*copy.Options)
}

// Differences that compare sees by itself.
const (
	bytesStay = "A stripped list keeps the bytes of what stays"
	noMarks   = "Entries are not marked as zstd"
)

var differences = []difference{
	{name: bytesStay, is: func(*diffCase, outcome, outcome) bool { return false }},
	{name: noMarks, is: func(*diffCase, outcome, outcome) bool { return false }},
	{
		name: "Digests that all name nothing are refused",
		is: func(_ *diffCase, theirs, ours outcome) bool {
			var none *copy.NoMatchError
			return theirs.err == nil && errors.As(ours.err, &none) && slices.ContainsFunc(none.Asked, func(s string) bool { return strings.HasPrefix(s, "sha256:") })
		},
		adjust: func(o *copy.Options) {
			o.Instances = slices.DeleteFunc(slices.Clone(o.Instances), func(d digest.Digest) bool { return d == digest.FromString("unknown") })
		},
	},
	{
		name: "Single images are checked against platform filters",
		is: func(c *diffCase, theirs, ours outcome) bool {
			var none *copy.NoMatchError
			return theirs.err == nil && !c.isList && errors.As(ours.err, &none)
		},
		adjust: func(o *copy.Options) { o.InstancePlatforms = nil },
	},
	{
		name: "ForceCompressionFormat without a format is refused",
		is: func(_ *diffCase, theirs, ours outcome) bool {
			var invalid *copy.OptionsError
			return theirs.err == nil && errors.As(ours.err, &invalid) && slices.Contains(invalid.Options, "ForceCompressionFormat")
		},
		adjust: func(o *copy.Options) { o.ForceCompressionFormat = false },
	},
	{
		name: "Attestations follow their subjects",
		is: func(c *diffCase, theirs, ours outcome) bool {
			return (theirs.err == nil || ours.err == nil) && c.has("attestation") && len(c.options.InstancePlatforms) > 0
		},
		adjust: func(o *copy.Options) { o.Attestations = copy.DropAttestations },
	},
	{
		name: "Attestations follow their subjects", // or stay behind, as other artifacts do, where they cannot be converted
		is: func(c *diffCase, theirs, ours outcome) bool {
			leftBehind := slices.ContainsFunc([]string{"Unknown media type during manifest conversion", "unsupported image-specific operation on artifact"},
				func(words string) bool { return strings.Contains(fmt.Sprint(theirs.err), words) })
			return (c.has("attestation") || c.has("artifact")) && c.options.ForceManifestMIMEType == manifest.MediaTypeDockerManifest && ours.err == nil && leftBehind
		},
	},
	{
		name: "What accelerates an image is not chosen in its place",
		is: func(c *diffCase, theirs, ours outcome) bool {
			o := c.options
			leftBehind := ours.err == nil && strings.Contains(fmt.Sprint(theirs.err), "unsupported image-specific operation on artifact")
			return c.has("accelerator") && (o.ImageListSelection == copy.CopySystemImage || len(o.InstancePlatforms) > 0 && o.ForceManifestMIMEType != "" || leftBehind)
		},
	},
	{
		name: "Nested lists are copied",
		is: func(c *diffCase, theirs, ours outcome) bool {
			return c.has("nested list") && ours.err == nil && strings.Contains(fmt.Sprint(theirs.err), "a manifest list instead of a manifest")
		},
	},
	{
		name: "Entries with equal digests are told apart",
		is: func(c *diffCase, theirs, ours outcome) bool {
			return c.has("repeated digest") && len(c.options.InstancePlatforms) > 0 &&
				(theirs.err == nil || strings.Contains(theirs.err.Error(), "no instances found for platform"))
		},
	},
	{
		name: "Compression variants are for images, and for any selection",
		is: func(c *diffCase, theirs, ours outcome) bool {
			refuses := strings.Contains(fmt.Sprint(theirs.err), "EnsureCompressionVariantsExist is not implemented for CopySpecificImages")
			goesOn := ours.err == nil || c.foreign && kindOf(ours.err) == failedLater // with layers that cannot be read
			return len(c.options.EnsureCompressionVariantsExist) > 0 && (theirs.err == nil && ours.err == nil || refuses && goesOn)
		},
	},
	{
		name: "A list in a Docker list is for no platform",
		is: func(c *diffCase, theirs, ours outcome) bool {
			return c.has("nested list") && c.options.ForceManifestMIMEType == manifest.MediaTypeDockerManifest && theirs.err == nil && ours.err == nil
		},
	},
	{
		name: "An archive stays whole with OptimizeDestinationImageAlreadyExists",
		is: func(c *diffCase, theirs, ours outcome) bool {
			return c.to == "oci-archive" && c.options.OptimizeDestinationImageAlreadyExists && c.before == c.source && theirs.err == nil && ours.err == nil
		},
	},
	{
		name: "Compression is told by media type",
		is: func(c *diffCase, theirs, ours outcome) bool {
			return c.has("mislabelled layer") && theirs.err == nil && ours.err == nil && ours.plan.Way == copy.Native
		},
	},
}

// compareOutcomes says what differs.
func compareOutcomes(theirs, ours outcome) []string {
	var complaints []string
	if !alike(theirs.err, ours.err) {
		return []string{fmt.Sprintf("errors: upstream %v\nours %v", theirs.err, ours.err)}
	}
	if theirs.err != nil {
		return nil // what upstream leaves behind is rubbish, ours was compared with what was there before
	}
	if !bytes.Equal(theirs.copied, ours.copied) {
		complaints = append(complaints, fmt.Sprintf("manifests: upstream %s\nours %s", theirs.copied, ours.copied))
	}
	if (theirs.resolved == nil) != (ours.resolved == nil) {
		complaints = append(complaints, fmt.Sprintf("resolved references: upstream %v, ours %v", theirs.resolved, ours.resolved))
	}
	return append(complaints, compareLines(theirs.lines, ours.lines)...)
}

// alike reports whether errors are of one kind, and about the same if it was not the call that was
// refused. Ours may refuse a call which fails with upstream later.
func alike(theirs, ours error) bool {
	kind := kindOf(ours)
	switch {
	case kind == failedLater && kindOf(theirs) == failedLater:
		return strings.HasSuffix(maskedError(ours), maskedError(theirs))
	case kind == refused:
		return kindOf(theirs) == refused || kindOf(theirs) == failedLater
	}
	return kind == kindOf(theirs)
}

// maskedError is what an error is about, without what differs from one copy to the next.
func maskedError(err error) string {
	return unstable().ReplaceAllString(doing.ReplaceAllString(err.Error(), ""), "X")
}

var (
	doing = regexp.MustCompile(`(initializing (source|destination)|Can not copy signatures to) [^ ]*: |(copying|replicating) (system image|image \d+/\d+) from manifest list: `)
	// The directory of temporary files is only known once TestMain has run.
	unstable = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`127\.0\.0\.1:\d+|` + regexp.QuoteMeta(os.TempDir()) + `/[^ :"]*`)
	})
)

func compareLines(theirs, ours []string) []string {
	var complaints []string
	for _, line := range theirs {
		if !slices.Contains(ours, line) {
			complaints = append(complaints, "upstream only: "+line)
		}
	}
	for _, line := range ours {
		if !slices.Contains(theirs, line) {
			complaints = append(complaints, "ours only: "+line)
		}
	}
	return complaints
}
