package others

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/cache"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

const (
	repo = "library/app"
	tag  = "v1"
)

// list are the architectures of the list that is copied.
var list = []string{"amd64", "arm64", "s390x"}

// scenarios are what is done with each of the servers, as the destination of copies and as the
// source of others.
var scenarios = []struct {
	name string
	run  func(t *testing.T, s *scene)
}{
	{"keep", keep},
	{"strip", strip},
	{"auto", auto},
	{"widening", widening},
	{"a child is lost", lostChild},
	{"a child of a stripped list is lost", lostStrippedChild},
	{"referrers", referrers},
	{"entries as referrers", entriesAsReferrers},
	{"digest tags", digestTags},
	{"second run", secondRun},
	{"unchanged source", unchangedSource},
	{"other clients", otherClients},
}

func TestServers(t *testing.T) {
	forms := map[string]*imagetest.Fixture{"OCI": fixture(), "Docker": fixture(imagetest.Docker())}
	for _, s := range servers {
		for form, f := range forms {
			s := s
			if s.unchecked && form == "Docker" {
				s.complete = false
			}
			for _, scenario := range scenarios {
				t.Run(s.name+"/"+form+"/"+scenario.name, func(t *testing.T) {
					t.Parallel()
					scenario.run(t, newScene(t, &s, f))
				})
			}
		}
	}
}

// fixture is a list, and things that are attached to it and to an image.
func fixture(form ...imagetest.Option) *imagetest.Fixture {
	f := imagetest.New()
	f.Layer("base", imagetest.File("etc/motd", "hello\n"))
	for i, arch := range list {
		f.Layer(arch+".app", imagetest.Random(uint64(i), 10_000))
		f.Image(arch, append(form, imagetest.Platform("linux/"+arch), imagetest.Layers("base", arch+".app"))...)
	}
	f.List(imagetest.Top, append(form, imagetest.Entries(list...), imagetest.Indent("  "))...)
	f.Artifact("sbom", imagetest.Subject("amd64"), imagetest.ArtifactType("application/spdx+json"))
	f.Artifact("sbom-signature", imagetest.Subject("sbom"), imagetest.ArtifactType("application/x-signature"))
	f.Artifact("list-sbom", imagetest.Subject(imagetest.Top), imagetest.ArtifactType("application/spdx+json"))
	f.Artifact("cosign", imagetest.ArtifactType("application/x-cosign"))
	return f
}

// A scene is an empty registry that runs a server, another one with what is to be copied, and a
// Copier.
type scene struct {
	*running
	*bench
	f      *imagetest.Fixture
	source *registrytest.Registry
}

// A bench is what copies are made with.
type bench struct {
	copier *copy.Copier // which gives up early
	policy *signature.PolicyContext
	sys    *types.SystemContext
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{copier: copy.NewCopier(copy.CopierOptions{Retries: copy.RetryPolicy{Attempts: 2, BaseDelay: time.Millisecond}})}
	t.Cleanup(func() { require.NoError(t, b.copier.Close()) })
	var err error
	b.policy, err = signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.policy.Destroy()) })
	b.sys, _ = hermetictest.System(t)
	b.sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	return b
}

// copy copies between any two places.
func (b *bench) copy(ctx context.Context, to, from types.ImageReference, o copy.Options) (*copy.Report, error) {
	var report copy.Report
	o.Report, o.SourceCtx, o.DestinationCtx = &report, b.sys, b.sys
	_, err := b.copier.Image(ctx, b.policy, to, from, &o)
	return &report, err
}

func newScene(t *testing.T, srv *server, f *imagetest.Fixture) *scene {
	t.Helper()
	s := &scene{running: srv.start(t), bench: newBench(t), f: f, source: registrytest.Start(t, registrytest.Options{})}
	f.PushTo(s.source, repo, tag, imagetest.Top)
	return s
}

// fresh is another scene of the same kind.
func (s *scene) fresh(t *testing.T) *scene { return newScene(t, s.server, s.f) }

// at is the reference of the tag at a registry.
func at(t *testing.T, host string) types.ImageReference {
	t.Helper()
	ref, err := docker.ParseReference("//" + host + "/" + repo + ":" + tag)
	require.NoError(t, err)
	return ref
}

// options are those of a copy of some architectures.
func options(action copy.SparseManifestListAction, architectures ...string) copy.Options {
	o := copy.Options{ImageListSelection: copy.CopySpecificImages, SparseManifestListAction: action}
	for _, arch := range architectures {
		o.InstancePlatforms = append(o.InstancePlatforms, copy.InstancePlatformFilter{OS: "linux", Architecture: arch})
	}
	return o
}

// mirror copies from the source to the server.
func (s *scene) mirror(o copy.Options) (*copy.Report, error) {
	s.t.Helper()
	return s.copy(s.t.Context(), at(s.t, s.host), at(s.t, s.source.Host()), o)
}

// mustMirror is mirror for copies that must succeed.
func (s *scene) mustMirror(o copy.Options) *copy.Report {
	s.t.Helper()
	report, err := s.mirror(o)
	require.NoError(s.t, err)
	return report
}

// want is what the server should have of these architectures, under a list that is kept or
// stripped.
func (s *scene) want(report *copy.Report, architectures ...string) imagetest.Want {
	want := imagetest.Want{Tag: tag, Digest: report.DestinationDigest, Fixture: s.f, Present: architectures}
	for _, arch := range list {
		if !slices.Contains(architectures, arch) {
			want.Absent = append(want.Absent, arch)
		}
	}
	return want
}

// keep keeps the list of which one image is copied, where the server takes that.
func keep(t *testing.T, s *scene) {
	for _, arch := range []string{"amd64", "arm64"} {
		s := s.fresh(t)
		report, err := s.mirror(options(copy.KeepSparseManifestList, arch))
		if s.takes(arch) {
			require.NoError(t, err)
			assert.Equal(t, s.f.Digest(imagetest.Top), report.DestinationDigest)
			s.check(s.want(report, arch))
			continue
		}
		require.ErrorContains(t, err, s.refusal)
		var refused *copy.SparseRefusedError
		assert.Equal(t, !s.useless, errors.As(err, &refused), "%v", err)
		if !s.useless {
			assert.Equal(t, s.unclear, refused.Unclear)
		}
		assert.False(t, s.has(tag))
	}
}

// strip strips it, with the digest known beforehand.
func strip(t *testing.T, s *scene) {
	report := s.mustMirror(options(copy.StripSparseManifestList, "arm64"))
	assert.Equal(t, copy.StripSparseManifestList, report.Action)
	assert.Equal(t, report.Plan.Digest, report.DestinationDigest)
	s.check(s.want(report, "arm64"))
}

// auto strips where the server does not take a sparse list and says so, and only there.
func auto(t *testing.T, s *scene) {
	for _, arch := range []string{"amd64", "arm64"} {
		s := s.fresh(t)
		report, err := s.mirror(options(copy.AutoSparseManifestList, arch))
		switch {
		case s.takes(arch):
			require.NoError(t, err)
			assert.Equal(t, copy.KeepSparseManifestList, report.Action)
			assert.Equal(t, s.f.Digest(imagetest.Top), report.DestinationDigest)
			assert.Empty(t, report.Refusal)
		case s.useless:
			require.ErrorContains(t, err, s.refusal)
			assert.False(t, s.has(tag))
			continue
		default:
			require.NoError(t, err)
			assert.Equal(t, copy.StripSparseManifestList, report.Action)
			assert.Contains(t, report.Refusal, s.refusal)
		}
		s.check(s.want(report, arch))
	}
}

// widening copies a second platform later: into the kept list, where there is one, else into a new
// stripped list.
func widening(t *testing.T, s *scene) {
	action := copy.AutoSparseManifestList
	if !s.takes("amd64") && s.useless {
		action = copy.StripSparseManifestList
	}
	first := s.mustMirror(options(action, "amd64"))
	second := s.mustMirror(options(action, "amd64", "arm64"))
	want := s.want(second, "amd64", "arm64")
	if s.takes("amd64") {
		assert.Equal(t, first.DestinationDigest, second.DestinationDigest)
		assert.False(t, second.Written, "the tag names it already")
		want.Late = []string{"arm64"}
	} else {
		assert.NotEqual(t, first.DestinationDigest, second.DestinationDigest)
	}
	s.check(want)
}

// lostChild loses a child of a complete list, and the next run brings it back.
func lostChild(t *testing.T, s *scene) {
	all := copy.Options{ImageListSelection: copy.CopyAllImages}
	s.mustMirror(all)
	s.lose(s.f.Digest("arm64"))
	report := s.mustMirror(all)
	assert.Equal(t, 1, report.ManifestsCopied)
	want := s.want(report, list...)
	want.Late = []string{"arm64"}
	s.check(want)
}

// lostStrippedChild does the same to a list that was stripped.
func lostStrippedChild(t *testing.T, s *scene) {
	o := options(copy.StripSparseManifestList, "amd64", "arm64")
	s.mustMirror(o)
	s.lose(s.f.Digest("arm64"))
	report := s.mustMirror(o)
	assert.Equal(t, 1, report.ManifestsCopied)
	want := s.want(report, "amd64", "arm64")
	want.Late = []string{"arm64"}
	s.check(want)
}

// secondRun has nothing to do, at a kept and at a stripped list, and at the copy of another client.
func secondRun(t *testing.T, s *scene) {
	for name, o := range map[string]copy.Options{
		"all":      {ImageListSelection: copy.CopyAllImages},
		"stripped": options(copy.StripSparseManifestList, "amd64"),
		"auto":     options(copy.AutoSparseManifestList, "amd64"),
	} {
		if name == "auto" && !s.takes("amd64") && s.useless {
			continue
		}
		s := s.fresh(t)
		first := s.mustMirror(o)
		s.forget()
		second := s.mustMirror(o)
		assert.False(t, second.Written, name)
		assert.Zero(t, second.ManifestsCopied, name)
		assert.Equal(t, first.DestinationDigest, second.DestinationDigest, name)
		for _, request := range s.forget() {
			assert.Regexp(t, "^(HEAD|GET) ", request, name)
		}
	}
}

// unchangedSource copies from the server, again and again with a cache: what has not changed costs
// a HEAD, and what is attached by digest tags, others, whether it is there or not.
func unchangedSource(t *testing.T, s *scene) {
	s.mustMirror(copy.Options{ImageListSelection: copy.CopyAllImages})
	to, kept := registrytest.Start(t, registrytest.Options{}), cache.Memory(0)
	run := func(o copy.Options) []string {
		s.forget()
		again := *s.bench
		again.copier = copy.NewCopier(copy.CopierOptions{Cache: kept})
		defer func() { require.NoError(t, again.copier.Close()) }()
		_, err := again.copy(t.Context(), at(t, to.Host()), at(t, s.host), o)
		require.NoError(t, err)
		return slices.DeleteFunc(s.forget(), func(request string) bool { return strings.HasSuffix(request, " /v2/") })
	}
	all := copy.Options{ImageListSelection: copy.CopyAllImages}
	run(all)
	assert.Equal(t, []string{"HEAD /v2/" + repo + "/manifests/" + tag}, run(all))

	all.DigestTags = true
	run(all)
	for _, request := range run(all) {
		assert.Regexp(t, "^HEAD /v2/"+repo+"/manifests/", request)
	}
}

// referrers copies what refers to an image and to the list, and what refers to that.
func referrers(t *testing.T, s *scene) {
	for _, name := range []string{"sbom", "sbom-signature", "list-sbom"} {
		s.f.PushTo(s.source, repo, "", name)
	}
	o := copy.Options{ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers}
	if s.crashes {
		_, err := s.mirror(o)
		require.ErrorContains(t, err, "announcing referrers of ")
		assert.False(t, s.has(tag))
		return
	}
	report := s.mustMirror(o)
	s.check(s.want(report, list...))

	// Other clients find them, by the API or by the tag.
	lists := map[string][]string{"amd64": {"sbom"}, "sbom": {"sbom-signature"}, imagetest.Top: {"list-sbom"}, "arm64": nil}
	for name, c := range clients {
		for subject, want := range lists {
			got, err := c.referrers(t.Context(), s.host, s.f.Digest(subject))
			require.NoError(t, err, "%s, %s", name, subject)
			assert.Equal(t, sortedDigests(s.f.Digests(want...)), got, "%s, %s", name, subject)
		}
	}
	referrersTag := strings.Replace(s.f.Digest("amd64").String(), ":", "-", 1)
	assert.Equal(t, !s.server.referrers, s.has(referrersTag), "the tag is for servers without the API")

	assert.False(t, s.mustMirror(o).Written, "the second time")
	s.checkReadBack(o, "sbom", "sbom-signature", "list-sbom")
}

// entriesAsReferrers makes an attestation in the list known as a referrer of its image, as other
// clients do that copy the list.
func entriesAsReferrers(t *testing.T, s *scene) {
	f := imagetest.New()
	f.Image("amd64", imagetest.Platform("linux/amd64"))
	f.Attestation("attestation", "amd64", imagetest.Subject("amd64"), imagetest.ArtifactType("application/vnd.docker.attestation.manifest.v1+json"),
		imagetest.Annotation("org.example", "kept"), imagetest.Config(imgspecv1.MediaTypeEmptyJSON, []byte("{}")))
	f.List("built", imagetest.Entries("amd64", "attestation"))
	f.PushTo(s.source, repo, tag, "built")
	o := copy.Options{ImageListSelection: copy.CopyAllImages, EntriesAsReferrers: true}
	if s.crashes {
		_, err := s.mirror(o)
		require.ErrorContains(t, err, "announcing referrers of ")
		assert.False(t, s.has(tag))
		return
	}
	s.mustMirror(o)
	assert.False(t, s.mustMirror(o).Written, "the second time")
	referrersTag := strings.Replace(f.Digest("amd64").String(), ":", "-", 1)
	require.Equal(t, !s.server.referrers, s.has(referrersTag), "the tag is for servers without the API")
	for name, c := range clients {
		got, err := c.referrers(t.Context(), s.host, f.Digest("amd64"))
		require.NoError(t, err, name)
		assert.Equal(t, f.Digests("attestation"), got, name)
		if s.server.referrers {
			continue
		}
		theirs := s.fresh(t)
		require.NoError(t, c.copy(t.Context(), theirs.host, s.source.Host()), name)
		if assert.Equal(t, !s.subjectHeader, theirs.has(referrersTag), name) && !s.subjectHeader {
			assert.Equal(t, listedBy(t, theirs, referrersTag), listedBy(t, s, referrersTag), name)
		}
	}
}

// listedBy returns the entries of the list that a tag names, without the platform that regclient
// copies from the entry of an attestation.
func listedBy(t *testing.T, s *scene, tag string) []imgspecv1.Descriptor {
	t.Helper()
	top, err := s.Top(tag)
	require.NoError(t, err)
	var index imgspecv1.Index
	content, _, _ := s.Manifest(top.Digest)
	require.NoError(t, json.Unmarshal(content, &index))
	for i := range index.Manifests {
		index.Manifests[i].Platform = nil
	}
	return index.Manifests
}

// digestTags copies cosign's tags, and then those with any suffix, which servers have to list.
func digestTags(t *testing.T, s *scene) {
	for suffixes, more := range map[copy.DigestTagSuffixes]string{copy.CosignDigestTags: ".att", copy.AllDigestTags: ".image-locations.imgpkg"} {
		s := s.fresh(t)
		tags := map[string]string{}
		for _, subject := range []string{imagetest.Top, "arm64"} {
			for _, suffix := range []string{".sig", more} {
				name := strings.Replace(s.f.Digest(subject).String(), ":", "-", 1) + suffix
				tags[name] = s.f.PushTo(s.source, repo, name, "cosign").String()
			}
		}
		o := copy.Options{ImageListSelection: copy.CopyAllImages, DigestTags: true, DigestTagSuffixes: suffixes}
		s.check(s.want(s.mustMirror(o), list...))
		for name, want := range tags {
			top, err := s.Top(name)
			require.NoError(t, err)
			assert.Equal(t, want, top.Digest.String())
		}
		assert.False(t, s.mustMirror(o).Written, "the second time")
		back := s.checkReadBack(o, "cosign")
		for name, want := range tags {
			d, ok := back.Resolve(repo, name)
			assert.True(t, ok, name)
			assert.Equal(t, want, d.String())
		}
	}
}

// checkReadBack copies from the server to an empty registry, which must then have the list and
// these things. It returns that registry.
func (s *scene) checkReadBack(o copy.Options, names ...string) *registrytest.Registry {
	s.t.Helper()
	back := registrytest.Start(s.t, registrytest.Options{})
	_, err := s.copy(s.t.Context(), at(s.t, back.Host()), at(s.t, s.host), o)
	require.NoError(s.t, err)
	imagetest.CheckRegistry(s.t, back, repo, imagetest.Want{Tag: tag, Digest: s.f.Digest(imagetest.Top), Fixture: s.f, Present: list})
	for _, name := range names {
		_, _, ok := back.Manifest(repo, s.f.Digest(name).String())
		assert.True(s.t, ok, "%s is read back", name)
	}
	return back
}

// otherClients read what was written here, and what they write is nothing to do here.
func otherClients(t *testing.T, s *scene) {
	for name, c := range clients {
		t.Run(name, func(t *testing.T) {
			s := s.fresh(t)
			require.NoError(t, c.copy(t.Context(), s.host, s.source.Host()))
			report := s.mustMirror(copy.Options{ImageListSelection: copy.CopyAllImages})
			assert.False(t, report.Written)
			assert.Zero(t, report.ManifestsCopied)
			s.checkReadBack(copy.Options{ImageListSelection: copy.CopyAllImages})

			// A stripped list is whole for everybody.
			s = s.fresh(t)
			report = s.mustMirror(options(copy.StripSparseManifestList, "amd64", "s390x"))
			dir := t.TempDir()
			require.NoError(t, c.pull(t.Context(), dir, s.host, ""))
			imagetest.CheckLayout(t, dir, imagetest.Want{
				Tag: tag, Digest: report.DestinationDigest, Fixture: s.f, Present: []string{"amd64", "s390x"}, Only: true,
			})

			if !s.takes("amd64") {
				return
			}
			// Of a list that was kept, there is what was copied, and the rest is missed.
			s = s.fresh(t)
			s.mustMirror(options(copy.KeepSparseManifestList, "amd64"))
			dir = t.TempDir()
			require.NoError(t, c.pull(t.Context(), dir, s.host, "amd64"))
			imagetest.CheckLayout(t, dir, imagetest.Want{Tag: tag, Digest: s.f.Digest("amd64"), Fixture: s.f, Only: true})
			require.Error(t, c.pull(t.Context(), t.TempDir(), s.host, "arm64"))
			require.Error(t, c.pull(t.Context(), t.TempDir(), s.host, ""))
		})
	}
}
