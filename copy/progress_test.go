package copy

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

// byBlob returns the kinds of the events of each blob in their order, and checks that their numbers make sense.
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
	e := newEnv(t)
	f := imagetest.Platforms(2, 2, 300_000, imagetest.SharedBase())
	src := places["registry"](t)
	src.push(f, "v1", imagetest.Top)
	for name, interval := range map[string]time.Duration{"reads": time.Nanosecond, "no reads": time.Hour} {
		t.Run(name, func(t *testing.T) {
			theirs, err := collect(func(events chan types.ProgressProperties) error {
				_, err := upstream.Image(t.Context(), e.policy, places["registry"](t).ref("v1"), src.ref("v1"), &upstream.Options{
					SourceCtx: e.sys, DestinationCtx: e.sys, ImageListSelection: upstream.CopyAllImages, Progress: events, ProgressInterval: interval,
				})
				return err
			})
			require.NoError(t, err)
			dst := places["registry"](t)
			o := Options{ImageListSelection: CopyAllImages, ProgressInterval: interval}
			ours, err := collect(func(events chan types.ProgressProperties) error {
				o.Progress = events
				_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
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
				_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
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

// TestReportLines holds the lines for people against upstream's: the same ones, but for what happens once here and once an image there.
func TestReportLines(t *testing.T) {
	e, private, _ := newSigningEnv(t)
	f := imagetest.Platforms(3, 2, 100)
	signed := signedSource(t, e, f, private, registrytest.Options{})
	for name, o := range map[string]Options{
		"all":         {ImageListSelection: CopyAllImages},
		"subset":      {ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/arm64")},
		"system":      {},
		"handed over": {ImageListSelection: CopyAllImages, ForceManifestMIMEType: manifest.MediaTypeDockerManifest, RemoveSignatures: true},
	} {
		for _, tag := range []string{"v1", "plain"} {
			t.Run(name+" of "+tag, func(t *testing.T) {
				src := signed
				if tag == "plain" {
					src = registryPlace{t, registrytest.Start(t, registrytest.Options{}), "plain"}
					src.push(f, "plain", imagetest.Top)
				}
				var theirs, ours lockedBuffer
				_, err := upstream.Image(t.Context(), e.policy, places["registry"](t).ref("v1"), src.ref(tag), &upstream.Options{
					SourceCtx: e.sys, DestinationCtx: e.sys, ImageListSelection: o.ImageListSelection, InstancePlatforms: upstreamFilters(o.InstancePlatforms),
					ForceManifestMIMEType: o.ForceManifestMIMEType, RemoveSignatures: o.RemoveSignatures, ReportWriter: &theirs,
				})
				require.NoError(t, err)
				o.ReportWriter = &ours
				_, err = e.image(t.Context(), places["registry"](t).ref("v1"), src.ref(tag), o)
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
	e := newEnv(t)
	f := imagetest.Platforms(3, 2, 1000)
	src := places["registry"](t)
	src.push(f, "v1", imagetest.Top)
	o := NewOverview(OverviewOptions{Images: 4})
	defer o.Close()
	native := e.options(Options{ImageListSelection: CopyAllImages, CheckBlobs: true, Overview: o})
	converted := e.options(Options{ImageListSelection: CopyAllImages, ForceManifestMIMEType: manifest.MediaTypeDockerManifest, Overview: o})
	var jobs []Job
	for i := range 4 {
		options := native
		if i%2 == 0 {
			options = converted
		}
		jobs = append(jobs, Job{Source: src.ref("v1"), Destination: places["registry"](t).ref("v1"), Options: options})
	}
	images := func() Totals {
		for _, r := range Images(t.Context(), e.policy, jobs, nil) {
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

	jobs = []Job{jobs[1], jobs[3]}
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
