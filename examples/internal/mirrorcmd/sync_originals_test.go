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
// their original and its signatures are attached.
type attachedTest struct {
	*syncTest
	kept, old     digest.Digest
	ofKept, ofOld []digest.Digest // artifacts; that with the original comes first
	others        []digest.Digest // what others have attached to the old list
}

// newAttachedTest makes one. With foreign, others have attached something to the old list, too.
func newAttachedTest(t *testing.T, o registrytest.Options, foreign bool) *attachedTest {
	a := &attachedTest{syncTest: newSyncTest(t, registrytest.Options{}, o)}
	imagetest.PushSigned(a.src, "app", imagetest.SignedTags, imagetest.SignedBundles)
	const keys = "defaults: {platforms: [linux/arm64], sparse: strip, attach-original: true}\nimages:\n"
	const kept, old = "- {source: 'SRC/app:v1', destination: DST/app}\n", "- {source: 'SRC/app:v2', destination: 'DST/app:old'}\n"
	a.write(keys + kept + old)
	a.sync().done(t)
	a.kept, _ = a.dst.Resolve("app", "v1")
	a.old, _ = a.dst.Resolve("app", "old")
	a.ofKept, a.ofOld = a.artifacts(a.kept), a.artifacts(a.old)
	if foreign {
		a.attachOthers()
	}
	a.write(keys + kept)
	return a
}

// artifacts returns the digests of what was attached to a list, that with the original first.
func (a *attachedTest) artifacts(list digest.Digest) []digest.Digest {
	return artifactsIn(a.T, a.dst, "app", list)
}

// artifactsIn returns the same of a list in some repository.
func artifactsIn(t *testing.T, r *registrytest.Registry, repo string, list digest.Digest) (all []digest.Digest) {
	for _, d := range r.Manifests(repo) {
		content, mediaType, _ := r.Manifest(repo, d.String())
		image, err := manifest.ParseImage(content, mediaType)
		if err != nil || image.Subject != list {
			continue
		}
		switch original.KindOf(image.ArtifactType, image.Annotations) {
		case original.RoleOriginal:
			all = append([]digest.Digest{d}, all...)
		case original.RoleSignature:
			all = append(all, d)
		}
	}
	require.Greater(t, len(all), 1)
	return all
}

// attachOthers attaches to the old list what this library has not written: something else, and an
// artifact that says that it is one of ours.
func (a *attachedTest) attachOthers() {
	content, mediaType, _ := a.dst.Manifest("app", a.old.String())
	subject := imgspecv1.Descriptor{MediaType: mediaType, Digest: a.old, Size: int64(len(content))}
	config := imgspecv1.DescriptorEmptyJSON
	a.dst.PutBlob("app", config.Data)
	tag := strings.Replace(a.old.String(), ":", "-", 1)
	var index imgspecv1.Index
	listed, _, byTag := a.dst.Manifest("app", tag)
	if byTag {
		require.NoError(a, json.Unmarshal(listed, &index))
	}
	for _, artifactType := range []string{"application/spdx+json", original.ArtifactType} {
		content, err := json.Marshal(imgspecv1.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageManifest, ArtifactType: artifactType,
			Config: config, Layers: []imgspecv1.Descriptor{config}, Subject: &subject,
		})
		require.NoError(a, err)
		d := a.dst.PutManifest("app", digest.FromBytes(content).String(), imgspecv1.MediaTypeImageManifest, content)
		a.others = append(a.others, d)
		index.Manifests = append(index.Manifests, imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageManifest, Digest: d, Size: int64(len(content))})
	}
	if byTag {
		listed, err := json.Marshal(index)
		require.NoError(a, err)
		a.dst.PutManifest("app", tag, imgspecv1.MediaTypeImageIndex, listed)
	}
}

// tags returns the tags that are named after a list, without its digest.
func (a *attachedTest) tags(list digest.Digest) (suffixes []string) {
	for _, tag := range a.dst.Tags("app") {
		if suffix, ok := strings.CutPrefix(tag, strings.Replace(list.String(), ":", "-", 1)); ok {
			suffixes = append(suffixes, suffix)
		}
	}
	return suffixes
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
		foreign bool
		// suffixes are those of the tags that list what is attached to each list, and left those
		// that are left of the old list's.
		suffixes, left []string
	}{
		"referrers API":              {registrytest.Options{Strict: true}, true, nil, nil},
		"referrers tag":              {registrytest.Options{NoReferrers: true}, false, []string{""}, nil},
		"referrers tag with others":  {registrytest.Options{NoReferrers: true}, true, []string{""}, []string{""}},
		"referrers are not listable": {registrytest.Options{NoReferrers: true, DigestTags: true, RequireSubjects: true}, false, []string{".original"}, nil},
		"plain images":               {registrytest.Options{TypePolicy: registrytest.QuayTypes(nil)}, false, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAttachedTest(t, c.o, c.foreign)
			require.Equal(t, c.suffixes, a.tags(a.old))
			ours := append([]digest.Digest{a.old}, a.ofOld...)
			report := a.syncJSON(StatusDone, "--delete")
			for _, m := range report.Removals {
				assert.Equal(t, removable, m.Status)
				assert.Equal(t, m.Tag == "old", m.Of == "")
			}
			assert.Len(t, report.Removals, len(ours)+len(c.suffixes)-len(c.left))
			assert.Empty(t, a.deleted())
			text := a.sync("--delete").done(t).stdout
			assert.Contains(t, text, "would be removed: "+a.dst.Host()+"/app@"+shortDigest(ours[1])+", which was attached to "+shortDigest(a.old))

			report = a.syncJSON(StatusDone, "--delete", "--confirm", report.Confirm)
			for _, m := range report.Removals {
				assert.Equal(t, removed, m.Status, "%v", m)
			}
			assert.Equal(t, a.old, a.deleted()[0], "the list goes first")
			assert.Equal(t, len(a.deleted()), report.Summary.Removed)
			assert.Empty(t, a.there(ours...))
			kept := append(append([]digest.Digest{a.kept}, a.ofKept...), a.others...)
			assert.Equal(t, kept, a.there(kept...))
			assert.Equal(t, c.suffixes, a.tags(a.kept))
			assert.Equal(t, c.left, a.tags(a.old))
			assert.Empty(t, a.syncJSON(StatusDone, "--delete").Confirm, "nothing is left to be removed")
		})
	}
}

// TestSyncKeepsOriginals: what belongs to a list stays as long as that does, or as another tag
// names it.
func TestSyncKeepsOriginals(t *testing.T) {
	a := newAttachedTest(t, registrytest.Options{}, false)
	content, mediaType, _ := a.dst.Manifest("app", a.kept.String())
	a.dst.PutManifest("app", "too", mediaType, content)
	report := a.syncJSON(StatusDone, "--delete")
	for _, m := range report.Removals {
		assert.NotContains(t, a.ofKept, m.Digest, "its list is named by another tag")
	}

	content, mediaType, _ = a.dst.Manifest("app", a.ofOld[0].String())
	a.dst.PutManifest("app", "favourite", mediaType, content)
	report = a.syncJSON(StatusDone, "--delete", "--yes")
	status := map[digest.Digest]string{}
	for _, m := range report.Removals {
		status[m.Digest] = string(m.Status) + " " + m.Reason
	}
	assert.Equal(t, "not removed tag favourite names it too", status[a.ofOld[0]])
	assert.Equal(t, "removed ", status[a.ofOld[1]])
	assert.Equal(t, a.ofOld[:1], a.there(a.ofOld...))
}

// TestSyncReportsOriginals that a registry does not remove, and does not ask it to remove what
// belongs to a list that stays.
func TestSyncReportsOriginals(t *testing.T) {
	for name, refuses := range map[string]func(a *attachedTest) digest.Digest{
		"the list":     func(a *attachedTest) digest.Digest { return a.old },
		"the original": func(a *attachedTest) digest.Digest { return a.ofOld[0] },
	} {
		var refused digest.Digest
		a := newAttachedTest(t, registrytest.Options{Script: func(_ int, q *http.Request) registrytest.Answer {
			if q.Method == http.MethodDelete && strings.HasSuffix(q.URL.Path, refused.String()) {
				return registrytest.Fail(http.StatusMethodNotAllowed, "UNSUPPORTED", "the operation is unsupported")
			}
			return registrytest.Answer{}
		}}, false)
		refused = refuses(a)
		report := a.syncJSON(StatusFailed, "--delete", "--yes")
		assert.Equal(t, 1, report.Summary.RemovalsFailed, name)
		for _, m := range report.Removals {
			switch {
			case m.Digest == refused:
				assert.Equal(t, removalFailed, m.Status, name)
				assert.Contains(t, m.Reason, "the operation is unsupported", name)
			case refused == a.old:
				assert.Equal(t, "not removed what it belongs to was not removed", string(m.Status)+" "+m.Reason, name)
			default:
				assert.Equal(t, removed, m.Status, name)
			}
		}
		if refused == a.old {
			assert.Equal(t, a.ofOld, a.there(a.ofOld...), name)
			assert.Equal(t, []digest.Digest{a.old}, a.deleted(), name)
		}
	}
}

// TestSyncRemovesWhatIsGone: some registries remove with a list what refers to it.
func TestSyncRemovesWhatIsGone(t *testing.T) {
	var a *attachedTest
	a = newAttachedTest(t, registrytest.Options{Script: func(_ int, q *http.Request) registrytest.Answer {
		if q.Method == http.MethodDelete && strings.HasSuffix(q.URL.Path, a.old.String()) {
			a.dst.DeleteManifest("app", a.ofOld[0])
		}
		return registrytest.Answer{}
	}}, false)
	report := a.syncJSON(StatusDone, "--delete", "--yes")
	assert.Equal(t, 1+len(a.ofOld), report.Summary.Removed)
	assert.Empty(t, a.there(a.ofOld...))
}
