package mirrorcmd

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// A scrapyard is a registry with images, some of which have something attached:
//
//	list, again  a list of amd64 and arm64, with a signature (.sig) and an SBOM, which is signed
//	amd64        an image of that list
//	other        another list
type scrapyard struct {
	*registrytest.Registry
	f         *imagetest.Fixture
	signature string // the tag
	access    []string
}

func newScrapyard(t *testing.T, o registrytest.Options) *scrapyard {
	t.Helper()
	f := imagetest.Platforms(2, 1, 100)
	f.Image("cosign", imagetest.NoPlatform())
	f.Artifact("sbom", imagetest.Subject(imagetest.Top), imagetest.ArtifactType("application/spdx+json"))
	f.Artifact("sbom-signature", imagetest.Subject("sbom"), imagetest.ArtifactType("application/x-signature"))
	f.List("other", imagetest.Entries("arm64"), imagetest.Annotation("other", "list"))
	s := &scrapyard{Registry: registrytest.Start(t, o), f: f}
	s.signature = digesttag.Name(f.Digest(imagetest.Top), ".sig")
	for tag, name := range map[string]string{"list": imagetest.Top, s.signature: "cosign", "other": "other"} {
		f.PushTo(s.Registry, repo, tag, name)
	}
	for _, name := range []string{"sbom", "sbom-signature"} {
		f.PushTo(s.Registry, repo, "", name)
	}
	s.access = []string{"--tls-verify=false"}
	if o.Auth != nil {
		s.access = append(s.access, "--creds", "user:secret")
	}
	return s
}

// at is the reference of a tag, or of a digest.
func (s *scrapyard) at(ref string) string {
	if strings.Contains(ref, ":") {
		return "docker://" + s.Host() + "/" + repo + "@" + ref
	}
	return "docker://" + s.Host() + "/" + repo + ":" + ref
}

func (s *scrapyard) delete(t *testing.T, args ...string) outcome {
	t.Helper()
	return runAll(t.Context(), t, "", append(append([]string{"delete"}, s.access...), args...)...)
}

// report runs mirror delete, and returns its report.
func (s *scrapyard) report(t *testing.T, status int, args ...string) deletion {
	t.Helper()
	r := s.delete(t, append([]string{"--output", "json"}, args...)...)
	require.Equal(t, status, r.status, r.stderr)
	var report deletion
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &report))
	assert.Equal(t, deletionSchema, report.Schema)
	return report
}

// TestDelete removes a list with what is attached to it, once that is confirmed, at registries of
// several kinds.
func TestDelete(t *testing.T) {
	for name, o := range map[string]registrytest.Options{
		"with referrers": {}, "without referrers": {NoReferrers: true},
		"with tokens": {Auth: &registrytest.Auth{Bearer: true, Accounts: []registrytest.Account{{Username: "user", Password: "secret"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScrapyard(t, o)
			top, before := s.f.Digest(imagetest.Top), s.Snapshot(repo)

			found := s.delete(t, s.at("list")).done(t)
			assert.Contains(t, found.stdout, "would be removed: "+s.Host()+"/"+repo+":list "+shortDigest(top)+"\n")
			assert.Contains(t, found.stdout, "would be removed: "+s.Host()+"/"+repo+":"+s.signature+" "+shortDigest(s.f.Digest("cosign"))+"\n")
			assert.Equal(t, before, s.Snapshot(repo))
			report := s.report(t, StatusDone, s.at("list"))
			assert.Contains(t, found.stdout, "to remove exactly that: mirror delete --confirm "+report.Confirm+" "+s.at("list"))

			s.delete(t, "--confirm", "0123456789ab", s.at("list")).failed(t, StatusFailed, "--confirm 0123456789ab is not about what would be removed now")
			assert.Equal(t, before, s.Snapshot(repo))

			report = s.report(t, StatusDone, "--confirm", report.Confirm, s.at("list"))
			assert.Empty(t, report.Confirm)
			for _, m := range report.Removals {
				assert.Equal(t, removed, m.Status, "%+v", m)
			}
			assert.Equal(t, syncRemoval{Repository: s.Host() + "/" + repo, Tag: "list", Digest: top, Status: removed}, report.Removals[0])
			assert.Equal(t, []string{"other"}, s.Tags(repo))
			left := s.Manifests(repo)
			for _, name := range []string{imagetest.Top, "cosign"} {
				assert.NotContains(t, left, s.f.Digest(name), name)
			}
			if !o.NoReferrers { // without, nobody lists what was pushed here
				for _, name := range []string{"sbom", "sbom-signature"} {
					assert.NotContains(t, left, s.f.Digest(name), name)
				}
			}
			assert.Contains(t, left, s.f.Digest("amd64"), "images stay until the registry collects them")
			s.delete(t, "--yes", s.at("list")).failed(t, StatusFailed, "404")
		})
	}
}

// TestDeleteIsRefused removes nothing, if anything of what was asked for is needed.
func TestDeleteIsRefused(t *testing.T) {
	s := newScrapyard(t, registrytest.Options{})
	s.f.PushTo(s.Registry, repo, "again", imagetest.Top)
	s.f.PushTo(s.Registry, repo, "amd64", "amd64")
	before := s.Snapshot(repo)
	for _, c := range []struct {
		refs []string
		why  string
	}{
		{[]string{"list"}, "tag again names it too"},
		{[]string{"other", "list"}, "tag again names it too"},
		{[]string{"amd64"}, "the list of tag again names it"},
		{[]string{s.f.Digest("arm64").String()}, "the list of tag again names it"},
		{[]string{s.f.Digest(imagetest.Top).String()}, "tag again names it too"},
	} {
		for _, flags := range [][]string{{"--yes"}, nil} {
			args := flags
			for _, ref := range c.refs {
				args = append(args, s.at(ref))
			}
			r := s.delete(t, args...)
			r.failed(t, StatusFailed, "nothing was removed: ", c.why)
			assert.Contains(t, r.stdout, "not removed: ")
			assert.Equal(t, before, s.Snapshot(repo))
		}
	}

	s.delete(t, "--yes", s.at("list"), s.at("again"), s.at("amd64")).done(t)
	assert.Equal(t, []string{"other"}, s.Tags(repo))
	assert.NotContains(t, s.Manifests(repo), s.f.Digest("amd64"))
	assert.Contains(t, s.Manifests(repo), s.f.Digest("arm64"))
}

// TestDeleteKeepsWhatIsNeeded leaves what is attached, and what another tag names of that.
func TestDeleteKeepsWhatIsNeeded(t *testing.T) {
	s := newScrapyard(t, registrytest.Options{})
	s.f.PushTo(s.Registry, repo, "kept", "sbom")
	report := s.report(t, StatusDone, "--yes", s.at("list"))
	became := map[digest.Digest]removalStatus{}
	for _, m := range report.Removals {
		became[m.Digest] = m.Status
	}
	assert.Equal(t, removalKept, became[s.f.Digest("sbom")])
	assert.Equal(t, removalKept, became[s.f.Digest("sbom-signature")], "it belongs to what stays")
	assert.Contains(t, s.Manifests(repo), s.f.Digest("sbom-signature"))
	assert.Equal(t, removed, became[s.f.Digest("cosign")])

	s = newScrapyard(t, registrytest.Options{})
	s.delete(t, "--yes", "--keep-attached", s.at(s.f.Digest(imagetest.Top).String()), s.at("list")).done(t)
	assert.ElementsMatch(t, []string{"other", s.signature}, s.Tags(repo))
	assert.Contains(t, s.Manifests(repo), s.f.Digest("sbom"))
}

// TestDeleteWhereNothingIsRemoved says what to do about registries that remove nothing.
func TestDeleteWhereNothingIsRemoved(t *testing.T) {
	refuse := func(status int, code string) registrytest.Options {
		return registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
			if req.Method != http.MethodDelete {
				return registrytest.Answer{}
			}
			if code == "" {
				return registrytest.Answer{Status: status}
			}
			return registrytest.Answer{Status: status, Errors: []registrytest.Error{{Code: code, Message: "no"}}}
		}}
	}
	for _, c := range []struct {
		options registrytest.Options
		says    string
	}{
		{refuse(http.StatusMethodNotAllowed, "UNSUPPORTED"), "the registry removes nothing that way: DELETE"},
		{refuse(http.StatusMethodNotAllowed, ""), "storage.delete.enabled: true"},
		{refuse(http.StatusBadRequest, "UNSUPPORTED"), "Amazon ECR, GHCR and Docker Hub"},
		{refuse(http.StatusForbidden, "DENIED"), "DENIED"},
	} {
		s := newScrapyard(t, c.options)
		before := s.Snapshot(repo)
		r := s.delete(t, "--yes", s.at("list"))
		r.failed(t, StatusFailed, c.says)
		assert.Contains(t, r.stdout, "could not be removed: "+s.Host()+"/"+repo+":list")
		assert.Contains(t, r.stdout, "not removed: "+s.Host()+"/"+repo+":"+s.signature)
		assert.Equal(t, before, s.Snapshot(repo))
	}
}

func TestDeleteMisused(t *testing.T) {
	for _, args := range [][]string{
		{}, {"--yes", "--confirm", "x", "docker://registry.example/a:1"}, {"oci:layout:1"}, {"app:1"},
		{"docker://registry.example/a:1@" + pinnedDigest}, {"registry.example/a:1@" + pinnedDigest},
	} {
		runAll(t.Context(), t, "", append([]string{"delete"}, args...)...).failed(t, StatusMisused)
	}
}
