package copy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// BenchmarkSettled copies what is at the destination already, between two registries that are 100
// ms away: the requests of an image to either end, and the round trips that a copy takes in all.
// docs/performance.md has its figures.
func BenchmarkSettled(b *testing.B) {
	const rtt = 100 * time.Millisecond
	two := copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64")}
	stripped, auto, original := two, two, withOriginal()
	stripped.SparseManifestListAction = copy.StripSparseManifestList
	auto.SparseManifestListAction = copy.AutoSparseManifestList
	for _, c := range []struct {
		name    string
		top     string
		options copy.Options
		strict  bool
		images  int
		signed  bool // registries.d says that signatures are attached; there are none
	}{
		{"list=all", imagetest.Top, copy.Options{ImageListSelection: copy.CopyAllImages}, true, 1, false},
		{"list=kept", imagetest.Top, two, false, 1, false},
		{"list=stripped", imagetest.Top, stripped, true, 1, false},
		{"list=stripped,original", imagetest.Top, original, true, 1, false},
		{"list=kept,signatures", imagetest.Top, two, false, 1, true},
		{"list=stripped,signatures", imagetest.Top, stripped, true, 1, true},
		{"list=auto-kept", imagetest.Top, auto, false, 1, false},
		{"list=auto-stripped", imagetest.Top, auto, true, 1, false},
		{"image=of-a-list", imagetest.Top, copy.Options{}, true, 1, false},
		{"image=alone", "amd64", copy.Options{}, true, 1, false},
		{"sync=100-kept", imagetest.Top, two, false, 100, false},
		{"sync=100-stripped", imagetest.Top, stripped, true, 100, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			f := imagetest.Platforms(8, 5, 1000)
			e := copytest.NewEnv(b)
			if c.signed {
				require.NoError(b, os.WriteFile(filepath.Join(e.Sys.RegistriesDirPath, "default.yaml"),
					[]byte("default-docker:\n  use-sigstore-attachments: true\n"), 0o600))
			}
			src := registrytest.Start(b, registrytest.Options{RTT: rtt})
			dst := registrytest.Start(b, registrytest.Options{RTT: rtt, Strict: c.strict})
			jobs := make([]copy.Job, c.images)
			for i := range jobs {
				repo := fmt.Sprintf("app/%d", i)
				f.PushTo(src, repo, "v1", c.top)
				jobs[i] = copy.Job{Source: copytest.RegistryAt(b, src, repo).Ref("v1"), Destination: copytest.RegistryAt(b, dst, repo).Ref("v1")}
			}
			copyAll := func() {
				for _, result := range copy.Images(b.Context(), e.Policy, jobs, &copy.ImagesOptions{Options: settledOptions(e.Sys, c.options)}) {
					require.NoError(b, result.Err)
				}
			}
			copyAll()
			src.ResetLog()
			dst.ResetLog()
			for b.Loop() {
				copyAll()
			}
			images := float64(b.N * c.images)
			b.ReportMetric(float64(len(src.Requests()))/images, "source-requests/image")
			b.ReportMetric(float64(len(dst.Requests()))/images, "destination-requests/image")
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(rtt), "round-trips/op")
		})
	}
}

func settledOptions(sys *types.SystemContext, o copy.Options) *copy.Options {
	o.SourceCtx, o.DestinationCtx = sys, sys
	return &o
}
