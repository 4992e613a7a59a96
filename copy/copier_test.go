package copy_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/pkg/blobinfocache/memory"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestCopierShares copies one image after the other with one Copier, each with Options and
// SystemContexts of its own: tokens and connections are there, and a layer travels once.
func TestCopierShares(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 3, 1000)
	auth := &registrytest.Auth{Bearer: true, AnonymousPull: true}
	src, dst := registrytest.Start(t, registrytest.Options{Auth: auth}), registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, "app", "v1", imagetest.Top)
	c := copytest.NewCopier(t, copy.CopierOptions{})
	tokens := registrytest.Is(http.MethodGet, registrytest.KindToken)
	const n = 5
	for i := range n {
		_, err := e.ImageWith(t.Context(), c, copytest.RegistryRef(t, dst, fmt.Sprintf("app/%d", i), "v1"), copytest.RegistryRef(t, src, "app", "v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
		require.NoError(t, err)
	}
	list, err := c.Tags(t.Context(), copytest.RegistryRef(t, src, "app", "v1"), &copy.TagsOptions{SystemContext: e.Sys})
	require.NoError(t, err)
	assert.Equal(t, []string{"v1"}, list.Tags)
	prepared, err := c.Prepare(t.Context(), e.Policy, copytest.RegistryRef(t, dst, "another", "v1"), copytest.RegistryRef(t, src, "app", "v1"), e.Options(copy.Options{ImageListSelection: copy.CopyAllImages}))
	require.NoError(t, err)
	_, err = prepared.Execute(t.Context())
	require.NoError(t, err)
	require.NoError(t, prepared.Close())
	for _, repo := range []string{"app/0", "app/4", "another"} {
		imagetest.CheckRegistry(t, dst, repo, imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Only: true})
	}
	assert.Equal(t, 1, src.Count(tokens))
	blobs := len(src.Blobs("app"))
	assert.Equal(t, blobs, dst.Count(registrytest.Is(http.MethodPut, registrytest.KindUpload)))
	for name, r := range map[string]*registrytest.Registry{"source": src, "destination": dst} {
		assert.LessOrEqual(t, r.Connections(), blobs+openedAhead, "%s: connections are used again", name)
	}
}

// openedAhead is how many connections may be opened before anybody needs them.
const openedAhead = 8 + 1

// TestCopierIsForManyAtOnce uses one Copier, and one policy, for everything at the same time.
func TestCopierIsForManyAtOnce(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(3, 2, 100)
	const most = 4
	lists := registrytest.Matching(http.MethodGet, registrytest.KindManifest)
	var asked atomic.Int32
	full := make(chan struct{})
	src := registrytest.Start(t, registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
		if !lists(req) {
			return registrytest.Answer{}
		}
		switch n := asked.Add(1); {
		case n == 1: // it goes alone, and finds out which scheme there is
			return registrytest.Answer{}
		case n == 1+most:
			close(full)
		}
		select {
		case <-full:
		case <-time.After(time.Minute):
			t.Errorf("there are never %d at once", most)
		}
		return registrytest.Answer{}
	}})
	dst := registrytest.Start(t, registrytest.Options{ListPolicy: registrytest.Distribution3})
	f.PushTo(src, "app", "v1", imagetest.Top)
	c := copytest.NewCopier(t, copy.CopierOptions{MaxParallelDownloads: most})
	var oneByOne sync.Mutex // lists of tags, which are no copies, and count for nothing
	var all sync.WaitGroup
	for i := range 12 {
		to := copytest.RegistryRef(t, dst, fmt.Sprintf("app/%d", i%3), fmt.Sprintf("v%d", i))
		from := copytest.RegistryRef(t, src, "app", "v1")
		all.Go(func() {
			o := e.Options(copytest.Auto("linux/amd64"))
			o.MaxParallelDownloads = 100
			o.RemoveListSignatures = true // to look for them asks for two things at once
			var err error
			switch i % 4 {
			case 0:
				_, err = c.Image(t.Context(), e.Policy, to, from, o)
			case 1:
				err = c.Images(t.Context(), e.Policy, []copy.Job{{Destination: to, Source: from}}, &copy.ImagesOptions{Options: o})[0].Err
			case 2:
				var prepared *copy.Prepared
				if prepared, err = c.Prepare(t.Context(), e.Policy, to, from, o); err == nil {
					_, err = prepared.Execute(t.Context())
					assert.NoError(t, prepared.Close())
				}
			case 3:
				oneByOne.Lock()
				_, err = c.Tags(t.Context(), from, &copy.TagsOptions{SystemContext: e.Sys})
				oneByOne.Unlock()
				assert.NoError(t, err)
				c.PlanImages(t.Context(), e.Policy, []copy.Job{{Destination: to, Source: from}}, &copy.ImagesOptions{Options: o}, func(p copy.PlannedImage) { err = p.Err })
			}
			assert.NoError(t, err)
		})
	}
	all.Wait()
	assert.LessOrEqual(t, src.Peak(), most+1, "of all copies together, and a list of tags")
	for i := range 12 {
		if i%4 != 3 {
			imagetest.CheckRegistry(t, dst, fmt.Sprintf("app/%d", i%3), imagetest.Want{Tag: fmt.Sprintf("v%d", i), Fixture: f, Present: []string{"amd64"}})
		}
	}
}

// TestCopierLimitsAreItsOwn refuses limits of one call, which would be those of all.
func TestCopierLimitsAreItsOwn(t *testing.T) {
	c := copytest.NewCopier(t, copy.CopierOptions{})
	jobs := []copy.Job{{Source: copytest.Places["registry"](t).Ref("v1"), Destination: copytest.Places["registry"](t).Ref("v1")}}
	for name, o := range map[string]copy.ImagesOptions{
		"MaxParallelDownloads": {MaxParallelDownloads: 1}, "MaxRequestsPerHost": {MaxRequestsPerHost: 1}, "BytesPerSecondPerHost": {BytesPerSecondPerHost: 1},
	} {
		var invalid *copy.OptionsError
		require.ErrorAs(t, c.Images(t.Context(), nil, jobs, &o)[0].Err, &invalid)
		assert.Equal(t, []string{"ImagesOptions." + name}, invalid.Options)
		c.PlanImages(t.Context(), nil, jobs, &o, func(p copy.PlannedImage) { assert.ErrorAs(t, p.Err, &invalid) })
	}
}

// opensWhenWaited is the clock of who waits for a peer, which opens then.
type opensWhenWaited struct {
	clocktest.Hasty
	t    *testing.T
	peer *copytest.Peer
}

func (c *opensWhenWaited) NewTimer(d time.Duration) copy.ClockTimer {
	assert.NoError(c.t, c.peer.Open())
	return c.Hasty.NewTimer(d)
}

// TestCopierNoticesARestart has a destination that goes away for a moment, and comes back with
// nothing of what it had.
func TestCopierNoticesARestart(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 2, 100)
	src := registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, "app", "v1", imagetest.Top)
	dst := copytest.StartPeer(t, registrytest.Options{}, nil)
	c := copytest.NewCopier(t, copy.CopierOptions{Clock: &opensWhenWaited{t: t, peer: dst}})
	all := copy.Options{ImageListSelection: copy.CopyAllImages}
	_, err := e.ImageWith(t.Context(), c, dst.Ref(t, "app", "v1"), copytest.RegistryRef(t, src, "app", "v1"), all)
	require.NoError(t, err)

	for _, d := range append(dst.Manifests("app"), dst.Blobs("app")...) {
		dst.DeleteManifest("app", d)
		dst.DeleteBlob("app", d)
	}
	dst.DeleteTag("app", "v1")
	dst.Shut()
	again := dst.Ref(t, "app", "v2") // reads what Open writes
	_, err = e.ImageWith(t.Context(), c, again, copytest.RegistryRef(t, src, "app", "v1"), all)
	require.NoError(t, err)
	imagetest.CheckRegistry(t, dst.Registry, "app", imagetest.Want{Tag: "v2", Digest: f.Digest(imagetest.Top), Fixture: f, Only: true})
}

// TestCopierRenewsCredentials has tokens that end between copies and in the middle of one, and a
// password that is changed.
func TestCopierRenewsCredentials(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 2, 100)
	src := registrytest.Start(t, registrytest.Options{Auth: &registrytest.Auth{Bearer: true, AnonymousPull: true, TokenRequests: 3}})
	dst := registrytest.Start(t, registrytest.Options{Auth: &registrytest.Auth{Accounts: []registrytest.Account{{Username: "alice", Password: "new"}}}})
	f.PushTo(src, "app", "v1", imagetest.Top)
	authFile := filepath.Join(t.TempDir(), "auth.json")
	write := func(password string) {
		auth := base64.StdEncoding.EncodeToString([]byte("alice:" + password))
		require.NoError(t, os.WriteFile(authFile, []byte(fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, dst.Host(), auth)), 0o600))
	}
	write("old one")
	c := copytest.NewCopier(t, copy.CopierOptions{})
	for i := range 4 {
		sys := *e.Sys
		sys.AuthFilePath = authFile
		_, err := e.ImageWith(t.Context(), c, copytest.RegistryRef(t, dst, fmt.Sprintf("app/%d", i), "v1"), copytest.RegistryRef(t, src, "app", "v1"), copy.Options{ImageListSelection: copy.CopyAllImages, DestinationCtx: &sys})
		if i < 2 {
			require.ErrorContains(t, err, "401")
			assert.Equal(t, 1, dst.WrongLogins(), "it is not sent again")
			if i == 1 {
				write("new")
			}
			continue
		}
		require.NoError(t, err)
		imagetest.CheckRegistry(t, dst, fmt.Sprintf("app/%d", i), imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Only: true})
	}
}

// TestCopierFillsABlobInfoCache as upstream's docker transport would: with where blobs were read,
// stored, and found.
func TestCopierFillsABlobInfoCache(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 2, 100)
	src, dst := copytest.Places["registry"](t).(copytest.RegistryPlace), copytest.Places["registry"](t).(copytest.RegistryPlace)
	src.Push(f, "v1", imagetest.Top)
	dst.Push(f, "amd64", "amd64")
	before, cache := dst.Blobs(dst.Repo), memory.New()
	c := copytest.NewCopier(t, copy.CopierOptions{BlobInfoCache: cache})
	_, err := e.ImageWith(t.Context(), c, dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, CheckBlobs: true})
	require.NoError(t, err)
	candidates := func(p copytest.RegistryPlace, d digest.Digest) []types.BICReplacementCandidate {
		return cache.CandidateLocations(docker.Transport, types.BICTransportScope{Opaque: p.Host()}, d, false)
	}
	for _, d := range dst.Blobs(dst.Repo) {
		want := []types.BICReplacementCandidate{{Digest: d, Location: types.BICLocationReference{Opaque: dst.Host() + "/" + dst.Repo}}}
		assert.Equal(t, want, candidates(dst, d))
		if !slices.Contains(before, d) {
			want[0].Location.Opaque = src.Host() + "/" + src.Repo
			assert.Equal(t, want, candidates(src, d))
		}
	}
}

// TestUserAgent is what requests say, unless a SystemContext says something else.
func TestUserAgent(t *testing.T) {
	e := copytest.NewEnv(t)
	src, dst := copytest.Places["registry"](t).(copytest.RegistryPlace), copytest.Places["registry"](t).(copytest.RegistryPlace)
	src.Push(imagetest.Platforms(2, 2, 100), "v1", imagetest.Top)
	own := *e.Sys
	own.DockerRegistryUserAgent = "its own"
	_, err := e.ImageWith(t.Context(), copytest.NewCopier(t, copy.CopierOptions{UserAgent: "a program"}), dst.Ref("v1"), src.Ref("v1"), copy.Options{DestinationCtx: &own})
	require.NoError(t, err)
	for r, want := range map[copytest.RegistryPlace]string{src: "a program", dst: "its own"} {
		for _, q := range r.Requests() {
			assert.Equal(t, want, q.Header.Get("User-Agent"))
		}
	}
}
