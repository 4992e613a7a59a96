package mirrorcmd

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// attachedFixture is a list with an SBOM and its signature, a referrer that is a list, and an image
// that cosign's tags name.
func attachedFixture() *imagetest.Fixture {
	f := imagetest.Platforms(2, 1, 100)
	f.Artifact("sbom", imagetest.Subject("amd64"), imagetest.ArtifactType("application/spdx+json"))
	f.Artifact("signature", imagetest.Subject("sbom"), imagetest.ArtifactType("application/x-signature"))
	f.Image("part", imagetest.Platform("linux/s390x"))
	f.List("group", imagetest.Entries("part"), imagetest.Subject(imagetest.Top), imagetest.ArtifactType("application/x-group"))
	f.Layer("payload", imagetest.File("payload", "one"))
	f.Layer("other", imagetest.File("payload", "two"))
	f.Image("cosigned", imagetest.Layers("payload"))
	f.Image("cosigned-again", imagetest.Layers("payload", "other"))
	f.Image("cosigned-else", imagetest.Layers("other"))
	return f
}

func digestTagOf(f *imagetest.Fixture, name, suffix string) string {
	return strings.Replace(f.Digest(name).String(), ":", "-", 1) + suffix
}

func pushAttached(f *imagetest.Fixture, r *registrytest.Registry) {
	f.PushTo(r, repo, tag, imagetest.Top)
	for _, name := range []string{"sbom", "signature", "group"} {
		f.PushTo(r, repo, "", name)
	}
	f.PushTo(r, repo, digestTagOf(f, imagetest.Top, ".sig"), "cosigned")
}

// TestVerifyAttached looks for referrers and digest tags, if it is told to, and for what they name.
func TestVerifyAttached(t *testing.T) {
	f := attachedFixture()
	flags := []string{"--all", "--referrers", "--digest-tags"}
	for name, c := range map[string]struct {
		break_ func(*registrytest.Registry)
		says   []string // parts of lines
	}{
		"whole": {func(*registrytest.Registry) {}, nil},
		"no referrer": {
			func(r *registrytest.Registry) { r.DeleteManifest(repo, f.Digest("sbom")) },
			[]string{
				"referrer " + f.Digest("sbom").String() + " (linux/amd64): the destination does not list it as a referrer of " + f.Digest("amd64").String(),
				"manifest " + f.Digest("sbom").String() + " (application/spdx+json of linux/amd64): it is missing",
			},
		},
		"no referrer of a referrer": {
			func(r *registrytest.Registry) { r.DeleteManifest(repo, f.Digest("signature")) },
			[]string{"referrer " + f.Digest("signature").String() + ": the destination does not list it", "manifest " + f.Digest("signature").String()},
		},
		"no child of a list": {
			func(r *registrytest.Registry) { r.DeleteManifest(repo, f.Digest("part")) },
			[]string{"manifest " + f.Digest("part").String() + " ("},
		},
		"no blob of a referrer": {
			func(r *registrytest.Registry) { r.DeleteBlob(repo, f.Digest("sbom.layer")) },
			[]string{"layer " + f.Digest("sbom.layer").String() + " (application/spdx+json of linux/amd64): it is missing"},
		},
		"no tag": {
			func(r *registrytest.Registry) { r.DeleteTag(repo, digestTagOf(f, imagetest.Top, ".sig")) },
			[]string{"tag " + f.Digest("cosigned").String() + ": the tag " + digestTagOf(f, imagetest.Top, ".sig") + " names nothing"},
		},
		"a tag with more": {
			func(r *registrytest.Registry) {
				f.PushTo(r, repo, digestTagOf(f, imagetest.Top, ".sig"), "cosigned-again")
			}, nil,
		},
		"another tag": {
			func(r *registrytest.Registry) {
				f.PushTo(r, repo, digestTagOf(f, imagetest.Top, ".sig"), "cosigned-else")
			},
			[]string{"names " + f.Digest("cosigned-else").String() + " instead"},
		},
		"no blob of a tag": {
			func(r *registrytest.Registry) { r.DeleteBlob(repo, f.Digest("payload")) },
			[]string{"layer " + f.Digest("payload").String() + " (tag " + digestTagOf(f, imagetest.Top, ".sig") + "): it is missing"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
			pushAttached(f, src)
			mirror(t, "copy", append(flags, refTo(src), refTo(dst))...).done(t)
			c.break_(dst)
			r := mirror(t, "verify", append(flags, refTo(src), refTo(dst))...)
			if c.says == nil {
				r.done(t)
				assert.Contains(t, r.stdout, ", 5 attached\n")
				return
			}
			r.failed(t, StatusFailed, counted(len(c.says), "violation"))
			for _, part := range c.says {
				assert.Contains(t, r.stdout, part)
			}
			mirror(t, "verify", "--all", refTo(src), refTo(dst)).done(t) // which asks for none of these
		})
	}
}

// TestVerifyAsksNobodyInVain: what a registry does not tell is neither there nor absent.
func TestVerifyAsksNobodyInVain(t *testing.T) {
	f := attachedFixture()
	src, lax := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	pushAttached(f, src)
	mute := registrytest.Start(t, registrytest.Options{Script: registrytest.Only(
		registrytest.Matching(http.MethodGet, registrytest.KindReferrers), registrytest.EveryNth(1, registrytest.Fail(403, "DENIED", "not you")))})
	pushAttached(f, mute)
	r := mirror(t, "verify", "--all", "--referrers", refTo(src), refTo(mute))
	r.failed(t, StatusFailed, "violation")
	assert.Contains(t, r.stdout, "referrer "+f.Digest("sbom").String()+" (linux/amd64): whether it is listed could not be asked: ")

	hiding := registrytest.Start(t, registrytest.Options{ForbidAbsentTags: true, NoReferrers: true})
	f.PushTo(hiding, repo, tag, imagetest.Top)
	f.PushTo(lax, repo, tag, imagetest.Top)
	r = mirror(t, "verify", "--all", "--digest-tags", "--output", "json", refTo(hiding), refTo(lax)).done(t)
	var v copy.Verification
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &v))
	assert.Empty(t, v.Violations)
	assert.Contains(t, strings.Join(v.Warnings, "\n"), "could not be asked, and is not known")
	r = mirror(t, "verify", "--all", "--digest-tags", refTo(hiding), refTo(lax)).done(t)
	assert.Contains(t, r.stdout, "warning: whether "+f.Digest("arm64").String())
}

// TestVerifySizes notices that a registry has a blob with another size.
func TestVerifySizes(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top)
	f.PushTo(dst, repo, tag, imagetest.Top)
	cut := registrytest.Bytes(f.Content("amd64.0")[:10])
	cut.Digest = f.Digest("amd64.0")
	dst.DeleteBlob(repo, cut.Digest)
	dst.PutContent(repo, cut)
	r := mirror(t, "verify", "--all", refTo(src), refTo(dst))
	r.failed(t, StatusFailed, "1 violation")
	assert.Contains(t, r.stdout, "layer "+cut.Digest.String()+" (linux/amd64): it has 10 bytes, and its manifest states ")
}

// TestVerifyLayersElsewhere: layers with URLs are not copied, and so not missing, unless another
// image has them without.
func TestVerifyLayersElsewhere(t *testing.T) {
	f := imagetest.New()
	f.Layer("base", imagetest.Foreign("https://registry.invalid/base"))
	f.Layer("app", imagetest.File("app", "app"))
	f.Image("windows", imagetest.Platform("windows/amd64"), imagetest.Layers("base", "app"))
	f.Image("linux", imagetest.Platform("linux/amd64"), imagetest.Layers("app"))
	f.List(imagetest.Top, imagetest.Entries("windows", "linux"))
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top, "base")
	mirror(t, "copy", "--all", refTo(src), refTo(dst)).done(t)
	for _, args := range [][]string{nil, {"--blobs"}} {
		r := mirror(t, "verify", append(args, "--all", refTo(src), refTo(dst))...).done(t)
		assert.Contains(t, r.stdout, "; 1 layer elsewhere, not looked for\n")
	}
	dst.DeleteBlob(repo, f.Digest("app"))
	r := mirror(t, "verify", "--all", refTo(src), refTo(dst))
	assert.Contains(t, r.stdout, "layer "+f.Digest("app").String())
	assert.NotContains(t, r.stdout, f.Digest("base").String())
}

// TestVerifyReferrersTags looks where a registry without the API has its referrers.
func TestVerifyReferrersTags(t *testing.T) {
	f := attachedFixture()
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{NoReferrers: true})
	pushAttached(f, src)
	mirror(t, "copy", "--all", "--referrers", refTo(src), refTo(dst)).done(t)
	mirror(t, "verify", "--all", "--referrers", refTo(src), refTo(dst)).done(t)
	dst.DeleteTag(repo, endpoint.ReferrersTag(f.Digest("amd64")))
	r := mirror(t, "verify", "--all", "--referrers", refTo(src), refTo(dst))
	assert.Contains(t, r.stdout, "the destination does not list it as a referrer of "+f.Digest("amd64").String())
}
