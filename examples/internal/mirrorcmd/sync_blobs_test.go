package mirrorcmd

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestSyncCaches mirrors images and a build cache under one choice of platforms: the second run
// writes nothing, the report calls the entries of the cache by their names, and the removal of what
// is not needed takes none of them for a manifest.
func TestSyncCaches(t *testing.T) {
	lenient := registrytest.Options{ListPolicy: registrytest.Distribution28}
	s := newSyncTest(t, registrytest.Options{}, lenient)
	images, cache := imagetest.Platforms(2, 1, 100), imagetest.Cache(2, 100)
	images.PushTo(s.src, "app/image", "1", imagetest.Top)
	cache.PushTo(s.src, "app/cache", "1", imagetest.Top)
	s.write("defaults:\n  platforms: [linux/amd64]\n  required: [linux/amd64]\n  sparse: strip\n  destination: DST/mirror/{repository}\nimages:\n" +
		"- source: SRC/app/image:1\n- source: SRC/app/cache:1\n")
	report := s.syncJSON(0)
	assert.Equal(t, 2, report.Summary.Copied)
	imagetest.CheckRegistry(t, s.dst, "mirror/app/cache", imagetest.Want{Tag: "1", Digest: cache.Digest(imagetest.Top), Fixture: cache, Only: true})

	s.dst.ResetLog()
	report = s.syncJSON(0)
	assert.Equal(t, 2, report.Summary.Present)
	assert.Zero(t, writes(s.dst))
	for _, d := range cache.Blobs(imagetest.Top) {
		assert.Zero(t, s.dst.Count(func(q registrytest.Request) bool { return q.Kind == registrytest.KindManifest && q.Ref == d.String() }))
	}

	r := mirror(t, "copy", "docker://"+s.src.Host()+"/app/cache:1", "docker://"+s.dst.Host()+"/other/cache:1")
	assert.Equal(t, 0, r.status, r.stderr)
	assert.Contains(t, r.stdout+r.stderr, "cache layer")
	assert.Contains(t, r.stdout+r.stderr, "cache config")

	strict := registrytest.Start(t, registrytest.Options{ListPolicy: registrytest.Distribution3})
	r = mirror(t, "copy", "docker://"+s.src.Host()+"/app/cache:1", "docker://"+strict.Host()+"/other/cache:1")
	assert.Equal(t, 1, r.status)
	assert.Contains(t, r.stderr, "image-manifest=true")
	assert.Zero(t, strict.Count(func(q registrytest.Request) bool {
		return q.Method == http.MethodPut && q.Kind == registrytest.KindManifest && q.Status == http.StatusCreated
	}))
	r = runAll(t.Context(), t, "", "inspect", "--tls-verify=false", "docker://"+s.src.Host()+"/app/cache:1")
	assert.Equal(t, 0, r.status, r.stderr)
	assert.Regexp(t, `(?m)^1 +cache layer +sha256:[0-9a-f]{64} +present`, r.stdout)
}
