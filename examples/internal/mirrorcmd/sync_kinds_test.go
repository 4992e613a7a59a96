package mirrorcmd

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestSyncOfAllKinds mirrors an image, a chart, a build cache, a hardened image whose attestations
// are at another registry, and a signed list, by one file, to a registry that wants every child of
// a list and never moves a tag. The second run finds everything, and writes nothing.
func TestSyncOfAllKinds(t *testing.T) {
	const statement, signature = "application/vnd.in-toto+json", "application/vnd.example.signature"
	f := imagetest.WithAttestations()
	f.Artifact("chart", imagetest.NoMediaType())
	f.AddCache("cache", 3, 1000)
	for _, arch := range []string{"amd64", "arm64", "s390x"} {
		name := "hardened/" + arch
		f.Image(name, imagetest.Platform("linux/"+arch))
		f.Artifact("statement of "+name, imagetest.ArtifactType(statement), imagetest.Subject(name))
		f.Image("signed/"+arch, imagetest.Platform("linux/"+arch))
	}
	f.List("hardened", imagetest.Entries("hardened/amd64", "hardened/arm64", "hardened/s390x"))
	f.List("signed", imagetest.Entries("signed/amd64", "signed/arm64", "signed/s390x"))
	f.Artifact("cosign's", imagetest.ArtifactType(signature))
	f.Artifact("notation's", imagetest.ArtifactType(signature), imagetest.Subject("signed"))

	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{ListPolicy: registrytest.Distribution28, ImmutableTags: true})
	vault := registrytest.Start(t, registrytest.Options{})
	f.PushTo(s.src, "app", "v1", imagetest.Top)
	for _, name := range []string{"chart", "cache", "hardened", "signed"} {
		f.PushTo(s.src, name, "v1", name)
	}
	for _, arch := range []string{"amd64", "arm64", "s390x"} {
		f.PushTo(vault, "attestations/hardened", "", "statement of hardened/"+arch)
	}
	f.PushTo(s.src, "signed", strings.Replace(f.Digest("signed").String(), ":", "-", 1)+".sig", "cosign's")
	f.PushTo(s.src, "signed", "", "notation's")

	s.write(strings.ReplaceAll(`
defaults:
  destination: DST/mirror/{repository}
  platforms: [linux/amd64, linux/arm64]
  required: [linux/amd64]
  sparse: strip
  referrers: true
  digest-tags: true
images:
- source: SRC/app:v1
- source: SRC/chart:v1
- source: SRC/cache:v1
- source: SRC/hardened:v1
  referrers-source: VAULT/attestations/{repository}
- source: SRC/signed:v1
  platforms: []
`, "VAULT", "docker://"+vault.Host()))
	plain := "--referrers-source-tls-verify=false"
	kinds := func(report syncReport, status imageStatus) {
		t.Helper()
		require.Len(t, report.Images, 5)
		for i, want := range []struct {
			kind     string
			attached []syncAttached
		}{
			{"list", nil}, {"artifact", nil}, {"build cache", nil},
			{"list", []syncAttached{{statement, 2}}},
			{"list", []syncAttached{{".sig", 1}, {signature, 1}}},
		} {
			image := report.Images[i]
			assert.Equal(t, status, image.Status, "%s: %s", image.Source, image.Error)
			assert.Equal(t, want.kind, image.Kind, image.Source)
			assert.Equal(t, want.attached, image.Attached, image.Source)
			assert.Empty(t, image.Warnings, image.Source)
		}
	}
	kinds(s.syncJSON(StatusDone, plain), imageCopied)
	written := writes(s.dst)
	assert.Positive(t, written)
	assert.Zero(t, writes(vault))
	kinds(s.syncJSON(StatusUnchanged, plain, "--exit-unchanged"), imagePresent)
	assert.Equal(t, written, writes(s.dst), "the second run writes nothing")
	text := s.sync(plain).done(t).stdout
	for _, line := range []string{"list .*/app", "artifact .*/chart", "build cache .*/cache", "list .*/hardened", "list .*/signed"} {
		assert.Regexp(t, `(?m)^present +`+line+`:v1$`, text)
	}
	assert.Equal(t, written, writes(s.dst))

	for _, c := range []struct {
		name, of        string // of the repository, and of what the tag names; "" for a stripped list
		present, absent []string
		attached        []string
	}{
		{"app", "", []string{"amd64", "att-amd64", "arm64", "att-arm64"}, []string{"s390x", "att-s390x"}, nil},
		{"chart", "chart", []string{"chart"}, nil, nil},
		{"cache", "cache", nil, nil, nil},
		{"hardened", "", []string{"hardened/amd64", "hardened/arm64"}, []string{"hardened/s390x"}, []string{"statement of hardened/amd64", "statement of hardened/arm64"}},
		{"signed", "signed", []string{"signed/s390x"}, nil, []string{"cosign's", "notation's"}},
	} {
		want := imagetest.Want{Tag: "v1", Fixture: f, Present: c.present, Absent: c.absent}
		if c.of != "" {
			want.Digest = f.Digest(c.of)
		}
		imagetest.CheckRegistry(t, s.dst, "mirror/"+c.name, want)
		for _, name := range c.attached {
			_, _, there := s.dst.Manifest("mirror/"+c.name, f.Digest(name).String())
			assert.True(t, there, name)
		}
	}
}
