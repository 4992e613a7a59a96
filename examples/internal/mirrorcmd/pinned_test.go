package mirrorcmd

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestPinned has a source with tag and digest, whose tag has moved on: the digest says what is
// read, and the tag where it goes.
func TestPinned(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
	f.PushTo(s.src, "app", "old", imagetest.Top)
	f.PushTo(s.src, "app", "1", "arm64")
	pinned := "app:1@" + f.Digest(imagetest.Top).String()
	source := "docker://" + s.src.Host() + "/" + pinned
	s.write("images:\n- {source: SRC/" + pinned + ", destination: 'DST/{repository}'}\n")
	dir := t.TempDir()
	memory, snippet := filepath.Join(dir, "state"), filepath.Join(dir, "snippet")
	for _, want := range []imageStatus{imageCopied, imagePresent} {
		image := s.syncJSON(StatusDone, "--state", memory, "--registries-conf-snippet", snippet).Images[0]
		assert.Equal(t, want, image.Status)
		assert.Equal(t, "docker://"+s.src.Host()+"/app@"+f.Digest(imagetest.Top).String(), image.Source)
		assert.Equal(t, "docker://"+s.dst.Host()+"/app:1", image.Destination)
	}
	imagetest.CheckRegistry(t, s.dst, "app", imagetest.Want{Tag: "1", Digest: f.Digest(imagetest.Top), Fixture: f})
	assert.NotContains(t, string(read(t, snippet)), "digest-only", "tags are the same in both")
	mirror(t, "verify", s.file).done(t)

	other := "docker://" + s.dst.Host() + "/other:1"
	mirror(t, "copy", "--all", source, other).done(t)
	mirror(t, "verify", "--all", source, other).done(t)
	assert.Contains(t, mirror(t, "plan", "--all", source, other).done(t).stdout, f.Digest(imagetest.Top).Encoded()[:12])
	mirror(t, "copy", "--all", source, other+"@"+f.Digest(imagetest.Top).String()).failed(t, StatusMisused,
		"DESTINATION", "has a tag and a digest: write "+other+", to have the image under that tag, or docker://"+s.dst.Host()+"/other@"+f.Digest(imagetest.Top).String())
	s.write("images:\n- {source: SRC/app:1, destination: DST/" + pinned + "}\n")
	s.sync().failed(t, StatusMisused, ":2: destination ", "has a tag and a digest")

	s.write("images:\n- {source: SRC/" + pinned + ", destination: 'DST/{repository}'}\n")
	for name, args := range map[string][]string{"file": {"-f", s.file}, "images": {"--all", source}} {
		path := filepath.Join(dir, name+".tar")
		made := runAll(t.Context(), t, "", append([]string{"bundle", "create", "--insecure-policy", "--src-tls-verify=false", path}, args...)...)
		assert.Equal(t, StatusDone, made.status, made.stderr)
		assert.Contains(t, made.stdout, f.Digest(imagetest.Top).String()+"  "+s.src.Host()+"/app:1\n")
	}
}
