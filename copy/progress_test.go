package copy_test

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// collect returns the events that a copy sends.
func collect(copyImage func(chan types.ProgressProperties) error) ([]types.ProgressProperties, error) {
	events, all := make(chan types.ProgressProperties), make(chan []types.ProgressProperties)
	go func() {
		var seen []types.ProgressProperties
		for e := range events {
			seen = append(seen, e)
		}
		all <- seen
	}()
	err := copyImage(events)
	close(events)
	return <-all, err
}

// byBlob returns the kinds of the events of each blob in their order, and checks that their numbers
// make sense.
func byBlob(t *testing.T, events []types.ProgressProperties) map[digest.Digest][]types.ProgressEvent {
	kinds := map[digest.Digest][]types.ProgressEvent{}
	offsets := map[digest.Digest]uint64{}
	for _, e := range events {
		d := e.Artifact.Digest
		kinds[d] = append(kinds[d], e.Event)
		offsets[d] += e.OffsetUpdate
		if e.Event != types.ProgressEventSkipped {
			assert.Equal(t, e.Offset, offsets[d], "offsets add up")
		}
		if e.Event == types.ProgressEventDone {
			assert.EqualValues(t, e.Artifact.Size, e.Offset)
		}
	}
	return kinds
}

// TestProgressEvents holds the events of each distinct blob against upstream's.
func TestProgressEvents(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 2, 300_000, imagetest.SharedBase())
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	for name, interval := range map[string]time.Duration{"reads": time.Nanosecond, "no reads": time.Hour} {
		t.Run(name, func(t *testing.T) {
			theirs, err := collect(func(events chan types.ProgressProperties) error {
				_, err := upstream.Image(t.Context(), e.Policy, copytest.Places["registry"](t).Ref("v1"), src.Ref("v1"), &upstream.Options{
					SourceCtx: e.Sys, DestinationCtx: e.Sys, ImageListSelection: upstream.CopyAllImages, Progress: events, ProgressInterval: interval,
				})
				return err
			})
			require.NoError(t, err)
			dst := copytest.Places["registry"](t)
			o := copy.Options{ImageListSelection: copy.CopyAllImages, ProgressInterval: interval}
			ours, err := collect(func(events chan types.ProgressProperties) error {
				o.Progress = events
				_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				return err
			})
			require.NoError(t, err)
			upstreams := byBlob(t, theirs)
			for d, kinds := range byBlob(t, ours) {
				assert.Equal(t, types.ProgressEventNewArtifact, kinds[0])
				assert.Equal(t, types.ProgressEventDone, kinds[len(kinds)-1])
				// Upstream announces what two images share twice: the second time it is skipped.
				other := slices.DeleteFunc(slices.Clone(upstreams[d]), func(k types.ProgressEvent) bool { return k == types.ProgressEventSkipped })
				assert.Equal(t, slices.Compact(other), slices.Compact(kinds), f.Name(d))
				delete(upstreams, d)
			}
			assert.Empty(t, upstreams)

			o.CheckBlobs = true
			again, err := collect(func(events chan types.ProgressProperties) error {
				o.Progress = events
				_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				return err
			})
			require.NoError(t, err)
			for d, kinds := range byBlob(t, again) {
				assert.Equal(t, []types.ProgressEvent{types.ProgressEventSkipped}, kinds, f.Name(d))
			}
			assert.Len(t, again, len(f.Blobs(imagetest.Top)))
		})
	}
}

// TestReportLines holds the lines for people against upstream's: the same ones, but for what
// happens once here and once an image there.
func TestReportLines(t *testing.T) {
	e := copytest.NewAttachmentsEnv(t)
	f := imagetest.Platforms(3, 2, 100)
	signed := copytest.SignedSource(t, e, f, registrytest.Options{})
	for name, o := range map[string]copy.Options{
		"all":         {ImageListSelection: copy.CopyAllImages},
		"subset":      {ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm64")},
		"system":      {},
		"handed over": {ImageListSelection: copy.CopyAllImages, ForceManifestMIMEType: manifest.MediaTypeDockerManifest, RemoveSignatures: true},
	} {
		for _, tag := range []string{"v1", "plain"} {
			t.Run(name+" of "+tag, func(t *testing.T) {
				src := signed
				if tag == "plain" {
					src = copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "plain")
					src.Push(f, "plain", imagetest.Top)
				}
				var theirs, ours lockedBuffer
				_, err := upstream.Image(t.Context(), e.Policy, copytest.Places["registry"](t).Ref("v1"), src.Ref(tag), &upstream.Options{
					SourceCtx: e.Sys, DestinationCtx: e.Sys, ImageListSelection: o.ImageListSelection, InstancePlatforms: copytest.UpstreamFilters(o.InstancePlatforms),
					ForceManifestMIMEType: o.ForceManifestMIMEType, RemoveSignatures: o.RemoveSignatures, ReportWriter: &theirs,
				})
				require.NoError(t, err)
				o.ReportWriter = &ours
				_, err = e.Image(t.Context(), copytest.Places["registry"](t).Ref("v1"), src.Ref(tag), o)
				require.NoError(t, err)
				// Our registries say themselves whether they store signatures.
				without := func(line string) bool { return strings.HasPrefix(line, "Checking if image") }
				assert.Equal(t, slices.DeleteFunc(distinctLines(theirs.String()), without), slices.DeleteFunc(distinctLines(ours.String()), without))
			})
		}
	}
}

// TestOverview counts copies that go on at the same time, some of them through upstream.
func TestOverview(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(3, 2, 1000)
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	o := copy.NewOverview(copy.OverviewOptions{Images: 4})
	defer o.Close()
	native := e.Options(copy.Options{ImageListSelection: copy.CopyAllImages, CheckBlobs: true, Overview: o})
	converted := e.Options(copy.Options{ImageListSelection: copy.CopyAllImages, ForceManifestMIMEType: manifest.MediaTypeDockerManifest, Overview: o})
	var jobs []copy.Job
	for i := range 4 {
		options := native
		if i%2 == 0 {
			options = converted
		}
		jobs = append(jobs, copy.Job{Source: src.Ref("v1"), Destination: copytest.Places["registry"](t).Ref("v1"), Options: options})
	}
	images := func() copy.Totals {
		for _, r := range copy.Images(t.Context(), e.Policy, jobs, nil) {
			require.NoError(t, r.Err)
			o.ImageDone()
		}
		return o.Totals()
	}
	blobs := len(f.Blobs(imagetest.Top))
	totals := images()
	assert.Equal(t, 4, totals.ImagesDone)
	assert.Equal(t, 4*3, totals.Instances)
	assert.Equal(t, 4*3, totals.InstancesKnown)
	assert.Equal(t, 4*blobs, totals.Blobs)
	assert.Zero(t, totals.BlobsThere)
	assert.Equal(t, totals.BytesKnown, totals.Bytes)
	assert.GreaterOrEqual(t, totals.Bytes, int64(4*3*2*1000))

	jobs = []copy.Job{jobs[1], jobs[3]}
	again := images()
	assert.Equal(t, 2*blobs, again.BlobsThere)
	assert.Equal(t, totals.Bytes, again.Bytes)
}

// A lockedBuffer may be written concurrently, which upstream does.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func distinctLines(s string) []string {
	lines := strings.Split(s, "\n")
	slices.Sort(lines)
	return slices.Compact(lines)
}
