package registries

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// notes is how many bytes lie between two points of an upload that are remembered.
const notes = 512 << 10

// TestResumeDir breaks off an upload for good. A Copier with the same ResumeDir sends, and reads,
// only what comes after it; one without sends everything.
func TestResumeDir(t *testing.T) {
	const (
		size     = 4 << 20
		brokenAt = 3 << 20
		spare    = 64 << 10 // for manifests
	)
	for name, remembers := range map[string]bool{"with": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			e, f := copytest.NewEnv(t), imagetest.Platforms(1, 1, size)
			src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
			src.Push(f, "v1", imagetest.Top)
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Script: registrytest.Only(
				func(q *http.Request) bool { return bringsContent(q) && q.ContentLength >= size },
				registrytest.OnNth(1, registrytest.CutUpload(brokenAt)))}), "app")
			o := copy.CopierOptions{Retries: copy.RetryPolicy{Attempts: 1}, NoRanges: true}
			if remembers {
				o.ResumeDir = filepath.Join(t.TempDir(), "resume")
			}
			all := copy.Options{ImageListSelection: copy.CopyAllImages}
			_, err := e.ImageWith(t.Context(), copytest.NewCopier(t, o), dst.Ref("v1"), src.Ref("v1"), all)
			require.Error(t, err)
			dst.ResetLog()
			src.ResetLog()
			report, err := e.ImageWith(t.Context(), copytest.NewCopier(t, o), dst.Ref("v1"), src.Ref("v1"), all)
			require.NoError(t, err)
			dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})

			sent, ranged := int64(0), int64(0)
			for _, q := range dst.Requests() {
				sent += q.BytesIn
			}
			for _, q := range src.Requests() {
				if q.Header.Get("Range") != "" {
					ranged += q.BytesOut
				}
			}
			if !remembers {
				assert.GreaterOrEqual(t, sent, int64(size))
				assert.Zero(t, ranged)
				assert.Zero(t, report.Destination.Resumed)
				return
			}
			assert.Less(t, sent, int64(size-brokenAt+spare))
			assert.NotZero(t, ranged)
			assert.Less(t, ranged, int64(size-brokenAt+notes+spare))
			assert.EqualValues(t, 1, report.Destination.Resumed)
			assert.Zero(t, report.Destination.BegunAnew)
			left, err := os.ReadDir(o.ResumeDir)
			require.NoError(t, err)
			assert.Empty(t, left)
		})
	}
}
