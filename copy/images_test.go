package copy_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestImages copies many images in one call. One fails, and its error is its own.
func TestImages(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	src := registrytest.Start(t, registrytest.Options{Auth: &registrytest.Auth{Bearer: true, AnonymousPull: true}})
	dst := registrytest.Start(t, registrytest.Options{})
	const n = 30
	options := e.Options(copy.Options{ImageListSelection: copy.CopyAllImages})
	var jobs []copy.Job
	for i := range n {
		repo := fmt.Sprintf("app/%d", i)
		if i != 7 {
			f.PushTo(src, repo, "v1", imagetest.Top)
		}
		jobs = append(jobs, copy.Job{Source: copytest.RegistryRef(t, src, repo, "v1"), Destination: copytest.RegistryRef(t, dst, repo, "v1")})
	}
	reports := 0
	results := copy.Images(t.Context(), e.Policy, jobs, &copy.ImagesOptions{
		Options: options, MaxParallelDownloads: 8,
		Done: func(r copy.Result, report *copy.Report) {
			reports++
			assert.Equal(t, r.Err == nil, report.Error == "")
		},
	})
	require.Len(t, results, n)
	assert.Equal(t, n, reports)
	for i, r := range results {
		assert.Equal(t, i, r.Job)
		if i == 7 {
			var at *copy.Error
			require.ErrorAs(t, r.Err, &at)
			assert.Equal(t, copy.SourceSide, at.Side)
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
	e := copytest.NewEnv(t)
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
	options := e.Options(copy.Options{ImageListSelection: copy.CopyAllImages})
	var jobs []copy.Job
	for i := range 10 {
		jobs = append(jobs, copy.Job{Source: copytest.RegistryRef(t, src, "app", "v1"), Destination: copytest.RegistryRef(t, dst, fmt.Sprintf("app/%d", i), "v1")})
	}
	for _, r := range copy.Images(ctx, e.Policy, jobs, &copy.ImagesOptions{Options: options, MaxJobs: 3}) {
		assert.ErrorIs(t, r.Err, reason)
	}
	for _, repo := range dst.Repos() {
		assert.Empty(t, dst.Tags(repo))
	}
}

// TestImagesShareBlobs copies images with the same layers to many repositories at once: a layer
// travels once.
func TestImagesShareBlobs(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 3, 1000)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	options := e.Options(copy.Options{ImageListSelection: copy.CopyAllImages})
	var jobs []copy.Job
	const n = 40
	for i := range n {
		repo := fmt.Sprintf("app/%d", i)
		f.PushTo(src, repo, "v1", imagetest.Top)
		jobs = append(jobs, copy.Job{Source: copytest.RegistryRef(t, src, repo, "v1"), Destination: copytest.RegistryRef(t, dst, repo, "v1")})
	}
	const most = 5
	blobs := len(src.Blobs("app/0"))
	for _, r := range copy.Images(t.Context(), e.Policy, jobs, &copy.ImagesOptions{Options: options, MaxRequestsPerHost: most, BytesPerSecondPerHost: 100_000_000}) {
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

// TestSmallImagesTogether holds back blobs until as many are asked for as may be at once, of more
// images than one.
func TestSmallImagesTogether(t *testing.T) {
	const most, perImage = copy.MostSmallBlobs, 8
	var asked atomic.Int32
	full := make(chan struct{})
	src := registrytest.Start(t, registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
		if !strings.Contains(req.URL.Path, "/blobs/") {
			return registrytest.Answer{}
		}
		if asked.Add(1) == most {
			close(full)
		}
		select {
		case <-full:
		case <-time.After(time.Minute):
			t.Errorf("there are never more than %d at once", asked.Load())
		}
		return registrytest.Answer{}
	}})
	dst := registrytest.Start(t, registrytest.Options{})
	e := copytest.NewEnv(t)
	options := e.Options(copy.Options{ImageListSelection: copy.CopyAllImages})
	f := imagetest.New()
	var jobs []copy.Job
	for i := range 2 * most / perImage {
		image := fmt.Sprintf("image%d", i)
		var layers []string
		for k := range perImage - 1 {
			layers = append(layers, fmt.Sprintf("%s.%d", image, k))
			f.Seeded(layers[k], uint64(1+i*perImage+k), 100)
		}
		f.Image(image, imagetest.Layers(layers...))
		f.PushTo(src, image, "v1", image)
		jobs = append(jobs, copy.Job{Source: copytest.RegistryRef(t, src, image, "v1"), Destination: copytest.RegistryRef(t, dst, image, "v1")})
	}
	for _, r := range copy.Images(t.Context(), e.Policy, jobs, &copy.ImagesOptions{Options: options}) {
		require.NoError(t, r.Err)
	}
}

// TestPlanImages plans what Images would do, before and after it has been done, over a few
// connections.
func TestPlanImages(t *testing.T) {
	e := copytest.NewEnv(t)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	f := imagetest.Platforms(3, 2, 100)
	options := e.Options(copy.Options{ImageListSelection: copy.CopyAllImages, CompareDestination: true})
	const n, atOnce = 60, 2
	var jobs []copy.Job
	for i := range n {
		repo := fmt.Sprintf("app/%d", i)
		if i != 7 {
			f.PushTo(src, repo, "v1", imagetest.Top)
		}
		jobs = append(jobs, copy.Job{Source: copytest.RegistryRef(t, src, repo, "v1"), Destination: copytest.RegistryRef(t, dst, repo, "v1")})
	}
	many := &copy.ImagesOptions{Options: options, MaxJobs: atOnce, Done: func(copy.Result, *copy.Report) { t.Error("a plan is no copy") }}
	check := func(upToDate bool) {
		var seen []int
		copy.PlanImages(t.Context(), e.Policy, jobs, many, func(p copy.PlannedImage) {
			seen = append(seen, p.Job)
			if p.Job == 7 {
				assert.ErrorContains(t, p.Err, "app/7")
				assert.Nil(t, p.Plan)
				assert.False(t, p.UpToDate)
				return
			}
			if !assert.NoError(t, p.Err) {
				return
			}
			assert.Equal(t, f.Digest(imagetest.Top), p.Plan.Digest)
			assert.Equal(t, jobs[p.Job].Destination.DockerReference().String(), strings.TrimPrefix(p.Plan.Destination, "docker://"))
			assert.Equal(t, upToDate, p.UpToDate)
			assert.Equal(t, upToDate, len(p.Plan.Copies) == 0)
		})
		slices.Sort(seen)
		assert.Len(t, slices.Compact(seen), n)
	}
	check(false)
	assert.Empty(t, dst.Repos(), "nothing is written")
	for _, reg := range []*registrytest.Registry{src, dst} {
		assert.Less(t, reg.Connections(), n/2, "connections are used again")
	}
	for i, r := range copy.Images(t.Context(), e.Policy, jobs, &copy.ImagesOptions{Options: options}) {
		assert.Equal(t, i == 7, r.Err != nil, "%v", r.Err)
	}
	dst.ResetLog()
	check(true)
	for _, q := range dst.Requests() {
		assert.Equal(t, http.MethodHead, q.Method)
	}

	stopped, stop := context.WithCancelCause(t.Context())
	reason := errors.New("enough")
	planned := 0
	copy.PlanImages(stopped, e.Policy, jobs, many, func(p copy.PlannedImage) {
		stop(reason)
		planned++
		if p.Err != nil && p.Job != 7 {
			assert.ErrorIs(t, p.Err, reason)
		}
	})
	assert.Equal(t, n, planned)
	copy.PlanImages(t.Context(), e.Policy, []copy.Job{{}}, nil, func(p copy.PlannedImage) { assert.ErrorContains(t, p.Err, "no source") })
}
