package mirrorcmd

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// An attachedTest is a repository with two stripped lists, of which the file names one. To both,
// their original and a signature are attached.
type attachedTest struct {
	*syncTest
	kept, old        digest.Digest
	ofKept, ofOld    []original.Artifact
	tagged, foreigns []digest.Digest // of the list of the old list's referrers by tag; what others have attached to that
}

// newAttachedTest makes one. tag is the suffix of the tags by which artifacts are listed, if the
// registry does not list them. With foreign, others have attached something, too.
func newAttachedTest(t *testing.T, o registrytest.Options, suffix string, foreign bool) *attachedTest {
	a := &attachedTest{syncTest: newSyncTest(t, registrytest.Options{}, o)}
	for tag, seed := range map[string]uint64{"1": 1, "old": 2} {
		f := imagetest.New()
		for i, arch := range []string{"amd64", "arm64"} {
			f.Layer(arch+".layer", imagetest.Random(seed*10+uint64(i), 100))
			f.Image(arch, imagetest.Platform("linux/"+arch), imagetest.Layers(arch+".layer"))
		}
		f.List(imagetest.Top, imagetest.Entries("amd64", "arm64"))
		f.PushTo(a.src, "app", tag, imagetest.Top)
		a.write("defaults: {platforms: [linux/amd64], sparse: strip}\nimages:\n- {source: 'SRC/app:" + tag + "', destination: DST/app}\n")
		a.sync().done(t)
		list, _ := a.dst.Resolve("app", tag)
		artifacts := a.artifacts(list, f)
		if tag == "old" {
			a.old, a.ofOld = list, artifacts
		} else {
			a.kept, a.ofKept = list, artifacts
		}
		if tag == "old" && foreign {
			a.foreigns = a.others(list, f)
		}
		if o.NoReferrers {
			a.listByTag(list, suffix, artifacts, a.foreigns)
		}
	}
	a.write("defaults: {platforms: [linux/amd64], sparse: strip}\nimages:\n- {source: 'SRC/app:1', destination: DST/app}\n")
	return a
}

// artifacts attaches the original of a stripped list, and a signature.
func (a *attachedTest) artifacts(list digest.Digest, f *imagetest.Fixture) []original.Artifact {
	stripped := a.subject(list)
	content, mediaType := f.Document(imagetest.Top)
	top := manifest.Document{Digest: f.Digest(imagetest.Top), MediaType: mediaType, Bytes: content}
	signature, err := original.OfSignature(stripped, original.Signature{Of: top.Digest, Kind: original.Lookaside, Blob: []byte("signature")})
	require.NoError(a, err)
	all := []original.Artifact{original.Of(stripped, []manifest.Document{top}, ""), original.Plain(signature)}
	for _, artifact := range all {
		for _, part := range artifact.Parts() {
			a.dst.PutBlob("app", part.Content)
		}
		a.dst.PutManifest("app", artifact.Document.Digest.String(), artifact.Document.MediaType, artifact.Document.Bytes)
	}
	return all
}

func (a *attachedTest) subject(list digest.Digest) imgspecv1.Descriptor {
	content, mediaType, ok := a.dst.Manifest("app", list.String())
	require.True(a, ok)
	return imgspecv1.Descriptor{MediaType: mediaType, Digest: list, Size: int64(len(content))}
}

// others attaches what this library has not written: something else, and an artifact that says that
// it is one of ours.
func (a *attachedTest) others(list digest.Digest, f *imagetest.Fixture) []digest.Digest {
	subject := a.subject(list)
	config := imgspecv1.DescriptorEmptyJSON
	a.dst.PutBlob("app", config.Data)
	var all []digest.Digest
	for _, artifactType := range []string{"application/spdx+json", original.ArtifactType} {
		content, err := json.Marshal(imgspecv1.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageManifest, ArtifactType: artifactType,
			Config: config, Layers: []imgspecv1.Descriptor{config}, Subject: &subject,
		})
		require.NoError(a, err)
		all = append(all, a.dst.PutManifest("app", digest.FromBytes(content).String(), imgspecv1.MediaTypeImageManifest, content))
	}
	return all
}

// listByTag lists what is attached to a list.
func (a *attachedTest) listByTag(list digest.Digest, suffix string, artifacts []original.Artifact, others []digest.Digest) {
	index := imgspecv1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageIndex}
	for _, artifact := range artifacts {
		index.Manifests = append(index.Manifests, artifact.Descriptor())
	}
	for _, d := range others {
		content, mediaType, _ := a.dst.Manifest("app", d.String())
		index.Manifests = append(index.Manifests, imgspecv1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))})
	}
	content, err := json.Marshal(index)
	require.NoError(a, err)
	a.tagged = []digest.Digest{a.dst.PutManifest("app", strings.Replace(list.String(), ":", "-", 1)+suffix, index.MediaType, content)}
}

// there are those of digests that the destination has.
func (a *attachedTest) there(digests ...digest.Digest) (has []digest.Digest) {
	for _, d := range digests {
		if _, _, ok := a.dst.Manifest("app", d.String()); ok {
			has = append(has, d)
		}
	}
	return has
}

func digestsOf(artifacts []original.Artifact) (all []digest.Digest) {
	for _, a := range artifacts {
		all = append(all, a.Document.Digest)
	}
	return all
}

// deleted are what DELETE was asked for, in this order.
func (a *attachedTest) deleted() (all []digest.Digest) {
	for _, q := range a.dst.Requests() {
		if q.Method == http.MethodDelete {
			all = append(all, digest.Digest(q.Ref))
		}
	}
	return all
}

// TestSyncDeletesOriginals: with a list goes what this library has attached to it, after it and
// under the same token; what others have attached stays, and so does what belongs to other lists.
func TestSyncDeletesOriginals(t *testing.T) {
	for name, c := range map[string]struct {
		o       registrytest.Options
		suffix  string
		foreign bool
		tags    []string // that are left
	}{
		"referrers API":                {registrytest.Options{}, "", true, []string{"1"}},
		"referrers tag":                {registrytest.Options{NoReferrers: true}, "", false, []string{"1", "KEPT"}},
		"referrers tag with others":    {registrytest.Options{NoReferrers: true}, "", true, []string{"1", "KEPT", "OLD"}},
		"referrers are not listable":   {registrytest.Options{NoReferrers: true, DigestTags: true}, ".original", false, []string{"1", "KEPT.original"}},
		"whoever removes, removes all": {registrytest.Options{Strict: true}, "", false, []string{"1"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAttachedTest(t, c.o, c.suffix, c.foreign)
			want := append([]digest.Digest{a.old}, digestsOf(a.ofOld)...)
			report := a.syncJSON(StatusDone, "--delete")
			for _, m := range report.Removals {
				assert.Equal(t, removable, m.Status)
				assert.Equal(t, m.Tag == "old", m.Of == "")
			}
			assert.Empty(t, a.deleted())
			text := a.sync("--delete").done(t).stdout
			assert.Contains(t, text, "would be removed: "+a.dst.Host()+"/app@"+shortDigest(want[1])+", the original of "+shortDigest(a.old))

			report = a.syncJSON(StatusDone, "--delete", "--confirm", report.Confirm)
			for _, m := range report.Removals {
				assert.Equal(t, removed, m.Status, "%v", m)
			}
			assert.Equal(t, a.old, a.deleted()[0], "the list goes first")
			assert.Equal(t, len(a.deleted()), report.Summary.Removed)
			assert.Empty(t, a.there(want...))
			kept := append(append([]digest.Digest{a.kept}, digestsOf(a.ofKept)...), a.foreigns...)
			assert.Equal(t, kept, a.there(kept...))
			var tags []string
			for _, tag := range c.tags {
				tag = strings.Replace(tag, "KEPT", strings.Replace(a.kept.String(), ":", "-", 1), 1)
				tags = append(tags, strings.Replace(tag, "OLD", strings.Replace(a.old.String(), ":", "-", 1), 1))
			}
			assert.ElementsMatch(t, tags, a.dst.Tags("app"))
			assert.Empty(t, a.syncJSON(StatusDone, "--delete").Confirm, "nothing is left to be removed")
		})
	}
}

// TestSyncKeepsOriginals: what belongs to a list stays as long as that does, or as another tag
// names it.
func TestSyncKeepsOriginals(t *testing.T) {
	a := newAttachedTest(t, registrytest.Options{}, "", false)
	content, mediaType, _ := a.dst.Manifest("app", a.kept.String())
	a.dst.PutManifest("app", "too", mediaType, content)
	report := a.syncJSON(StatusDone, "--delete")
	for _, m := range report.Removals {
		assert.NotContains(t, digestsOf(a.ofKept), m.Digest, "its list is named by another tag")
	}

	artifact := a.ofOld[0].Document
	a.dst.PutManifest("app", "favourite", artifact.MediaType, artifact.Bytes)
	report = a.syncJSON(StatusDone, "--delete", "--yes")
	status := map[digest.Digest]string{}
	for _, m := range report.Removals {
		status[m.Digest] = string(m.Status) + " " + m.Reason
	}
	assert.Equal(t, "not removed tag favourite names it too", status[artifact.Digest])
	assert.Equal(t, "removed ", status[a.ofOld[1].Document.Digest])
	assert.Len(t, a.there(digestsOf(a.ofOld)...), 1)
}

// TestSyncReportsOriginals that a registry does not remove, and does not ask it to remove what
// belongs to a list that stays.
func TestSyncReportsOriginals(t *testing.T) {
	for name, refuses := range map[string]func(a *attachedTest) digest.Digest{
		"the list": func(a *attachedTest) digest.Digest { return a.old }, "the original": func(a *attachedTest) digest.Digest { return a.ofOld[0].Document.Digest },
	} {
		var refused digest.Digest
		a := newAttachedTest(t, registrytest.Options{Script: func(_ int, q *http.Request) registrytest.Answer {
			if q.Method == http.MethodDelete && refused != "" && strings.HasSuffix(q.URL.Path, refused.String()) {
				return registrytest.Fail(http.StatusMethodNotAllowed, "UNSUPPORTED", "the operation is unsupported")
			}
			return registrytest.Answer{}
		}}, "", false)
		refused = refuses(a)
		report := a.syncJSON(StatusFailed, "--delete", "--yes")
		assert.Equal(t, 1, report.Summary.RemovalsFailed, name)
		for _, m := range report.Removals {
			switch {
			case m.Digest == refused:
				assert.Equal(t, removalFailed, m.Status, name)
				assert.Contains(t, m.Reason, "the operation is unsupported", name)
			case refused == a.old:
				assert.Equal(t, "not removed its list was not removed", string(m.Status)+" "+m.Reason, name)
			default:
				assert.Equal(t, removed, m.Status, name)
			}
		}
		if refused == a.old {
			assert.Len(t, a.there(digestsOf(a.ofOld)...), 2, name)
			assert.Equal(t, []digest.Digest{a.old}, a.deleted(), name)
		}
	}
}

// TestSyncRemovesWhatIsGone: some registries remove with a list what refers to it.
func TestSyncRemovesWhatIsGone(t *testing.T) {
	var a *attachedTest
	a = newAttachedTest(t, registrytest.Options{Script: func(_ int, q *http.Request) registrytest.Answer {
		if q.Method == http.MethodDelete && strings.HasSuffix(q.URL.Path, a.old.String()) {
			a.dst.DeleteManifest("app", a.ofOld[0].Document.Digest)
		}
		return registrytest.Answer{}
	}}, "", false)
	report := a.syncJSON(StatusDone, "--delete", "--yes")
	assert.Equal(t, 3, report.Summary.Removed)
	assert.Empty(t, a.there(digestsOf(a.ofOld)...))
}
