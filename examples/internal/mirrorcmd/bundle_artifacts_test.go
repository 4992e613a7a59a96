package mirrorcmd

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestBundleOfArtifacts carries a chart, an image with a chart beside it, and a nested list whose
// entry alone says a platform, under one selection of platforms.
func TestBundleOfArtifacts(t *testing.T) {
	f := imagetest.Platforms(3, 1, 100)
	f.Artifact("chart", imagetest.NoMediaType())
	f.List("with chart", imagetest.Entries("amd64", "arm/v7", "chart"))
	f.Image("plain", imagetest.NoPlatform())
	f.List("inner", imagetest.Entry("plain", imagetest.NoPlatform()))
	f.List("nested", imagetest.Entry("inner", imagetest.Platform("linux/amd64")), imagetest.Entries("arm64"))
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{Strict: true})
	repos := map[string]string{"chart": "chart", "app": "with chart", "nested": "nested", "other": "arm64"}
	text := "defaults: {destination: 'docker://m.example/{name}', platforms: [linux/amd64], sparse: strip, single: skip, platformless-entries: keep}\nimages:\n"
	for _, repo := range []string{"chart", "app", "nested", "other"} {
		f.PushTo(src, repo, "v1", repos[repo])
		text += "- source: docker://" + src.Host() + "/" + repo + ":v1\n"
	}
	dir := t.TempDir()
	file, bundle := filepath.Join(dir, "images.yaml"), filepath.Join(dir, "bundle")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	runAll(t.Context(), t, "", "bundle", "create", "--insecure-policy", "--src-tls-verify=false", "--file", file, bundle).done(t)
	runAll(t.Context(), t, "", "bundle", "load", "--insecure-policy", "--dest-tls-verify=false", bundle, "docker://"+dst.Host()).done(t)

	for repo, want := range map[string]imagetest.Want{
		"chart":  {Digest: f.Digest("chart")},
		"app":    {Present: []string{"amd64", "chart"}, Absent: []string{"arm/v7"}},
		"nested": {Present: []string{"inner", "plain"}, Absent: []string{"arm64"}},
	} {
		want.Tag, want.Fixture = "v1", f
		imagetest.CheckRegistry(t, dst, repo, want)
	}
	assert.Empty(t, dst.Tags("other"), "a single image for another platform is left out")
}
