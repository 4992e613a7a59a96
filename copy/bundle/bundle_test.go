package bundle_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/bundle"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// A carrier copies from a registry into bundles, and from these into others.
type carrier struct {
	*testing.T
	src    *registrytest.Registry
	sys    *types.SystemContext
	policy *signature.Policy
	copier *copy.Copier
	dir    string // for bundles
}

func newCarrier(t *testing.T, o registrytest.Options) *carrier {
	sys, _ := hermetictest.System(t)
	sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	c := &carrier{T: t, src: registrytest.Start(t, o), sys: sys, copier: copy.NewCopier(copy.CopierOptions{}), dir: t.TempDir()}
	c.policy = &signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}}
	t.Cleanup(func() { assert.NoError(t, c.copier.Close()) })
	return c
}

// all are the options that copy everything, and load a bundle as it was made.
func all() copy.Options {
	return copy.Options{
		ImageListSelection: copy.CopyAllImages, MissingInstances: copy.SkipMissing, PreserveDigests: true,
		Referrers: copy.AllReferrers, DigestTags: true, KeepVoid: true,
	}
}

// some are the options that copy linux/amd64, and leave the list as action says.
func some(action copy.SparseManifestListAction) copy.Options {
	return copy.Options{
		ImageListSelection: copy.CopySpecificImages, SparseManifestListAction: action,
		InstancePlatforms: []copy.InstancePlatformFilter{{OS: "linux", Architecture: "amd64"}},
	}
}

func (c *carrier) ref(r *registrytest.Registry, name string) types.ImageReference {
	ref, err := docker.ParseReference("//" + r.Host() + "/" + name)
	require.NoError(c, err)
	return ref
}

// copy copies, and returns the report.
func (c *carrier) copy(dst, src types.ImageReference, o copy.Options) (copy.Report, error) {
	policy, err := signature.NewPolicyContext(c.policy)
	if err != nil {
		return copy.Report{}, err
	}
	defer func() { assert.NoError(c, policy.Destroy()) }()
	var report copy.Report
	o.SourceCtx, o.DestinationCtx, o.Report = c.sys, c.sys, &report
	_, err = c.copier.Image(c.Context(), policy, dst, src, &o)
	return report, err
}

// create makes a bundle of images of c.src, and returns its path.
func (c *carrier) create(name string, since string, o copy.Options, images ...string) (string, *bundle.Summary) {
	c.Helper()
	path := filepath.Join(c.dir, name)
	w, err := bundle.Create(path, &bundle.CreateOptions{Since: since})
	require.NoError(c, err)
	var group errgroup.Group
	for _, image := range images {
		group.Go(func() error { return c.fill(w, image, o) })
	}
	require.NoError(c, group.Wait())
	summary, err := w.Publish(c.Context())
	require.NoError(c, err)
	require.NoError(c, w.Close())
	return path, summary
}

// fill copies an image of c.src into a bundle.
func (c *carrier) fill(w *bundle.Writer, image string, o copy.Options) error {
	src := c.ref(c.src, image)
	dst, err := w.Reference(src.DockerReference())
	if err == nil {
		_, err = c.copy(dst, src, o)
	}
	return err
}

// open opens a bundle until the test ends.
func (c *carrier) open(path string, o *bundle.OpenOptions) *bundle.Bundle {
	c.Helper()
	b, err := bundle.Open(c.Context(), path, o)
	require.NoError(c, err)
	c.Cleanup(func() { assert.NoError(c, b.Close()) })
	return b
}

// load copies an image of a bundle, which was called name at c.src, to the same place of dst.
func (c *carrier) load(b *bundle.Bundle, dst *registrytest.Registry, name string, o copy.Options) (copy.Report, error) {
	c.Helper()
	src, err := b.Reference(c.src.Host() + "/" + name)
	require.NoError(c, err)
	return c.copy(c.ref(dst, name), src, o)
}

// content makes an image list whose images share a layer, and what is attached to it.
func content() *imagetest.Fixture {
	f := imagetest.Platforms(2, 2, 1000, imagetest.SharedBase())
	f.Artifact("sbom", imagetest.Subject("amd64"), imagetest.ArtifactType("application/spdx+json"))
	f.Artifact("signature", imagetest.Subject("sbom"), imagetest.ArtifactType("application/x-signature"))
	return f
}

func (c *carrier) push(f *imagetest.Fixture, repo string) {
	f.PushTo(c.src, repo, "1", imagetest.Top)
	for _, name := range []string{"sbom", "signature"} {
		f.PushTo(c.src, repo, "", name)
	}
}

// TestThereAndBack carries lists of all kinds in directories and archives.
func TestThereAndBack(t *testing.T) {
	for name, f := range map[string]*imagetest.Fixture{
		"flat": imagetest.Platforms(3, 2, 1000), "attestations": imagetest.WithAttestations(), "nested": imagetest.Nested(),
		"equal digests": imagetest.EqualDigests(), "docker": imagetest.DockerList(),
	} {
		for _, file := range []string{"bundle", "bundle.tar"} {
			t.Run(name+", "+file, func(t *testing.T) {
				c := newCarrier(t, registrytest.Options{})
				f.PushTo(c.src, "team/app", "1", imagetest.Top)
				path, summary := c.create(file, "", all(), "team/app:1")
				assert.Len(t, summary.Record.Images, 1)
				assert.Equal(t, len(f.Blobs(imagetest.Top)), summary.Carried)
				if file == "bundle" && name != "docker" {
					imagetest.CheckLayout(t, path, imagetest.Want{Tag: c.src.Host() + "/team/app:1", Digest: f.Digest(imagetest.Top), Fixture: f, Only: true})
				}
				c.src.Close()
				for _, strict := range []bool{true, false} {
					dst := registrytest.Start(t, registrytest.Options{Strict: strict})
					b := c.open(path, nil)
					r, err := c.load(b, dst, "team/app:1", all())
					require.NoError(t, err)
					assert.True(t, r.Written)
					imagetest.CheckRegistry(t, dst, "team/app", imagetest.Want{Tag: "1", Digest: f.Digest(imagetest.Top), Fixture: f, Only: true})
					r, err = c.load(b, dst, "team/app:1", all())
					require.NoError(t, err)
					assert.False(t, r.Written)
					assert.Zero(t, r.ManifestsCopied)
				}
			})
		}
	}
}

// TestKeptAndStripped carries one platform. What the list names besides is absent, the record says;
// nothing else may be.
func TestKeptAndStripped(t *testing.T) {
	f := content()
	c := newCarrier(t, registrytest.Options{})
	c.push(f, "app")
	kept, summary := c.create("kept", "", some(copy.KeepSparseManifestList), "app:1")
	assert.Equal(t, f.Digest(imagetest.Top), summary.Record.Images[0].Digest)
	assert.Equal(t, f.Digests("arm64"), summary.Record.Images[0].Absent)
	stripped, summary := c.create("stripped", "", some(copy.StripSparseManifestList), "app:1")
	assert.Equal(t, f.Digest(imagetest.Top), summary.Record.Images[0].SourceDigest)
	assert.NotEqual(t, f.Digest(imagetest.Top), summary.Record.Images[0].Digest)
	assert.Empty(t, summary.Record.Images[0].Absent)

	strict, lax := registrytest.Start(t, registrytest.Options{Strict: true}), registrytest.Start(t, registrytest.Options{})
	_, err := c.load(c.open(kept, nil), strict, "app:1", all())
	var refused *copy.SparseRefusedError
	require.ErrorAs(t, err, &refused)
	imagetest.CheckUnchanged(t, strict, "app", "1", "")
	_, err = c.load(c.open(kept, nil), lax, "app:1", all())
	require.NoError(t, err)
	imagetest.CheckRegistry(t, lax, "app", imagetest.Want{Tag: "1", Digest: f.Digest(imagetest.Top), Fixture: f, Absent: []string{"arm64"}, Only: true})
	_, err = c.load(c.open(stripped, nil), strict, "app:1", all())
	require.NoError(t, err)
	imagetest.CheckRegistry(t, strict, "app", imagetest.Want{Tag: "1", Digest: summary.Record.Images[0].Digest, Fixture: f, Absent: []string{"arm64"}, Only: true})
}

// TestABundleChangesNothing: by way of a bundle, copies leave behind what they leave behind
// directly, whether the selection is made when the bundle is, or when it is loaded.
func TestABundleChangesNothing(t *testing.T) {
	attested := imagetest.WithAttestations()
	attested.Artifact("sbom", imagetest.Subject("amd64"), imagetest.ArtifactType("application/spdx+json"))
	attested.Artifact("of-the-list", imagetest.Subject(imagetest.Top), imagetest.ArtifactType("application/spdx+json"))
	with := func(o copy.Options, change func(*copy.Options)) copy.Options {
		change(&o)
		return o
	}
	attach := func(o *copy.Options) {
		o.Referrers, o.DigestTags, o.ListSignatures = copy.AllReferrers, true, copy.WarnListSignatures
	}
	for content, f := range map[string]*imagetest.Fixture{
		"attested": attested, "nested": imagetest.Nested(), "docker": imagetest.DockerList(), "equal digests": imagetest.EqualDigests(),
	} {
		for name, o := range map[string]copy.Options{
			"keep": some(copy.KeepSparseManifestList), "strip": some(copy.StripSparseManifestList), "auto": some(copy.AutoSparseManifestList),
			"all": {ImageListSelection: copy.CopyAllImages}, "system": {},
			"keep, with attachments":  with(some(copy.KeepSparseManifestList), attach),
			"strip, with attachments": with(some(copy.StripSparseManifestList), attach),
			"strip, keeping what is void": with(some(copy.StripSparseManifestList), func(o *copy.Options) {
				attach(o)
				o.KeepVoid = true
			}),
			"no attestations": with(some(copy.StripSparseManifestList), func(o *copy.Options) { o.Attestations = copy.DropAttestations }),
		} {
			t.Run(content+", "+name, func(t *testing.T) {
				c := newCarrier(t, registrytest.Options{})
				c.sys.ArchitectureChoice, c.sys.OSChoice = "amd64", "linux"
				f.PushTo(c.src, "app", "1", imagetest.Top)
				if f == attested {
					f.PushTo(c.src, "app", "", "sbom")
					f.PushTo(c.src, "app", "", "of-the-list")
					f.PushTo(c.src, "app", plain(f.Digest("amd64"))+".att", "s390x")
				}
				var left []string
				for _, how := range []string{"directly", "selected first", "selected later"} {
					dst := registrytest.Start(t, registrytest.Options{})
					var err error
					switch how {
					case "directly":
						_, err = c.copy(c.ref(dst, "app:1"), c.ref(c.src, "app:1"), o)
					case "selected first":
						path, _ := c.create("first", "", o, "app:1")
						_, err = c.load(c.open(path, nil), dst, "app:1", all())
					default:
						path, _ := c.create("later.tar", "", all(), "app:1")
						_, err = c.load(c.open(path, nil), dst, "app:1", o)
					}
					require.NoError(t, err, how)
					left = append(left, dst.Snapshot("app"))
				}
				assert.Equal(t, left[0], left[1])
				assert.Equal(t, left[0], left[2])
			})
		}
	}
}

// TestAnnouncementsCount: what a registry says of sparse lists is believed before anything is
// written.
func TestAnnouncementsCount(t *testing.T) {
	f := content()
	c := newCarrier(t, registrytest.Options{})
	c.push(f, "app")
	kept, _ := c.create("kept", "", some(copy.KeepSparseManifestList), "app:1")
	b := c.open(kept, nil)
	for says, announced := range map[string]*registrytest.Announcement{
		"refuses sparse lists": {}, "requires the instance": {Sparse: true, Architectures: []string{"arm64"}},
	} {
		dst := registrytest.Start(t, registrytest.Options{Announce: announced})
		_, err := c.load(b, dst, "app:1", all())
		require.ErrorContains(t, err, says)
		assert.Zero(t, dst.Count(func(q registrytest.Request) bool { return q.Method != http.MethodGet && q.Method != http.MethodHead }))
	}
	dst := registrytest.Start(t, registrytest.Options{Announce: &registrytest.Announcement{Sparse: true, Architectures: []string{"amd64"}}})
	_, err := c.load(b, dst, "app:1", all())
	require.NoError(t, err)
	imagetest.CheckRegistry(t, dst, "app", imagetest.Want{Tag: "1", Digest: f.Digest(imagetest.Top), Fixture: f, Absent: []string{"arm64"}})

	// What is added to a list that is there may get lost at registries that do not say otherwise.
	wide, _ := c.create("wide", "", all(), "app:1")
	adds := c.open(wide, nil)
	_, err = c.load(adds, dst, "app:1", all())
	var widen *copy.WidenError
	require.ErrorAs(t, err, &widen)
	tagged := all()
	tagged.WidenedChildTags = true
	_, err = c.load(adds, dst, "app:1", tagged)
	require.NoError(t, err)
	assert.Contains(t, dst.Tags("app"), plain(f.Digest("arm64"))+".child")

	silent := registrytest.Start(t, registrytest.Options{
		Announce: &registrytest.Announcement{Sparse: true},
		Script: registrytest.Only(func(q *http.Request) bool { return strings.HasSuffix(q.URL.Path, "/capabilities") },
			registrytest.EveryNth(1, registrytest.Fail(http.StatusForbidden, "DENIED", ""))),
	})
	_, err = c.load(b, silent, "app:1", all())
	require.NoError(t, err)
	r, err := c.load(adds, silent, "app:1", all())
	require.NoError(t, err)
	assert.Contains(t, strings.Join(r.Warnings, "\n"), "keeps what is added to one, could not be asked")
}

// TestWhatIsAttachedComesAlong, also to a list that is stripped, and to what is attached to that.
func TestWhatIsAttachedComesAlong(t *testing.T) {
	f := content()
	f.Artifact("of-the-list", imagetest.Subject(imagetest.Top), imagetest.ArtifactType("application/spdx+json"))
	f.Artifact("of-that", imagetest.Subject("of-the-list"), imagetest.ArtifactType("application/x-note"))
	c := newCarrier(t, registrytest.Options{})
	c.push(f, "app")
	for _, name := range []string{"of-the-list", "of-that"} {
		f.PushTo(c.src, "app", "", name)
	}
	att := plain(f.Digest("amd64")) + ".att"
	f.PushTo(c.src, "app", att, "arm64")
	o := some(copy.StripSparseManifestList)
	o.Referrers, o.DigestTags, o.KeepVoid = copy.AllReferrers, true, true
	path, summary := c.create("bundle.tar", "", o, "app:1")
	assert.Equal(t, f.Digests(imagetest.Top), summary.Record.Images[0].Changed)
	var attached []digest.Digest
	for _, a := range summary.Record.Attached {
		attached = append(attached, a.Digest)
	}
	assert.ElementsMatch(t, f.Digests("sbom", "signature", "of-the-list", "of-that", "arm64"), attached)
	after := func(name, subject string) {
		assert.Greater(t, slices.Index(attached, f.Digest(name)), slices.Index(attached, f.Digest(subject)))
	}
	after("signature", "sbom")
	after("of-that", "of-the-list")

	dst := registrytest.Start(t, registrytest.Options{})
	r, err := c.load(c.open(path, nil), dst, "app:1", all())
	require.NoError(t, err)
	assert.Len(t, r.Attached, len(attached))
	for _, name := range []string{"sbom", "signature", "of-the-list", "of-that"} {
		_, _, there := dst.Manifest("app", f.Digest(name).String())
		assert.True(t, there, name)
	}
	named, _ := dst.Resolve("app", att)
	assert.Equal(t, f.Digest("arm64"), named)
	imagetest.CheckRegistry(t, dst, "app", imagetest.Want{Tag: "1", Digest: summary.Record.Images[0].Digest, Fixture: f})
}

// plain is a digest as tags write it.
func plain(d digest.Digest) string { return strings.Replace(d.String(), ":", "-", 1) }

// TestImagesAreWhatTheyAre: layers that are not compressed stay so, and those that are elsewhere
// stay there, also in one image.
func TestImagesAreWhatTheyAre(t *testing.T) {
	f := imagetest.New()
	f.Layer("elsewhere", imagetest.Foreign("https://registry.invalid/base"))
	f.Blob("loose", imgspecv1.MediaTypeImageLayer, []byte("not compressed"))
	f.Image(imagetest.Top, imagetest.Platform("windows/amd64"), imagetest.Layers("elsewhere", "loose"))
	c := newCarrier(t, registrytest.Options{})
	f.PushTo(c.src, "app", "1", imagetest.Top, "elsewhere")
	path, summary := c.create("bundle", "", copy.Options{}, "app:1")
	assert.Equal(t, 2, summary.Carried)
	dst := registrytest.Start(t, registrytest.Options{})
	_, err := c.load(c.open(path, nil), dst, "app:1", all())
	require.NoError(t, err)
	imagetest.CheckRegistry(t, dst, "app", imagetest.Want{Tag: "1", Digest: f.Digest(imagetest.Top), Fixture: f, Optional: []string{"elsewhere"}})

	// What would have to change is refused.
	w, err := bundle.Create(filepath.Join(c.dir, "other"), nil)
	require.NoError(t, err)
	err = c.fill(w, "app:1", copy.Options{ForceManifestMIMEType: "application/vnd.docker.distribution.manifest.v2+json"})
	require.ErrorContains(t, err, "it holds images as they are")
	require.NoError(t, w.Close())
}

// TestOrderDoesNotMatter: the same images make the same archive, and a blob that they share is read
// once.
func TestOrderDoesNotMatter(t *testing.T) {
	f := content()
	c := newCarrier(t, registrytest.Options{})
	c.push(f, "app")
	f.PushTo(c.src, "team/other", "1", "arm64")
	o := all()
	one, _ := c.create("one.tar", "", o, "app:1", "team/other:1")
	reads := c.src.Count(isBlob)
	assert.Equal(t, len(f.Blobs(imagetest.Top))+len(f.Blobs("sbom"))+len(f.Blobs("signature")), reads)
	other, _ := c.create("other.tar", "", o, "team/other:1", "app:1")
	want, err := os.ReadFile(one)
	require.NoError(t, err)
	got, err := os.ReadFile(other)
	require.NoError(t, err)
	assert.Equal(t, digest.FromBytes(want), digest.FromBytes(got))
}

func isBlob(q registrytest.Request) bool {
	return q.Method == http.MethodGet && q.Kind == registrytest.KindBlob && q.Status == http.StatusOK
}

// TestWorkGoesOn: what a run that failed has read is not read again, and what it has and the next
// does not name is gone.
func TestWorkGoesOn(t *testing.T) {
	f := imagetest.Platforms(1, 3, 1000)
	g := imagetest.Platforms(2, 1, 500, imagetest.SeededLayers())
	c := newCarrier(t, registrytest.Options{})
	f.PushTo(c.src, "app", "1", imagetest.Top)
	g.PushTo(c.src, "left", "1", imagetest.Top)
	blob := f.Blobs(imagetest.Top)[1]
	content, _ := c.src.Blob("app", blob)
	c.src.DeleteBlob("app", blob)

	path := filepath.Join(c.dir, "bundle")
	w, err := bundle.Create(path, nil)
	require.NoError(t, err)
	require.NoError(t, c.fill(w, "left:1", all()))
	require.Error(t, c.fill(w, "app:1", all()))
	require.NoError(t, w.Close())
	assert.NoFileExists(t, path)
	assert.DirExists(t, path+".partial")

	c.src.PutBlob("app", content)
	left, err := os.ReadDir(filepath.Join(path+".partial", "blobs", "sha256"))
	require.NoError(t, err)
	there := map[string]bool{}
	for _, e := range left {
		there[e.Name()] = true
	}
	c.src.ResetLog()
	c.create("bundle", "", all(), "app:1")
	for _, q := range c.src.Requests() {
		if isBlob(q) {
			assert.False(t, there[digest.Digest(q.Ref).Encoded()], q.Ref)
		}
	}
	assert.NoDirExists(t, path+".partial")
	imagetest.CheckLayout(t, path, imagetest.Want{Tag: c.src.Host() + "/app:1", Digest: f.Digest(imagetest.Top), Fixture: f, Only: true})
}

// TestSince leaves out what an earlier bundle brought, and takes it from where that was loaded.
func TestSince(t *testing.T) {
	f := content()
	c := newCarrier(t, registrytest.Options{})
	c.push(f, "app")
	f.PushTo(c.src, "other", "1", imagetest.Top)
	monday, _ := c.create("monday", "", all(), "app:1")
	tuesday, summary := c.create("tuesday.tar", monday, all(), "other:1")
	assert.Zero(t, summary.Carried)
	assert.Equal(t, len(f.Blobs(imagetest.Top)), summary.Left)
	assert.Equal(t, "monday", summary.Record.SinceName)

	dst := registrytest.Start(t, registrytest.Options{})
	_, err := c.load(c.open(tuesday, nil), dst, "other:1", all())
	var earlier *bundle.EarlierError
	require.ErrorAs(t, err, &earlier)
	assert.Contains(t, earlier.Since, "monday (sha256:")
	imagetest.CheckUnchanged(t, dst, "other", "1", "")

	_, err = c.load(c.open(monday, nil), dst, "app:1", all())
	require.NoError(t, err)
	c.forget() // where blobs are is not known of copies before
	_, err = c.load(c.open(tuesday, c.loadedAt(dst)), dst, "other:1", all())
	require.NoError(t, err)
	imagetest.CheckRegistry(t, dst, "other", imagetest.Want{Tag: "1", Digest: f.Digest(imagetest.Top), Fixture: f, Only: true})
	assert.Zero(t, dst.Count(isBlob), "they are mounted")
	for _, d := range f.Blobs(imagetest.Top) {
		dst.DeleteBlob("app", d)
	}
	c.forget()
	look := all()
	look.CheckBlobs = true
	_, err = c.load(c.open(tuesday, c.loadedAt(dst)), dst, "other:1", look)
	require.NoError(t, err, "they are where they have to be, and not where they were mounted from any more")

	without := registrytest.Start(t, registrytest.Options{IgnoreMounts: true})
	f.PushTo(without, "app", "1", imagetest.Top)
	_, err = c.load(c.open(tuesday, c.loadedAt(without)), without, "other:1", all())
	require.NoError(t, err)
	imagetest.CheckRegistry(t, without, "other", imagetest.Want{Tag: "1", Digest: f.Digest(imagetest.Top), Fixture: f, Only: true})
	assert.NotZero(t, without.Count(isBlob), "they are read")
	assert.Zero(t, without.Count(func(q registrytest.Request) bool { return q.Path == "/v2/" }), "over the Copier's connections")

	c.copier = copy.NewCopier(copy.CopierOptions{MaxRequestsPerHost: 1})
	without = registrytest.Start(t, registrytest.Options{IgnoreMounts: true})
	f.PushTo(without, "app", "1", imagetest.Top)
	_, err = c.load(c.open(tuesday, c.loadedAt(without)), without, "other:1", all())
	require.NoError(t, err, "nobody waits for each other")
	c.forget()

	empty := registrytest.Start(t, registrytest.Options{})
	_, err = c.load(c.open(tuesday, c.loadedAt(empty)), empty, "other:1", all())
	require.ErrorAs(t, err, &earlier)
	imagetest.CheckUnchanged(t, empty, "other", "1", "")
}

// loadedAt says that earlier bundles were loaded into a registry.
func (c *carrier) loadedAt(r *registrytest.Registry) *bundle.OpenOptions {
	return &bundle.OpenOptions{Loaded: func(repository string) (reference.Named, error) {
		return reference.ParseNormalizedNamed(r.Host() + "/" + strings.TrimPrefix(repository, c.src.Host()+"/"))
	}}
}

// forget makes the copies that follow know nothing of those before.
func (c *carrier) forget() {
	require.NoError(c, c.copier.Close())
	c.copier = copy.NewCopier(copy.CopierOptions{})
}

// TestDamageIsSeen before the tag is written.
func TestDamageIsSeen(t *testing.T) {
	f := content()
	c := newCarrier(t, registrytest.Options{})
	c.push(f, "app")
	whole, _ := c.create("whole", "", all(), "app:1")
	file := func(d digest.Digest) string { return filepath.Join("blobs", "sha256", d.Encoded()) }
	layer := f.Digest("amd64.1")
	flip := func(content []byte) []byte {
		content[len(content)-1] ^= 1
		return content
	}
	cut := func(content []byte) []byte { return content[:len(content)-1] }
	for name, b := range map[string]struct {
		file   string
		change func([]byte) []byte // nil to remove it
		says   string
	}{
		"a manifest flipped":    {file(f.Digest("arm64")), flip, "the bundle is damaged: manifest " + f.Digest("arm64").String() + ": its content does not match the digest"},
		"a manifest lacking":    {file(f.Digest("arm64")), nil, "the bundle is damaged: it lacks the manifest " + f.Digest("arm64").String()},
		"an attachment lacking": {file(f.Digest("sbom")), nil, "the bundle is damaged: it lacks the manifest " + f.Digest("sbom").String()},
		"a layer cut":           {file(layer), cut, fmt.Sprintf("does not have the %d bytes", f.Size("amd64.1"))},
		"a layer flipped":       {file(layer), flip, layer.String() + ": its content does not match the digest"},
		"a layer lacking":       {file(layer), nil, "the bundle is damaged: it lacks the blob " + layer.String()},
		"another index":         {"index.json", cut, "the bundle is damaged: index.json"},
		"no index":              {"index.json", nil, "the bundle is damaged: it has no index.json"},
		"half a record":         {bundle.RecordFile, func(b []byte) []byte { return b[:len(b)/2] }, "the bundle is damaged: bundle.json"},
		"no record":             {bundle.RecordFile, nil, "is no bundle: it has no bundle.json"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "bundle")
			require.NoError(t, os.CopyFS(dir, os.DirFS(whole)))
			path := filepath.Join(dir, b.file)
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.Remove(path))
			if b.change != nil {
				require.NoError(t, os.WriteFile(path, b.change(content), 0o600))
			}
			dst := registrytest.Start(t, registrytest.Options{})
			opened, err := bundle.Open(t.Context(), dir, nil)
			if err == nil {
				_, err = c.load(opened, dst, "app:1", all())
				require.NoError(t, opened.Close())
			}
			require.ErrorContains(t, err, b.says)
			imagetest.CheckUnchanged(t, dst, "app", "1", "")
		})
	}
}

// TestHolesAreRefused: a small archive fills no disk.
func TestHolesAreRefused(t *testing.T) {
	c := newCarrier(t, registrytest.Options{})
	c.push(content(), "app")
	path, _ := c.create("whole.tar", "", all(), "app:1")
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	whole = whole[:len(whole)-1024] // without the end
	for name, before := range map[string][]byte{
		bundle.RecordFile: nil,
		"blobs/sha256/" + digest.FromString("holes").Encoded(): whole,
	} {
		path := filepath.Join(t.TempDir(), "holes.tar")
		require.NoError(t, os.WriteFile(path, slices.Concat(before, holes(t, name)), 0o600))
		b, err := bundle.Open(t.Context(), path, nil)
		if err == nil {
			_, err = c.load(b, registrytest.Start(t, registrytest.Options{}), "app:1", all())
			require.NoError(t, b.Close())
		}
		var foreign *bundle.ForeignError
		require.ErrorAs(t, err, &foreign, name)
		assert.ErrorContains(t, err, "has holes")
	}
}

// holes is an archive of a few blocks, whose file has a mebibyte of zeros (GNU tar, "PAX Format,
// Version 1.0").
func holes(t *testing.T, name string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: 512, Format: tar.FormatPAX, PAXRecords: map[string]string{
		"___.sparse.major": "1", "___.sparse.minor": "0", "___.sparse.name": name, "___.sparse.realsize": "1048576",
	}}))
	_, err := w.Write(append([]byte("0\n"), make([]byte, 510)...))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return bytes.ReplaceAll(b.Bytes(), []byte("___.sparse"), []byte("GNU.sparse")) // which the writer does not write
}

// TestPoliciesSeeTheSource: a policy for docker is asked, by the name that the image had, and with
// the signatures of the bundle.
func TestPoliciesSeeTheSource(t *testing.T) {
	f := content()
	c := newCarrier(t, registrytest.Options{})
	c.push(f, "app")
	path, _ := c.create("bundle", "", all(), "app:1")
	b := c.open(path, nil)
	dst := registrytest.Start(t, registrytest.Options{})
	c.policy.Transports = map[string]signature.PolicyTransportScopes{
		"docker": {c.src.Host() + "/app": {signature.NewPRReject()}},
	}
	_, err := c.load(b, dst, "app:1", all())
	var rejected *copy.RejectedError
	require.ErrorAs(t, err, &rejected)
	assert.Empty(t, dst.Repos())
	c.policy.Transports = map[string]signature.PolicyTransportScopes{"bundle": {"": {signature.NewPRReject()}}}
	_, err = c.load(b, dst, "app:1", all())
	require.NoError(t, err)
}

// TestReferencesAsText: one image makes a bundle, which others read.
func TestReferencesAsText(t *testing.T) {
	f := content()
	c := newCarrier(t, registrytest.Options{})
	c.push(f, "app")
	for _, file := range []string{"bundle", "bundle.tar"} {
		path := filepath.Join(c.dir, file)
		ref, err := transports.Get("bundle").ParseReference(path + ":docker.io/library/app:1")
		require.NoError(t, err)
		assert.Equal(t, path+":docker.io/library/app:1", ref.StringWithinTransport())
		assert.Equal(t, path+":docker.io/library/app:1", ref.PolicyConfigurationIdentity())
		assert.Contains(t, ref.PolicyConfigurationNamespaces(), c.dir)
		assert.NoError(t, ref.Transport().ValidatePolicyConfigurationScope(path))
		_, err = c.copy(ref, c.ref(c.src, "app:1"), all())
		require.NoError(t, err)
		_, err = c.copy(ref, c.ref(c.src, "app:1"), all())
		require.ErrorIs(t, err, fs.ErrExist)

		dst := registrytest.Start(t, registrytest.Options{})
		_, err = c.copy(c.ref(dst, "app:1"), ref, all())
		require.NoError(t, err)
		imagetest.CheckRegistry(t, dst, "app", imagetest.Want{Tag: "1", Digest: f.Digest(imagetest.Top), Fixture: f})
		_, _, there := dst.Manifest("app", f.Digest("signature").String())
		assert.True(t, there)

		found, err := c.copier.Inspect(t.Context(), ref, nil)
		require.NoError(t, err)
		assert.Equal(t, f.Digest(imagetest.Top), found.Digest)
		assert.Zero(t, found.Totals.Missing)
		policy, err := signature.NewPolicyContext(c.policy)
		require.NoError(t, err)
		verified := all()
		verified.SourceCtx, verified.DestinationCtx = c.sys, c.sys
		v, err := c.copier.Verify(t.Context(), policy, c.ref(dst, "app:1"), ref, &copy.VerifyOptions{Options: &verified, ReadBlobs: true})
		require.NoError(t, err)
		assert.Empty(t, v.Violations)
		v, err = c.copier.Verify(t.Context(), policy, ref, c.ref(dst, "app:1"), &copy.VerifyOptions{Options: &verified, ReadBlobs: true})
		require.NoError(t, err)
		assert.Empty(t, v.Violations)
		require.NoError(t, policy.Destroy())
		asUpstreamReads(t, f, ref)
	}
	for _, text := range []string{"", "path", "path:", "path:app:1", "path:docker.io/library/app", ":docker.io/library/app:1"} {
		_, err := bundle.Transport.ParseReference(text)
		assert.Error(t, err, text)
	}
}

// asUpstreamReads reads an image through the interfaces of containers/image.
func asUpstreamReads(t *testing.T, f *imagetest.Fixture, ref types.ImageReference) {
	t.Helper()
	src, err := ref.NewImageSource(t.Context(), nil)
	require.NoError(t, err)
	content, mediaType, err := src.GetManifest(t.Context(), nil)
	require.NoError(t, err)
	want, wantType := f.Document(imagetest.Top)
	assert.Equal(t, want, content)
	assert.Equal(t, wantType, mediaType)
	d := f.Digest("amd64")
	content, _, err = src.GetManifest(t.Context(), &d)
	require.NoError(t, err)
	want, _ = f.Document("amd64")
	assert.Equal(t, want, content)
	layer := f.Digest("amd64.1")
	r, size, err := src.GetBlob(t.Context(), types.BlobInfo{Digest: layer, Size: -1}, none.NoCache)
	require.NoError(t, err)
	read, err := io.ReadAll(r)
	require.NoError(t, errors.Join(err, r.Close()))
	assert.Equal(t, f.Content("amd64.1"), read)
	assert.Contains(t, []int64{-1, int64(len(read))}, size)
	sigs, err := src.GetSignatures(t.Context(), nil)
	require.NoError(t, err)
	assert.Empty(t, sigs)
	require.NoError(t, src.Close())
	_, err = ref.NewImageDestination(t.Context(), nil)
	assert.Error(t, err)
	assert.Error(t, ref.DeleteImage(t.Context(), nil))
}

// TestNamesAndPaths refuses what could not be carried on.
func TestNamesAndPaths(t *testing.T) {
	c := newCarrier(t, registrytest.Options{})
	path := filepath.Join(c.dir, "bundle")
	_, err := bundle.Create(path, &bundle.CreateOptions{Since: filepath.Join(c.dir, "nothing")})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, os.Mkdir(path, 0o700))
	_, err = bundle.Create(path, nil)
	require.ErrorIs(t, err, fs.ErrExist)
	w, err := bundle.Create(path+".tar", nil)
	require.NoError(t, err)
	named, err := reference.ParseNormalizedNamed("docker.io/library/app")
	require.NoError(t, err)
	_, err = w.Reference(named)
	require.ErrorContains(t, err, "neither tag nor digest")
	summary, err := w.Publish(t.Context())
	require.NoError(t, err)
	assert.Empty(t, summary.Record.Images)
	require.NoError(t, w.Close())
	b := c.open(path+".tar", nil)
	_, err = b.Reference("UPPER")
	require.ErrorContains(t, err, "the bundle is damaged")
	ref, err := b.Reference("docker.io/library/app:1")
	require.NoError(t, err)
	dst := registrytest.Start(t, registrytest.Options{})
	_, err = c.copy(c.ref(dst, "app:1"), ref, all())
	require.ErrorIs(t, err, copy.ErrNotFound)
	_, err = c.copy(ref, c.ref(dst, "app:1"), all())
	require.Error(t, err)
	assert.NotContains(t, fmt.Sprint(b.Record()), "app")
}
