package copy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestImages copies many images in one call. One fails, and its error is its own.
func TestImages(t *testing.T) {
	e := newEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	src := registrytest.Start(t, registrytest.Options{Auth: &registrytest.Auth{Bearer: true, AnonymousPull: true}})
	dst := registrytest.Start(t, registrytest.Options{})
	const n = 30
	options := e.options(Options{ImageListSelection: CopyAllImages})
	options.session = session{}
	var jobs []Job
	for i := range n {
		repo := fmt.Sprintf("app/%d", i)
		if i != 7 {
			f.PushTo(src, repo, "v1", imagetest.Top)
		}
		jobs = append(jobs, Job{Source: registryRef(t, src, repo, "v1"), Destination: registryRef(t, dst, repo, "v1")})
	}
	reports := 0
	results := Images(t.Context(), e.policy, jobs, &ImagesOptions{
		Options: options, MaxParallelDownloads: 8,
		Done: func(r Result, report *Report) {
			reports++
			assert.Equal(t, r.Err == nil, report.Error == "")
		},
	})
	require.Len(t, results, n)
	assert.Equal(t, n, reports)
	for i, r := range results {
		assert.Equal(t, i, r.Job)
		if i == 7 {
			var at *Error
			require.ErrorAs(t, r.Err, &at)
			assert.Equal(t, SourceSide, at.Side)
			assert.ErrorContains(t, r.Err, "app/7")
			continue
		}
		require.NoError(t, r.Err)
		assert.Equal(t, f.Digest(imagetest.Top), r.DestinationDigest)
		imagetest.CheckRegistry(t, dst, fmt.Sprintf("app/%d", i), imagetest.Want{Tag: "v1", Digest: r.DestinationDigest, Fixture: f, Only: true})
	}
	// The budget bounds what is in flight, and connections are used again.
	assert.LessOrEqual(t, src.Peak(), 8+1)
	assert.LessOrEqual(t, dst.Peak(), 8)
	assert.LessOrEqual(t, dst.Connections(), 8+8)
}

// TestImagesCancelled ends all jobs, those that have not begun included.
func TestImagesCancelled(t *testing.T) {
	e := newEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	src := registrytest.Start(t, registrytest.Options{
		Script: registrytest.Only(registrytest.Matching(http.MethodGet, registrytest.KindBlob), func(n int, _ *http.Request) registrytest.Answer {
			if n == 2 {
				cancel(reason)
			}
			return registrytest.Stall()
		}),
	})
	dst := registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, "app", "v1", imagetest.Top)
	options := e.options(Options{ImageListSelection: CopyAllImages})
	options.session = session{}
	var jobs []Job
	for i := range 10 {
		jobs = append(jobs, Job{Source: registryRef(t, src, "app", "v1"), Destination: registryRef(t, dst, fmt.Sprintf("app/%d", i), "v1")})
	}
	for _, r := range Images(ctx, e.policy, jobs, &ImagesOptions{Options: options, MaxJobs: 3}) {
		assert.ErrorIs(t, r.Err, reason)
	}
	for _, repo := range dst.Repos() {
		assert.Empty(t, dst.Tags(repo))
	}
}

// TestImagesShareBlobs copies images with the same layers to many repositories at once: a layer travels once.
func TestImagesShareBlobs(t *testing.T) {
	e := newEnv(t)
	f := imagetest.Platforms(2, 3, 1000)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	options := e.options(Options{ImageListSelection: CopyAllImages})
	options.session = session{}
	var jobs []Job
	const n = 40
	for i := range n {
		repo := fmt.Sprintf("app/%d", i)
		f.PushTo(src, repo, "v1", imagetest.Top)
		jobs = append(jobs, Job{Source: registryRef(t, src, repo, "v1"), Destination: registryRef(t, dst, repo, "v1")})
	}
	const most = 5
	blobs := len(src.Blobs("app/0"))
	for _, r := range Images(t.Context(), e.policy, jobs, &ImagesOptions{Options: options, MaxRequestsPerHost: most, BytesPerSecondPerHost: 100_000_000}) {
		require.NoError(t, r.Err)
	}
	for i := range n {
		imagetest.CheckRegistry(t, dst, fmt.Sprintf("app/%d", i), imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Only: true})
	}
	assert.Equal(t, blobs, src.Count(registrytest.Is(http.MethodGet, registrytest.KindBlob)))
	assert.Equal(t, blobs, dst.Count(registrytest.Is(http.MethodPut, registrytest.KindUpload)))
	assert.Equal(t, n*blobs, dst.Count(registrytest.Is(http.MethodPost, registrytest.KindUpload)), "each is mounted everywhere else")
	assert.LessOrEqual(t, src.Peak(), most)
	assert.LessOrEqual(t, dst.Peak(), most)
	assert.LessOrEqual(t, dst.Connections(), 2*most, "a connection is used again")
}
