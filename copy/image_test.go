package copy

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// A place is one end of a copy in tests.
type place interface {
	ref(tag string) types.ImageReference
	push(f *imagetest.Fixture, tag, name string, omit ...string)
	check(want imagetest.Want)
	// top is what a tag names, "" if nothing.
	top(tag string) digest.Digest
}

type registryPlace struct {
	t testing.TB
	*registrytest.Registry
	repo string
}

func (p registryPlace) ref(tag string) types.ImageReference {
	return registryRef(p.t, p.Registry, p.repo, tag)
}

func (p registryPlace) push(f *imagetest.Fixture, tag, name string, omit ...string) {
	f.PushTo(p.Registry, p.repo, tag, name, omit...)
}

func (p registryPlace) check(want imagetest.Want) {
	p.t.Helper()
	imagetest.CheckRegistry(p.t, p.Registry, p.repo, want)
}

func (p registryPlace) top(tag string) digest.Digest {
	d, _ := p.Resolve(p.repo, tag)
	return d
}

type layoutPlace struct {
	t   testing.TB
	dir string
}

func (p layoutPlace) ref(tag string) types.ImageReference { return layoutRef(p.t, p.dir, tag) }

func (p layoutPlace) push(f *imagetest.Fixture, tag, name string, omit ...string) {
	require.NoError(p.t, f.WriteLayout(p.dir, tag, name, omit...))
}

func (p layoutPlace) check(want imagetest.Want) {
	p.t.Helper()
	imagetest.CheckLayout(p.t, p.dir, want)
}

func (p layoutPlace) top(tag string) digest.Digest {
	d, err := imagetest.LayoutStore(p.dir).Top(tag)
	if err != nil {
		return ""
	}
	return d.Digest
}

// places are the kinds of ends that the engine serves natively.
var places = map[string]func(t testing.TB) place{
	"registry": func(t testing.TB) place {
		return registryPlace{t, registrytest.Start(t, registrytest.Options{}), "team/app"}
	},
	"layout": func(t testing.TB) place { return layoutPlace{t, filepath.Join(t.TempDir(), "layout")} },
}

// TestImageBetweenPlaces copies every kind of source between every pair of places, and again: the second copy has nothing to do.
func TestImageBetweenPlaces(t *testing.T) {
	two := Options{ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64", "linux/arm64")}
	keep, strip := two, two
	strip.SparseManifestListAction = StripSparseManifestList
	all := Options{ImageListSelection: CopyAllImages}
	onlyInner := Options{ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/arm/v6")}
	stripInner := onlyInner
	stripInner.SparseManifestListAction = StripSparseManifestList

	for name, c := range map[string]struct {
		fixture *imagetest.Fixture
		source  string
		options Options
		digest  string // of the fixture, at the destination; "" if it is a new one
		present []string
		absent  []string
	}{
		"all":             {imagetest.Platforms(4, 2, 100, imagetest.SharedBase()), imagetest.Top, all, imagetest.Top, []string{"amd64", "ppc64le"}, nil},
		"keep":            {imagetest.Platforms(4, 2, 100), imagetest.Top, keep, imagetest.Top, []string{"amd64", "arm64"}, []string{"arm/v7", "ppc64le"}},
		"strip":           {imagetest.Platforms(4, 2, 100), imagetest.Top, strip, "", []string{"amd64", "arm64"}, []string{"arm/v7", "ppc64le"}},
		"attestations":    {imagetest.WithAttestations(), imagetest.Top, strip, "", []string{"amd64", "att-amd64", "att-arm64"}, []string{"s390x", "att-s390x"}},
		"equal digests":   {imagetest.EqualDigests(), imagetest.Top, strip, "", []string{"A", "B"}, nil},
		"nested, all":     {imagetest.Nested(), imagetest.Top, all, imagetest.Top, []string{"inner", "innermost", "arm/v6"}, nil},
		"nested, keep":    {imagetest.Nested(), imagetest.Top, onlyInner, imagetest.Top, []string{"inner", "innermost", "arm/v6"}, []string{"amd64", "arm64", "arm/v7", "s390x"}},
		"nested, strip":   {imagetest.Nested(), imagetest.Top, stripInner, "", []string{"arm/v6"}, []string{"amd64", "arm64", "arm/v7", "s390x", "inner"}},
		"single":          {imagetest.Platforms(2, 2, 100), "amd64", Options{}, "amd64", nil, []string{"arm64"}},
		"system":          {imagetest.Platforms(2, 2, 100), imagetest.Top, Options{}, "amd64", nil, []string{"arm64", imagetest.Top}},
		"list only":       {imagetest.Platforms(2, 2, 100), imagetest.Top, Options{ImageListSelection: CopySpecificImages}, imagetest.Top, nil, []string{"amd64", "arm64"}},
		"one at a time":   {imagetest.Platforms(4, 2, 100), imagetest.Top, Options{ImageListSelection: CopyAllImages, MaxParallelDownloads: 1}, imagetest.Top, []string{"amd64"}, nil},
		"check blobs":     {imagetest.Platforms(4, 2, 100), imagetest.Top, Options{ImageListSelection: CopyAllImages, CheckBlobs: true}, imagetest.Top, []string{"amd64"}, nil},
		"prefers no name": {imagetest.Platforms(2, 1, 100), imagetest.Top, Options{ImageListSelection: CopySpecificImages, InstanceIndexes: []int{1}}, imagetest.Top, []string{"arm64"}, []string{"amd64"}},
	} {
		for from, newSource := range places {
			for to, newDestination := range places {
				t.Run(name+"/"+from+" to "+to, func(t *testing.T) {
					t.Parallel()
					e := newEnv(t)
					src, dst := newSource(t), newDestination(t)
					src.push(c.fixture, "v1", c.source)

					r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), c.options)
					require.NoError(t, err)
					assert.True(t, r.Written)
					want := imagetest.Want{
						Tag: "v1", Digest: r.Plan.Digest, Fixture: c.fixture, Only: true, Present: c.present, Absent: c.absent,
					}
					dst.check(want)
					if c.digest != "" {
						assert.Equal(t, c.fixture.Digest(c.digest), dst.top("v1"))
					} else {
						assert.NotEqual(t, c.fixture.Digest(c.source), dst.top("v1"))
					}
					assert.Equal(t, dst.top("v1"), r.DestinationDigest)

					again, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), c.options)
					require.NoError(t, err)
					assert.Zero(t, again.BlobsCopied)
					if !c.options.CheckBlobs {
						assert.False(t, again.Written, "the second copy has nothing to do")
						assert.Zero(t, again.ManifestsCopied)
					}
					assert.Equal(t, dst.top("v1"), again.DestinationDigest)
					dst.check(want)
				})
			}
		}
	}
}

// TestImageWidens copies more platforms of a kept list, and repairs a mirror that has lost some.
func TestImageWidens(t *testing.T) {
	for to, newDestination := range places {
		t.Run(to, func(t *testing.T) {
			e := newEnv(t)
			f := imagetest.Platforms(4, 2, 100)
			src, dst := places["registry"](t), newDestination(t)
			src.push(f, "v1", imagetest.Top)
			want := imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f}
			copied := func(filters ...string) *Report {
				r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{
					ImageListSelection: CopySpecificImages, InstancePlatforms: platforms(filters...),
				})
				require.NoError(t, err)
				return r
			}
			copied("linux/amd64")
			want.Absent = []string{"arm64", "arm/v7", "ppc64le"}
			dst.check(want)

			r := copied("linux/amd64", "linux/arm64")
			assert.Equal(t, 3, r.BlobsCopied, "only what is new: a config and two layers")
			want.Absent, want.Late = []string{"arm/v7", "ppc64le"}, []string{"arm64"}
			dst.check(want)

			if registry, ok := dst.(registryPlace); ok {
				require.True(t, registry.DeleteManifest(registry.repo, f.Digest("amd64")))
				copied("linux/amd64", "linux/arm64")
				want.Late = append(want.Late, "amd64")
				dst.check(want)
			}
		})
	}
}

// TestImageMissing copies from sparse sources.
func TestImageMissing(t *testing.T) {
	for from, newSource := range places {
		t.Run(from, func(t *testing.T) {
			e := newEnv(t)
			f := imagetest.WithAttestations()
			src := newSource(t)
			src.push(f, "v1", imagetest.Top, "s390x", "att-arm64")
			dst := registryPlace{t, registrytest.Start(t, registrytest.Options{Strict: true}), "mirror"}

			_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{ImageListSelection: CopyAllImages})
			var missing *MissingError
			require.ErrorAs(t, err, &missing)
			assert.Equal(t, []MissingInstance{
				{Digest: f.Digest("s390x"), Platform: "linux/s390x"}, {Digest: f.Digest("att-arm64"), Platform: "unknown/unknown", AttestationOf: "linux/arm64"},
			}, missing.Missing)
			assert.ErrorContains(t, err, f.Digest("att-arm64").String()+" (attestation of linux/arm64)")
			assert.Empty(t, dst.Snapshot("mirror"), "nothing is written")

			r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{
				ImageListSelection: CopyAllImages, MissingInstances: SkipMissing, SparseManifestListAction: StripSparseManifestList,
			})
			require.NoError(t, err)
			dst.check(imagetest.Want{
				Tag: "v1", Digest: r.Plan.Digest, Fixture: f, Only: true, Present: []string{"amd64", "arm64", "att-amd64", "att-s390x"},
			})

			// An attestation that is selected by following only never fails a copy.
			_, err = e.image(t.Context(), dst.ref("v2"), src.ref("v1"), Options{
				ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/arm64"),
				SparseManifestListAction: StripSparseManifestList,
			})
			require.NoError(t, err)
		})
	}
}

// TestOnlyNotFoundIsMissing answers for one child with everything that is no definite "not found".
func TestOnlyNotFoundIsMissing(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	for name, answer := range map[string]registrytest.Answer{
		"401": registrytest.Fail(401, "UNAUTHORIZED", "who are you"),
		"403": registrytest.Fail(403, "DENIED", "no"),
		"400": registrytest.Fail(400, "MANIFEST_INVALID", "what"),
		"404": registrytest.Fail(404, "DENIED", "hidden"),
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			path := "/v2/app/manifests/" + f.Digest("arm64").String()
			src := registryPlace{t, registrytest.Start(t, registrytest.Options{
				Script: func(_ int, req *http.Request) registrytest.Answer {
					if req.URL.Path == path {
						return answer
					}
					return registrytest.Answer{}
				},
			}), "app"}
			dst := places["registry"](t)
			src.push(f, "v1", imagetest.Top)
			_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{
				ImageListSelection: CopyAllImages, MissingInstances: SkipMissing,
			})
			var at *Error
			require.ErrorAs(t, err, &at)
			assert.Equal(t, SourceSide, at.Side)
			assert.Equal(t, f.Digest("arm64").String(), at.Object)
			var refusal *RegistryError
			require.ErrorAs(t, err, &refusal)
			assert.Empty(t, dst.top("v1"))
		})
	}
}

// TestImageAuto plays every registry in the field whose answer is known.
func TestImageAuto(t *testing.T) {
	f := imagetest.Platforms(4, 1, 100)
	options := Options{
		ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64"),
		SparseManifestListAction: AutoSparseManifestList,
	}
	for _, row := range registrytest.Registries() {
		t.Run(row.Name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			src := places["registry"](t)
			dst := registryPlace{t, registrytest.Start(t, registrytest.Options{ListPolicy: row.Policy}), "mirror"}
			src.push(f, "v1", imagetest.Top)
			r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), options)
			require.NoError(t, err)
			dst.check(imagetest.Want{Tag: "v1", Digest: r.DestinationDigest, Fixture: f, Present: []string{"amd64"}, Absent: []string{"arm64", "arm/v7", "ppc64le"}})
			if row.Sparse {
				assert.Equal(t, KeepSparseManifestList, r.Action)
				assert.Equal(t, f.Digest(imagetest.Top), r.DestinationDigest)
				assert.Empty(t, r.Refusal)
				return
			}
			assert.Equal(t, StripSparseManifestList, r.Action)
			assert.NotEqual(t, f.Digest(imagetest.Top), r.DestinationDigest)
			assert.NotEmpty(t, r.Refusal)

			again, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), options)
			require.NoError(t, err)
			assert.False(t, again.Written)
		})
	}
	for _, row := range registrytest.Unrelated() {
		t.Run("never strips: "+row.Name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			src := places["registry"](t)
			dst := registryPlace{t, registrytest.Start(t, registrytest.Options{ListPolicy: row.Policy}), "mirror"}
			src.push(f, "v1", imagetest.Top)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			_, err := e.image(ctx, dst.ref("v1"), src.ref("v1"), options)
			require.Error(t, err)
			var refused *SparseRefusedError
			assert.False(t, errors.As(err, &refused), "%v", err)
			assert.Empty(t, dst.top("v1"))
		})
	}
}

// TestImageKeepRefused keeps the registry's own words.
func TestImageKeepRefused(t *testing.T) {
	e := newEnv(t)
	f := imagetest.Platforms(4, 1, 100)
	src := places["registry"](t)
	dst := registryPlace{t, registrytest.Start(t, registrytest.Options{Strict: true}), "mirror"}
	src.push(f, "v1", imagetest.Top)
	dst.push(f, "v1", "arm64")
	_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{
		ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64"),
	})
	var refused *SparseRefusedError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, f.Digest(imagetest.Top), refused.List)
	var registry *RegistryError
	require.ErrorAs(t, err, &registry)
	assert.True(t, registry.Has("MANIFEST_BLOB_UNKNOWN"))
	assert.Equal(t, f.Digest("arm64"), dst.top("v1"), "the tag is what it was")
}

// TestImageCannotStrip refuses to change what must not change.
func TestImageCannotStrip(t *testing.T) {
	f := imagetest.Platforms(4, 1, 100)
	strip := Options{
		ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64"),
		SparseManifestListAction: StripSparseManifestList,
	}
	preserve := strip
	preserve.PreserveDigests = true
	for name, c := range map[string]struct {
		options Options
		tag     string
	}{
		"preserve digests":       {preserve, "v1"},
		"destination has digest": {strip, f.Digest(imagetest.Top).String()},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			src, dst := places["registry"](t), places["registry"](t).(registryPlace)
			src.push(f, "v1", imagetest.Top)
			_, err := e.image(t.Context(), dst.ref(c.tag), src.ref("v1"), c.options)
			var cannot *CannotModifyError
			require.ErrorAs(t, err, &cannot)
			assert.Equal(t, f.Digest(imagetest.Top), cannot.List)
			assert.Empty(t, dst.Snapshot(dst.repo))
		})
	}
}

// TestEveryRequestFails fails each request of a small copy in turn. Afterwards the old tag is intact or the new one complete,
// and a second run completes it.
func TestEveryRequestFails(t *testing.T) {
	f := imagetest.Platforms(3, 2, 100)
	old := imagetest.Platforms(1, 1, 50)
	options := Options{
		ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64", "linux/arm64"),
		SparseManifestListAction: StripSparseManifestList, MaxParallelDownloads: 2,
	}
	for name, answer := range map[string]registrytest.Answer{
		"denied": registrytest.Fail(403, "DENIED", "not today"),
		"closed": registrytest.Close(),
		"lost":   registrytest.LostAnswer(),
	} {
		for _, side := range []Side{SourceSide, DestinationSide} {
			t.Run(name+" at the "+string(side), func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n++ {
					e := newEnv(t)
					var so, do registrytest.Options
					if side == SourceSide {
						so.Script = registrytest.OnNth(n, answer)
					} else {
						do.Script = registrytest.OnNth(n, answer)
					}
					do.Strict = true
					src := registryPlace{t, registrytest.Start(t, so), "app"}
					dst := registryPlace{t, registrytest.Start(t, do), "app"}
					src.push(f, "v1", imagetest.Top)
					dst.push(old, "v1", "amd64")
					r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), options)
					if err != nil {
						var at *Error
						require.ErrorAs(t, err, &at, "request %d", n)
						assert.Equal(t, side, at.Side, "request %d: %v", n, err)
						if !r.Written && name != "lost" {
							assert.Equal(t, old.Digest("amd64"), dst.top("v1"), "request %d", n)
						}
						r, err = e.image(t.Context(), dst.ref("v1"), src.ref("v1"), options)
						require.NoError(t, err, "request %d, second run", n)
					}
					dst.check(imagetest.Want{Tag: "v1", Digest: r.Plan.Digest, Fixture: f, Present: []string{"amd64", "arm64"}, Absent: []string{"arm/v7"}})
					failing := src.Registry
					if side == DestinationSide {
						failing = dst.Registry
					}
					if len(failing.Requests()) < n {
						assert.Greater(t, n, 8, "some requests were made to fail")
						return
					}
				}
			})
		}
	}
}

// TestImageCancelled ends quickly, with the caller's reason, and leaves the tag alone.
func TestImageCancelled(t *testing.T) {
	e := newEnv(t)
	f := imagetest.Platforms(3, 2, 100)
	reason := errors.New("the caller has changed its mind")
	ctx, cancel := context.WithCancelCause(t.Context())
	src := registryPlace{t, registrytest.Start(t, registrytest.Options{
		Script: registrytest.Only(registrytest.Matching("GET", registrytest.KindBlob), func(n int, _ *http.Request) registrytest.Answer {
			if n == 3 {
				cancel(reason)
			}
			return registrytest.Stall()
		}),
	}), "app"}
	dst := places["registry"](t)
	src.push(f, "v1", imagetest.Top)
	dst.push(f, "v1", "amd64")
	_, err := e.image(ctx, dst.ref("v1"), src.ref("v1"), Options{ImageListSelection: CopyAllImages})
	require.ErrorIs(t, err, reason)
	assert.Equal(t, f.Digest("amd64"), dst.top("v1"))
}

// TestLayoutKeepsOtherTags copies into a layout that has something else.
func TestLayoutKeepsOtherTags(t *testing.T) {
	e := newEnv(t)
	f, other := imagetest.Platforms(2, 1, 100), imagetest.Platforms(1, 1, 50)
	src, dst := places["registry"](t), places["layout"](t)
	src.push(f, "v1", imagetest.Top)
	dst.push(other, "other", "amd64")
	_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{ImageListSelection: CopyAllImages})
	require.NoError(t, err)
	dst.check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
	dst.check(imagetest.Want{Tag: "other", Digest: other.Digest("amd64"), Fixture: other})
	entries, err := os.ReadDir(dst.(layoutPlace).dir)
	require.NoError(t, err)
	for _, entry := range entries {
		assert.Contains(t, []string{"blobs", "index.json", "oci-layout"}, entry.Name())
	}
}
