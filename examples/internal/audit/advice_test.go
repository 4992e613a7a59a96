package audit

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// TestAdviceHelps breaks a storage under a server, does what the finding says, and checks again.
func TestAdviceHelps(t *testing.T) {
	p, f := startPeer(t), imagetest.New()
	f.Layer("base", imagetest.Random(1, 100))
	f.Image("amd64", imagetest.Platform("linux/amd64"), imagetest.Layers("base"))
	f.List("top", imagetest.Entries("amd64"))
	f.Artifact("sig", imagetest.Subject("top"), imagetest.Layers("base"))
	amd64, base := f.Digest("amd64"), f.Digest("base")
	tag := p.file("repositories/app/_manifests/tags/v1")
	pushAgain := func(Finding) {
		for _, d := range f.Blobs("top") { // as clients do that ask first
			answer := p.client.Do(t, http.MethodHead, "/v2/app/blobs/"+d.String(), nil, nil)
			require.Contains(t, []int{http.StatusOK, http.StatusNotFound}, answer.Status)
			if answer.Status == http.StatusNotFound {
				require.NoError(t, p.client.PushBlob(t.Context(), "app", f.Content(f.Name(d))))
			}
		}
		p.tag(f, "app", f.Digest("amd64").String(), "amd64")
		p.tag(f, "app", "v1", "top")
	}
	removeAndPush := func(found Finding) {
		p.remove(filepath.Join(p.storage, found.Path))
		pushAgain(found)
	}
	deleteTag := func(Finding) {
		answer := p.client.Do(t, http.MethodDelete, sparsetest.ManifestPath("app", "v1"), nil, nil)
		require.Equal(t, http.StatusAccepted, answer.Status, "%s", answer.Body)
	}
	pushAgain(Finding{})
	p.push(f, "app", "sig")
	p.rebuild()
	for _, c := range []struct {
		kind   Kind
		damage func()
		advice func(Finding)
	}{
		{BlobAltered, func() { p.write(p.data(base), "other") }, removeAndPush},
		{BlobAltered, func() { p.write(p.data(amd64), "{}") }, removeAndPush},
		{ManifestLost, func() { p.remove(p.data(amd64)) }, pushAgain},
		{ContentLost, func() { p.remove(p.data(base)) }, pushAgain},
		{ContentLost, func() { p.remove(p.link("app", "_layers", base)) }, pushAgain},
		{LinkDamaged, func() { p.write(p.link("app", "_manifests/revisions", amd64), "") }, removeAndPush},
		{LinkDamaged, func() { p.write(p.link("app", "_layers", base), "") }, removeAndPush},
		{LinkDamaged, func() { p.write(filepath.Join(tag, "current/link"), "") }, pushAgain},
		{LinkDamaged, func() { p.write(filepath.Join(tag, "current/link"), "") }, deleteTag},
		{TagEmpty, func() { p.remove(filepath.Join(tag, "current")) }, pushAgain},
		{TagEmpty, func() { p.remove(filepath.Join(tag, "current")) }, deleteTag},
		{TagDangling, func() { p.write(filepath.Join(tag, "current/link"), base.String()) }, pushAgain},
		{TagDangling, func() { p.write(filepath.Join(tag, "current/link"), base.String()) }, deleteTag},
		{ChildMissing, func() {
			answer := p.client.Do(t, http.MethodDelete, sparsetest.ManifestPath("app", amd64.String()), nil, nil)
			require.Equal(t, http.StatusAccepted, answer.Status, "%s", answer.Body)
		}, pushAgain},
		{ReferrerUnlinked, func() { p.remove(p.file("repositories/app/_referrers")) }, func(Finding) { p.rebuild() }},
	} {
		c.damage()
		found := p.check(Options{})
		require.NotEmpty(t, found.Findings, c.kind)
		assert.Equal(t, c.kind, found.Findings[0].Kind)
		c.advice(found.Findings[0])
		assert.Empty(t, p.check(Options{}).Findings, c.kind)
		if answer := p.client.Get(t, http.MethodHead, "app", "v1"); answer.Status == http.StatusNotFound {
			p.tag(f, "app", "v1", "top")
		}
	}
}
