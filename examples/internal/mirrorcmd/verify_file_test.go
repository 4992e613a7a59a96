package mirrorcmd

import (
	"encoding/json"
	"fmt"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A mirrorTest is a file with an image of every kind, and the mirror that a sync has made of it.
type mirrorTest struct {
	*syncTest
	attached, foreign *imagetest.Fixture
}

func newMirrorTest(t *testing.T) *mirrorTest {
	m := &mirrorTest{syncTest: newSyncTest(t, registrytest.Options{}, registrytest.Options{}), attached: attachedFixture(), foreign: imagetest.New()}
	pushAttached(m.attached, m.src)
	m.foreign.Layer("base", imagetest.Foreign("https://registry.invalid/base"))
	m.foreign.Layer("app", imagetest.File("app", "app"))
	m.foreign.Image("windows", imagetest.Platform("windows/amd64"), imagetest.Layers("base", "app"))
	m.foreign.List(imagetest.Top, imagetest.Entries("windows"))
	m.foreign.PushTo(m.src, "windows", tag, imagetest.Top, "base")
	imagetest.PushSigned(m.src, "signed", imagetest.SignedTags)
	m.write(fmt.Sprintf(`defaults: {check-blobs: true}
images:
- {source: 'SRC/%s:%s', destination: DST/kept, platforms: [linux/amd64], sparse: keep, referrers: true, digest-tags: true}
- {source: 'SRC/%[1]s:%[2]s', destination: DST/all, platforms: [], referrers: true, digest-tags: true}
- {source: 'SRC/windows:%[2]s', destination: DST/windows, platforms: []}
- {source: 'SRC/signed:v1', destination: DST/signed, platforms: [linux/arm64], sparse: strip, attach-original: true}
`, repo, tag))
	m.sync().done(t)
	return m
}

// verify verifies the file, and returns what was found.
func (m *mirrorTest) verify(status int, args ...string) (fileVerification, outcome) {
	m.Helper()
	r := mirror(m.T, "verify", append([]string{"--output", "json", m.file}, args...)...)
	require.Equal(m, status, r.status, "%s", r.stderr)
	var found fileVerification
	require.NoError(m, json.Unmarshal([]byte(r.stdout), &found))
	return found, r
}

// TestVerifyFileLooksAtEverything takes something of every kind away from a mirror, one at a time:
// whatever the file stands for is looked for.
func TestVerifyFileLooksAtEverything(t *testing.T) {
	m := newMirrorTest(t)
	f := m.attached
	found, _ := m.verify(StatusFailed) // the policy demands no signature, so that nothing is proven of what is stripped
	assert.Equal(t, 3, found.Summary.Verified)
	assert.Empty(t, found.Images[3].Verification.Violations)
	assert.Equal(t, 1, found.Summary.Elsewhere, "layers with URLs are known")
	assert.Positive(t, found.Summary.Manifests)
	assert.Positive(t, found.Summary.Blobs)
	assert.Positive(t, found.Summary.Attached)

	list, _ := m.dst.Resolve("signed", "v1")
	original := artifactsIn(t, m.dst, "signed", list)[0]
	content, _, _ := m.dst.Manifest("signed", original.String())
	image, err := manifest.ParseImage(content, imgspecv1.MediaTypeImageManifest)
	require.NoError(t, err)
	for what, c := range map[string]struct {
		image int
		take  func() bool
	}{
		"an image of a kept list":        {0, func() bool { return m.dst.DeleteManifest("kept", f.Digest("amd64")) }},
		"a referrer":                     {0, func() bool { return m.dst.DeleteManifest("kept", f.Digest("sbom")) }},
		"a referrer of a referrer":       {0, func() bool { return m.dst.DeleteManifest("kept", f.Digest("signature")) }},
		"a blob of a referrer":           {1, func() bool { return m.dst.DeleteBlob("all", f.Digest("payload")) }},
		"an image of a list that refers": {1, func() bool { return m.dst.DeleteManifest("all", f.Digest("part")) }},
		"a digest tag":                   {0, func() bool { return m.dst.DeleteTag("kept", digestTagOf(f, imagetest.Top, ".sig")) }},
		"a layer beside one with URLs":   {2, func() bool { return m.dst.DeleteBlob("windows", m.foreign.Digest("app")) }},
		"an original":                    {3, func() bool { return m.dst.DeleteManifest("signed", original) }},
		"the list in it":                 {3, func() bool { return m.dst.DeleteBlob("signed", image.Layers[0].Digest) }},
		"a config":                       {2, func() bool { return m.dst.DeleteBlob("windows", m.foreign.Digest("windows.config")) }},
	} {
		t.Run(what, func(t *testing.T) {
			require.True(t, c.take())
			found, _ := m.verify(StatusFailed)
			for i, one := range found.Images {
				assert.Equal(t, i == c.image, len(one.Verification.Violations) > 0, "%d", i)
			}
			assert.Equal(t, imageFailed, found.Images[c.image].Status)
			assert.False(t, found.Images[c.image].Verification.Damaged())

			m.sync().done(t)
			found, _ = m.verify(StatusFailed)
			assert.Empty(t, found.Images[c.image].Verification.Violations, "a run mends it")
		})
	}
}

// TestVerifyFileTellsDamageApart: what the source has lost, too, has a status of its own, that of
// the command before that of what the next run mends; and what is whole although the source is gone
// is verified, with a warning.
func TestVerifyFileTellsDamageApart(t *testing.T) {
	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
	f := imagetest.Platforms(3, 1, 100)
	for _, name := range []string{"whole", "orphan", "mendable", "layer", "image", "gone"} {
		f.PushTo(s.src, name, tag, imagetest.Top)
	}
	s.write(`defaults: {destination: 'DST/{repository}', platforms: [linux/amd64, linux/arm64], sparse: strip}
images:
- source: SRC/whole:1
- source: SRC/orphan:1
- source: SRC/mendable:1
- source: SRC/layer:1
- source: SRC/image:1
- source: SRC/gone:1
`)
	s.sync().done(t)
	for _, done := range []bool{
		s.src.DeleteTag("orphan", tag),
		s.dst.DeleteManifest("mendable", f.Digest("amd64")),
		s.src.DeleteBlob("layer", f.Digest("amd64.0")), s.dst.DeleteBlob("layer", f.Digest("amd64.0")),
		s.src.DeleteManifest("image", f.Digest("arm64")), s.dst.DeleteManifest("image", f.Digest("arm64")),
		s.src.DeleteTag("gone", tag), s.dst.DeleteTag("gone", tag),
	} {
		require.True(t, done)
	}
	m := &mirrorTest{syncTest: s}
	found, r := m.verify(StatusDamaged)
	var statuses []imageStatus
	for _, i := range found.Images {
		statuses = append(statuses, i.Status)
	}
	assert.Equal(t, []imageStatus{imageVerified, imageVerified, imageFailed, imageDamaged, imageDamaged, imageDamaged}, statuses)
	r.failed(t, StatusDamaged, "3 of 6 images damaged; the first, docker://"+s.dst.Host()+"/layer:1: ", "the source does not have what is lost any more")
	assert.Equal(t, fileVerificationSummary{
		Images: 6, Verified: 2, Failed: 1, Damaged: 3, Orphaned: 3, Manifests: 13, Blobs: 16,
	}, found.Summary)
	assert.Empty(t, found.Images[0].Verification.Orphaned)
	assert.NotEmpty(t, found.Images[1].Verification.Orphaned)

	text := mirror(t, "verify", s.file).stdout
	at := "docker://" + s.dst.Host()
	assert.Contains(t, text, "warning: "+at+"/orphan:1: the source does not have what is wanted any more, and the destination was held against what it names itself: ")
	assert.Contains(t, text, "wrong: "+at+"/layer:1: layer "+f.Digest("amd64.0").String()+" (linux/amd64): it is missing; the source does not have it either\n")
	assert.Contains(t, text, "damaged: "+at+"/image:1 (line 7): "+at+"/image:1 is damaged: 1 violation")
	assert.Contains(t, text, "wrong: "+at+"/gone:1: manifest: the destination names nothing")
	assert.Contains(t, text, "6 images: 2 verified, 1 failed, 3 damaged; 13 manifests hashed, 16 blobs, 0 attached; without a source by now: 3; ")

	one := mirror(t, "verify", "--platform", "linux/amd64,linux/arm64", "--sparse", "strip", "docker://"+s.src.Host()+"/layer:1", at+"/layer:1")
	one.failed(t, StatusDamaged, "is damaged: 1 violation")
	whole := mirror(t, "verify", "--platform", "linux/amd64,linux/arm64", "--sparse", "strip", "docker://"+s.src.Host()+"/orphan:1", at+"/orphan:1").done(t)
	assert.Contains(t, whole.stdout, "warning: the source does not have what is wanted any more, ")
	assert.Contains(t, whole.stdout, "complete and true: ")
}
