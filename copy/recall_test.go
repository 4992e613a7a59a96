package copy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/signature"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// memoryFile is where an environment's copies remember.
func memoryFile(e *copytest.Env) string {
	return filepath.Join(e.Sys.BlobInfoCacheDir, "sparsecopy-transformed-v1.jsonl")
}

// encrypting asks for layers that are encrypted to a new key.
func encrypting(t *testing.T) func(*copytest.Env, *copy.Options) {
	t.Helper()
	encrypt, _ := copytest.NewCryptKeys(t)
	return func(_ *copytest.Env, o *copy.Options) {
		o.OciEncryptConfig, o.OciEncryptLayers = encrypt, &[]int{}
	}
}

// toZstd asks for layers with zstd.
func toZstd(e *copytest.Env, o *copy.Options) {
	sys := *e.Sys
	sys.CompressionFormat = &compression.Zstd
	o.DestinationCtx = &sys
}

// toOCI asks for OCI's manifests.
func toOCI(_ *copytest.Env, o *copy.Options) {
	o.ForceManifestMIMEType = imgspecv1.MediaTypeImageManifest
}

// asItIs asks for nothing.
func asItIs(*copytest.Env, *copy.Options) {}

// nestedPlain is a list in a list, with an image in both that has layers which are not compressed.
func nestedPlain() *imagetest.Fixture {
	f := imagetest.New()
	f.Layer("plain", imagetest.Uncompressed(), imagetest.Random(2, 500))
	f.Image("amd64", imagetest.Platform("linux/amd64"))
	f.Image("arm64", imagetest.Platform("linux/arm64"), imagetest.Layers("plain"))
	f.Image("s390x", imagetest.Platform("linux/s390x"))
	f.List("inner", imagetest.Entries("arm64", "s390x"))
	f.List(imagetest.Top, imagetest.Entries("amd64", "inner", "arm64"))
	return f
}

// TestSecondRunOfATransformedCopy reads no blob and writes nothing, and asks about as much as that
// of a copy of which nothing is transformed.
func TestSecondRunOfATransformedCopy(t *testing.T) {
	attested := imagetest.WithAttestations()
	for name, c := range map[string]struct {
		fixture *imagetest.Fixture
		top     string
		ask     func(*copytest.Env, *copy.Options)
		options copy.Options
		more    int // questions that a copy without transformations would not have
	}{
		"uncompressed":        {fixture: partlyPlain(4), ask: asItIs, options: selections["all"]},
		"kept":                {fixture: partlyPlain(4), ask: asItIs, options: selections["keep"]},
		"stripped":            {fixture: partlyPlain(4), ask: asItIs, options: selections["strip"]},
		"auto":                {fixture: partlyPlain(4), ask: asItIs, options: selections["auto"]},
		"nested":              {fixture: nestedPlain(), ask: asItIs, options: selections["all"]},
		"an image":            {fixture: partlyPlain(2), top: "arm64", ask: asItIs, more: 1},
		"zstd":                {fixture: partlyPlain(4), ask: toZstd, options: selections["all"]},
		"zstd, attested":      {fixture: attested, ask: toZstd, options: selections["all"]},
		"zstd, nested":        {fixture: nestedPlain(), ask: toZstd, options: selections["all"]},
		"converted":           {fixture: imagetest.DockerList(), ask: toOCI, options: selections["all"]},
		"converted, auto":     {fixture: imagetest.DockerList(), ask: toOCI, options: selections["auto"]},
		"encrypted":           {fixture: partlyPlain(3), ask: encrypting(t), options: selections["all"]},
		"encrypted, auto":     {fixture: partlyPlain(3), ask: encrypting(t), options: selections["auto"]},
		"encrypted, attested": {fixture: attested, ask: encrypting(t), options: selections["all"], more: 3},
	} {
		for _, strict := range []bool{false, true} {
			if strict && c.options.SparseManifestListAction != copy.AutoSparseManifestList {
				continue
			}
			t.Run(name+map[bool]string{true: ", refused"}[strict], func(t *testing.T) {
				top := imagetest.Top
				if c.top != "" {
					top = c.top
				}
				e := copytest.NewEnv(t)
				place := func() copytest.RegistryPlace {
					return copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: strict}), "app")
				}
				src, dst, carried := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app"), place(), place()
				src.Push(c.fixture, "v1", top)
				options := c.options
				c.ask(e, &options)
				first, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), options)
				require.NoError(t, err)
				assert.NotEmpty(t, first.Plan.Transformed())
				plainly := options
				plainly.DestinationCtx, plainly.ForceManifestMIMEType, plainly.OciEncryptConfig, plainly.OciEncryptLayers = nil, "", nil, nil
				plainly.MissingInstances = copy.SkipMissing
				for range 2 {
					dst.ResetLog()
					carried.ResetLog()
					_, err = e.Image(t.Context(), carried.Ref("v1"), dst.Ref("v1"), plainly)
					require.NoError(t, err)
				}
				usual := len(dst.Requests()) + len(carried.Requests())
				src.ResetLog()
				dst.ResetLog()

				second, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), options)
				require.NoError(t, err)
				assert.Equal(t, first.DestinationDigest, second.DestinationDigest)
				assert.False(t, second.Written)
				assert.NotEmpty(t, second.Checked)
				assert.Equal(t, first.Warnings, second.Warnings)
				assert.Equal(t, first.Plan.Transformed(), second.Plan.Transformed())
				assert.Zero(t, src.Count(func(r registrytest.Request) bool { return r.Kind == registrytest.KindBlob }))
				assert.Zero(t, writes(dst.Registry))
				assert.LessOrEqual(t, len(src.Requests())+len(dst.Requests()), usual+c.more, "%s %s", asked(src.Registry), asked(dst.Registry))
			})
		}
	}
}

// plainCopy is a copy of a list of which one image is transformed, to a registry.
type plainCopy struct {
	*copytest.Env
	t        *testing.T
	fixture  *imagetest.Fixture
	src, dst copytest.RegistryPlace
	options  copy.Options
}

// newPlainCopy has made the copy, whose result is first.
func newPlainCopy(t *testing.T) (c plainCopy, first *copy.Report) {
	t.Helper()
	c = plainCopy{
		Env: copytest.NewEnv(t), t: t, fixture: partlyPlain(3), options: copy.Options{ImageListSelection: copy.CopyAllImages},
		src: copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app"),
		dst: copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app"),
	}
	c.src.Push(c.fixture, "v1", imagetest.Top)
	return c, c.again()
}

// again makes the copy once more, and checks what is there then.
func (c plainCopy) again() *copy.Report {
	c.t.Helper()
	r := c.run()
	c.dst.Check(imagetest.Want{Tag: "v1", Digest: r.DestinationDigest, Fixture: c.fixture, Present: []string{"amd64", "s390x"}})
	return r
}

// run makes the copy once more.
func (c plainCopy) run() *copy.Report {
	c.t.Helper()
	c.src.ResetLog()
	c.dst.ResetLog()
	r, err := c.Image(c.t.Context(), c.dst.Ref("v1"), c.src.Ref("v1"), c.options)
	require.NoError(c.t, err)
	require.NotEmpty(c.t, r.Plan.Transformed())
	assert.Equal(c.t, c.dst.Top("v1"), r.DestinationDigest)
	return r
}

// worked reports whether the last copy has read layers of the image that is transformed.
func (c plainCopy) worked() bool {
	layers := c.fixture.Blobs("arm64")
	return c.src.Count(func(r registrytest.Request) bool { return slices.Contains(layers, digest.Digest(r.Ref)) }) > 0
}

// memory is what the copies remember.
func (c plainCopy) memory() string {
	c.t.Helper()
	text, err := os.ReadFile(memoryFile(c.Env))
	require.NoError(c.t, err)
	return string(text)
}

// TestColdMemory: what is not remembered is transformed again, and that is said, unless nothing of
// the kind can have been there.
func TestColdMemory(t *testing.T) {
	c, first := newPlainCopy(t)
	assert.True(t, c.worked())
	assert.Empty(t, first.Warnings, "it is the first copy")
	assert.Empty(t, c.again().Warnings)
	assert.False(t, c.worked())

	require.NoError(t, os.Remove(memoryFile(c.Env)))
	again := c.again()
	assert.True(t, c.worked())
	assert.Equal(t, []string{
		"images are transformed (1), which an earlier copy may have done already: nothing is remembered of one like this in " + memoryFile(c.Env),
	}, again.Warnings)
	assert.Equal(t, again.Warnings, again.Plan.Warnings)
	assert.Empty(t, c.again().Warnings)
	assert.False(t, c.worked())

	c.fixture = nestedPlain()
	c.src.Push(c.fixture, "v1", imagetest.Top)
	assert.Empty(t, c.again().Warnings, "the source has something new")
	assert.True(t, c.worked())
}

// TestWrongMemory: what is remembered and is not at the destination, or is there and is no such
// image, is not believed.
func TestWrongMemory(t *testing.T) {
	c, first := newPlainCopy(t)
	arm := became(t, first, c.fixture.Digest("arm64"))
	sound := c.memory()
	for name, wrong := range map[string]string{
		"absent":       strings.ReplaceAll(sound, arm.String(), digest.FromString("nothing").String()),
		"a list":       strings.ReplaceAll(sound, arm.String(), first.DestinationDigest.String()),
		"another type": strings.ReplaceAll(sound, `"mediaType":"`+imgspecv1.MediaTypeImageManifest, `"mediaType":"`+manifest.MediaTypeDockerManifest),
		"garbage":      "garbage",
		"a repository": strings.ReplaceAll(sound, `"repository":"docker:`, `"repository":"docker:other.`),
	} {
		t.Run(name, func(t *testing.T) {
			require.NotEqual(t, sound, wrong)
			require.NoError(t, os.WriteFile(memoryFile(c.Env), []byte(wrong), 0o600))
			r := c.again()
			assert.True(t, c.worked())
			assert.Equal(t, arm, became(t, r, c.fixture.Digest("arm64")))
			c.again()
			assert.False(t, c.worked(), "it is remembered again")
		})
	}
}

// TestEmptiedRepository: what was remembered is not there any more.
func TestEmptiedRepository(t *testing.T) {
	c, first := newPlainCopy(t)
	arm := became(t, first, c.fixture.Digest("arm64"))
	require.True(t, c.dst.DeleteManifest("app", arm))
	c.run()
	assert.True(t, c.worked())
	assert.NotEmpty(t, copytest.ManifestAt(c.dst, arm))
}

// TestRecalledForAnotherTag: a repository has the results, whatever names them.
func TestRecalledForAnotherTag(t *testing.T) {
	for _, top := range []string{imagetest.Top, "arm64"} {
		c, _ := newPlainCopy(t)
		c.src.Push(c.fixture, "single", "arm64")
		c.src.ResetLog()
		tag := map[string]string{imagetest.Top: "v1", "arm64": "single"}[top]
		r, err := c.Image(t.Context(), c.dst.Ref("other"), c.src.Ref(tag), c.options)
		require.NoError(t, err)
		assert.True(t, r.Written)
		assert.Zero(t, r.BlobsCopied)
		assert.Equal(t, c.dst.Top("other"), r.DestinationDigest)
		if top == "arm64" {
			assert.False(t, c.worked())
			assert.Equal(t, r.DestinationDigest, r.Plan.Image.Became.Digest)
		}
	}
}

// TestCheckBlobsOfResults: under CheckBlobs, a result counts if its blobs are there.
func TestCheckBlobsOfResults(t *testing.T) {
	c, first := newPlainCopy(t)
	c.options.CheckBlobs = true
	assert.Equal(t, copy.CheckedBlobs, c.again().Checked)
	assert.False(t, c.worked())

	image, err := manifest.ParseImage(copytest.ManifestAt(c.dst, became(t, first, c.fixture.Digest("arm64"))), imgspecv1.MediaTypeImageManifest)
	require.NoError(t, err)
	lost := image.Layers[1].Digest
	require.True(t, c.dst.DeleteBlob("app", lost))
	c.run()
	assert.True(t, c.worked())
	_, there := c.dst.Blob("app", lost)
	assert.True(t, there)
}

// TestPolicyIsAskedBeforeAResultCounts.
func TestPolicyIsAskedBeforeAResultCounts(t *testing.T) {
	c, _ := newPlainCopy(t)
	c.src.ResetLog()
	c.Policy = c.NewPolicy(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRReject()}})
	for _, tag := range []string{"v1", "other"} {
		_, err := c.Image(t.Context(), c.dst.Ref(tag), c.src.Ref("v1"), c.options)
		var rejected *copy.RejectedError
		assert.ErrorAs(t, err, &rejected)
		assert.False(t, c.worked())
	}
	assert.Empty(t, c.dst.Top("other"))
}

// TestUnusableMemory is warned of, and the copy is as good as any.
func TestUnusableMemory(t *testing.T) {
	e := copytest.NewEnv(t)
	require.NoError(t, os.RemoveAll(e.Sys.BlobInfoCacheDir))
	require.NoError(t, os.WriteFile(e.Sys.BlobInfoCacheDir, nil, 0o600))
	f := partlyPlain(3)
	src, dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app"), copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	src.Push(f, "v1", imagetest.Top)
	for i := range 2 {
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
		require.NoError(t, err)
		require.Len(t, r.Warnings, 1+i)
		assert.Contains(t, r.Warnings[i], "what images became is not remembered, and the next copy transforms them again: ")
	}
}

// TestOnlyTransformedCopiesRemember.
func TestOnlyTransformedCopiesRemember(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	src, dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app"), copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	for range 2 {
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
		require.NoError(t, err)
	}
	entries, err := os.ReadDir(e.Sys.BlobInfoCacheDir)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

// TestCopiesRememberAtOnce: many copies, of two Copiers, forget nothing of each other's.
func TestCopiesRememberAtOnce(t *testing.T) {
	e := copytest.NewEnv(t)
	f := partlyPlain(2)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{Strict: true})
	copytest.RegistryAt(t, src, "app").Push(f, "v1", imagetest.Top)
	var jobs []copy.Job
	for i := range 24 {
		jobs = append(jobs, copy.Job{Destination: copytest.RegistryRef(t, dst, fmt.Sprint("app", i), "v1"), Source: copytest.RegistryRef(t, src, "app", "v1")})
	}
	options := &copy.ImagesOptions{Options: e.Options(copy.Options{ImageListSelection: copy.CopyAllImages})}
	run := func() {
		var both sync.WaitGroup
		for half := range 2 {
			c, policy := copytest.NewCopier(t, copy.CopierOptions{}), e.NewPolicy(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
			both.Go(func() {
				for _, result := range c.Images(t.Context(), policy, jobs[half*12:half*12+12], options) {
					assert.NoError(t, result.Err)
				}
			})
		}
		both.Wait()
	}
	run()
	src.ResetLog()
	dst.ResetLog()
	run()
	assert.Zero(t, src.Count(func(r registrytest.Request) bool { return r.Kind == registrytest.KindBlob }))
	assert.Zero(t, writes(dst))
}

// TestPlansOfTransformedCopies that compare say that there is nothing to do.
func TestPlansOfTransformedCopies(t *testing.T) {
	c, first := newPlainCopy(t)
	c.options.CompareDestination = true
	copier := copytest.NewCopier(t, copy.CopierOptions{})
	job := copy.Job{Destination: c.dst.Ref("v1"), Source: c.src.Ref("v1"), Options: c.Options(c.options)}
	copier.PlanImages(t.Context(), c.Policy, []copy.Job{job}, nil, func(p copy.PlannedImage) {
		if !assert.NoError(t, p.Err) {
			return
		}
		assert.True(t, p.UpToDate)
		assert.Equal(t, first.DestinationDigest, p.Plan.Digest)
		assert.Zero(t, p.Plan.Blobs)
	})
	before := c.memory()
	require.NoError(t, os.Remove(memoryFile(c.Env)))
	copier.PlanImages(t.Context(), c.Policy, []copy.Job{job}, nil, func(p copy.PlannedImage) {
		if !assert.NoError(t, p.Err) {
			return
		}
		assert.False(t, p.UpToDate)
		assert.Len(t, p.Plan.Warnings, 1)
	})
	assert.NoFileExists(t, memoryFile(c.Env), "a plan remembers nothing")
	assert.NotEmpty(t, before)
}

// TestSecondRunToALayout: layouts are asked for results as registries are.
func TestSecondRunToALayout(t *testing.T) {
	e := copytest.NewEnv(t)
	f := nestedPlain()
	src, dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app"), copytest.LayoutAt(t, filepath.Join(t.TempDir(), "layout"))
	src.Push(f, "v1", imagetest.Top)
	var reports []*copy.Report
	for range 2 {
		src.ResetLog()
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
		require.NoError(t, err)
		reports = append(reports, r)
	}
	assert.False(t, reports[1].Written)
	assert.Equal(t, reports[0].DestinationDigest, reports[1].DestinationDigest)
	assert.Zero(t, src.Count(func(r registrytest.Request) bool { return r.Kind == registrytest.KindBlob }))
}

// TestAnnotateTransformed: with a memory that is cold, the destination's list says what its images
// were made of.
func TestAnnotateTransformed(t *testing.T) {
	for name, c := range map[string]struct {
		fixture *imagetest.Fixture
		ask     func(*copytest.Env, *copy.Options)
	}{
		"uncompressed": {partlyPlain(3), asItIs}, "nested": {nestedPlain(), asItIs}, "zstd": {partlyPlain(2), toZstd}, "encrypted": {partlyPlain(2), encrypting(t)},
	} {
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			src, dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app"), copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
			src.Push(c.fixture, "v1", imagetest.Top)
			var first *copy.Report
			for i, annotate := range []bool{true, true, true, false} {
				e.Sys.BlobInfoCacheDir = t.TempDir()
				options := copy.Options{ImageListSelection: copy.CopyAllImages, AnnotateTransformed: annotate}
				c.ask(e, &options)
				src.ResetLog()
				dst.ResetLog()
				r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), options)
				require.NoError(t, err)
				worked := src.Count(func(r registrytest.Request) bool { return r.Kind == registrytest.KindBlob }) > 0
				switch {
				case i == 0:
					first = r
					assert.Contains(t, string(copytest.ManifestAt(dst, dst.Top("v1")))+nestedAt(dst), manifest.AnnotationTransformedFrom)
				case annotate:
					assert.False(t, worked)
					assert.Zero(t, writes(dst.Registry))
					assert.Equal(t, first.DestinationDigest, r.DestinationDigest)
					assert.Empty(t, r.Warnings)
				default:
					assert.True(t, worked, "nobody has asked what the list says")
					assert.NotEqual(t, first.DestinationDigest, r.DestinationDigest)
				}
			}
		})
	}
}

// TestWhoSignsBelievesNoList: who may write to the destination could have it say that anything is
// the result of an image, and must not get that signed.
func TestWhoSignsBelievesNoList(t *testing.T) {
	for _, signs := range []bool{false, true} {
		e, private, _ := copytest.NewSigningEnv(t)
		f := partlyPlain(2)
		src, dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app"), copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
		src.Push(f, "v1", imagetest.Top)
		options := copy.Options{ImageListSelection: copy.CopyAllImages, AnnotateTransformed: true}
		first, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), options)
		require.NoError(t, err)
		arm := became(t, first, f.Digest("arm64"))
		list := string(copytest.ManifestAt(dst, dst.Top("v1")))
		list = strings.Replace(list, arm.String(), f.Digest("amd64").String(), 1)
		dst.PutManifest("app", "v1", imgspecv1.MediaTypeImageIndex, []byte(list))

		e.Sys.BlobInfoCacheDir = t.TempDir()
		if signs {
			options.SignBySigstorePrivateKeyFile, options.SignSigstorePrivateKeyPassphrase = private, []byte("passphrase")
		}
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), options)
		require.NoError(t, err)
		if signs {
			assert.Equal(t, arm, became(t, r, f.Digest("arm64")))
		} else {
			assert.Equal(t, f.Digest("amd64"), became(t, r, f.Digest("arm64")), "the caller has asked for it")
		}
	}
}

// nestedAt returns all manifests of a registry.
func nestedAt(p copytest.RegistryPlace) string {
	var all strings.Builder
	for _, d := range p.Manifests(p.Repo) {
		all.Write(copytest.ManifestAt(p, d))
	}
	return all.String()
}

// asked are the requests to a registry, for people.
func asked(r *registrytest.Registry) []string {
	var all []string
	for _, q := range r.Requests() {
		all = append(all, q.Method+" "+q.Ref)
	}
	return all
}
