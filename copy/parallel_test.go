package copy_test

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
	"go.podman.io/image/v5/pkg/compression"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestSourceTagMoves moves the source's tag between planning and the work: what was planned is
// copied, whatever becomes of it.
func TestSourceTagMoves(t *testing.T) {
	old, moved := imagetest.Platforms(3, 1, 100), imagetest.Platforms(2, 2, 200)
	native := copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64")}
	handed := native
	handed.ForceManifestMIMEType = manifest.MediaTypeDockerManifest
	system := copy.Options{ForceManifestMIMEType: manifest.MediaTypeDockerManifest}
	for from, newSource := range copytest.Places {
		for name, c := range map[string]struct {
			options copy.Options
			way     copy.Way
		}{"native": {native, copy.Native}, "transformed": {handed, copy.Native}, "system image transformed": {system, copy.Native}} {
			t.Run(name+" from "+from, func(t *testing.T) {
				t.Parallel()
				e := copytest.NewEnv(t)
				src := newSource(t)
				dst, want := copytest.Places["registry"](t), copytest.Places["registry"](t)
				src.Push(old, "v1", imagetest.Top)
				_, err := e.Copier(c.options).Image(t.Context(), e.Policy, want.Ref("v1"), src.Ref("v1"), e.Options(c.options))
				require.NoError(t, err)

				p, err := e.Copier(c.options).Prepare(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), e.Options(c.options))
				require.NoError(t, err)
				defer func() { require.NoError(t, p.Close()) }()
				assert.Equal(t, c.way, p.Plan().Way)
				src.Push(moved, "v1", imagetest.Top)
				r, err := p.Execute(t.Context())
				require.NoError(t, err)
				assert.Equal(t, want.Top("v1"), dst.Top("v1"))
				assert.Equal(t, dst.Top("v1"), r.DestinationDigest)
				assert.Equal(t, want.(copytest.RegistryPlace).Snapshot("team/app"), dst.(copytest.RegistryPlace).Snapshot("team/app"))
			})
		}
	}
}

// TestLayoutManyWriters copies into one layout 25 times at once: 20 copies are made, some of them
// transform, and the others fail and take nothing with them.
func TestLayoutManyWriters(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	src, dst := copytest.Places["registry"](t), copytest.Places["layout"](t)
	src.Push(f, "v1", imagetest.Top)
	sys := *e.Sys
	sys.CompressionFormat = &compression.Gzip
	kinds := []struct {
		options copy.Options
		way     copy.Way
		fails   bool
	}{
		{copy.Options{ImageListSelection: copy.CopyAllImages}, copy.Native, false},
		{copy.Options{ImageListSelection: copy.CopyAllImages, MaxParallelDownloads: 1}, copy.Native, false},
		{copy.Options{ImageListSelection: copy.CopyAllImages, DestinationCtx: &sys, ForceCompressionFormat: true}, copy.Native, false}, // which it has already
		{copy.Options{ImageListSelection: copy.CopyAllImages, OptimizeDestinationImageAlreadyExists: true}, copy.Native, false},
		{copy.Options{SignBySigstorePrivateKeyFile: "does not exist"}, "", true}, // a layout has no name to sign
	}
	var group errgroup.Group
	for i := range 25 {
		kind := kinds[i%len(kinds)]
		o, report := kind.options, copy.Report{}
		o.Report = &report
		policy := copytest.NewEnv(t).Policy // one serves one copy at a time
		group.Go(func() error {
			_, err := e.Copier(o).Image(t.Context(), policy, dst.Ref(fmt.Sprintf("v%d", i)), src.Ref("v1"), e.Options(o))
			assert.Equal(t, kind.fails, err != nil, "%v", err)
			if report.Plan != nil || kind.way != "" {
				assert.Equal(t, kind.way, report.Plan.Way)
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	tags := 0
	for i := range 25 {
		if !kinds[i%len(kinds)].fails {
			tags++
			dst.Check(imagetest.Want{Tag: fmt.Sprintf("v%d", i), Digest: f.Digest(imagetest.Top), Fixture: f})
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
	e := copytest.NewEnv(t)
	_, err := copy.Image(t.Context(), e.Policy, copytest.LayoutRef(t, job[1], job[2]), copytest.DockerRef(t, job[0]+":v1"),
		e.Options(copy.Options{ImageListSelection: copy.CopyAllImages, MaxParallelDownloads: 1}))
	require.NoError(t, err)
}

// TestLayoutKilledWriters runs processes that write into one layout at once, and kills each at
// another of its requests. What others have written stays, and the layout can be written.
func TestLayoutKilledWriters(t *testing.T) {
	const writers = 20
	r := rand.New(rand.NewPCG(1, 2))
	f, others := imagetest.Platforms(2, 1, 100), imagetest.Platforms(2, 1, 50)
	dst := copytest.Places["layout"](t)
	for i := range 3 {
		dst.Push(others, fmt.Sprintf("other%d", i), imagetest.Top)
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
		command.Env = append(os.Environ(), fmt.Sprintf("%s=%s/%s %s %s", writerEnv, src.Host(), repo, dst.(copytest.LayoutPlace).Dir, repo))
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
			dst.Check(imagetest.Want{Tag: fmt.Sprintf("writer%d", i), Digest: f.Digest(imagetest.Top), Fixture: f})
		} else {
			killed++
		}
	}
	assert.Greater(t, killed, writers/4)
	for i := range 3 {
		dst.Check(imagetest.Want{Tag: fmt.Sprintf("other%d", i), Digest: others.Digest(imagetest.Top), Fixture: others})
	}
	e := copytest.NewEnv(t)
	_, err := e.Copier(copy.Options{}).Image(t.Context(), e.Policy, dst.Ref("again"), copytest.RegistryRef(t, src, "writer0", "v1"), e.Options(copy.Options{ImageListSelection: copy.CopyAllImages}))
	require.NoError(t, err)
	dst.Check(imagetest.Want{Tag: "again", Digest: f.Digest(imagetest.Top), Fixture: f})
}

// TestFailedCopyLeavesDirectory fails in the middle of a copy into a directory that has an image.
func TestFailedCopyLeavesDirectory(t *testing.T) {
	f, old := imagetest.Platforms(3, 2, 100), imagetest.Platforms(1, 1, 50)
	for name, o := range map[string]copy.Options{
		"native":      {ImageListSelection: copy.CopyAllImages},
		"handed over": {ImageListSelection: copy.CopyAllImages, ForceManifestMIMEType: manifest.MediaTypeDockerManifest},
	} {
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{
				Script: registrytest.Only(registrytest.Matching(http.MethodGet, registrytest.KindBlob), func(n int, _ *http.Request) registrytest.Answer {
					if n >= 4 {
						return registrytest.Fail(403, "DENIED", "not this one")
					}
					return registrytest.Answer{}
				}),
			}), "app")
			src.Push(f, "v1", imagetest.Top)
			parent := t.TempDir()
			dest, err := directory.NewReference(filepath.Join(parent, "image"))
			require.NoError(t, err)
			stage := copytest.Places["layout"](t)
			stage.Push(old, "v1", "amd64")
			_, err = upstream.Image(t.Context(), e.Policy, dest, stage.Ref("v1"), &upstream.Options{SourceCtx: e.Sys, DestinationCtx: e.Sys})
			require.NoError(t, err)
			before := copytest.FileLines(t, filepath.Join(parent, "image"))

			_, err = e.Image(t.Context(), dest, src.Ref("v1"), o)
			require.Error(t, err)
			assert.Equal(t, before, copytest.FileLines(t, filepath.Join(parent, "image")))
			entries, err := os.ReadDir(parent)
			require.NoError(t, err)
			assert.Len(t, entries, 1, "nothing is left beside it")
		})
	}
}
