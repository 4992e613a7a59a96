package e2e

import (
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestReferrersTravel to the sparse registry, and on from it: mirror leaves the tags to it, and
// finds by its API what it copies.
func TestReferrersTravel(t *testing.T) {
	f := threePlatforms()
	f.Artifact("sbom", imagetest.Subject("amd64"), imagetest.ArtifactType("application/spdx+json"))
	f.Artifact("signature of the sbom", imagetest.Subject("sbom"), imagetest.ArtifactType("application/x-signature"))
	f.Artifact("signature", imagetest.Subject(imagetest.Top), imagetest.ArtifactType("application/x-signature"))
	src := registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top)
	for _, name := range []string{"sbom", "signature of the sbom", "signature"} {
		f.PushTo(src, repo, "", name)
	}
	first, second := newPlace(t, on("amd64"), announced), newPlace(t, off, announced)

	mirror(t, "copy", "--all", "--referrers", "docker://"+src.Host()+"/"+repo+":"+tag, first.ref(tag)).done()
	assert.Empty(t, first.seen("PUT /v2/"+repo+"/manifests/sha256-"), "mirror has written a referrers tag")
	mirror(t, "copy", "--all", "--referrers", first.ref(tag), second.ref(tag)).done()
	for _, p := range []*place{first, second} {
		for subject, want := range map[string]string{"amd64": "sbom", "sbom": "signature of the sbom", imagetest.Top: "signature"} {
			answer := p.client.Do(t, http.MethodGet, "/v2/"+repo+"/referrers/"+f.Digest(subject).String(), nil, nil)
			require.Equal(t, http.StatusOK, answer.Status)
			assert.Contains(t, string(answer.Body), f.Digest(want).String())
			p.checkDocument(f, f.Digest(want).String(), want)
		}
		answer := p.client.Do(t, http.MethodGet, "/v2/"+repo+"/referrers/"+digest.FromString("none").String(), nil, nil)
		assert.JSONEq(t, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`, string(answer.Body))
	}
	// Nothing is left to do.
	second.forget()
	mirror(t, "copy", "--all", "--referrers", first.ref(tag), second.ref(tag)).done()
	assert.Empty(t, second.written())
}
