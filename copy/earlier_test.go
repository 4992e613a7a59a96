package copy_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/signature/signer"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// left is what the copy of a report has left.
func left(r *copy.Report) *copy.Earlier {
	return &copy.Earlier{Source: r.SourceDigest, Destination: r.DestinationDigest, Wanted: r.Wanted, Verified: r.VerifiedAt}
}

// again copies v1 once more, with what an earlier copy has left, and returns what it reports, its
// error, and the requests to each side, sorted.
func (c *counted) again(t *testing.T, o copy.Options, earlier *copy.Earlier) (r *copy.Report, source, destination []string, err error) {
	t.Helper()
	c.src.ResetLog()
	c.dst.ResetLog()
	r = &copy.Report{}
	o.Earlier, o.Report = earlier, r
	_, err = c.Copier(o).Image(t.Context(), c.Policy, c.dst.Ref("v1"), c.src.Ref("v1"), c.Options(o))
	return r, requestsTo(c.src), requestsTo(c.dst), err
}

// requestsTo are the requests that a registry got: their methods, and what they are for.
func requestsTo(p copytest.RegistryPlace) []string {
	var all []string
	for _, rq := range p.Requests() {
		all = append(all, rq.Method+" "+strings.TrimPrefix(rq.Path, "/v2/app/manifests/"))
	}
	slices.Sort(all)
	return all
}

// heads are HEADs of what fixture names stand for.
func heads(f *imagetest.Fixture, names ...string) []string {
	var all []string
	for _, d := range f.Digests(names...) {
		all = append(all, "HEAD "+d.String())
	}
	slices.Sort(all)
	return all
}

// TestEarlierSettles: where nothing has changed, and nothing else is to be asked, two HEADs tell.
func TestEarlierSettles(t *testing.T) {
	for name, c := range map[string]struct {
		options copy.Options
		strict  bool
	}{
		"strip":          {twoPlatforms(copy.StripSparseManifestList), true},
		"keep":           {twoPlatforms(copy.KeepSparseManifestList), false},
		"auto, stripped": {twoPlatforms(copy.AutoSparseManifestList), true},
		"all":            {copy.Options{ImageListSelection: copy.CopyAllImages}, true},
		"single image":   {copy.Options{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			pair := newCounted(t, imagetest.Platforms(4, 2, 100), c.strict)
			first, _, _ := pair.copy(t, "v1", c.options)
			require.NotEmpty(t, first.Wanted)
			assert.WithinDuration(t, time.Now(), first.VerifiedAt, time.Minute)
			r, source, destination, err := pair.again(t, c.options, left(first))
			require.NoError(t, err)
			assert.Equal(t, []string{"HEAD v1"}, source)
			assert.Equal(t, []string{"HEAD v1"}, destination)
			assert.Equal(t, copy.CheckedEarlier, r.Checked)
			assert.Equal(t, left(first), left(r))
			assert.Nil(t, r.Plan)
			assert.False(t, r.Written)
		})
	}
}

// TestEarlierBesideALookaside: a directory of signatures that has none of the repository says that
// there is nothing more to ask.
func TestEarlierBesideALookaside(t *testing.T) {
	pair := newCounted(t, imagetest.Platforms(2, 1, 100), false)
	dir := t.TempDir()
	lookaside := "default-docker:\n  lookaside: file://" + dir + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(pair.Sys.RegistriesDirPath, "default.yaml"), []byte(lookaside), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "apps@sha256="+digest.FromString("x").Encoded()), 0o700))
	all := copy.Options{ImageListSelection: copy.CopyAllImages}
	first, _, _ := pair.copy(t, "v1", all)
	r, source, destination, err := pair.again(t, all, left(first))
	require.NoError(t, err)
	assert.Nil(t, r.Plan)
	assert.Len(t, append(source, destination...), 2)
}

// TestEarlierDoesNotSuffice: a copy looks at more than what both references name if the policy, an
// option, or what is known of signatures wants it, whatever an earlier copy has left.
func TestEarlierDoesNotSuffice(t *testing.T) {
	by, err := copytest.Signer()
	require.NoError(t, err)
	all := copy.Options{ImageListSelection: copy.CopyAllImages}
	with := func(change func(*copy.Options)) func(*testing.T, *counted) copy.Options {
		return func(*testing.T, *counted) copy.Options {
			o := all
			change(&o)
			return o
		}
	}
	for name, options := range map[string]func(*testing.T, *counted) copy.Options{
		"recheck":               with(func(o *copy.Options) { o.Recheck = true }),
		"blobs are checked":     with(func(o *copy.Options) { o.CheckBlobs = true }),
		"referrers":             with(func(o *copy.Options) { o.Referrers = copy.AllReferrers }),
		"digest tags":           with(func(o *copy.Options) { o.DigestTags = true }),
		"entries as referrers":  with(func(o *copy.Options) { o.EntriesAsReferrers = true }),
		"manifests of one type": with(func(o *copy.Options) { o.ForceManifestMIMEType = "application/vnd.oci.image.manifest.v1+json" }),
		"always sign": func(t *testing.T, c *counted) copy.Options {
			c.Env, _, _ = copytest.NewSigningEnv(t)
			return copy.Options{ImageListSelection: copy.CopyAllImages, RemoveSignatures: true, AlwaysSign: true, Signers: []*signer.Signer{by}}
		},
		"original": func(*testing.T, *counted) copy.Options {
			return withOriginal()
		},
		"a policy that looks": func(t *testing.T, c *counted) copy.Options {
			e, _, public := copytest.NewSigningEnv(t)
			c.Env = e
			c.src = copytest.SignedSource(t, e, c.f, registrytest.Options{})
			c.Policy = copytest.SigstorePolicy(t, e, public, c.src.Ref("v1").DockerReference().Name())
			return copy.Options{ImageListSelection: copy.CopyAllImages, RemoveSignatures: true}
		},
		"sigstore attachments": func(t *testing.T, c *counted) copy.Options {
			c.Env = copytest.NewAttachmentsEnv(t)
			return all
		},
		"a lookaside with signatures": func(t *testing.T, c *counted) copy.Options {
			dir := t.TempDir()
			lookaside := "default-docker:\n  lookaside: file://" + dir + "\n"
			require.NoError(t, os.WriteFile(filepath.Join(c.Sys.RegistriesDirPath, "default.yaml"), []byte(lookaside), 0o600))
			require.NoError(t, os.Mkdir(filepath.Join(dir, "app@sha256="+digest.FromString("another list").Encoded()), 0o700))
			return all
		},
	} {
		t.Run(name, func(t *testing.T) {
			pair := newCounted(t, imagetest.Platforms(3, 1, 100), false)
			o := options(t, pair)
			first, _, _ := pair.copy(t, "v1", o)
			earlier := left(first)
			earlier.Wanted = digest.FromString("whatever") // so that nothing else settles it
			r, source, destination, err := pair.again(t, o, earlier)
			require.NoError(t, err)
			assert.NotNil(t, r.Plan)
			assert.Greater(t, len(source)+len(destination), 2, "%s %s", source, destination)
		})
	}
}

// TestEarlierIsVoid: what an earlier copy has left says nothing where a reference names something
// else now, or one of its fields is not known.
func TestEarlierIsVoid(t *testing.T) {
	other := digest.FromString("other")
	for name, change := range map[string]func(*counted, *copy.Earlier){
		"another source":              func(_ *counted, e *copy.Earlier) { e.Source = other },
		"no source":                   func(_ *counted, e *copy.Earlier) { e.Source = "" },
		"another destination":         func(_ *counted, e *copy.Earlier) { e.Destination = other },
		"no destination":              func(_ *counted, e *copy.Earlier) { e.Destination = "" },
		"nothing wanted":              func(_ *counted, e *copy.Earlier) { e.Wanted = "" },
		"the destination's tag moved": func(c *counted, _ *copy.Earlier) { c.dst.Push(c.f, "v1", "arm64") },
		"the destination's tag went":  func(c *counted, _ *copy.Earlier) { c.dst.DeleteTag("app", "v1") },
		"the source's tag moved":      func(c *counted, _ *copy.Earlier) { c.src.Push(c.f, "v1", "arm64") },
	} {
		t.Run(name, func(t *testing.T) {
			pair := newCounted(t, imagetest.Platforms(3, 1, 100), false)
			o := copy.Options{ImageListSelection: copy.CopyAllImages}
			first, _, _ := pair.copy(t, "v1", o)
			earlier := left(first)
			change(pair, earlier)
			r, _, _, err := pair.again(t, o, earlier)
			require.NoError(t, err)
			assert.NotNil(t, r.Plan)
			assert.Equal(t, strings.HasSuffix(name, " source"), r.Checked == copy.CheckedEarlier, "what is wanted decides, not where it comes from")
			assert.Equal(t, pair.src.Top("v1"), pair.dst.Top("v1"))
			assert.Equal(t, pair.src.Top("v1"), r.DestinationDigest)
		})
	}
}

// TestEarlierOfNothing: no fingerprint is reported where the same source may lead to something else
// the next time.
func TestEarlierOfNothing(t *testing.T) {
	by, err := copytest.Signer()
	require.NoError(t, err)
	all := copy.Options{ImageListSelection: copy.CopyAllImages}
	signed, skipping := all, all
	signed.AlwaysSign, signed.Signers = true, []*signer.Signer{by}
	skipping.MissingInstances = copy.SkipMissing
	for name, c := range map[string]struct {
		f       *imagetest.Fixture
		omit    []string
		options copy.Options
	}{
		"images are transformed": {f: partlyPlain(3), options: all},
		"something is missing":   {f: imagetest.Platforms(3, 1, 100), omit: []string{"arm64"}, options: skipping},
		"always signed":          {f: imagetest.Platforms(3, 1, 100), options: signed},
	} {
		t.Run(name, func(t *testing.T) {
			e, _, _ := copytest.NewSigningEnv(t)
			src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
			src.Push(c.f, "v1", imagetest.Top, c.omit...)
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), c.options)
			require.NoError(t, err)
			assert.Empty(t, r.Wanted)
		})
	}
}

// TestEarlierSavesQuestions: where the source has more to say, it is asked, and the destination is
// asked for nothing but its reference if the source says what it said.
func TestEarlierSavesQuestions(t *testing.T) {
	attached := copy.Options{ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers, DigestTags: true}
	t.Run("attachments", func(t *testing.T) {
		f := copytest.AttachedFixture()
		pair := newCounted(t, f, false)
		copytest.PushAttached(t, f, pair.src, true)
		first, _, _ := pair.copy(t, "v1", attached)
		require.NotEmpty(t, first.Wanted)
		r, source, destination, err := pair.again(t, attached, left(first))
		require.NoError(t, err)
		assert.Equal(t, []string{"HEAD v1"}, destination)
		assert.Greater(t, len(source), 10)
		assert.Equal(t, copy.CheckedEarlier, r.Checked)
		assert.Equal(t, left(first), left(r))
		for _, a := range r.Attached {
			assert.Equal(t, copy.Present, a.Outcome, a.Digest)
		}

		f.Blob("late blob", copytest.SbomType, []byte("late"))
		f.Artifact("late", imagetest.ArtifactType(copytest.SbomType), imagetest.Subject("amd64"), imagetest.Layers("late blob"))
		pair.src.Push(f, "", "late")
		r, _, _, err = pair.again(t, attached, left(first))
		require.NoError(t, err)
		assert.NotEqual(t, first.Wanted, r.Wanted)
		assert.NotEqual(t, copy.CheckedEarlier, r.Checked)
		assert.Equal(t, 1, r.ManifestsCopied, "and nothing else")
		assert.True(t, r.VerifiedAt.After(first.VerifiedAt))
		_, _, ok := pair.dst.Manifest("app", f.Digest("late").String())
		assert.True(t, ok, "what was attached since is copied")
	})
	t.Run("signatures and a policy", func(t *testing.T) {
		pair := newCounted(t, imagetest.Platforms(3, 1, 100), false)
		e, _, public := copytest.NewSigningEnv(t)
		pair.Env, pair.src = e, copytest.SignedSource(t, e, pair.f, registrytest.Options{})
		pair.Policy = copytest.SigstorePolicy(t, e, public, pair.src.Ref("v1").DockerReference().Name())
		all := copy.Options{ImageListSelection: copy.CopyAllImages}
		first, _, _ := pair.copy(t, "v1", all)
		require.NotEmpty(t, first.Wanted)
		r, source, destination, err := pair.again(t, all, left(first))
		require.NoError(t, err)
		assert.Equal(t, []string{"HEAD v1"}, destination)
		assert.Greater(t, len(source), 4, "the policy wants to see everything")
		assert.Equal(t, copy.CheckedEarlier, r.Checked)

		pair.Policy = copytest.SigstorePolicy(t, e, public, "elsewhere.example/app")
		_, _, _, err = pair.again(t, all, left(first))
		var rejected *copy.RejectedError
		assert.ErrorAs(t, err, &rejected, "the policy is asked all the same")
	})
	t.Run("original", func(t *testing.T) {
		pair := newCounted(t, imagetest.Platforms(2, 1, 100), false)
		pair.src = signedSource(t)
		first, _, _ := pair.copy(t, "v1", withOriginal())
		require.NotEmpty(t, first.Wanted)
		r, _, destination, err := pair.again(t, withOriginal(), left(first))
		require.NoError(t, err)
		assert.Equal(t, []string{"HEAD v1"}, destination)
		assert.Equal(t, copy.CheckedEarlier, r.Checked)
		assert.Equal(t, copy.Present, r.Original.Outcome)
	})
}

// TestRecheck asks for every child, and reads what the tag names; what is lost is copied again.
func TestRecheck(t *testing.T) {
	for name, o := range map[string]copy.Options{
		"keep": twoPlatforms(copy.KeepSparseManifestList), "strip": twoPlatforms(copy.StripSparseManifestList),
	} {
		t.Run(name, func(t *testing.T) {
			pair := newCounted(t, imagetest.Platforms(4, 2, 100), false)
			first, _, _ := pair.copy(t, "v1", o)
			o.Recheck = true
			r, source, destination, err := pair.again(t, o, left(first))
			require.NoError(t, err)
			assert.Equal(t, []string{"GET v1"}, source)
			assert.Equal(t, append([]string{"GET v1"}, heads(pair.f, "amd64", "arm64")...), destination)
			assert.Equal(t, copy.CheckedChildren, r.Checked)
			assert.True(t, r.VerifiedAt.After(first.VerifiedAt))
			assert.Equal(t, first.Wanted, r.Wanted)

			require.True(t, pair.dst.DeleteManifest("app", pair.f.Digest("arm64")))
			r, _, _, err = pair.again(t, o, left(first))
			require.NoError(t, err)
			_, _, ok := pair.dst.Manifest("app", pair.f.Digest("arm64").String())
			assert.True(t, ok)
			assert.False(t, r.Written)
			assert.Equal(t, first.Wanted, r.Wanted)
		})
	}
}

// TestRecheckOfOtherBytes: what the destination hands out with other bytes is stored again, and
// still is damage if that does not help.
func TestRecheckOfOtherBytes(t *testing.T) {
	for name, faulty := range map[string]int{"mended": 1, "not mended": 2} {
		t.Run(name, func(t *testing.T) {
			pair := newCounted(t, imagetest.Platforms(2, 1, 100), false)
			isTag := func(rq *http.Request) bool {
				return rq.Method == http.MethodGet && strings.HasSuffix(rq.URL.Path, "/manifests/v1")
			}
			pair.dst = copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{
				Script: registrytest.Only(isTag, registrytest.FirstN(faulty, registrytest.Corrupt(20))),
			}), "app")
			o := copy.Options{ImageListSelection: copy.CopyAllImages}
			first, _, _ := pair.copy(t, "v1", o)
			o.Recheck = true
			r, _, destination, err := pair.again(t, o, left(first))
			assert.Contains(t, destination, "PUT v1")
			if name == "mended" {
				require.NoError(t, err)
				assert.True(t, r.Written)
				assert.Equal(t, first.Wanted, r.Wanted)
				return
			}
			assertDamaged(t, err, pair.f.Digest(imagetest.Top))
			assert.Empty(t, r.DestinationDigest)
			assert.Empty(t, r.Wanted)
		})
	}
}

// assertDamaged demands a *copy.DamagedError about what a destination lacks.
func assertDamaged(t *testing.T, err error, lacks ...digest.Digest) {
	t.Helper()
	damaged, ok := errors.AsType[*copy.DamagedError](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, lacks, damaged.Lacks)
	assert.NotEmpty(t, damaged.Destination)
	assert.Error(t, damaged.Err)
}

// TestDamaged: what the destination has lost, and the source too, is damage, and nothing that it
// names changes.
func TestDamaged(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*copy.Options)
		lose   func(c *counted)
		lacks  string
	}{
		"a child": {
			func(o *copy.Options) { o.Recheck = true },
			func(c *counted) { c.src.DeleteManifest("app", c.f.Digest("arm64")) }, "arm64",
		},
		"a child that may be missing": {
			func(o *copy.Options) {
				o.Recheck, o.MissingInstances, o.SparseManifestListAction = true, copy.SkipMissing, copy.StripSparseManifestList
			},
			func(c *counted) { c.src.DeleteManifest("app", c.f.Digest("arm64")) }, "arm64",
		},
		"a blob of a child": {
			func(o *copy.Options) { o.Recheck = true },
			func(c *counted) {
				for _, d := range c.f.Blobs("arm64") {
					c.src.DeleteBlob("app", d)
					c.dst.DeleteBlob("app", d)
				}
			}, "",
		},
		"a blob that the destination says it has": {
			func(o *copy.Options) { o.Recheck = true },
			func(c *counted) {
				for _, d := range c.f.Blobs("arm64") {
					c.src.DeleteBlob("app", d)
					c.dst.LoseBlob("app", d)
				}
			}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			pair := newCounted(t, imagetest.Platforms(3, 1, 100), false)
			o := copy.Options{ImageListSelection: copy.CopyAllImages}
			first, _, _ := pair.copy(t, "v1", o)
			before := left(first)
			require.True(t, pair.dst.DeleteManifest("app", pair.f.Digest("arm64")))
			c.lose(pair)
			c.change(&o)
			_, _, _, err := pair.again(t, o, before)
			damaged, ok := errors.AsType[*copy.DamagedError](err)
			require.True(t, ok, "%v", err)
			require.Len(t, damaged.Lacks, 1)
			if c.lacks != "" {
				assert.Equal(t, pair.f.Digest(c.lacks), damaged.Lacks[0])
			}
			assert.Equal(t, first.DestinationDigest, pair.dst.Top("v1"))

			_, _, _, err = pair.again(t, o, nil)
			_, ok = errors.AsType[*copy.DamagedError](err)
			assert.False(t, ok, "nobody knows that it was ever there: %v", err)
		})
	}
}

// TestSourceGone: when the source has lost its tag, the destination is held against its own lists,
// and its tag stays what it was.
func TestSourceGone(t *testing.T) {
	keep, strip := twoPlatforms(copy.KeepSparseManifestList), twoPlatforms(copy.StripSparseManifestList)
	for name, c := range map[string]struct {
		options copy.Options
		lose    func(*counted)
		lacks   string // "" for nothing
	}{
		"intact, kept":      {options: keep},
		"intact, stripped":  {options: strip},
		"intact, one":       {options: copy.Options{}},
		"a child, kept":     {keep, func(c *counted) { c.dst.DeleteManifest("app", c.f.Digest("arm64")) }, "arm64"},
		"a child, stripped": {strip, func(c *counted) { c.dst.DeleteManifest("app", c.f.Digest("amd64")) }, "amd64"},
	} {
		t.Run(name, func(t *testing.T) {
			pair := newCounted(t, imagetest.Platforms(4, 1, 100), false)
			first, _, _ := pair.copy(t, "v1", c.options)
			pair.src.DeleteTag("app", "v1")
			if c.lose != nil {
				c.lose(pair)
			}
			r, source, _, err := pair.again(t, c.options, left(first))
			assert.Equal(t, first.DestinationDigest, pair.dst.Top("v1"))
			assert.Equal(t, []string{"GET v1", "HEAD v1"}, source)
			if c.lacks != "" {
				assertDamaged(t, err, pair.f.Digest(c.lacks))
				return
			}
			require.NoError(t, err)
			require.Len(t, r.Warnings, 1)
			assert.Contains(t, r.Warnings[0], "the source is gone")
			assert.Equal(t, first.DestinationDigest, r.DestinationDigest)
			assert.Empty(t, r.SourceDigest)
			assert.Equal(t, first.Wanted, r.Wanted)
			assert.True(t, r.VerifiedAt.After(first.VerifiedAt))

			_, _, _, err = pair.again(t, c.options, nil)
			assert.ErrorIs(t, err, copy.ErrNotFound, "nobody knows what the destination had")
		})
	}
	all := copy.Options{ImageListSelection: copy.CopyAllImages}
	t.Run("both tags", func(t *testing.T) {
		pair := newCounted(t, imagetest.Platforms(2, 1, 100), false)
		first, _, _ := pair.copy(t, "v1", all)
		pair.src.DeleteTag("app", "v1")
		pair.dst.DeleteTag("app", "v1")
		_, _, _, err := pair.again(t, all, left(first))
		assertDamaged(t, err, first.DestinationDigest)
	})
	t.Run("a blob", func(t *testing.T) {
		pair := newCounted(t, imagetest.Platforms(2, 1, 100), false)
		first, _, _ := pair.copy(t, "v1", all)
		pair.src.DeleteTag("app", "v1")
		lost := pair.f.Blobs("arm64")[0]
		pair.dst.DeleteBlob("app", lost)
		o := all
		o.CheckBlobs = true
		_, _, _, err := pair.again(t, o, left(first))
		assertDamaged(t, err, lost)
	})
	t.Run("the tag is somebody else's", func(t *testing.T) {
		pair := newCounted(t, imagetest.Platforms(2, 1, 100), false)
		first, _, _ := pair.copy(t, "v1", all)
		pair.src.DeleteTag("app", "v1")
		pair.dst.Push(pair.f, "v1", "arm64")
		_, _, _, err := pair.again(t, all, left(first))
		require.ErrorIs(t, err, copy.ErrNotFound)
		_, ok := errors.AsType[*copy.DamagedError](err)
		assert.False(t, ok)
	})
	t.Run("nested lists", func(t *testing.T) {
		outer := twoPlatforms(copy.KeepSparseManifestList)
		outer.InstancePlatforms = copytest.Platforms("linux/amd64", "linux/s390x")
		required := all
		required.RequiredPlatforms = copytest.Platforms("linux/arm64")
		for name, c := range map[string]struct {
			options copy.Options
			lacks   string
		}{
			"nothing of them was selected": {outer, ""},
			"lost":                         {twoPlatforms(copy.KeepSparseManifestList), "inner"},
			"all was selected":             {all, "inner"},
			"lost, with what is required":  {required, "inner"},
		} {
			t.Run(name, func(t *testing.T) {
				pair := newCounted(t, imagetest.Nested(), false)
				first, _, _ := pair.copy(t, "v1", c.options)
				pair.src.DeleteTag("app", "v1")
				require.Equal(t, c.lacks != "", pair.dst.DeleteManifest("app", pair.f.Digest("inner")))
				_, _, _, err := pair.again(t, c.options, left(first))
				if c.lacks == "" {
					require.NoError(t, err)
					return
				}
				assertDamaged(t, err, pair.f.Digest(c.lacks))
			})
		}
	})
	t.Run("what was missing before", func(t *testing.T) {
		pair := newCounted(t, imagetest.Platforms(3, 1, 100), false)
		o := all
		o.MissingInstances = copy.SkipMissing
		pair.src.DeleteManifest("app", pair.f.Digest("arm64"))
		first, _, _ := pair.copy(t, "v1", o)
		pair.src.DeleteTag("app", "v1")
		_, _, _, err := pair.again(t, o, left(first))
		require.ErrorIs(t, err, copy.ErrNotFound)
		_, damaged := errors.AsType[*copy.DamagedError](err)
		assert.False(t, damaged, "%v", err)
		assert.ErrorContains(t, err, "it lacks "+pair.f.Digest("arm64").String())
	})
	t.Run("a source that does not answer", func(t *testing.T) {
		pair := newCounted(t, imagetest.Platforms(2, 1, 100), false)
		first, _, _ := pair.copy(t, "v1", all)
		pair.src = copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{
			Script: registrytest.EveryNth(1, registrytest.Fail(http.StatusForbidden, "DENIED", "no")),
		}), "app")
		_, _, _, err := pair.again(t, all, left(first))
		require.ErrorContains(t, err, "DENIED")
		_, ok := errors.AsType[*copy.DamagedError](err)
		assert.False(t, ok)
	})
}

// TestCheckBlobsOfAttachments: a blob of what is attached that the destination has lost is copied
// again, although the manifest is there.
func TestCheckBlobsOfAttachments(t *testing.T) {
	f := copytest.AttachedFixture()
	pair := newCounted(t, f, false)
	copytest.PushAttached(t, f, pair.src, true)
	o := copy.Options{ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers, DigestTags: true}
	first, _, _ := pair.copy(t, "v1", o)
	o.CheckBlobs = true
	r, _, destination, err := pair.again(t, o, left(first))
	require.NoError(t, err)
	assert.False(t, slices.ContainsFunc(destination, func(rq string) bool { return strings.HasPrefix(rq, http.MethodPut) }), "%s", destination)
	assert.Zero(t, r.BlobsCopied)
	for _, name := range []string{"sbom-amd64", "cosign-amd64"} {
		lost := f.Blobs(name)
		for _, d := range lost {
			pair.dst.DeleteBlob("app", d)
		}
		r, _, _, err = pair.again(t, o, left(first))
		require.NoError(t, err)
		assert.Positive(t, r.BlobsCopied, name)
		for _, d := range lost {
			_, ok := pair.dst.Blob("app", d)
			assert.True(t, ok, "%s of %s", d, name)
		}
	}
}

// TestNotDamaged: that the source has lost something is no damage where the destination turns out
// to have it, although it did not say so when it was asked first.
func TestNotDamaged(t *testing.T) {
	pair := newCounted(t, imagetest.Platforms(3, 1, 100), false)
	arm64 := pair.f.Digest("arm64")
	isChild := func(rq *http.Request) bool {
		return rq.Method == http.MethodHead && strings.HasSuffix(rq.URL.Path, arm64.String())
	}
	pair.dst = copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{
		Script: registrytest.Only(isChild, registrytest.OnNth(2, registrytest.Fail(http.StatusForbidden, "DENIED", "no"))),
	}), "app")
	o := copy.Options{ImageListSelection: copy.CopyAllImages}
	first, _, _ := pair.copy(t, "v1", o)
	pair.src.DeleteManifest("app", arm64)
	o.Recheck = true
	_, _, _, err := pair.again(t, o, left(first))
	var missing *copy.MissingError
	require.ErrorAs(t, err, &missing)
	_, damaged := errors.AsType[*copy.DamagedError](err)
	assert.False(t, damaged, "%v", err)
}

// TestNotDamagedByAConfig: a config that the source has lost, and that is read for its platform, is
// no damage where the destination has it.
func TestNotDamagedByAConfig(t *testing.T) {
	pair := newCounted(t, imagetest.Platforms(2, 1, 100), false)
	pair.src.Push(pair.f, "v1", "amd64")
	o := twoPlatforms(copy.KeepSparseManifestList)
	first, _, _ := pair.copy(t, "v1", o)
	pair.src.DeleteBlob("app", pair.f.Blobs("amd64")[0])
	o.Recheck = true
	_, _, _, err := pair.again(t, o, left(first))
	require.ErrorIs(t, err, copy.ErrNotFound)
	_, damaged := errors.AsType[*copy.DamagedError](err)
	assert.False(t, damaged, "%v", err)
}

// TestNotDamagedByWhatIsNew: what was attached since the earlier copy, and cannot be read, is not
// what the destination has lost.
func TestNotDamagedByWhatIsNew(t *testing.T) {
	f := copytest.AttachedFixture()
	pair := newCounted(t, f, false)
	copytest.PushAttached(t, f, pair.src, true)
	o := copy.Options{ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers, DigestTags: true}
	first, _, _ := pair.copy(t, "v1", o)
	f.Blob("late blob", copytest.SbomType, []byte("late"))
	f.Artifact("late", imagetest.ArtifactType(copytest.SbomType), imagetest.Subject("amd64"), imagetest.Layers("late blob"))
	pair.src.Push(f, "", "late")
	require.True(t, pair.src.DeleteBlob("app", f.Digest("late blob")))
	_, _, _, err := pair.again(t, o, left(first))
	require.ErrorIs(t, err, copy.ErrNotFound)
	_, damaged := errors.AsType[*copy.DamagedError](err)
	assert.False(t, damaged, "%v", err)

	pair.src.DeleteManifest("app", f.Digest("late"))
	lost := f.Digest("sbom of amd64")
	pair.src.DeleteBlob("app", lost)
	pair.dst.DeleteBlob("app", lost)
	pair.dst.DeleteManifest("app", f.Digest("sbom-amd64"))
	o.Recheck = true
	_, _, _, err = pair.again(t, o, left(first))
	assertDamaged(t, err, lost)
}

// TestCheckBlobsOfSignatures: who looks at blobs carries the signatures, too, that images lack
// which are there.
func TestCheckBlobsOfSignatures(t *testing.T) {
	for name, f := range map[string]*imagetest.Fixture{"flat": imagetest.Platforms(3, 1, 100), "nested": imagetest.Nested()} {
		t.Run(name, func(t *testing.T) {
			pair := newCounted(t, f, false)
			pair.Env, _, _ = copytest.NewSigningEnv(t)
			pair.src = copytest.SignedSource(t, pair.Env, f, registrytest.Options{})
			o := copy.Options{ImageListSelection: copy.CopyAllImages}
			first, _, _ := pair.copy(t, "v1", o)
			before := pair.dst.Snapshot("app")
			o.CheckBlobs = true
			for _, lost := range f.Manifests(imagetest.Top) {
				require.True(t, pair.dst.DeleteTag("app", copytest.DigestTag(lost, ".sig")), f.Name(lost))
				r, _, _, err := pair.again(t, o, left(first))
				require.NoError(t, err)
				assert.Equal(t, before, pair.dst.Snapshot("app"), f.Name(lost))
				assert.Positive(t, r.SignaturesCopied)
			}
			r, _, _, err := pair.again(t, o, left(first))
			require.NoError(t, err)
			assert.Zero(t, r.SignaturesCopied)
		})
	}
}

// TestCheckBlobsLeavesNothingOut: what the source has lost, and the destination has, is not
// stripped by a copy that would look at its blobs, either.
func TestCheckBlobsLeavesNothingOut(t *testing.T) {
	for name, checks := range map[string]bool{"blobs": true, "manifests": false} {
		t.Run(name, func(t *testing.T) {
			pair := newCounted(t, imagetest.Platforms(3, 1, 100), false)
			o := copy.Options{ImageListSelection: copy.CopyAllImages, SparseManifestListAction: copy.StripSparseManifestList, MissingInstances: copy.SkipMissing}
			first, _, _ := pair.copy(t, "v1", o)
			before := pair.dst.Snapshot("app")
			pair.src.DeleteManifest("app", pair.f.Digest("arm64"))
			o.CheckBlobs, o.Recheck = checks, true
			for _, earlier := range []*copy.Earlier{left(first), nil} {
				r, _, _, err := pair.again(t, o, earlier)
				require.NoError(t, err)
				assert.Equal(t, before, pair.dst.Snapshot("app"))
				assert.False(t, r.Written)
				assert.Equal(t, checks, len(r.Warnings) == 1 && strings.Contains(r.Warnings[0], pair.f.Digest("arm64").String()), r.Warnings)
			}
		})
	}
}

// TestHealsTheRest: what else the destination has lost is copied again where something cannot be,
// and its reference goes on naming what it named.
func TestHealsTheRest(t *testing.T) {
	for name, missing := range map[string]copy.MissingInstanceAction{"fail": copy.FailOnMissing, "skip": copy.SkipMissing} {
		t.Run(name, func(t *testing.T) {
			pair := newCounted(t, imagetest.Platforms(4, 1, 100), false)
			o := copy.Options{ImageListSelection: copy.CopyAllImages}
			first, _, _ := pair.copy(t, "v1", o)
			for _, lost := range []string{"amd64", "arm64", "ppc64le"} {
				require.True(t, pair.dst.DeleteManifest("app", pair.f.Digest(lost)))
			}
			pair.src.DeleteManifest("app", pair.f.Digest("arm64"))
			o.Recheck, o.MissingInstances = true, missing
			_, _, _, err := pair.again(t, o, left(first))
			assertDamaged(t, err, pair.f.Digest("arm64"))
			assert.Equal(t, first.DestinationDigest, pair.dst.Top("v1"))
			for _, healed := range []string{"amd64", "ppc64le"} {
				_, _, ok := pair.dst.Manifest("app", pair.f.Digest(healed).String())
				assert.True(t, ok, healed)
			}
		})
	}
}
