package copy

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// TestSourceTagMoves moves the source's tag between planning and the work: what was planned is copied, natively and through upstream.
func TestSourceTagMoves(t *testing.T) {
	old, moved := imagetest.Platforms(3, 1, 100), imagetest.Platforms(2, 2, 200)
	native := Options{ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64", "linux/arm64")}
	handed := native
	handed.ForceManifestMIMEType = manifest.MediaTypeDockerManifest
	system := Options{ForceManifestMIMEType: manifest.MediaTypeDockerManifest}
	for from, newSource := range places {
		for name, c := range map[string]struct {
			options Options
			way     Way
		}{"native": {native, Native}, "handed over": {handed, Upstream}, "system image handed over": {system, Upstream}} {
			t.Run(name+" from "+from, func(t *testing.T) {
				t.Parallel()
				e := newEnv(t)
				src := newSource(t)
				dst, want := places["registry"](t), places["registry"](t)
				src.push(old, "v1", imagetest.Top)
				_, err := e.copier(c.options).Image(t.Context(), e.policy, want.ref("v1"), src.ref("v1"), e.options(c.options))
				require.NoError(t, err)

				p, err := e.copier(c.options).Prepare(t.Context(), e.policy, dst.ref("v1"), src.ref("v1"), e.options(c.options))
				require.NoError(t, err)
				defer func() { require.NoError(t, p.Close()) }()
				assert.Equal(t, c.way, p.Plan().Way)
				src.push(moved, "v1", imagetest.Top)
				r, err := p.Execute(t.Context())
				require.NoError(t, err)
				assert.Equal(t, want.top("v1"), dst.top("v1"))
				assert.Equal(t, dst.top("v1"), r.DestinationDigest)
				assert.Equal(t, want.(registryPlace).Snapshot("team/app"), dst.(registryPlace).Snapshot("team/app"))
			})
		}
	}
}

// TestLayoutManyWriters copies into one layout 25 times at once: 20 copies are made, some of them by upstream, and the others fail and take
// nothing with them.
func TestLayoutManyWriters(t *testing.T) {
	e := newEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	src, dst := places["registry"](t), places["layout"](t)
	src.push(f, "v1", imagetest.Top)
	sys := *e.sys
	sys.CompressionFormat = &compression.Gzip
	kinds := []struct {
		options Options
		way     Way
		fails   bool
	}{
		{Options{ImageListSelection: CopyAllImages}, Native, false},
		{Options{ImageListSelection: CopyAllImages, MaxParallelDownloads: 1}, Native, false},
		{Options{ImageListSelection: CopyAllImages, DestinationCtx: &sys, ForceCompressionFormat: true}, Upstream, false}, // which it has already
		{Options{ImageListSelection: CopyAllImages, OptimizeDestinationImageAlreadyExists: true}, Native, false},
		{Options{SignBySigstorePrivateKeyFile: "does not exist"}, Upstream, true},
	}
	var group errgroup.Group
	for i := range 25 {
		kind := kinds[i%len(kinds)]
		o, report := kind.options, Report{}
		o.Report = &report
		policy := newEnv(t).policy // one serves one copy at a time
		group.Go(func() error {
			_, err := e.copier(o).Image(t.Context(), policy, dst.ref(fmt.Sprintf("v%d", i)), src.ref("v1"), e.options(o))
			assert.Equal(t, kind.fails, err != nil, "%v", err)
			assert.Equal(t, kind.way, report.Plan.Way)
			return nil
		})
	}
	require.NoError(t, group.Wait())
	tags := 0
	for i := range 25 {
		if !kinds[i%len(kinds)].fails {
			tags++
			dst.check(imagetest.Want{Tag: fmt.Sprintf("v%d", i), Digest: f.Digest(imagetest.Top), Fixture: f})
		}
	}
	assert.Equal(t, 20, tags)
}

// writerEnv tells TestWriterProcess what to do: the source's repository, the layout and the tag.
const writerEnv = "SPARSECOPY_TEST_WRITER"

// TestWriterProcess is what TestLayoutKilledWriters runs.
func TestWriterProcess(t *testing.T) {
	job := strings.Split(os.Getenv(writerEnv), " ")
	if len(job) != 3 {
		t.Skip("run by TestLayoutKilledWriters")
	}
	e := newEnv(t)
	_, err := Image(t.Context(), e.policy, layoutRef(t, job[1], job[2]), dockerRef(t, job[0]+":v1"),
		e.options(Options{ImageListSelection: CopyAllImages, MaxParallelDownloads: 1}))
	require.NoError(t, err)
}

// TestLayoutKilledWriters runs processes that write into one layout at once, and kills each at another of its requests. What others have
// written stays, and the layout can be written.
func TestLayoutKilledWriters(t *testing.T) {
	const writers = 20
	r := rand.New(rand.NewPCG(1, 2))
	f, others := imagetest.Platforms(2, 1, 100), imagetest.Platforms(2, 1, 50)
	dst := places["layout"](t)
	for i := range 3 {
		dst.push(others, fmt.Sprintf("other%d", i), imagetest.Top)
	}

	var mu sync.Mutex
	deadline := map[string]int{} // repository → requests until its writer is killed
	running := map[string]*exec.Cmd{}
	src := registrytest.Start(t, registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
		repo, _, ok := strings.Cut(strings.TrimPrefix(req.URL.Path, "/v2/"), "/")
		mu.Lock()
		defer mu.Unlock()
		if deadline[repo]--; ok && running[repo] != nil && deadline[repo] == 0 {
			_ = running[repo].Process.Kill() // it may be at its end already
		}
		return registrytest.Answer{}
	}})
	var group sync.WaitGroup
	done := make([]bool, writers)
	for i := range writers {
		repo := fmt.Sprintf("writer%d", i)
		f.PushTo(src, repo, "v1", imagetest.Top)
		command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWriterProcess$")
		command.Env = append(os.Environ(), fmt.Sprintf("%s=%s/%s %s %s", writerEnv, src.Host(), repo, dst.(layoutPlace).dir, repo))
		mu.Lock()
		deadline[repo] = 1 + r.IntN(9) // of the last one, 7 are for content
		require.NoError(t, command.Start())
		running[repo] = command
		mu.Unlock()
		group.Go(func() { done[i] = command.Wait() == nil })
	}
	group.Wait()
	killed := 0
	for i, ok := range done {
		if ok {
			dst.check(imagetest.Want{Tag: fmt.Sprintf("writer%d", i), Digest: f.Digest(imagetest.Top), Fixture: f})
		} else {
			killed++
		}
	}
	assert.Greater(t, killed, writers/4)
	for i := range 3 {
		dst.check(imagetest.Want{Tag: fmt.Sprintf("other%d", i), Digest: others.Digest(imagetest.Top), Fixture: others})
	}
	e := newEnv(t)
	_, err := e.copier(Options{}).Image(t.Context(), e.policy, dst.ref("again"), registryRef(t, src, "writer0", "v1"), e.options(Options{ImageListSelection: CopyAllImages}))
	require.NoError(t, err)
	dst.check(imagetest.Want{Tag: "again", Digest: f.Digest(imagetest.Top), Fixture: f})
}

// TestFailedCopyLeavesDirectory fails in the middle of a copy into a directory that has an image.
func TestFailedCopyLeavesDirectory(t *testing.T) {
	f, old := imagetest.Platforms(3, 2, 100), imagetest.Platforms(1, 1, 50)
	for name, o := range map[string]Options{
		"native":      {ImageListSelection: CopyAllImages},
		"handed over": {ImageListSelection: CopyAllImages, ForceManifestMIMEType: manifest.MediaTypeDockerManifest},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			src := registryPlace{t, registrytest.Start(t, registrytest.Options{
				Script: registrytest.Only(registrytest.Matching(http.MethodGet, registrytest.KindBlob), func(n int, _ *http.Request) registrytest.Answer {
					if n >= 4 {
						return registrytest.Fail(403, "DENIED", "not this one")
					}
					return registrytest.Answer{}
				}),
			}), "app"}
			src.push(f, "v1", imagetest.Top)
			parent := t.TempDir()
			dest, err := directory.NewReference(filepath.Join(parent, "image"))
			require.NoError(t, err)
			stage := places["layout"](t)
			stage.push(old, "v1", "amd64")
			_, err = upstream.Image(t.Context(), e.policy, dest, stage.ref("v1"), &upstream.Options{SourceCtx: e.sys, DestinationCtx: e.sys})
			require.NoError(t, err)
			before := fileLines(t, filepath.Join(parent, "image"))

			_, err = e.image(t.Context(), dest, src.ref("v1"), o)
			require.Error(t, err)
			assert.Equal(t, before, fileLines(t, filepath.Join(parent, "image")))
			entries, err := os.ReadDir(parent)
			require.NoError(t, err)
			assert.Len(t, entries, 1, "nothing is left beside it")
		})
	}
}

func dockerRef(t testing.TB, name string) types.ImageReference {
	t.Helper()
	ref, err := docker.ParseReference("//" + name)
	require.NoError(t, err)
	return ref
}
