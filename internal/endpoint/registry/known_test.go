package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// Many repositories get the same blobs at the same time: each blob travels once, and is mounted
// elsewhere.
func TestBlobsTravelOnce(t *testing.T) {
	for _, test := range []struct {
		name  string
		o     registrytest.Options
		repos []string
		puts  int
		posts int
	}{
		{"one repository", registrytest.Options{}, []string{"a", "a", "a", "a", "a", "a"}, 3, 3},
		{"many repositories", registrytest.Options{}, []string{"a", "b", "c", "d", "e", "f"}, 3, 3 * 6},
	} {
		t.Run(test.name, func(t *testing.T) {
			from, to := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, test.o)
			im := newImage(t, 3, 1000, from, "source")
			sys, shared := insecure(t), &Shared{}
			s := openSource(t, from.Host()+"/source:tag", sys, shared)
			var wg sync.WaitGroup
			for _, repo := range test.repos {
				d := openDestination(t, to.Host()+"/"+repo+":tag", sys, shared)
				wg.Go(func() { assert.NoError(t, copyImage(t, s, d, im)) })
			}
			wg.Wait()
			for _, repo := range test.repos {
				requireImage(t, to, repo, im)
			}
			assert.Equal(t, test.puts, to.Count(registrytest.Is("PUT", registrytest.KindUpload)))
			assert.Equal(t, test.posts, to.Count(registrytest.Is("POST", registrytest.KindUpload)))
		})
	}
}

// Where mounts are ignored, copies stop asking, and stop waiting for one another.
func TestBlobsTravelWhereTheyMust(t *testing.T) {
	from, to := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{IgnoreMounts: true})
	im := newImage(t, 3, 1000, from, "source")
	sys, shared := insecure(t), &Shared{}
	s := openSource(t, from.Host()+"/source:tag", sys, shared)
	for i := range 6 {
		repo := fmt.Sprintf("r%d", i)
		mustCopy(t, s, openDestination(t, to.Host()+"/"+repo+":tag", sys, shared), im)
		requireImage(t, to, repo, im)
	}
	assert.LessOrEqual(t, to.Count(func(q registrytest.Request) bool {
		return q.Method == http.MethodPost && strings.Contains(q.Query, "mount=") && !strings.Contains(q.Query, "from="+q.Repo)
	}), maxMountMisses+2, "the blobs of an image are asked for at the same time")
}

// A repository that other credentials are for is not mounted from.
func TestMountsStayWithinAnAccount(t *testing.T) {
	var k blobKnowledge
	d := digest.FromString("d")
	one := &repository{name: "one", creds: &credentials{current: types.DockerAuthConfig{Username: "u"}}}
	two := &repository{name: "two", creds: &credentials{current: types.DockerAuthConfig{Username: "u"}}}
	foreign := &repository{name: "three", creds: &credentials{current: types.DockerAuthConfig{Username: "v"}}}
	k.remember(d, one)
	assert.Equal(t, "one", k.origin(d, two))
	assert.Empty(t, k.origin(d, foreign))
	assert.Empty(t, k.origin(d, one))
	there, _, err := k.begin(t.Context(), d, one)
	assert.True(t, there)
	require.NoError(t, err)
	k.forget(one)
	assert.Equal(t, "one", k.origin(d, two))
	k.mounted(d, false)
	assert.Empty(t, k.origin(d, two))
	there, end, err := k.begin(t.Context(), d, one)
	assert.False(t, there)
	require.NoError(t, err)
	end(false)
}

// What waits for a copy that fails goes on by itself.
func TestWaitingForACopyThatFails(t *testing.T) {
	var k blobKnowledge
	d := digest.FromString("d")
	one, two := &repository{name: "one"}, &repository{name: "two"}
	_, end, err := k.begin(t.Context(), d, one)
	require.NoError(t, err)
	require.NotNil(t, k.onItsWay(d, two))

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrNoProgress)
	_, _, err = k.begin(ctx, d, two)
	require.ErrorIs(t, err, io.ErrNoProgress)

	end(false)
	there, end, err := k.begin(t.Context(), d, two)
	require.NoError(t, err)
	assert.False(t, there)
	end(true)
	assert.Nil(t, k.onItsWay(d, one), "it can be mounted now")
}

func TestKnowledgeIsBounded(t *testing.T) {
	var k blobKnowledge
	for i := range maxKnownBlobs + 10 {
		k.remember(digest.FromString(fmt.Sprint(i)), &repository{name: "r"})
	}
	assert.Len(t, k.there, maxKnownBlobs)
	assert.Len(t, k.origins, maxKnownBlobs)
	assert.Empty(t, k.moving)
}

// A registry that lost a blob after it was stored gets it again, once it has said so.
func TestLostBlobsAreSentAgain(t *testing.T) {
	from := registrytest.Start(t, registrytest.Options{})
	to := registrytest.Start(t, registrytest.Options{Script: registrytest.Only(
		registrytest.Matching("PUT", registrytest.KindManifest), registrytest.OnNth(1, registrytest.Fail(400, "MANIFEST_BLOB_UNKNOWN", "")))})
	im := newImage(t, 1, 1000, from, "a")
	sys := insecure(t)
	s := openSource(t, from.Host()+"/a:tag", sys, nil)
	d := openDestination(t, to.Host()+"/b:tag", sys, nil)
	_, err := d.PutBlob(t.Context(), im.blobs[0], opener(s, im.blobs[0]))
	require.NoError(t, err)
	to.DeleteBlob("b", im.blobs[0].Digest)
	require.Error(t, d.PutTop(t.Context(), s.Top(), nil))
	mustCopy(t, s, d, im)
	requireImage(t, to, "b", im)
}

func TestMaxRequests(t *testing.T) {
	for _, most := range []int{1, 3} {
		from, to := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
		im := newImage(t, 20, 50_000, from, "a")
		sys, shared := insecure(t), &Shared{MaxRequests: most}
		s := openSource(t, from.Host()+"/a:tag", sys, shared)
		d := openDestination(t, to.Host()+"/b:tag", sys, shared)
		mustCopy(t, s, d, im)
		requireImage(t, to, "b", im)
		assert.LessOrEqual(t, from.Peak(), most)
		assert.LessOrEqual(t, to.Peak(), most)
	}
}

// Both ends have one slot, and everything is asked for twice: nobody may wait for one side while
// holding the other's slot.
func TestMaxRequestsWithRetries(t *testing.T) {
	lose := registrytest.Only(registrytest.Matching("PUT", registrytest.KindUpload), registrytest.EveryNth(2, registrytest.CutUpload(100)))
	from, to := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{Script: lose})
	im := newImage(t, 10, 50_000, from, "a")
	sys, shared := insecure(t), &Shared{MaxRequests: 1, Retry: RetryPolicy{BaseDelay: time.Millisecond, Attempts: 20}}
	s := openSource(t, from.Host()+"/a:tag", sys, shared)
	d := openDestination(t, to.Host()+"/b:tag", sys, shared)
	mustCopy(t, s, d, im)
	requireImage(t, to, "b", im)
}

func TestBytesPerSecond(t *testing.T) {
	for _, limited := range []string{"source", "destination"} {
		t.Run(limited, func(t *testing.T) {
			from, to := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
			im := newImage(t, 4, 50_000, from, "a")
			sys := insecure(t)
			sides := map[string]*Shared{"source": {}, "destination": {}}
			sides[limited].BytesPerSecond = 400_000
			s := openSource(t, from.Host()+"/a:tag", sys, sides["source"])
			d := openDestination(t, to.Host()+"/b:tag", sys, sides["destination"])
			started := time.Now()
			mustCopy(t, s, d, im)
			requireImage(t, to, "b", im)
			assert.GreaterOrEqual(t, time.Since(started), 400*time.Millisecond, "200 kB, less what may come at once")
		})
	}
}
