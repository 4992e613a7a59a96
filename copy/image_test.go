package copy_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestImageBetweenPlaces copies every kind of source between every pair of places, and again: the
// second copy has nothing to do.
func TestImageBetweenPlaces(t *testing.T) {
	two := copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64")}
	keep, strip := two, two
	strip.SparseManifestListAction = copy.StripSparseManifestList
	all := copy.Options{ImageListSelection: copy.CopyAllImages}
	onlyInner := copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm/v6")}
	stripInner := onlyInner
	stripInner.SparseManifestListAction = copy.StripSparseManifestList

	for name, c := range map[string]struct {
		fixture *imagetest.Fixture
		source  string
		options copy.Options
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
		"single":          {imagetest.Platforms(2, 2, 100), "amd64", copy.Options{}, "amd64", nil, []string{"arm64"}},
		"system":          {imagetest.Platforms(2, 2, 100), imagetest.Top, copy.Options{}, "amd64", nil, []string{"arm64", imagetest.Top}},
		"list only":       {imagetest.Platforms(2, 2, 100), imagetest.Top, copy.Options{ImageListSelection: copy.CopySpecificImages}, imagetest.Top, nil, []string{"amd64", "arm64"}},
		"one at a time":   {imagetest.Platforms(4, 2, 100), imagetest.Top, copy.Options{ImageListSelection: copy.CopyAllImages, MaxParallelDownloads: 1}, imagetest.Top, []string{"amd64"}, nil},
		"check blobs":     {imagetest.Platforms(4, 2, 100), imagetest.Top, copy.Options{ImageListSelection: copy.CopyAllImages, CheckBlobs: true}, imagetest.Top, []string{"amd64"}, nil},
		"prefers no name": {imagetest.Platforms(2, 1, 100), imagetest.Top, copy.Options{ImageListSelection: copy.CopySpecificImages, InstanceIndexes: []int{1}}, imagetest.Top, []string{"arm64"}, []string{"amd64"}},
	} {
		for from, newSource := range copytest.Places {
			for to, newDestination := range copytest.Places {
				t.Run(name+"/"+from+" to "+to, func(t *testing.T) {
					t.Parallel()
					e := copytest.NewEnv(t)
					src, dst := newSource(t), newDestination(t)
					src.Push(c.fixture, "v1", c.source)

					r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), c.options)
					require.NoError(t, err)
					assert.True(t, r.Written)
					want := imagetest.Want{
						Tag: "v1", Digest: r.Plan.Digest, Fixture: c.fixture, Only: true, Present: c.present, Absent: c.absent,
					}
					dst.Check(want)
					if c.digest != "" {
						assert.Equal(t, c.fixture.Digest(c.digest), dst.Top("v1"))
					} else {
						assert.NotEqual(t, c.fixture.Digest(c.source), dst.Top("v1"))
					}
					assert.Equal(t, dst.Top("v1"), r.DestinationDigest)

					again, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), c.options)
					require.NoError(t, err)
					assert.Zero(t, again.BlobsCopied)
					if !c.options.CheckBlobs {
						assert.False(t, again.Written, "the second copy has nothing to do")
						assert.Zero(t, again.ManifestsCopied)
					}
					assert.Equal(t, dst.Top("v1"), again.DestinationDigest)
					dst.Check(want)
				})
			}
		}
	}
}

// TestImageWidens copies more platforms of a kept list, and repairs a mirror that has lost some.
func TestImageWidens(t *testing.T) {
	for to, newDestination := range copytest.Places {
		t.Run(to, func(t *testing.T) {
			e := copytest.NewEnv(t)
			f := imagetest.Platforms(4, 2, 100)
			src, dst := copytest.Places["registry"](t), newDestination(t)
			src.Push(f, "v1", imagetest.Top)
			want := imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f}
			copied := func(filters ...string) *copy.Report {
				r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{
					ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms(filters...),
				})
				require.NoError(t, err)
				return r
			}
			copied("linux/amd64")
			want.Absent = []string{"arm64", "arm/v7", "ppc64le"}
			dst.Check(want)

			r := copied("linux/amd64", "linux/arm64")
			assert.Equal(t, 3, r.BlobsCopied, "only what is new: a config and two layers")
			want.Absent, want.Late = []string{"arm/v7", "ppc64le"}, []string{"arm64"}
			dst.Check(want)

			if registry, ok := dst.(copytest.RegistryPlace); ok {
				require.True(t, registry.DeleteManifest(registry.Repo, f.Digest("amd64")))
				copied("linux/amd64", "linux/arm64")
				want.Late = append(want.Late, "amd64")
				dst.Check(want)
			}
		})
	}
}

// TestImageMissing copies from sparse sources.
func TestImageMissing(t *testing.T) {
	for from, newSource := range copytest.Places {
		t.Run(from, func(t *testing.T) {
			e := copytest.NewEnv(t)
			f := imagetest.WithAttestations()
			src := newSource(t)
			src.Push(f, "v1", imagetest.Top, "s390x", "att-arm64")
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "mirror")

			_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
			var missing *copy.MissingError
			require.ErrorAs(t, err, &missing)
			assert.Equal(t, []copy.MissingInstance{
				{Digest: f.Digest("s390x"), Platform: "linux/s390x"}, {Digest: f.Digest("att-arm64"), Platform: "unknown/unknown", AttestationOf: "linux/arm64", Kind: "attestation"},
			}, missing.Missing)
			assert.ErrorContains(t, err, f.Digest("att-arm64").String()+" (attestation of linux/arm64)")
			assert.Empty(t, dst.Snapshot("mirror"), "nothing is written")

			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{
				ImageListSelection: copy.CopyAllImages, MissingInstances: copy.SkipMissing, SparseManifestListAction: copy.StripSparseManifestList,
			})
			require.NoError(t, err)
			dst.Check(imagetest.Want{
				Tag: "v1", Digest: r.Plan.Digest, Fixture: f, Only: true, Present: []string{"amd64", "arm64", "att-amd64", "att-s390x"},
			})

			// An attestation that is selected by following only never fails a copy.
			_, err = e.Image(t.Context(), dst.Ref("v2"), src.Ref("v1"), copy.Options{
				ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm64"),
				SparseManifestListAction: copy.StripSparseManifestList,
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
			e := copytest.NewEnv(t)
			path := "/v2/app/manifests/" + f.Digest("arm64").String()
			src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{
				Script: func(_ int, req *http.Request) registrytest.Answer {
					if req.URL.Path == path {
						return answer
					}
					return registrytest.Answer{}
				},
			}), "app")
			dst := copytest.Places["registry"](t)
			src.Push(f, "v1", imagetest.Top)
			_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{
				ImageListSelection: copy.CopyAllImages, MissingInstances: copy.SkipMissing,
			})
			var at *copy.Error
			require.ErrorAs(t, err, &at)
			assert.Equal(t, copy.SourceSide, at.Side)
			assert.Equal(t, f.Digest("arm64").String(), at.Object)
			var refusal *copy.RegistryError
			require.ErrorAs(t, err, &refusal)
			assert.Empty(t, dst.Top("v1"))
		})
	}
}

// TestImageAuto plays every registry in the field whose answer is known.
func TestImageAuto(t *testing.T) {
	f := imagetest.Platforms(4, 1, 100)
	options := copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64"),
		SparseManifestListAction: copy.AutoSparseManifestList,
	}
	for _, row := range registrytest.Registries() {
		t.Run(row.Name, func(t *testing.T) {
			t.Parallel()
			e := copytest.NewEnv(t)
			src := copytest.Places["registry"](t)
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{ListPolicy: row.Policy}), "mirror")
			src.Push(f, "v1", imagetest.Top)
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), options)
			require.NoError(t, err)
			dst.Check(imagetest.Want{Tag: "v1", Digest: r.DestinationDigest, Fixture: f, Present: []string{"amd64"}, Absent: []string{"arm64", "arm/v7", "ppc64le"}})
			if row.Sparse {
				assert.Equal(t, copy.KeepSparseManifestList, r.Action)
				assert.Equal(t, f.Digest(imagetest.Top), r.DestinationDigest)
				assert.Empty(t, r.Refusal)
				return
			}
			assert.Equal(t, copy.StripSparseManifestList, r.Action)
			assert.NotEqual(t, f.Digest(imagetest.Top), r.DestinationDigest)
			assert.NotEmpty(t, r.Refusal)

			again, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), options)
			require.NoError(t, err)
			assert.False(t, again.Written)
		})
	}
	for _, row := range registrytest.Unrelated() {
		t.Run("never strips: "+row.Name, func(t *testing.T) {
			t.Parallel()
			e := copytest.NewEnv(t)
			src := copytest.Places["registry"](t)
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{ListPolicy: row.Policy}), "mirror")
			src.Push(f, "v1", imagetest.Top)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			_, err := e.Image(ctx, dst.Ref("v1"), src.Ref("v1"), options)
			require.Error(t, err)
			var refused *copy.SparseRefusedError
			assert.False(t, errors.As(err, &refused), "%v", err)
			assert.Empty(t, dst.Top("v1"))
		})
	}
}

// TestImageKeepRefused keeps the registry's own words.
func TestImageKeepRefused(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(4, 1, 100)
	src := copytest.Places["registry"](t)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "mirror")
	src.Push(f, "v1", imagetest.Top)
	dst.Push(f, "v1", "arm64")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64"),
	})
	var refused *copy.SparseRefusedError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, f.Digest(imagetest.Top), refused.List)
	var registry *copy.RegistryError
	require.ErrorAs(t, err, &registry)
	assert.True(t, registry.Has("MANIFEST_BLOB_UNKNOWN"))
	assert.Equal(t, f.Digest("arm64"), dst.Top("v1"), "the tag is what it was")
}

// TestImageCannotStrip refuses to change what must not change.
func TestImageCannotStrip(t *testing.T) {
	f := imagetest.Platforms(4, 1, 100)
	strip := copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64"),
		SparseManifestListAction: copy.StripSparseManifestList,
	}
	preserve := strip
	preserve.PreserveDigests = true
	for name, c := range map[string]struct {
		options copy.Options
		tag     string
	}{
		"preserve digests":       {preserve, "v1"},
		"destination has digest": {strip, f.Digest(imagetest.Top).String()},
	} {
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			src, dst := copytest.Places["registry"](t), copytest.Places["registry"](t).(copytest.RegistryPlace)
			src.Push(f, "v1", imagetest.Top)
			_, err := e.Image(t.Context(), dst.Ref(c.tag), src.Ref("v1"), c.options)
			var cannot *copy.CannotModifyError
			require.ErrorAs(t, err, &cannot)
			assert.Equal(t, f.Digest(imagetest.Top), cannot.List)
			assert.Empty(t, dst.Snapshot(dst.Repo))
		})
	}
}

// TestEveryRequestFails fails each request of a small copy in turn. Afterwards the old tag is
// intact or the new one complete, and a second run completes it.
func TestEveryRequestFails(t *testing.T) {
	f := imagetest.Platforms(3, 2, 100)
	old := imagetest.Platforms(1, 1, 50)
	options := copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64"),
		SparseManifestListAction: copy.StripSparseManifestList, MaxParallelDownloads: 2,
	}
	for name, answer := range map[string]registrytest.Answer{
		"denied": registrytest.Fail(403, "DENIED", "not today"),
		"closed": registrytest.Close(),
		"lost":   registrytest.LostAnswer(),
	} {
		for _, side := range []copy.Side{copy.SourceSide, copy.DestinationSide} {
			t.Run(name+" at the "+string(side), func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n++ {
					e := copytest.NewEnv(t)
					var so, do registrytest.Options
					if side == copy.SourceSide {
						so.Script = registrytest.OnNth(n, answer)
					} else {
						do.Script = registrytest.OnNth(n, answer)
					}
					do.Strict = true
					src := copytest.RegistryAt(t, registrytest.Start(t, so), "app")
					dst := copytest.RegistryAt(t, registrytest.Start(t, do), "app")
					src.Push(f, "v1", imagetest.Top)
					dst.Push(old, "v1", "amd64")
					r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), options)
					if err != nil {
						var at *copy.Error
						require.ErrorAs(t, err, &at, "request %d", n)
						assert.Equal(t, side, at.Side, "request %d: %v", n, err)
						if !r.Written && name != "lost" {
							assert.Equal(t, old.Digest("amd64"), dst.Top("v1"), "request %d", n)
						}
						r, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), options)
						require.NoError(t, err, "request %d, second run", n)
					}
					dst.Check(imagetest.Want{Tag: "v1", Digest: r.Plan.Digest, Fixture: f, Present: []string{"amd64", "arm64"}, Absent: []string{"arm/v7"}})
					failing := src.Registry
					if side == copy.DestinationSide {
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
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(3, 2, 100)
	reason := errors.New("the caller has changed its mind")
	ctx, cancel := context.WithCancelCause(t.Context())
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{
		Script: registrytest.Only(registrytest.Matching("GET", registrytest.KindBlob), func(n int, _ *http.Request) registrytest.Answer {
			if n == 3 {
				cancel(reason)
			}
			return registrytest.Stall()
		}),
	}), "app")
	dst := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	dst.Push(f, "v1", "amd64")
	_, err := e.Image(ctx, dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
	require.ErrorIs(t, err, reason)
	assert.Equal(t, f.Digest("amd64"), dst.Top("v1"))
}

// TestLayoutKeepsOtherTags copies into a layout that has something else.
func TestLayoutKeepsOtherTags(t *testing.T) {
	e := copytest.NewEnv(t)
	f, other := imagetest.Platforms(2, 1, 100), imagetest.Platforms(1, 1, 50)
	src, dst := copytest.Places["registry"](t), copytest.Places["layout"](t)
	src.Push(f, "v1", imagetest.Top)
	dst.Push(other, "other", "amd64")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
	require.NoError(t, err)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
	dst.Check(imagetest.Want{Tag: "other", Digest: other.Digest("amd64"), Fixture: other})
	entries, err := os.ReadDir(dst.(copytest.LayoutPlace).Dir)
	require.NoError(t, err)
	for _, entry := range entries {
		assert.Contains(t, []string{"blobs", "index.json", "oci-layout"}, entry.Name())
	}
}
