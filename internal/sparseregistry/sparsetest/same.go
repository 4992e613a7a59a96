package sparsetest

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
)

// SameAnswers sends the same requests to a registry with the policy and to one without, and
// compares status, headers and bodies: the four categories of the OCI distribution specification
// (pull, push, content discovery, content management), in the form that its conformance suite tests
// them, and what can go wrong in each.
func SameAnswers(t *testing.T, backend Backend) {
	for name, policy := range map[string]func(*testing.T) *Client{
		"off": func(t *testing.T) *Client { return Serve(t, backend(t), off) },
		"on":  func(t *testing.T) *Client { return Serve(t, backend(t), on("amd64")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			without, with := &session{client: ServeHandler(t, backend(t))}, &session{client: policy(t)}
			for _, step := range steps() {
				t.Run(step.name, func(t *testing.T) {
					want, got := without.run(t, step), with.run(t, step)
					require.Equal(t, want, got)
				})
			}
		})
	}
}

// A step is one request.
type step struct {
	name   string
	method string
	path   string // UPLOAD stands for where the last answer with a Location said an upload goes on
	header http.Header
	body   []byte

	// ourWords is set where the policy refuses what the registry would refuse, too: the text of the
	// answer differs then.
	ourWords bool
}

// A session sends steps to one registry.
type session struct {
	client *Client
	upload string // Location of the last upload, "" if there was none
	id     string // of the last upload
}

// answer is what is compared: an answer without what cannot be the same twice.
type answer struct {
	Status int
	Header http.Header
	Body   string
}

func (s *session) run(t *testing.T, step step) answer {
	t.Helper()
	target := step.path
	if upload, ok := strings.CutPrefix(target, "UPLOAD"); ok {
		require.NotEmpty(t, s.upload, "no upload in progress")
		u, err := url.Parse(s.upload)
		require.NoError(t, err)
		if upload != "" {
			u.RawQuery += "&" + upload
		}
		target = u.RequestURI()
	}
	a := s.client.Do(t, step.method, target, step.header, step.body)
	if location, query, _ := strings.Cut(a.Header.Get("Location"), "?"); strings.Contains(location, "/blobs/uploads/") {
		s.upload, s.id = location+"?"+query, path.Base(location)
	}
	for _, name := range []string{
		"Date", sparseregistry.SupportHeader, sparseregistry.ArchitecturesHeader, sparseregistry.PlatformsHeader,
		sparseregistry.WithoutPlatformHeader, sparseregistry.WideningHeader,
	} {
		a.Header.Del(name)
	}
	if location := a.Header.Get("Location"); location != "" {
		location, _, _ := strings.Cut(location, "?") // the query has the state of the upload
		a.Header.Set("Location", location)
	}
	for _, values := range a.Header {
		for i := range values {
			values[i] = s.normalize(values[i])
		}
	}
	body := s.normalize(string(a.Body))
	if step.ourWords {
		body = ""
		for _, e := range a.Errors() {
			body += e.Code + "\n"
		}
		a.Header = nil
	}
	return answer{Status: a.Status, Header: a.Header, Body: body}
}

// normalize takes out what no two registries share.
func (s *session) normalize(text string) string {
	text = strings.ReplaceAll(text, s.client.base, "http://registry")
	if s.id == "" {
		return text
	}
	return strings.ReplaceAll(text, s.id, "UPLOAD")
}

// steps are the requests, in an order in which each finds what it needs.
func steps() []step {
	const repo = "same/answers"
	f := Fixture(false)
	f.List("list", entries("amd64", "arm64")...)
	f.Image("artifact", imagetest.ArtifactType("application/vnd.example"), imagetest.Subject("amd64"), imagetest.Layers("base"))
	f.List("about", imagetest.Entries("amd64"), imagetest.Subject("amd64"), imagetest.ArtifactType("application/vnd.example"))

	layer, config := f.Content("base"), f.Content("amd64.config")
	absent := digest.FromString("absent").String()
	digestOf := func(b []byte) string { return "digest=" + url.QueryEscape(digest.FromBytes(b).String()) }
	blob := func(b []byte) string { return "/v2/" + repo + "/blobs/" + digest.FromBytes(b).String() }
	manifestAt := func(ref string) string { return ManifestPath(repo, ref) }
	octets := http.Header{"Content-Type": {"application/octet-stream"}}
	chunk := func(from, to int) http.Header {
		return http.Header{"Content-Type": {"application/octet-stream"}, "Content-Range": {fmt.Sprintf("%d-%d", from, to)}}
	}
	uploads := "/v2/" + repo + "/blobs/uploads/"

	var all []step
	add := func(name, method, path string, header http.Header, body []byte) {
		all = append(all, step{name: name, method: method, path: path, header: header, body: body})
	}
	refused := func(name, method, path string, header http.Header, body []byte) {
		add(name, method, path, header, body)
		all[len(all)-1].ourWords = true
	}
	put := func(name, ref, document string) {
		body, mediaType := f.Document(document)
		add(name, http.MethodPut, manifestAt(ref), http.Header{"Content-Type": {mediaType}}, body)
	}
	push := func(name string, content []byte) {
		add("push: start of "+name, http.MethodPost, uploads, nil, nil)
		add("push: end of "+name, http.MethodPut, "UPLOAD"+digestOf(content), octets, content)
	}

	add("base", http.MethodGet, "/v2/", nil, nil)
	add("base without slash", http.MethodGet, "/v2", nil, nil)
	add("root", http.MethodGet, "/", nil, nil)
	add("unknown path", http.MethodGet, "/v2/x/y/z", nil, nil)
	add("invalid name", http.MethodGet, "/v2/UPPER/manifests/v1", nil, nil)
	add("catalog, empty", http.MethodGet, "/v2/_catalog", nil, nil)
	add("tags of nothing", http.MethodGet, "/v2/"+repo+"/tags/list", nil, nil)
	add("pull: manifest of nothing", http.MethodGet, manifestAt("v1"), accept, nil)
	add("pull: HEAD of nothing", http.MethodHead, manifestAt("v1"), accept, nil)
	add("pull: blob of nothing", http.MethodGet, "/v2/"+repo+"/blobs/"+absent, nil, nil)

	push("a blob", layer)
	add("push: POST with digest", http.MethodPost, uploads+"?"+digestOf(config), octets, config)
	add("push: PATCH, a stream", http.MethodPost, uploads, nil, nil)
	add("push: PATCH of it", http.MethodPatch, "UPLOAD", octets, config)
	add("push: status", http.MethodGet, "UPLOAD", nil, nil)
	add("push: PUT of it", http.MethodPut, "UPLOAD"+digestOf(config), nil, nil)
	chunked := f.Content("arm64.config")
	half := len(chunked) / 2
	add("push: chunks", http.MethodPost, uploads, nil, nil)
	add("push: first chunk", http.MethodPatch, "UPLOAD", chunk(0, half-1), chunked[:half])
	add("push: chunk out of order", http.MethodPatch, "UPLOAD", chunk(half+5, len(chunked)-1), chunked[half+5:])
	add("push: second chunk", http.MethodPatch, "UPLOAD", chunk(half, len(chunked)-1), chunked[half:])
	add("push: last chunk", http.MethodPut, "UPLOAD"+digestOf(chunked), octets, nil)
	add("push: to be cancelled", http.MethodPost, uploads, nil, nil)
	add("push: cancel", http.MethodDelete, "UPLOAD", nil, nil)
	add("push: cancelled", http.MethodGet, "UPLOAD", nil, nil)
	add("push: wrong digest", http.MethodPost, uploads, nil, nil)
	add("push: PUT with wrong digest", http.MethodPut, "UPLOADdigest="+absent, octets, layer)
	add("push: mount", http.MethodPost, "/v2/other/uploads/blobs/uploads/?mount="+digest.FromBytes(layer).String()+"&from="+repo, nil, nil)
	add("push: mount of nothing", http.MethodPost, uploads+"?mount="+absent+"&from="+repo, nil, nil)

	put("push: manifest by tag", "v1", "amd64")
	put("push: manifest by digest", f.Digest("arm64").String(), "arm64")
	put("push: manifest whose blobs are missing", "broken", "att")
	put("push: list by tag", "list", "list")
	put("push: list by digest", f.Digest("list").String(), "list")
	put("push: list by digest and tag", f.Digest("list").String()+"?tag=a&tag=b", "list")
	put("push: list over a tag", "v1", "list")
	push("the artifact's config", f.Content("artifact.config"))
	put("push: artifact with a subject", f.Digest("artifact").String(), "artifact")
	put("push: list with a subject", f.Digest("about").String(), "about")
	body, mediaType := f.Document("amd64")
	add("push: image by a wrong digest", http.MethodPut, manifestAt(absent), http.Header{"Content-Type": {mediaType}}, body)
	add("push: image with a parameter of its type", http.MethodPut, manifestAt("v2"), http.Header{"Content-Type": {mediaType + "; charset=utf-8"}}, body)
	listBody, listType := f.Document("list")
	refused("push: list by a wrong digest", http.MethodPut, manifestAt(absent), http.Header{"Content-Type": {listType}}, listBody)
	refused("push: no JSON", http.MethodPut, manifestAt("bad"), http.Header{"Content-Type": {mediaType}}, []byte("blablabla"))
	refused("push: nothing", http.MethodPut, manifestAt("bad"), http.Header{"Content-Type": {mediaType}}, nil)
	refused("push: list that is none", http.MethodPut, manifestAt("bad"), http.Header{"Content-Type": {listType}}, []byte(`{"manifests": 5}`))
	add("push: list without Content-Type", http.MethodPut, manifestAt("bad"), nil, listBody)

	for _, ref := range []string{"v1", "list", f.Digest("list").String(), f.Digest("amd64").String(), absent, "none", ".INVALID", "sha256:short"} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			add("pull: "+method+" of manifest "+ref, method, manifestAt(ref), accept, nil)
		}
	}
	add("pull: list, nothing accepted", http.MethodGet, manifestAt("list"), nil, nil)
	add("pull: unchanged list", http.MethodGet, manifestAt("list"), http.Header{
		"Accept": accept["Accept"], "If-None-Match": {`"` + f.Digest("list").String() + `"`},
	}, nil)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		add("pull: "+method+" of a blob", method, blob(layer), nil, nil)
		add("pull: "+method+" of an absent blob", method, "/v2/"+repo+"/blobs/"+absent, nil, nil)
	}
	add("pull: part of a blob", http.MethodGet, blob(layer), http.Header{"Range": {"bytes=2-5"}}, nil)
	add("pull: escaped digest", http.MethodGet, strings.ReplaceAll(blob(layer), ":", "%3A"), nil, nil)

	for _, query := range []string{"", "?n=1", "?n=1&last=broken", "?n=0", "?n=-1", "?last=v1"} {
		add("discovery: tags "+query, http.MethodGet, "/v2/"+repo+"/tags/list"+query, nil, nil)
	}
	add("discovery: catalog", http.MethodGet, "/v2/_catalog?n=10", nil, nil)
	for _, subject := range []string{f.Digest("amd64").String(), absent, "nonsense"} {
		add("discovery: referrers of "+subject, http.MethodGet, "/v2/"+repo+"/referrers/"+subject, nil, nil)
		add("discovery: referrers by type of "+subject, http.MethodGet, "/v2/"+repo+"/referrers/"+subject+"?artifactType=application%2Fvnd.example", nil, nil)
	}

	for _, target := range []string{
		manifestAt("v1"), manifestAt("v1"), manifestAt(f.Digest("amd64").String()), manifestAt(f.Digest("amd64").String()),
		manifestAt(f.Digest("list").String()), manifestAt(absent), manifestAt("none"), blob(layer), blob(layer),
		"/v2/" + repo + "/blobs/" + absent,
	} {
		add("management: DELETE "+target, http.MethodDelete, target, nil, nil)
		add("management: GET after DELETE "+target, http.MethodGet, target, accept, nil)
	}
	add("management: tags", http.MethodGet, "/v2/"+repo+"/tags/list", nil, nil)
	return all
}
