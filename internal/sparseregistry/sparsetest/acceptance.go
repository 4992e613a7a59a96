package sparsetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// Fixture has images of all kinds, in OCI or in Docker form: amd64, arm64, ppc64le, s390x, armv6,
// armv7, windows, plain (without a platform), the attestation att, and the list inner of arm64 and
// s390x. Besides, it has the layer that all of them have, base, and one that none has, layer.
func Fixture(docker bool) *imagetest.Fixture {
	f := imagetest.New()
	image := func(name string, options ...imagetest.Option) {
		f.Image(name, append(options, formOf(docker)...)...)
	}
	f.Layer("base", imagetest.File("etc/motd", "hello\n"))
	f.Layer("layer")
	for name, platform := range map[string]string{
		"amd64": "linux/amd64", "arm64": "linux/arm64", "ppc64le": "linux/ppc64le", "s390x": "linux/s390x",
		"armv6": "linux/arm/v6", "armv7": "linux/arm/v7", "windows": "windows/amd64",
	} {
		image(name, imagetest.Platform(platform), imagetest.Layers("base"))
	}
	image("plain", imagetest.NoPlatform(), imagetest.Layers("base"))
	f.Attestation("att", "amd64")
	f.List("inner", append(entries("arm64", "s390x"), formOf(docker)...)...)
	return f
}

func formOf(docker bool) []imagetest.Option {
	if docker {
		return []imagetest.Option{imagetest.Docker()}
	}
	return nil
}

// A variation is one of the four ways in which each case is run.
type variation struct {
	name   string
	docker bool
	tag    string // "" for a push by digest
}

var variations = []variation{
	{"OCI by tag", false, "v1"}, {"OCI by digest", false, ""}, {"Docker by tag", true, "v1"}, {"Docker by digest", true, ""},
}

// ChangingPolicies runs the rows of the acceptance table over a registry that are about its policy,
// or need several; AcceptancePerRepository has the others.
func ChangingPolicies(t *testing.T, backend Backend) {
	registry := backend(t)
	for _, v := range variations {
		for name, row := range map[string]func(*attempt){
			"Q22 announcement": announcement, "Q26 switched off after the acceptance": switchedOff,
		} {
			t.Run(name+", "+v.name, func(t *testing.T) {
				a := newAttempt(t, Serve(t, registry, on("amd64")), v, strings.ToLower(name[:3]))
				a.serve = func(policy manifest.SparsePolicy) *Client { return Serve(t, registry, policy) }
				row(a)
			})
		}
	}
	t.Run("Q13 an upper-case architecture is refused", func(t *testing.T) {
		require.EqualError(t, on("AMD64").Validate(), `required architecture "AMD64" must be in lower case: "amd64"`)
	})
}

// run runs the rows of the table that need one policy each: the registry has it in the repositories
// whose last component is that of the row.
func run(t *testing.T, client *Client) {
	for _, v := range variations {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			for i, c := range pushCases {
				t.Run(c.name, func(t *testing.T) {
					last := caseName(i)
					a := newAttempt(t, client, v, last)
					a.push(c.present...)
					a.fixture.List("top", append(c.list, formOf(v.docker)...)...)
					a.check(c)
				})
			}
			for name, row := range histories {
				t.Run(name, func(t *testing.T) {
					last := strings.ToLower(name[:3])
					row(newAttempt(t, client, v, last))
				})
			}
		})
	}
}

// caseName is the last component of the repository of one of the pushCases.
func caseName(i int) string { return fmt.Sprintf("case-%d", i) }

// histories are the rows that are more than one push. The policy requires amd64.
var histories = map[string]func(*attempt){
	"Q16 a required child pushed after the refusal":     pushAfterRefusal,
	"Q17 an optional child pushed after the acceptance": pushAfterAcceptance,
	"Q18 a child deleted after the acceptance":          deleteAfterAcceptance,
	"Q20 a nested list whose leaves are missing":        nestedWithoutLeaves,
	"Q23 by digest, with other bytes":                   otherBytes,
}

// An attempt is one push of the list "top" to a repository of its own.
type attempt struct {
	*testing.T
	client  *Client
	fixture *imagetest.Fixture
	docker  bool
	repo    string
	tag     string // "" for a push by digest

	// serve is for the rows that change the policy of the registry; nil for all others.
	serve func(manifest.SparsePolicy) *Client
}

func newAttempt(t *testing.T, client *Client, v variation, last string) *attempt {
	repo := strings.ReplaceAll(strings.ToLower(v.name), " ", "/") + "/" + last
	return &attempt{T: t, client: client, fixture: Fixture(v.docker), docker: v.docker, repo: repo, tag: v.tag}
}

// push pushes images.
func (a *attempt) push(names ...string) {
	a.Helper()
	for _, name := range names {
		require.NoError(a, a.client.PushImage(a.Context(), a.fixture, a.repo, name))
	}
}

// list makes the list.
func (a *attempt) list(names ...string) {
	a.fixture.List("top", append(entries(names...), formOf(a.docker)...)...)
}

// put pushes the list alone.
func (a *attempt) put() Answer {
	a.Helper()
	return a.client.Put(a, a.fixture, a.repo, a.tag, "top")
}

// expand replaces the names of children by their digests.
func (a *attempt) expand(message string) string {
	for _, name := range []string{"amd64", "arm64", "armv7", "plain", "att", "inner", "base", "layer"} {
		message = strings.ReplaceAll(message, "DIGEST("+name+")", a.fixture.Digest(name).String())
	}
	return message
}

// check pushes the list and compares what becomes of it with what the case says.
func (a *attempt) check(c pushCase) {
	a.Helper()
	answer := a.put()
	switch {
	case c.invalid != "":
		require.Equal(a, http.StatusBadRequest, answer.Status, "%s", answer.Body)
		require.Len(a, answer.Errors(), 1)
		assert.Equal(a, "MANIFEST_INVALID", answer.Errors()[0].Code)
		assert.Contains(a, answer.Errors()[0].Message, a.expand(c.invalid))
		a.checkAbsent()
	case len(c.missing) > 0:
		a.checkRefusal(answer, c.policy, c.missing)
		a.checkAbsent()
	default:
		require.Equal(a, http.StatusCreated, answer.Status, "%s", answer.Body)
		a.checkStored("top", a.refs()...)
		a.checkChildren(c.present)
	}
}

func (a *attempt) checkRefusal(answer Answer, policy manifest.SparsePolicy, missing []child) {
	a.Helper()
	require.Equal(a, http.StatusBadRequest, answer.Status, "%s", answer.Body)
	assert.Equal(a, "application/json", answer.Header.Get("Content-Type"))
	errs := answer.Errors()
	require.Len(a, errs, len(missing), "%s", answer.Body)
	for i, m := range missing {
		assert.Equal(a, "MANIFEST_BLOB_UNKNOWN", errs[i].Code)
		assert.Equal(a, a.expand(m.message), errs[i].Message)
		want, err := json.Marshal(a.detail(m, policy))
		require.NoError(a, err)
		assert.JSONEq(a, string(want), string(errs[i].Detail))
	}
}

// detail is the detail of the error for a child.
func (a *attempt) detail(m child, policy manifest.SparsePolicy) map[string]any {
	detail := map[string]any{"architecture": m.architecture, "digest": a.fixture.Digest(m.name), "required_architectures": []string{}}
	if policy.Enabled && len(policy.RequiredArchitectures) > 0 {
		detail["required_architectures"] = policy.RequiredArchitectures
	}
	if policy.Enabled && len(policy.RequiredPlatforms) > 0 {
		detail["required_platforms"] = policy.RequiredPlatforms
		if stated := a.platform(m.name); stated != "" {
			detail["platform"] = stated
		}
	}
	return detail
}

// platform is what the list says of the platform of the first entry of a child; "" if it says
// nothing.
func (a *attempt) platform(name string) string {
	body, _ := a.fixture.Document("top")
	var list struct {
		Manifests []struct {
			Digest   digest.Digest
			Platform struct{ OS, Architecture, Variant string }
		}
	}
	require.NoError(a, json.Unmarshal(body, &list))
	for _, in := range list.Manifests {
		if in.Digest == a.fixture.Digest(name) {
			return strings.Trim(strings.Join([]string{in.Platform.OS, in.Platform.Architecture, in.Platform.Variant}, "/"), "/")
		}
	}
	return ""
}

// refs are the references by which the list can be got.
func (a *attempt) refs() []string {
	refs := []string{a.fixture.Digest("top").String()}
	if a.tag != "" {
		refs = append(refs, a.tag)
	}
	return refs
}

// checkStored gets a document by each reference and compares it, to the byte.
func (a *attempt) checkStored(name string, refs ...string) {
	a.Helper()
	want, mediaType := a.fixture.Document(name)
	for _, ref := range refs {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			answer := a.client.Get(a, method, a.repo, ref)
			require.Equal(a, http.StatusOK, answer.Status, "%s %s", method, ref)
			assert.Equal(a, mediaType, answer.Header.Get("Content-Type"))
			assert.Equal(a, a.fixture.Digest(name).String(), answer.Header.Get("Docker-Content-Digest"))
			assert.Equal(a, fmt.Sprint(len(want)), answer.Header.Get("Content-Length"))
			if method == http.MethodGet {
				assert.Equal(a, string(want), string(answer.Body))
			}
		}
	}
}

// checkAbsent makes sure that nothing was stored.
func (a *attempt) checkAbsent() {
	a.Helper()
	for _, ref := range a.refs() {
		a.checkUnknown(ref)
	}
}

func (a *attempt) checkUnknown(ref string) {
	a.Helper()
	answer := a.client.Get(a, http.MethodGet, a.repo, ref)
	assert.Equal(a, http.StatusNotFound, answer.Status, "GET %s", ref)
	// A repository that nothing was ever stored in may be unknown itself.
	if errs := answer.Errors(); assert.Len(a, errs, 1) {
		assert.Contains(a, []string{"MANIFEST_UNKNOWN", "NAME_UNKNOWN"}, errs[0].Code)
	}
	assert.Equal(a, http.StatusNotFound, a.client.Get(a, http.MethodHead, a.repo, ref).Status, "HEAD %s", ref)
}

// checkChildren makes sure that those children of the list can be got that were pushed, and no
// others.
func (a *attempt) checkChildren(present []string) {
	a.Helper()
	for _, d := range a.fixture.Manifests("top")[1:] {
		name := a.fixture.Name(d)
		switch {
		case slices.Contains(present, name):
			a.checkStored(name, d.String())
		case name != "inner" && !slices.Contains(present, "inner"):
			a.checkUnknown(d.String())
		}
	}
}

func pushAfterRefusal(a *attempt) {
	a.list("amd64", "arm64")
	require.Equal(a, http.StatusBadRequest, a.put().Status)
	a.push("amd64")
	require.Equal(a, http.StatusCreated, a.put().Status)
	a.checkStored("top", a.refs()...)
}

func pushAfterAcceptance(a *attempt) {
	a.list("amd64", "arm64")
	a.push("amd64")
	require.Equal(a, http.StatusCreated, a.put().Status)
	a.checkUnknown(a.fixture.Digest("arm64").String())
	a.push("arm64")
	a.checkStored("top", a.refs()...)
	a.checkChildren([]string{"amd64", "arm64"})
}

func deleteAfterAcceptance(a *attempt) {
	a.list("amd64", "arm64")
	a.push("amd64", "arm64")
	require.Equal(a, http.StatusCreated, a.put().Status)
	a.delete("arm64")
	a.checkStored("top", a.refs()...)
	require.Equal(a, http.StatusCreated, a.put().Status, "arm64 is not required")
	a.delete("amd64")
	a.checkStored("top", a.refs()...)
	answer := a.put()
	a.checkRefusal(answer, on("amd64"), []child{{"amd64", "amd64", "Required architecture 'amd64' manifest not found"}})
	a.checkStored("top", a.refs()...)
}

func (a *attempt) delete(name string) {
	a.Helper()
	d := a.fixture.Digest(name).String()
	answer := a.client.Do(a, http.MethodDelete, ManifestPath(a.repo, d), nil, nil)
	require.Equal(a, http.StatusAccepted, answer.Status, "%s", answer.Body)
	a.checkUnknown(d)
}

func nestedWithoutLeaves(a *attempt) {
	a.push("amd64")
	require.Equal(a, http.StatusCreated, a.client.Put(a, a.fixture, a.repo, "", "inner").Status)
	a.list("amd64", "inner")
	require.Equal(a, http.StatusCreated, a.put().Status)
	a.checkStored("top", a.refs()...)
	a.checkStored("inner", a.fixture.Digest("inner").String())
}

func announcement(a *attempt) {
	const announcedOff = `{"sparse_manifests":{"supported":false,"required_architectures":[],"required_platforms":[],` +
		`"required_without_platform":true,"widening":false}}`
	for _, c := range []struct {
		policy           manifest.SparsePolicy
		support          string
		architectures    []string // of the header
		capabilitiesJSON string
	}{
		{off, "false", nil, announcedOff},
		{
			manifest.SparsePolicy{RequiredArchitectures: []string{"amd64"}}, "false", nil,
			announcedOff,
		},
		{
			on(), "true", nil,
			`{"sparse_manifests":{"supported":true,"required_architectures":[],"required_platforms":[],` +
				`"required_without_platform":false,"widening":true}}`,
		},
		{
			on("amd64", "arm64"), "true", []string{"amd64,arm64"},
			`{"sparse_manifests":{"supported":true,"required_architectures":["amd64","arm64"],"required_platforms":[],` +
				`"required_without_platform":true,"widening":true}}`,
		},
	} {
		client := a.serve(c.policy)
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			answer := client.Do(a, method, "/v2/", nil, nil)
			assert.Equal(a, []string{c.support}, answer.Header.Values(sparseregistry.SupportHeader))
			assert.Equal(a, c.architectures, answer.Header.Values(sparseregistry.ArchitecturesHeader))
			if c.support == "true" {
				assert.Equal(a, []string{"true"}, answer.Header.Values(sparseregistry.WideningHeader))
			} else {
				assert.Empty(a, answer.Header.Values(sparseregistry.WideningHeader))
			}
		}
		answer := client.Do(a, http.MethodGet, sparseregistry.CapabilitiesPath, nil, nil)
		assert.Equal(a, http.StatusOK, answer.Status)
		assert.Equal(a, "application/json", answer.Header.Get("Content-Type"))
		assert.Equal(a, c.capabilitiesJSON+"\n", string(answer.Body))
		answer = client.Do(a, http.MethodPost, sparseregistry.CapabilitiesPath, nil, nil)
		assert.Equal(a, http.StatusMethodNotAllowed, answer.Status)
		assert.Equal(a, "GET, HEAD", answer.Header.Get("Allow"))
		if errs := answer.Errors(); assert.Len(a, errs, 1) {
			assert.Equal(a, "UNSUPPORTED", errs[0].Code)
		}
	}
}

func otherBytes(a *attempt) {
	a.push("amd64")
	a.list("amd64")
	body, mediaType := a.fixture.Document("top")
	other := a.fixture.Digest("arm64").String()
	answer := a.client.Do(a, http.MethodPut, ManifestPath(a.repo, other), http.Header{"Content-Type": {mediaType}}, body)
	require.Equal(a, http.StatusBadRequest, answer.Status)
	require.Len(a, answer.Errors(), 1)
	assert.Equal(a, "DIGEST_INVALID", answer.Errors()[0].Code)
	a.checkUnknown(other)
	a.checkAbsent()
}

func switchedOff(a *attempt) {
	a.list("amd64", "arm64")
	a.push("amd64")
	require.Equal(a, http.StatusCreated, a.put().Status)
	a.client = a.serve(off)
	a.checkStored("top", a.refs()...)
	a.checkRefusal(a.put(), off, []child{{"arm64", "arm64", "Manifest DIGEST(arm64) for platform 'linux/arm64' not found"}})
	a.checkStored("top", a.refs()...)
}
