package mirrorcmd

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestLoadAsRegistriesAre loads bundles into registries with habits that concern uploads and tags:
// one of a platform, then one of all, which widens the list that the tag names.
func TestLoadAsRegistriesAre(t *testing.T) {
	f := attachedFixture()
	src := registrytest.Start(t, registrytest.Options{})
	pushAttached(f, src)
	narrow, wide := filepath.Join(t.TempDir(), "narrow"), filepath.Join(t.TempDir(), "wide")
	create := []string{"bundle", "create", "--insecure-policy", "--src-tls-verify=false"}
	made := runAll(t.Context(), t, "", append(create, "--platform", "linux/amd64", narrow, refTo(src))...)
	require.Equal(t, StatusDone, made.status, made.stderr)
	runAll(t.Context(), t, "", append(create, "--all", "--referrers", "--digest-tags", wide, refTo(src))...).done(t)
	race := func(l registrytest.ListPut) registrytest.Answer { // which takes sparse lists otherwise
		if l.Attempt == 1 {
			return registrytest.NexusRace(l)
		}
		return registrytest.Accept(l)
	}
	inMessage := func(d []digest.Digest) registrytest.Answer {
		return registrytest.Fail(http.StatusBadRequest, "BLOB_UNKNOWN", "no blob "+d[0].String())
	}
	for name, c := range map[string]struct {
		o    registrytest.Options
		lost []string
	}{
		"immutable tags":       {o: registrytest.Options{PutAgain: registrytest.HarborTagImmutable}},
		"commit race":          {o: registrytest.Options{ListPolicy: race}},
		"content by PATCH":     {o: registrytest.Options{PatchOnly: true, MovingUploads: true}},
		"blobs of 404":         {lost: []string{"amd64.0", "arm64.config", "payload"}},
		"blobs in a message":   {o: registrytest.Options{BlobsUnknown: inMessage, IgnoreMounts: true}, lost: []string{"amd64.0", "arm64.config", "payload"}},
		"no API for referrers": {o: registrytest.Options{PutAgain: registrytest.HarborTagImmutable, NoReferrers: true}},
	} {
		t.Run(name, func(t *testing.T) {
			dst := registrytest.Start(t, c.o)
			for _, lost := range c.lost {
				dst.PutBlob(repo, f.Content(lost))
				dst.LoseBlob(repo, f.Digest(lost))
			}
			for _, bundle := range []string{narrow, wide, wide} {
				runAll(t.Context(), t, "", "bundle", "load", "--insecure-policy", "--dest-tls-verify=false", bundle, dst.Host()).done(t)
			}
			imagetest.CheckRegistry(t, dst, repo, imagetest.Want{Tag: tag, Digest: f.Digest(imagetest.Top), Fixture: f, Late: []string{imagetest.Top}})
			assert.Equal(t, 1, dst.Count(func(q registrytest.Request) bool {
				return q.Method == http.MethodPut && q.Kind == registrytest.KindManifest && q.Ref == tag && q.Status == http.StatusCreated
			}))
		})
	}
}

// TestLoadDoesNotWidenInVain loads a bundle of one platform, and then one of all, into registries
// that say what they do with sparse lists. Where what is added would be collected, nothing is
// written.
func TestLoadDoesNotWidenInVain(t *testing.T) {
	for name, f := range map[string]*imagetest.Fixture{"flat": imagetest.Platforms(3, 1, 100), "nested": imagetest.Nested()} {
		src := registrytest.Start(t, registrytest.Options{})
		f.PushTo(src, repo, tag, imagetest.Top)
		narrow, wide := filepath.Join(t.TempDir(), "narrow"), filepath.Join(t.TempDir(), "wide")
		create := []string{"bundle", "create", "--insecure-policy", "--src-tls-verify=false"}
		made := runAll(t.Context(), t, "", append(create, "--platform", "linux/arm64", narrow, refTo(src))...)
		require.Equal(t, StatusDone, made.status, made.stderr)
		runAll(t.Context(), t, "", append(create, "--all", wide, refTo(src))...).done(t)
		for how, announced := range map[string]*registrytest.Announcement{"Quay": {Sparse: true}, "keeps": {Sparse: true, Widening: true}, "silent": nil} {
			t.Run(name+", "+how, func(t *testing.T) {
				dst := registrytest.Start(t, registrytest.Options{Announce: announced})
				load := func(args ...string) outcome {
					all := append([]string{"bundle", "load", "--insecure-policy", "--dest-tls-verify=false"}, args...)
					return runAll(t.Context(), t, "", append(all, dst.Host())...)
				}
				load(narrow).done(t)
				before := dst.Snapshot(repo)
				r := load(wide)
				if how != "Quay" {
					r.done(t)
					return
				}
				r.failed(t, StatusFailed, "does not keep what is added to it", "--widened-child-tags")
				assert.Equal(t, before, dst.Snapshot(repo))
				load(narrow).done(t)

				load("--widened-child-tags", wide).done(t)
				added := digestTagOf(f, "amd64", ".child")
				assert.Contains(t, dst.Tags(repo), added)
				imagetest.CheckRegistry(t, dst, repo, imagetest.Want{Tag: tag, Digest: f.Digest(imagetest.Top), Fixture: f, Late: []string{imagetest.Top}})

				empty := registrytest.Start(t, registrytest.Options{Announce: announced})
				runAll(t.Context(), t, "", "bundle", "load", "--insecure-policy", "--dest-tls-verify=false", wide, empty.Host()).done(t)
			})
		}
	}
}
