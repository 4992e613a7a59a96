package referrers

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

const sbom, signature = "application/vnd.example.sbom", "application/vnd.example.signature"

// sorted orders documents as the API does.
func sorted(documents ...document) []document {
	slices.SortFunc(documents, func(a, b document) int { return strings.Compare(string(a.digest), string(b.digest)) })
	return documents
}

func digests(documents []document) []digest.Digest {
	all := []digest.Digest{}
	for _, d := range documents {
		all = append(all, d.digest)
	}
	return all
}

func TestReferrersAreDescribed(t *testing.T) {
	s := start(t)
	s.pushEmpty(t, "app", "other")
	subject := artifact("", "", "subject")
	s.put(t, "app", "v1", subject)
	typed := artifact(subject.digest, sbom, "typed <&>")
	byConfig := artifact(subject.digest, "", "by its config")
	index := list(subject.digest, signature)
	untyped := list(subject.digest, "")
	for _, d := range []document{typed, byConfig, index, untyped} {
		answer := s.put(t, "app", "", d)
		assert.Equal(t, subject.digest.String(), answer.Header.Get(SubjectHeader))
	}
	assert.Empty(t, s.put(t, "app", "v2", artifact("", "", "no subject")).Header.Values(SubjectHeader))
	s.put(t, "other", "", artifact(subject.digest, sbom, "in another repository"))

	want := map[digest.Digest]imgspecv1.Descriptor{}
	for d, is := range map[*document]imgspecv1.Descriptor{
		&typed:    {ArtifactType: sbom, Annotations: map[string]string{"name": "typed <&>"}},
		&byConfig: {ArtifactType: imgspecv1.MediaTypeEmptyJSON, Annotations: map[string]string{"name": "by its config"}},
		&index:    {ArtifactType: signature, Annotations: map[string]string{"index": "yes"}},
		&untyped:  {Annotations: map[string]string{"index": "yes"}},
	} {
		is.MediaType, is.Digest, is.Size = d.mediaType, d.digest, int64(len(d.body))
		want[d.digest] = is
	}
	answer, got := s.get(t, "app", subject.digest, "")
	assert.Equal(t, fmt.Sprint(len(answer.Body)), answer.Header.Get("Content-Length"))
	assert.Empty(t, answer.Header.Values(FiltersHeader))
	assert.Empty(t, answer.Header.Values("Link"))
	assert.Empty(t, got.Annotations)
	require.Equal(t, digests(sorted(typed, byConfig, index, untyped)), digestsOf(got.Manifests))
	for _, d := range got.Manifests {
		assert.Equal(t, want[d.Digest], d)
	}

	// Those who know the tag only see the same.
	tagged := s.Get(t, http.MethodGet, "app", tagOf(subject.digest))
	assert.Equal(t, got.Manifests, parseIndex(t, tagged.Body).Manifests)
	assert.True(t, IsMade(tagged.Body))

	head := s.Do(t, http.MethodHead, "/v2/app/referrers/"+subject.digest.String(), nil, nil)
	assert.Equal(t, http.StatusOK, head.Status)
	assert.Equal(t, answer.Header.Get("Content-Length"), head.Header.Get("Content-Length"))
	assert.Empty(t, head.Body)
}

func TestUnknownSubjectsHaveNoReferrers(t *testing.T) {
	s := start(t)
	s.pushEmpty(t, "app")
	for _, repo := range []string{"app", "none"} {
		for _, subject := range []digest.Digest{digest.FromString("none"), digest.SHA512.FromString("none")} {
			answer, _ := s.get(t, repo, subject, "")
			assert.JSONEq(t, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`, string(answer.Body))
			answer, _ = s.get(t, repo, subject, "?artifactType="+sbom)
			assert.Equal(t, "artifactType", answer.Header.Get(FiltersHeader))
		}
	}
}

func TestFilterAndPages(t *testing.T) {
	s := inMemory(t)
	subject := digest.FromString("subject")
	var sboms, everything []document
	for i := range 23 {
		d := artifact(subject, []string{sbom, signature, signature}[i%3], fmt.Sprint(i))
		s.fill(t, subject, d)
		if everything = append(everything, d); i%3 == 0 {
			sboms = append(sboms, d)
		}
	}
	answer, _ := s.get(t, "app", subject, "?artifactType=application%2Fvnd.example.sbom&n=3&x=y")
	assert.Equal(t, "artifactType", answer.Header.Get(FiltersHeader))
	assert.Equal(t, fmt.Sprintf(`</v2/app/referrers/%s?artifactType=application%%2Fvnd.example.sbom&last=%s&n=3>; rel="next"`,
		subject, strings.Replace(lastBefore(everything, sorted(sboms...)[3].digest).String(), ":", "%3A", 1)), answer.Header.Get("Link"))
	for _, n := range []int{1, 2, 3, 8, 23, 5000} {
		assert.Equal(t, digests(sorted(sboms...)), digestsOf(s.all(t, "app", subject, fmt.Sprintf("?artifactType=%s&n=%d", sbom, n))), "n=%d", n)
		assert.Equal(t, digests(sorted(everything...)), digestsOf(s.all(t, "app", subject, fmt.Sprintf("?n=%d", n))), "n=%d", n)
	}
	answer, page := s.get(t, "app", subject, "?n=23")
	assert.Len(t, page.Manifests, 23)
	assert.Empty(t, answer.Header.Values("Link"))
	_, page = s.get(t, "app", subject, "?artifactType=none")
	assert.Empty(t, page.Manifests)
	// Who does not escape a plus sign means one.
	spdx := artifact(subject, "application/spdx+json", "spdx")
	s.fill(t, subject, spdx)
	for _, query := range []string{"?artifactType=application/spdx+json", "?artifactType=application%2Fspdx%2Bjson"} {
		assert.Equal(t, []digest.Digest{spdx.digest}, digestsOf(s.all(t, "app", subject, query)))
	}
	everything = append(everything, spdx)
	// A page may begin behind what is not there (any more).
	_, page = s.get(t, "app", subject, "?last="+digest.FromString("deleted").String())
	assert.Equal(t, digests(slices.DeleteFunc(sorted(everything...), func(d document) bool { return d.digest < digest.FromString("deleted") })),
		digestsOf(page.Manifests))
}

// lastBefore is the last of documents before a digest.
func lastBefore(documents []document, d digest.Digest) digest.Digest {
	var last digest.Digest
	for _, one := range documents {
		if one.digest < d && one.digest > last {
			last = one.digest
		}
	}
	return last
}

func TestInvalidQuestions(t *testing.T) {
	s := start(t)
	path := "/v2/app/referrers/" + digest.FromString("x").String()
	for target, want := range map[string]struct {
		status        int
		code, message string
	}{
		"/v2/app/referrers/sha256:x":           {400, "DIGEST_INVALID", `the subject "sha256:x" is no digest: invalid checksum digest length`},
		"/v2/app/referrers/tag":                {400, "DIGEST_INVALID", `the subject "tag" is no digest: invalid checksum digest format`},
		"/v2/app/referrers/md5:0":              {400, "DIGEST_INVALID", `the subject "md5:0" is no digest: unsupported digest algorithm`},
		path + "?n=0":                          {400, "PAGINATION_NUMBER_INVALID", `n is "0", and must be a number from 1`},
		path + "?n=-1":                         {400, "PAGINATION_NUMBER_INVALID", `n is "-1", and must be a number from 1`},
		path + "?n=x":                          {400, "PAGINATION_NUMBER_INVALID", `n is "x", and must be a number from 1`},
		path + "?n=99999999999999999999":       {400, "PAGINATION_NUMBER_INVALID", `n is "99999999999999999999", and must be a number from 1`},
		path + "?last=x":                       {400, "DIGEST_INVALID", `last is "x", and must be a digest: invalid checksum digest format`},
		strings.Replace(path, "app", "App", 1): {400, "NAME_INVALID", `"App" is not the name of a repository`},
	} {
		answer := s.Do(t, http.MethodGet, target, nil, nil)
		assert.Equal(t, want.status, answer.Status, target)
		if assert.Len(t, answer.Errors(), 1, target) {
			assert.Equal(t, want.code, answer.Errors()[0].Code)
			assert.Equal(t, want.message, answer.Errors()[0].Message)
		}
	}
	for _, method := range []string{http.MethodPut, http.MethodPost, http.MethodDelete} {
		answer := s.Do(t, method, path, nil, nil)
		assert.Equal(t, http.StatusMethodNotAllowed, answer.Status)
		assert.Equal(t, "GET, HEAD", answer.Header.Get("Allow"))
	}
}

// "referrers" is a legal component of a repository's name.
func TestReferrersInRepositoryNames(t *testing.T) {
	s := start(t)
	for _, repo := range []string{"referrers", "a/referrers", "referrers/a", "referrers/referrers", "manifests/referrers", "referrers/blobs/uploads"} {
		s.pushEmpty(t, repo)
		subject := artifact("", "", "subject")
		s.put(t, repo, "referrers", subject)
		d := artifact(subject.digest, sbom, "it")
		s.put(t, repo, "", d)
		assert.Equal(t, []digest.Digest{d.digest}, digestsOf(s.all(t, repo, subject.digest, "")), repo)
		assert.Equal(t, http.StatusOK, s.Do(t, http.MethodGet, "/v2/"+repo+"/tags/list", nil, nil).Status)
		s.delete(t, repo, d.digest.String())
		assert.Empty(t, s.all(t, repo, subject.digest, ""), repo)
	}
	for _, unclean := range []string{"//v2/app/referrers/", "/v2/app//referrers/", "/v2/app/./referrers/", "/v2/app/x/../referrers/"} {
		answer := s.Do(t, http.MethodGet, "http://x"+unclean+digest.FromString("x").String(), nil, nil)
		assert.Equal(t, http.StatusBadRequest, answer.Status, unclean)
	}
}

// Whoever may not pull may not list.
func TestListingNeedsPermission(t *testing.T) {
	links := start(t).links
	asked := 0
	h := links.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="x",scope="repository:app:pull"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}), Options{})
	client := sparsetest.ServeHandler(t, h)
	path := "/v2/app/referrers/" + digest.FromString("x").String()
	answer := client.Do(t, http.MethodGet, path, nil, nil)
	assert.Equal(t, http.StatusUnauthorized, answer.Status)
	assert.Equal(t, `Bearer realm="x",scope="repository:app:pull"`, answer.Header.Get("WWW-Authenticate"))
	assert.NotContains(t, string(answer.Body), "manifests\":")
	answer = client.Do(t, http.MethodGet, path, http.Header{"Authorization": {"Bearer y"}}, nil)
	assert.Equal(t, http.StatusOK, answer.Status)
	assert.Equal(t, 2, asked)
}

// Docker's format has no subjects, whatever is in the document.
func TestDockerManifestsReferToNothing(t *testing.T) {
	s := start(t)
	s.pushEmpty(t, "app")
	subject := digest.FromString("subject")
	config := fmt.Sprintf(`{"mediaType":"application/vnd.docker.container.image.v1+json","digest":%q,"size":2}`, empty.Digest)
	body := []byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":%s,"layers":[],"subject":%s}`,
		config, config))
	d := document{"application/vnd.docker.distribution.manifest.v2+json", body, digest.FromBytes(body)}
	assert.Empty(t, s.put(t, "app", "", d).Header.Values(SubjectHeader))
	assert.Empty(t, s.all(t, "app", subject, ""))
	var none sparseregistry.Deletion
	none.Repository, none.Reference = "app", d.digest.String()
	s.delete(t, "app", d.digest.String())
}
