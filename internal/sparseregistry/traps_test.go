package sparseregistry_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

const (
	ociIndex   = "application/vnd.oci.image.index.v1+json"
	ociImage   = "application/vnd.oci.image.manifest.v1+json"
	dockerList = "application/vnd.docker.distribution.manifest.list.v2+json"
)

var (
	requireAMD64 = manifest.SparsePolicy{Enabled: true, RequiredArchitectures: []string{"amd64"}}
	absent       = digest.FromString("absent")
)

// forwarded is a request that reached the registry behind, and the body that it had.
type forwarded struct {
	*http.Request
	body string
}

// A spy is a registry behind that notes what it is asked. respond answers; nil answers 404 to GET
// and HEAD, 201 to PUT, and 202 to DELETE.
type spy struct {
	respond http.HandlerFunc

	mu       sync.Mutex
	requests []forwarded // guarded by mu
}

func (s *spy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	s.requests = append(s.requests, forwarded{r, string(body)})
	s.mu.Unlock()
	switch {
	case s.respond != nil:
		s.respond(w, r)
	case r.Method == http.MethodPut:
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusAccepted)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// of returns the requests with the given method.
func (s *spy) of(method string) []forwarded {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []forwarded
	for _, r := range s.requests {
		if r.Method == method {
			found = append(found, r)
		}
	}
	return found
}

// sparse is an index whose only child is absent, and not amd64.
func sparse() string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, ociIndex, entry("arm64"))
}

// entry is an entry for the absent child.
func entry(architecture string) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":7,"platform":{"os":"linux","architecture":%q}}`, ociImage, absent, architecture)
}

// put pushes body with the given Content-Type, "" for none.
func put(t *testing.T, c *sparsetest.Client, path, contentType, body string) sparsetest.Answer {
	t.Helper()
	header := http.Header{}
	if contentType != "" {
		header.Set("Content-Type", contentType)
	}
	return c.Do(t, http.MethodPut, path, header, []byte(body))
}

// wantRefusal checks an answer with one error.
func wantRefusal(t *testing.T, answer sparsetest.Answer, status int, code, message string) {
	t.Helper()
	assert.Equal(t, status, answer.Status, "%s", answer.Body)
	if errs := answer.Errors(); assert.Len(t, errs, 1, "%s", answer.Body) {
		assert.Equal(t, code, errs[0].Code)
		assert.Equal(t, message, errs[0].Message)
	}
}

// raw sends a request as it is written, and returns the answer.
func raw(t *testing.T, h http.Handler, request string) sparsetest.Answer {
	t.Helper()
	server := httptest.NewServer(h)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	go func() { _, _ = io.WriteString(conn, request) }() // a server that refuses need not take all of it
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return sparsetest.Answer{Status: resp.StatusCode, Header: resp.Header, Body: body}
}

// rawPut is a PUT of the sparse index, as it is written.
func rawPut(target string) string {
	return fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", target, ociIndex, len(sparse()), sparse())
}

func enforce(next http.Handler, policy manifest.SparsePolicy) http.Handler {
	return sparseregistry.Enforce(next, sparseregistry.Options{Policy: sparseregistry.Policies{Default: policy}.For})
}

// Trap 1: a handler in front can tighten, never loosen. What the registry behind refuses stays
// refused, in its words.
func TestTrap1ARegistryThatIsStrictItselfStaysStrict(t *testing.T) {
	strict := registrytest.NewHandler(registrytest.Options{Strict: true})
	t.Cleanup(strict.Close)
	direct := put(t, sparsetest.ServeHandler(t, strict), "/v2/app/manifests/v1", ociIndex, sparse())
	behind := put(t, sparsetest.Serve(t, strict, requireAMD64), "/v2/app/manifests/v1", ociIndex, sparse())
	require.Equal(t, http.StatusBadRequest, direct.Status)
	assert.Equal(t, direct.Status, behind.Status)
	assert.Equal(t, string(direct.Body), string(behind.Body))
}

// Trap 2: "manifests" is a legal component of a repository's name, and paths can be written in many
// ways.
func TestTrap2ManifestsInRepositoryNames(t *testing.T) {
	for _, repo := range []string{"manifests", "a/manifests", "manifests/a", "manifests/manifests", "blobs/manifests", "a/blobs/uploads"} {
		behind := &spy{}
		answer := put(t, sparsetest.Serve(t, behind, manifest.SparsePolicy{}), "/v2/"+repo+"/manifests/v1", ociIndex, sparse())
		assert.Equal(t, http.StatusBadRequest, answer.Status, repo)
		assert.Empty(t, behind.of(http.MethodPut), repo)
		if asked := behind.of(http.MethodHead); assert.Len(t, asked, 1, repo) {
			assert.Equal(t, "/v2/"+repo+"/manifests/"+absent.String(), asked[0].URL.Path)
		}
	}
}

func TestTrap2UncleanPathsAreRefused(t *testing.T) {
	for _, target := range []string{
		"//v2/a/manifests/v1", "/v2//a/manifests/v1", "/v2/a/manifests//v1", "/v2/a/./manifests/v1", "/v2/a/x/../manifests/v1",
		"/v2/a/manifests/v1/", "/x/../v2/a/manifests/v1", "/v2/a/%2e%2e/b/manifests/v1", "/v2/a%2F%2Fb/manifests/v1", "/v2/a/manifests/v1%2F",
		"http://host//v2/a/manifests/v1",
	} {
		behind := &spy{}
		answer := raw(t, enforce(behind, manifest.SparsePolicy{}), rawPut(target))
		wantRefusal(t, answer, http.StatusBadRequest, "NAME_INVALID",
			"path has empty, '.' or '..' components, or a '/' after a reference")
		assert.Empty(t, behind.requests, target)
	}
}

func TestTrap2EscapedPathsMeanWhatTheyDecodeTo(t *testing.T) {
	behind := &spy{}
	answer := raw(t, enforce(behind, manifest.SparsePolicy{}), rawPut("/v2/a%2Fb/m%61nifests%2Fv1"))
	assert.Equal(t, http.StatusBadRequest, answer.Status)
	assert.Empty(t, behind.of(http.MethodPut))

	answer = raw(t, enforce(behind, requireAMD64), rawPut("/v2/a%2Fb/m%61nifests%2Fv1?tag=x%2Fy"))
	assert.Equal(t, http.StatusCreated, answer.Status)
	if passed := behind.of(http.MethodPut); assert.Len(t, passed, 1) {
		assert.Equal(t, "/v2/a/b/manifests/v1", passed[0].URL.Path)
		assert.Empty(t, passed[0].URL.RawPath)
		assert.Equal(t, "/v2/a/b/manifests/v1?tag=x%2Fy", passed[0].RequestURI)
	}
}

func TestTrap2OtherMethodsCannotWriteManifests(t *testing.T) {
	for _, method := range []string{http.MethodPost, http.MethodPatch, "put", "PROPFIND"} {
		behind := &spy{}
		answer := sparsetest.Serve(t, behind, requireAMD64).Do(t, method, "/v2/app/manifests/v1", http.Header{"Content-Type": {ociIndex}}, []byte(sparse()))
		wantRefusal(t, answer, http.StatusMethodNotAllowed, "UNSUPPORTED", fmt.Sprintf("method %q is not supported for manifests", method))
		assert.Equal(t, "GET, HEAD, PUT, DELETE, OPTIONS", answer.Header.Get("Allow"))
		assert.Empty(t, behind.requests)
	}
}

// Trap 3: the header, the document's mediaType and its manifests key must agree about whether it is
// a list, and of what kind.
func TestTrap3ListsAreRecognized(t *testing.T) {
	list := func(mediaType, more string) string {
		if mediaType != "" {
			mediaType = fmt.Sprintf(`"mediaType":%q,`, mediaType)
		}
		return fmt.Sprintf(`{"schemaVersion":2,%s"manifests":[%s]%s}`, mediaType, entry("amd64"), more)
	}
	const missing = "Required architecture 'amd64' manifest not found"
	disagree := func(header string) string {
		return fmt.Sprintf("the document is a list, but its Content-Type is %q", header)
	}
	for _, c := range []struct {
		name, header, body string
		code, message      string // "" if the document passes
	}{
		{"OCI index", ociIndex, list(ociIndex, ""), "MANIFEST_BLOB_UNKNOWN", missing},
		{"OCI index without mediaType", ociIndex, list("", ""), "MANIFEST_BLOB_UNKNOWN", missing},
		{"Docker list with children of the other family", dockerList, list(dockerList, ""), "MANIFEST_BLOB_UNKNOWN", missing},
		{"parameters", ociIndex + `; charset="utf-8"`, list(ociIndex, ""), "MANIFEST_BLOB_UNKNOWN", missing},
		{"upper case", strings.ToUpper(ociIndex), list(ociIndex, ""), "MANIFEST_BLOB_UNKNOWN", missing},
		{"no header", "", list(ociIndex, ""), "MANIFEST_BLOB_UNKNOWN", missing},
		{"no header, no mediaType", "", list("", ""), "MANIFEST_BLOB_UNKNOWN", missing},
		{"by mediaType", ociImage, fmt.Sprintf(`{"mediaType":%q}`, ociIndex), "MANIFEST_INVALID", disagree(ociImage)},
		{"by a mediaType in another case", ociImage, fmt.Sprintf(`{"MEDIATYPE":%q}`, dockerList), "MANIFEST_INVALID", disagree(ociImage)},
		{"by a repeated mediaType", ociImage, fmt.Sprintf(`{"mediaType":%q,"mediaType":%q}`, ociIndex, ociImage), "MANIFEST_INVALID", disagree(ociImage)},
		{"by manifests", ociImage, list("", ""), "MANIFEST_INVALID", disagree(ociImage)},
		{"by manifests in another case", ociImage, `{"Manifeſts":null}`, "MANIFEST_INVALID", disagree(ociImage)},
		{"by escaped manifests", ociImage, `{"\u006danifests":[]}`, "MANIFEST_INVALID", disagree(ociImage)},
		{"unknown type", "application/json", list("", ""), "MANIFEST_INVALID", disagree("application/json")},
		{
			"the header of the other family", ociIndex, list(dockerList, ""), "MANIFEST_INVALID",
			`mediaType (byte 31): "` + dockerList + `" is not the media type that came with it, "` + ociIndex + `"`,
		},
		{"a Docker list without mediaType", dockerList, list("", ""), "MANIFEST_INVALID", ""},
		{"a list with layers", ociIndex, list(ociIndex, `,"layers":[]`), "MANIFEST_INVALID", ""},
		{"an image with a list's header", ociIndex, fmt.Sprintf(`{"mediaType":%q,"config":{},"layers":[]}`, ociImage), "MANIFEST_INVALID", ""},
		{"no JSON", ociImage, `{"manifests":`, "MANIFEST_INVALID", "unexpected end of JSON input"},
		{"no object", ociImage, `["manifests"]`, "MANIFEST_INVALID", "not a JSON object"},
		{"nothing", "", "", "MANIFEST_INVALID", "unexpected end of JSON input"},
		{"invalid header", ociIndex + "; x", list(ociIndex, ""), "MANIFEST_INVALID", `Content-Type "` + ociIndex + `; x": mime: invalid media parameter`},
		{"an image", ociImage, fmt.Sprintf(`{"mediaType":%q,"config":{},"layers":[],"annotations":{"manifests":"x"},"n":1e999}`, ociImage), "", ""},
		{"an image without mediaType", ociImage, `{"config":{"mediaType":"` + ociIndex + `"},"layers":[{"manifests":[]}]}`, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			behind := &spy{}
			answer := put(t, sparsetest.Serve(t, behind, requireAMD64), "/v2/app/manifests/v1", c.header, c.body)
			passed := behind.of(http.MethodPut)
			if c.code == "" {
				require.Equal(t, http.StatusCreated, answer.Status, "%s", answer.Body)
				require.Len(t, passed, 1)
				assert.Equal(t, c.header, passed[0].Header.Get("Content-Type"))
				assert.Equal(t, c.body, passed[0].body)
				return
			}
			assert.Empty(t, passed)
			if c.message == "" {
				c.message = answer.Errors()[0].Message
				t.Log(c.message)
			}
			wantRefusal(t, answer, http.StatusBadRequest, c.code, c.message)
		})
	}
}

func TestTrap3TheBareMediaTypeIsForwarded(t *testing.T) {
	for header, want := range map[string]string{
		ociIndex: ociIndex, ociIndex + "; charset=utf-8": ociIndex, strings.ToUpper(ociIndex): ociIndex, "": "",
	} {
		behind := &spy{}
		answer := put(t, sparsetest.Serve(t, behind, requireAMD64), "/v2/app/manifests/v1", header, sparse())
		require.Equal(t, http.StatusCreated, answer.Status)
		assert.Equal(t, want, behind.of(http.MethodPut)[0].Header.Get("Content-Type"))
	}
}

func TestTrap3TwoContentTypesAreRefused(t *testing.T) {
	behind := &spy{}
	answer := sparsetest.Serve(t, behind, requireAMD64).Do(t, http.MethodPut, "/v2/app/manifests/v1",
		http.Header{"Content-Type": {ociImage, ociIndex}}, []byte(sparse()))
	wantRefusal(t, answer, http.StatusBadRequest, "MANIFEST_INVALID", "more than one Content-Type")
	assert.Empty(t, behind.requests)
}

// Trap 4: what is read is bounded, and it is what is forwarded.
func TestTrap4BodiesAreBounded(t *testing.T) {
	padded := func(size int) string { return sparse() + strings.Repeat(" ", size-len(sparse())) }
	for _, chunked := range []bool{false, true} {
		for _, contentType := range []string{ociIndex, ociImage} {
			behind := &spy{}
			h := enforce(behind, requireAMD64)
			answer := raw(t, h, rawBody(padded(manifest.MaxSize+1), contentType, chunked))
			wantRefusal(t, answer, http.StatusRequestEntityTooLarge, "MANIFEST_INVALID", "manifest is larger than 4194304 bytes")
			assert.Empty(t, behind.requests)
		}
		behind := &spy{}
		answer := raw(t, enforce(behind, requireAMD64), rawBody(padded(manifest.MaxSize), ociIndex, chunked))
		require.Equal(t, http.StatusCreated, answer.Status)
		passed := behind.of(http.MethodPut)[0]
		assert.Equal(t, digest.FromString(padded(manifest.MaxSize)), digest.FromString(passed.body))
		assert.EqualValues(t, manifest.MaxSize, passed.ContentLength)
		assert.Equal(t, "4194304", passed.Header.Get("Content-Length"))
		assert.Empty(t, passed.TransferEncoding)
	}
}

// rawBody is a PUT as it is written, with a length or in chunks.
func rawBody(body, contentType string, chunked bool) string {
	head := fmt.Sprintf("PUT /v2/app/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\n", contentType)
	if !chunked {
		return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
	}
	var b strings.Builder
	b.WriteString(head + "Transfer-Encoding: chunked\r\n\r\n")
	for chunk := range slices.Chunk([]byte(body), 1<<20) {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(chunk), chunk)
	}
	return b.String() + "0\r\n\r\n"
}

func TestTrap4ContentEncodingIsRefused(t *testing.T) {
	for encoding, status := range map[string]int{"gzip": 415, "identity": 201, "": 201, "br, gzip": 415} {
		behind := &spy{}
		answer := sparsetest.Serve(t, behind, requireAMD64).Do(t, http.MethodPut, "/v2/app/manifests/v1",
			http.Header{"Content-Type": {ociIndex}, "Content-Encoding": {encoding}}, []byte(sparse()))
		if status == http.StatusUnsupportedMediaType {
			wantRefusal(t, answer, status, "UNSUPPORTED", fmt.Sprintf("manifests with Content-Encoding %q are not supported", encoding))
			assert.Empty(t, behind.requests)
			continue
		}
		assert.Equal(t, status, answer.Status)
	}
}

func TestTrap4ABodyThatBreaksOffIsRefused(t *testing.T) {
	behind := &spy{}
	r := httptest.NewRequest(http.MethodPut, "/v2/app/manifests/v1", io.MultiReader(strings.NewReader(sparse()), brokenReader{}))
	r.Header.Set("Content-Type", ociIndex)
	w := httptest.NewRecorder()
	enforce(behind, requireAMD64).ServeHTTP(w, r)
	assert.Equal(t, http.StatusBadRequest, w.Code)
	assert.Contains(t, w.Body.String(), "reading the manifest: unexpected EOF")
	assert.Empty(t, behind.requests)
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Trap 5: how children are asked for, and what other answers than 200 and 404 mean.
func TestTrap5ChildrenAreAskedForOnBehalfOfTheCaller(t *testing.T) {
	type key struct{}
	behind := &spy{}
	r := httptest.NewRequest(http.MethodPut, "https://registry.example/v2/app/manifests/v1", strings.NewReader(sparse()))
	r = r.WithContext(context.WithValue(r.Context(), key{}, "mine"))
	r.Header = http.Header{
		"Content-Type": {ociIndex}, "Authorization": {"Bearer secret"}, "Range": {"bytes=0-1"}, "If-None-Match": {"*"},
		"X-Forwarded-Proto": {"https"}, "Expect": {"100-continue"},
	}
	enforce(behind, requireAMD64).ServeHTTP(httptest.NewRecorder(), r)
	asked := behind.of(http.MethodHead)
	require.Len(t, asked, 1)
	assert.Equal(t, "mine", asked[0].Context().Value(key{}))
	assert.Equal(t, "registry.example", asked[0].Host)
	assert.Equal(t, r.RemoteAddr, asked[0].RemoteAddr)
	assert.Equal(t, "/v2/app/manifests/"+absent.String(), asked[0].RequestURI)
	assert.NotNil(t, asked[0].TLS)
	assert.Equal(t, http.Header{
		"Accept":        {strings.Join([]string{ociImage, ociIndex, manifest.MediaTypeDockerManifest, dockerList}, ", ")},
		"Authorization": {"Bearer secret"}, "X-Forwarded-Proto": {"https"},
	}, asked[0].Header)
}

func TestTrap5OnlyNotFoundMeansMissing(t *testing.T) {
	notFound := http.StatusNotFound
	for _, c := range []struct {
		name    string
		answer  http.HandlerFunc
		status  int
		code    string
		message string
		header  http.Header // that passes through
	}{
		{
			"401", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("WWW-Authenticate", `Bearer realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
			},
			401, "UNAUTHORIZED", "asking for manifest " + absent.String() + ": the registry answered 401",
			http.Header{"Www-Authenticate": {`Bearer realm="x"`}},
		},
		{
			"403", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
			403, "DENIED", "asking for manifest " + absent.String() + ": the registry answered 403", nil,
		},
		{
			"429 with a body", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "17")
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusTooManyRequests)
				_, _ = io.WriteString(w, `{"errors":[{"code":"TOOMANYREQUESTS","message":"slowly"}]}`)
			},
			429, "TOOMANYREQUESTS", "slowly", http.Header{"Retry-After": {"17"}, "Content-Type": {"application/json"}},
		},
		{
			"503", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "17")
				w.WriteHeader(http.StatusServiceUnavailable)
			},
			503, "UNAVAILABLE", "asking for manifest " + absent.String() + ": the registry answered 503", http.Header{"Retry-After": {"17"}},
		},
		{
			"500", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
			502, "UNKNOWN", "asking for manifest " + absent.String() + ": the registry answered 500", nil,
		},
		{
			"redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
			502, "UNKNOWN", "asking for manifest " + absent.String() + ": the registry answered 302", nil,
		},
		{
			"400", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) },
			502, "UNKNOWN", "asking for manifest " + absent.String() + ": the registry answered 400", nil,
		},
		{
			"panic", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			502, "UNKNOWN", "asking for manifest " + absent.String() + ": the registry panicked: net/http: abort Handler", nil,
		},
		{
			"200 without a size, then 404", func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					w.WriteHeader(notFound)
				}
			},
			502, "UNKNOWN", "asking for the size of manifest " + absent.String() + ": the registry answered 404 to GET after 200 to HEAD", nil,
		},
		{
			"200 with the wrong size", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "12345") },
			400, "MANIFEST_INVALID", "manifests[0]: size is 7, but manifest " + absent.String() + " has 5 bytes", nil,
		},
		{
			"200 without end", func(w http.ResponseWriter, r *http.Request) {
				for r.Method == http.MethodGet {
					if _, err := w.Write(make([]byte, 1<<20)); err != nil {
						return
					}
				}
			},
			502, "UNKNOWN", "asking for the size of manifest " + absent.String() + ": the answer is too large", nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			behind := &spy{respond: c.answer}
			answer := put(t, sparsetest.Serve(t, behind, requireAMD64), "/v2/app/manifests/v1", ociIndex, sparse())
			wantRefusal(t, answer, c.status, c.code, c.message)
			for name, values := range c.header {
				assert.Equal(t, values, answer.Header[name])
			}
			denied := c.status == http.StatusUnauthorized || c.status == http.StatusForbidden
			for _, request := range behind.of(http.MethodPut) {
				assert.True(t, denied, "only who is denied the child may be denied the list")
				assert.Empty(t, request.body, "the list is not stored")
			}
		})
	}
}

func TestTrap5ASizeThatHEADLeavesOutIsCounted(t *testing.T) {
	behind := &spy{respond: func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet:
			_, _ = io.WriteString(w, "1234567")
		case http.MethodPut:
			w.WriteHeader(http.StatusCreated)
		}
	}}
	answer := put(t, sparsetest.Serve(t, behind, requireAMD64), "/v2/app/manifests/v1", ociIndex, sparse())
	assert.Equal(t, http.StatusCreated, answer.Status, "%s", answer.Body)
}

func TestTrap5EachChildIsAskedForOnce(t *testing.T) {
	behind := &spy{}
	body := fmt.Sprintf(`{"schemaVersion":2,"manifests":[%s,%s]}`, entry("amd64"), entry("arm64"))
	answer := put(t, sparsetest.Serve(t, behind, requireAMD64), "/v2/app/manifests/v1", ociIndex, body)
	assert.Equal(t, http.StatusBadRequest, answer.Status)
	assert.Len(t, behind.requests, 1)
}

// Trap 6: what looks like a digest and is none must not become a tag, and what newer clients and
// registries say must pass.
func TestTrap6InvalidDigestsAreNoTags(t *testing.T) {
	for reference, why := range map[string]string{
		"sha256:short":                         "invalid checksum digest length",
		"sha256:" + strings.Repeat("A", 64):    "invalid checksum digest format",
		"latest:1":                             "unsupported digest algorithm",
		"sha256:":                              "invalid checksum digest format",
		"md5:d41d8cd98f00b204e9800998ecf8427e": "unsupported digest algorithm",
		":":                                    "invalid checksum digest format",
		"sha256:" + strings.Repeat("a", 64) + ":": "invalid checksum digest length",
	} {
		behind := &spy{}
		client := sparsetest.Serve(t, behind, requireAMD64)
		for contentType, body := range map[string]string{ociIndex: sparse(), ociImage: "{}"} {
			answer := put(t, client, "/v2/app/manifests/"+reference, contentType, body)
			wantRefusal(t, answer, http.StatusBadRequest, "DIGEST_INVALID", fmt.Sprintf("reference %q: %s", reference, why))
			assert.Empty(t, behind.requests)
		}
	}
}

func TestTrap6ADigestIsThatOfTheList(t *testing.T) {
	for _, d := range []digest.Digest{digest.SHA256.FromString(sparse()), digest.SHA512.FromString(sparse())} {
		answer := put(t, sparsetest.Serve(t, &spy{}, requireAMD64), "/v2/app/manifests/"+d.String(), ociIndex, sparse())
		assert.Equal(t, http.StatusCreated, answer.Status)
		behind := &spy{}
		answer = put(t, sparsetest.Serve(t, behind, requireAMD64), "/v2/app/manifests/"+d.String(), ociIndex, sparse()+" ")
		wantRefusal(t, answer, http.StatusBadRequest, "DIGEST_INVALID", "the manifest does not have the digest "+d.String())
		assert.Empty(t, behind.requests)
	}
}

func TestTrap6TagsAndHeadersPass(t *testing.T) {
	behind := &spy{respond: func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header()["OCI-Tag"] = []string{"a", "b"}
		w.Header().Set("OCI-Subject", "sha256:subject")
		w.Header().Set("Location", "/v2/app/manifests/x?y=z")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "stored")
	}}
	path := "/v2/app/manifests/" + digest.FromString(sparse()).String() + "?tag=a&tag=b&x=%2F"
	answer := put(t, sparsetest.Serve(t, behind, requireAMD64), path, ociIndex, sparse())
	assert.Equal(t, http.StatusCreated, answer.Status)
	assert.Equal(t, []string{"a", "b"}, answer.Header.Values("OCI-Tag"))
	assert.Equal(t, "sha256:subject", answer.Header.Get("OCI-Subject"))
	assert.Equal(t, "/v2/app/manifests/x?y=z", answer.Header.Get("Location"))
	assert.Equal(t, "stored", string(answer.Body))
	assert.Equal(t, "tag=a&tag=b&x=%2F", behind.of(http.MethodPut)[0].URL.RawQuery)
	assert.Empty(t, behind.of(http.MethodHead)[0].URL.RawQuery)
}

// Trap 7: a DELETE of a child that races with the PUT of its list.
func TestTrap7DeleteWaitsForListsOfTheSameRepository(t *testing.T) {
	storing, store := make(chan struct{}, 2), make(chan struct{})
	behind := &spy{respond: func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			storing <- struct{}{}
			<-store
			w.WriteHeader(http.StatusCreated)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}}
	client := sparsetest.Serve(t, behind, requireAMD64)
	var lists, deletes sync.WaitGroup
	for range 2 { // lists do not wait for each other
		lists.Go(func() { put(t, client, "/v2/app/manifests/v1", ociIndex, sparse()) })
	}
	<-storing
	<-storing
	deletes.Go(func() { client.Do(t, http.MethodDelete, "/v2/app/manifests/"+absent.String(), nil, nil) })
	deletes.Go(func() { client.Do(t, http.MethodDelete, "/v2/app/blobs/"+absent.String(), nil, nil) })

	// Deletions in other repositories, and other requests, do not wait; they give the others time.
	for range 50 {
		client.Do(t, http.MethodDelete, "/v2/other/manifests/"+absent.String(), nil, nil)
		client.Do(t, http.MethodGet, "/v2/app/manifests/v1", nil, nil)
		client.Do(t, http.MethodDelete, "/v2/app/blobs/uploads/1234", nil, nil)
		runtime.Gosched()
	}
	for _, r := range behind.of(http.MethodDelete) {
		assert.False(t, strings.HasPrefix(r.URL.Path, "/v2/app/manifests/") || strings.HasPrefix(r.URL.Path, "/v2/app/blobs/sha256:"),
			"%s was deleted while a list was being stored", r.URL.Path)
	}
	close(store)
	lists.Wait()
	deletes.Wait()
	assert.Len(t, behind.of(http.MethodDelete), 102)
}

func TestTrap7ListsWaitForDelete(t *testing.T) {
	deleting, remove := make(chan struct{}), make(chan struct{})
	behind := &spy{respond: func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			close(deleting)
			<-remove
			w.WriteHeader(http.StatusAccepted)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}}
	client := sparsetest.Serve(t, behind, requireAMD64)
	var wg sync.WaitGroup
	wg.Go(func() { client.Do(t, http.MethodDelete, "/v2/app/manifests/"+absent.String(), nil, nil) })
	<-deleting
	wg.Go(func() { put(t, client, "/v2/app/manifests/v1", ociIndex, sparse()) })
	for range 50 {
		put(t, client, "/v2/other/manifests/v1", ociIndex, sparse())
	}
	assert.Len(t, behind.of(http.MethodHead), 50, "a child was asked for while it was being deleted")
	close(remove)
	wg.Wait()
	assert.Len(t, behind.of(http.MethodHead), 51)
}

func TestTrap7ClientsCannotHoldTheLock(t *testing.T) {
	behind := &spy{} // reads bodies to their end
	h := enforce(behind, requireAMD64)
	// A DELETE whose body never comes is answered.
	never, _ := io.Pipe()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodDelete, "/v2/app/manifests/v1", never))
	assert.Equal(t, http.StatusAccepted, w.Code)
	// A client that does not take its answer keeps nobody waiting.
	for _, method := range []string{http.MethodPut, http.MethodDelete} {
		stuck := &stuckWriter{header: http.Header{}, writing: make(chan struct{}), release: make(chan struct{})}
		r := httptest.NewRequest(method, "/v2/app/manifests/v1", strings.NewReader(sparse()))
		r.Header.Set("Content-Type", ociIndex)
		var wg sync.WaitGroup
		wg.Go(func() { h.ServeHTTP(stuck, r) })
		<-stuck.writing
		answer := raw(t, h, "DELETE /v2/app/manifests/v1 HTTP/1.1\r\nHost: x\r\n\r\n")
		assert.Equal(t, http.StatusAccepted, answer.Status)
		close(stuck.release)
		wg.Wait()
	}
}

// A stuckWriter is a client that takes nothing until release is closed.
type stuckWriter struct {
	header           http.Header
	writing, release chan struct{}
}

func (s *stuckWriter) Header() http.Header         { return s.header }
func (s *stuckWriter) Write(p []byte) (int, error) { return len(p), nil }
func (s *stuckWriter) WriteHeader(int) {
	close(s.writing)
	<-s.release
}

func TestTrap7APanicReleasesTheLock(t *testing.T) {
	calls := 0
	behind := &spy{respond: func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodHead:
			w.WriteHeader(http.StatusNotFound)
		case calls < 2:
			calls++
			panic(http.ErrAbortHandler)
		}
	}}
	h := enforce(behind, requireAMD64)
	request := func(method string) *http.Request {
		r := httptest.NewRequest(method, "/v2/app/manifests/v1", strings.NewReader(sparse()))
		r.Header.Set("Content-Type", ociIndex)
		return r
	}
	assert.Panics(t, func() { h.ServeHTTP(httptest.NewRecorder(), request(http.MethodPut)) })
	assert.Panics(t, func() { h.ServeHTTP(httptest.NewRecorder(), request(http.MethodDelete)) })
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request(http.MethodDelete))
	assert.Equal(t, http.StatusOK, w.Code)
}

// Traps 8 and 9: documents that two parsers can read differently, and documents that are too much.
func TestTrap8AmbiguousKeysAreRefused(t *testing.T) {
	e := entry("amd64")
	for _, body := range []string{
		`{"schemaVersion":2,"manifests":[` + e + `],"Manifests":[]}`,
		`{"schemaVersion":2,"Manifests":[],"manifests":[` + e + `]}`,
		`{"schemaVersion":2,"manifests":[` + e + `],"manifests":[]}`,
		`{"schemaVersion":2,"manifests":[` + e + `],"\u004danifests":[]}`,
		`{"schemaVersion":2,"MANIFESTS":[` + e + `]}`,
		`{"schemaVersion":2,"manifests":[` + strings.Replace(e, `"digest"`, `"digest":"`+digest.FromString("x").String()+`","digest"`, 1) + `]}`,
		`{"schemaVersion":2,"manifests":[` + strings.Replace(e, `"digest"`, `"Digest":"`+digest.FromString("x").String()+`","digest"`, 1) + `]}`,
		`{"schemaVersion":2,"manifests":[` + strings.Replace(e, `"architecture"`, `"Architecture":"arm64","architecture"`, 1) + `]}`,
		`{"schemaVersion":2,"manifests":[` + strings.Replace(e, `"platform"`, `"Platform":null,"platform"`, 1) + `]}`,
		`{"schemaVersion":2,"manifests":[` + strings.Replace(e, `"platform"`, `"annotations":{"a":"1","a":"2"},"platform"`, 1) + `]}`,
		`{"schemaVersion":2,"manifests":[` + e + `],"x":{"y":1,"y":2}}`,
	} {
		behind := &spy{}
		answer := put(t, sparsetest.Serve(t, behind, manifest.SparsePolicy{Enabled: true}), "/v2/app/manifests/v1", ociIndex, body)
		assert.Equal(t, http.StatusBadRequest, answer.Status, body)
		if assert.Len(t, answer.Errors(), 1) {
			assert.Equal(t, "MANIFEST_INVALID", answer.Errors()[0].Code)
			t.Log(answer.Errors()[0].Message)
		}
		assert.Empty(t, behind.requests)
	}
}

// What a copy carries because others do, and is not as the formats demand, is not for a registry to
// take.
func TestTrap8IrregularListsAreRefused(t *testing.T) {
	e := entry("amd64")
	for body, contentType := range map[string]string{
		`{"manifests":[` + e + `]}`:                                                                                            ociIndex,
		`{"schemaVersion":null,"manifests":[` + e + `]}`:                                                                       ociIndex,
		`{"schemaVersion":2,"manifests":[` + e + `]}`:                                                                          manifest.MediaTypeDockerList,
		`{"schemaVersion":2,"mediaType":"","manifests":[` + e + `]}`:                                                           manifest.MediaTypeDockerList,
		`{"schemaVersion":2,"mediaType":"` + manifest.MediaTypeDockerList + `","manifests":null}`:                              manifest.MediaTypeDockerList,
		`{"schemaVersion":2,"manifests":[` + strings.Replace(e, `"architecture"`, `"variant":null,"architecture"`, 1) + `]}`:   ociIndex,
		`{"schemaVersion":2,"manifests":[` + strings.Replace(e, `"platform"`, `"annotations":{"a":null},"platform"`, 1) + `]}`: ociIndex,
	} {
		behind := &spy{}
		answer := put(t, sparsetest.Serve(t, behind, manifest.SparsePolicy{Enabled: true}), "/v2/app/manifests/v1", contentType, body)
		assert.Equal(t, http.StatusBadRequest, answer.Status, body)
		if assert.Len(t, answer.Errors(), 1) {
			assert.Equal(t, "MANIFEST_INVALID", answer.Errors()[0].Code)
		}
		assert.Empty(t, behind.requests)
	}
}

func TestTrap8AnnotationsMayDifferInCase(t *testing.T) {
	body := `{"schemaVersion":2,"manifests":[` + entry("arm64") + `],"annotations":{"a":"1","A":"2"}}`
	answer := put(t, sparsetest.Serve(t, &spy{}, requireAMD64), "/v2/app/manifests/v1", ociIndex, body)
	assert.Equal(t, http.StatusCreated, answer.Status, "%s", answer.Body)
}

func TestTrap9Limits(t *testing.T) {
	list := func(n int) string {
		return `{"schemaVersion":2,"manifests":[` + strings.TrimSuffix(strings.Repeat(entry("arm64")+",", n), ",") + `]}`
	}
	nested := func(levels int) string { // levels of the whole document
		return `{"schemaVersion":2,"manifests":[],"x":` + strings.Repeat("[", levels-1) + strings.Repeat("]", levels-1) + `}`
	}
	for _, c := range []struct {
		name, contentType, body string
		message                 string // "" if the document passes
	}{
		{"1,000 entries", ociIndex, list(1000), ""},
		{"1,001 entries", ociIndex, list(1001), "the list has 1001 entries, more than 1000"},
		{"64 levels", ociIndex, nested(64), ""},
		{"65 levels", ociIndex, nested(65), "more than 64 levels of nesting"},
		{"65 levels, no list", ociImage, `{"x":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, "more than 64 levels of JSON"},
		{"trailing data", ociIndex, list(1) + "{}", "byte 233: data after the end of the document"},
		{"trailing data, no list", ociImage, "{}{}", "invalid character '{' after top-level value"},
		{"byte order mark", ociIndex, "\ufeff" + list(1), "byte 0: byte order mark"},
		{"byte order mark, no list", ociImage, "\ufeff{}", "invalid character 'ï' looking for beginning of value"},
		{"invalid UTF-8", ociIndex, "{\"x\":\"\xff\"," + list(1)[1:], "byte 6: invalid UTF-8"},
		{"invalid UTF-8, no list", ociImage, "{\"x\":\"\xff\"}", "invalid UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			behind := &spy{}
			answer := put(t, sparsetest.Serve(t, behind, requireAMD64), "/v2/app/manifests/v1", c.contentType, c.body)
			if c.message == "" {
				assert.Equal(t, http.StatusCreated, answer.Status, "%s", answer.Body)
				return
			}
			require.Len(t, answer.Errors(), 1, "%s", answer.Body)
			require.Contains(t, answer.Errors()[0].Message, c.message)
			wantRefusal(t, answer, http.StatusBadRequest, "MANIFEST_INVALID", answer.Errors()[0].Message)
			assert.Empty(t, behind.of(http.MethodPut))
		})
	}
}

// A list that was refused is reported, with what is missing.
func TestRefusalsAreReported(t *testing.T) {
	var reported []sparseregistry.Refusal
	h := sparseregistry.Enforce(&spy{}, sparseregistry.Options{
		Policy:  sparseregistry.Policies{Default: requireAMD64}.For,
		Refused: func(_ *http.Request, refusal sparseregistry.Refusal) { reported = append(reported, refusal) },
	})
	client := sparsetest.ServeHandler(t, h)
	put(t, client, "/v2/team/app/manifests/v1", ociIndex, sparse())
	put(t, client, "/v2/team/app/manifests/v2", ociIndex, fmt.Sprintf(`{"schemaVersion":2,"manifests":[%s]}`, entry("amd64")))
	put(t, client, "/v2/team/app/manifests/v3", ociIndex, "{")
	require.Len(t, reported, 2)
	assert.Equal(t, "team/app", reported[0].Repository)
	assert.Equal(t, "v2", reported[0].Reference)
	assert.Equal(t, http.StatusBadRequest, reported[0].Status)
	var missing *manifest.MissingChildrenError
	require.ErrorAs(t, reported[0].Err, &missing)
	assert.Equal(t, []string{"amd64"}, missing.Architectures())
	assert.Equal(t, "v3", reported[1].Reference)
}
