package notify

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"

	"github.com/sparsecopy/sparsecopy/examples/internal/secretfile"
)

const secret = "6f1ed002ab5595859014ebf0951522d9"

// A recorder is a Queue that wants whatever wanted names, and remembers what it was asked.
type recorder struct {
	mu      sync.Mutex
	wanted  map[string]Verdict // Unwanted for others
	asked   []string
	rescans int
}

func (q *recorder) Enqueue(tag reference.NamedTagged) Verdict {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asked = append(q.asked, tag.String())
	return q.wanted[tag.String()]
}

func (q *recorder) Rescan() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.rescans++
}

// A station is a Handler with all that it works with.
type station struct {
	*Handler
	queue    *recorder
	log      *bytes.Buffer
	outcomes []string
}

// newStation returns the Handler of senders, whose secret is secret.
func newStation(t *testing.T, senders ...Sender) *station {
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte(secret+"\n"), 0o600))
	s := &station{queue: &recorder{wanted: map[string]Verdict{}}, log: &bytes.Buffer{}}
	for i := range senders {
		senders[i].SecretFile = file
	}
	var err error
	s.Handler, err = New(senders, Options{
		Queue: s.queue,
		Log:   slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Observe: func(sender string, outcome Outcome) {
			s.outcomes = append(s.outcomes, sender+" "+string(outcome))
		},
	})
	require.NoError(t, err)
	return s
}

// post sends body to path, as edit changes the request, and returns the status.
func (s *station) post(path string, body []byte, edit func(*http.Request)) int {
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code
}

func authorization(value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", value) }
}

// signed signs body with key, as GitHub does.
func signed(body []byte, key string) func(*http.Request) {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	return func(r *http.Request) {
		r.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
}

// senderOf is one for each format, with what the product can do, at registry.example.
func senderOf(f Format) Sender {
	return Sender{Name: string(f), Format: f, Auth: f.Auth(), Registries: []string{"registry.example"}}
}

// proof is the path and the change of a request by which the sender of f proves who it is.
func proof(f Format, body []byte, key string) (path string, edit func(*http.Request)) {
	path = Prefix + string(f)
	switch f.Auth() {
	case Header:
		return path, authorization("Bearer " + key)
	case Path:
		return path + "/" + key, nil
	default:
		return path, signed(body, key)
	}
}

// TestFiveProducts: what each product sends leads to a look at the tag; with another secret it
// leads to nothing.
func TestFiveProducts(t *testing.T) {
	for name, pushes := range fixtures {
		t.Run(name, func(t *testing.T) {
			f, body := formatOf(t, name), fixture(t, name)
			s := newStation(t, senderOf(f))
			s.queue.wanted["registry.example/team/app:1.10"] = Queued

			path, edit := proof(f, body, strings.Repeat("0", len(secret)))
			assert.Equal(t, http.StatusUnauthorized, s.post(path, body, edit))
			assert.Empty(t, s.queue.asked)

			path, edit = proof(f, body, secret)
			assert.Equal(t, http.StatusAccepted, s.post(path, body, edit))
			if len(pushes) > 0 && name != "harbor-untagged.json" {
				assert.Contains(t, s.queue.asked, "registry.example/team/app:1.10")
				assert.Equal(t, []string{string(f) + " refused", string(f) + " accepted"}, s.outcomes)
			} else {
				assert.Empty(t, s.queue.asked)
				assert.Equal(t, []string{string(f) + " refused", string(f) + " ignored"}, s.outcomes)
			}
			assert.Zero(t, s.queue.rescans)
			assert.NotContains(t, s.log.String(), secret)
		})
	}
}

func TestAuthentication(t *testing.T) {
	body := fixture(t, "distribution-push.json")
	header := Sender{Name: "a", Format: Distribution, Auth: Header, Registries: []string{"registry.example"}}
	path, signature := header, header
	path.Auth, signature.Auth = Path, Signature
	basic := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, password) }
	}
	for _, c := range []struct {
		name   string
		sender Sender
		path   string
		edit   func(*http.Request)
		want   int
	}{
		{"bearer", header, "/notify/a", authorization("Bearer " + secret), 202},
		{"bearer in small letters", header, "/notify/a", authorization("bearer " + secret), 202},
		{"the secret alone, as Harbor sends what it was given", header, "/notify/a", authorization(secret), 202},
		{"basic", header, "/notify/a", basic("anybody", secret), 202},
		{"nothing", header, "/notify/a", nil, 401},
		{"empty", header, "/notify/a", authorization(""), 401},
		{"bearer of nothing", header, "/notify/a", authorization("Bearer "), 401},
		{"another token", header, "/notify/a", authorization("Bearer x" + secret), 401},
		{"a beginning of the secret", header, "/notify/a", authorization("Bearer " + secret[:31]), 401},
		{"the secret as a user name", header, "/notify/a", basic(secret, ""), 401},
		{"a token in the path where a header is due", header, "/notify/a/" + secret, nil, 401},
		{"a signature where a header is due", header, "/notify/a", signed(body, secret), 401},
		{"another name", header, "/notify/b", authorization("Bearer " + secret), 401},
		{"no name", header, "/notify/", authorization("Bearer " + secret), 401},

		{"a token in the path", path, "/notify/a/" + secret, nil, 202},
		{"no token in the path", path, "/notify/a", nil, 401},
		{"an empty token in the path", path, "/notify/a/", nil, 401},
		{"another token in the path", path, "/notify/a/" + strings.ToUpper(secret), nil, 401},
		{"more than a token in the path", path, "/notify/a/" + secret + "/x", nil, 401},
		{"a token in the query", path, "/notify/a?token=" + secret, nil, 401},
		{"a header where a token in the path is due", path, "/notify/a", authorization("Bearer " + secret), 401},

		{"a signature", signature, "/notify/a", signed(body, secret), 202},
		{"a signature of another body", signature, "/notify/a", signed(append([]byte(" "), body...), secret), 401},
		{"a signature by another key", signature, "/notify/a", signed(body, secret[1:]), 401},
		{"no signature", signature, "/notify/a", nil, 401},
		{"no sum in the signature", signature, "/notify/a", func(r *http.Request) { r.Header.Set("X-Hub-Signature-256", "sha256=") }, 401},
		{"a signature of the kind before", signature, "/notify/a", func(r *http.Request) {
			signed(body, secret)(r)
			r.Header.Set("X-Hub-Signature", strings.Replace(r.Header.Get("X-Hub-Signature-256"), "sha256", "sha1", 1))
			r.Header.Del("X-Hub-Signature-256")
		}, 401},
		{"a header where a signature is due", signature, "/notify/a", authorization("Bearer " + secret), 401},
		{"GET", header, "/notify/a", func(r *http.Request) { r.Method = http.MethodGet; authorization("Bearer " + secret)(r) }, 405},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStation(t, c.sender)
			assert.Equal(t, c.want, s.post(c.path, body, c.edit))
			if c.want == http.StatusAccepted {
				assert.Equal(t, []string{"registry.example/team/app:1.10"}, s.queue.asked)
			} else {
				assert.Empty(t, s.queue.asked)
			}
			assert.NotContains(t, s.log.String(), secret)
		})
	}
}

// TestSignatureAsPublished uses the values that GitHub publishes for trying this:
// https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
func TestSignatureAsPublished(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.Header.Set("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")
	assert.True(t, Signature.authentic(r, "", []byte("Hello, World!"), []byte("It's a Secret to Everybody")))
	assert.False(t, Signature.authentic(r, "", []byte("Hello, World?"), []byte("It's a Secret to Everybody")))
}

// TestNoAddressIsOpened sends documents in which every address is that of a listener.
func TestNoAddressIsOpened(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	connected := make(chan bool)
	go func() {
		_, err := listener.Accept()
		connected <- err == nil
	}()
	for name := range fixtures {
		f := formatOf(t, name)
		body := bytes.ReplaceAll(fixture(t, name), []byte("169.254.169.254"), []byte(listener.Addr().String()))
		s := newStation(t, senderOf(f))
		s.queue.wanted["registry.example/team/app:1.10"] = Queued
		path, edit := proof(f, body, secret)
		assert.Equal(t, http.StatusAccepted, s.post(path, body, edit))
		for _, tag := range s.queue.asked {
			assert.True(t, strings.HasPrefix(tag, "registry.example/team/app:"), "%s: %s", name, tag)
		}
	}
	require.NoError(t, listener.Close())
	assert.False(t, <-connected, "somebody has connected to an address in a document")
}

// TestNamesStayWithTheSender: a document names no registry, and nothing that is none of its tags.
func TestNamesStayWithTheSender(t *testing.T) {
	for body, want := range map[string][]string{
		`{"repository":"app","updated_tags":["1"]}`:                                                     {"docker.io/library/app:1", "mirror.example:5000/app:1"},
		`{"repository":"team/app","updated_tags":["1",""]}`:                                             {"docker.io/team/app:1", "mirror.example:5000/team/app:1"},
		`{"repository":"10.0.0.1:5000/app","updated_tags":["1"]}`:                                       nil,
		`{"repository":"/10.0.0.1/app","updated_tags":["1"]}`:                                           nil,
		`{"repository":"../app","updated_tags":["1"]}`:                                                  nil,
		`{"repository":"app:2","updated_tags":["1"]}`:                                                   nil,
		`{"repository":"app@sha256:` + strings.Repeat("1", 64) + `","updated_tags":["1"]}`:              nil,
		`{"repository":"App","updated_tags":["1"]}`:                                                     nil,
		`{"repository":"app","updated_tags":["a/b","a b","-a",".","` + strings.Repeat("a", 129) + `"]}`: nil,
		`{"repository":"","updated_tags":["1"]}`:                                                        nil,
	} {
		s := newStation(t, Sender{Name: "a", Format: Quay, Auth: Header, Registries: []string{"docker.io", "mirror.example:5000"}})
		assert.Equal(t, http.StatusAccepted, s.post("/notify/a", []byte(body), authorization(secret)), body)
		assert.Equal(t, want, s.queue.asked, body)
	}
}

func TestWhatCannotBeRead(t *testing.T) {
	large := []byte(`{"x":"` + strings.Repeat("x", MaxBody) + `"}`)
	header := Sender{Name: "a", Format: Quay, Auth: Header, Registries: []string{"registry.example"}}

	s := newStation(t, header)
	assert.Equal(t, http.StatusAccepted, s.post("/notify/a", large, authorization(secret)))
	assert.Equal(t, 1, s.queue.rescans)
	assert.Equal(t, http.StatusUnauthorized, s.post("/notify/a", large, nil))
	assert.Equal(t, http.StatusAccepted, s.post("/notify/a", []byte("no JSON"), authorization(secret)))
	assert.Equal(t, []string{"a rescanned", "a refused", "a malformed"}, s.outcomes)
	assert.Contains(t, s.log.String(), "not understood")

	header.Auth = Signature
	s = newStation(t, header)
	assert.Equal(t, http.StatusRequestEntityTooLarge, s.post("/notify/a", large, signed(large, secret)))
	most := append(large[:MaxBody-2:MaxBody-2], `"}`...)
	require.Len(t, most, MaxBody)
	assert.Equal(t, http.StatusAccepted, s.post("/notify/a", most, signed(most, secret)))
	assert.Zero(t, s.queue.rescans)
}

// TestForm: GitHub sends forms unless it is told to send JSON, and signs them as they are.
func TestForm(t *testing.T) {
	s := newStation(t, senderOf(GHCR))
	body := []byte(url.Values{"payload": {string(fixture(t, "ghcr-package.json"))}}.Encode())
	assert.Equal(t, http.StatusAccepted, s.post("/notify/ghcr", body, func(r *http.Request) {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		signed(body, secret)(r)
	}))
	assert.Equal(t, []string{"registry.example/team/app:1.10"}, s.queue.asked)
}

func TestFullQueue(t *testing.T) {
	s := newStation(t, senderOf(Quay))
	s.queue.wanted["registry.example/team/app:1.10"] = Full
	path, edit := proof(Quay, nil, secret)
	assert.Equal(t, http.StatusAccepted, s.post(path, fixture(t, "quay-push.json"), edit))
	assert.Equal(t, 1, s.queue.rescans)
	assert.Equal(t, []string{"registry.example/team/app:1.10"}, s.queue.asked, "what comes after it needs no place of its own")
	assert.Equal(t, []string{"quay rescanned"}, s.outcomes)
}

func TestWaiting(t *testing.T) {
	s := newStation(t, senderOf(Quay))
	s.queue.wanted["registry.example/team/app:1.10"] = Waiting
	path, edit := proof(Quay, nil, secret)
	assert.Equal(t, http.StatusAccepted, s.post(path, fixture(t, "quay-push.json"), edit))
	assert.Equal(t, []string{"quay accepted"}, s.outcomes)
	assert.NotContains(t, s.log.String(), "1.10", "what waits already is no news")
}

// TestFloodInADocument: what a document says many times is asked for once, also where it is said in
// other words, as by the signatures of all images of a repository.
func TestFloodInADocument(t *testing.T) {
	s := newStation(t, senderOf(Quay))
	var tags []string
	for i := range 5000 {
		tags = append(tags, `"1.10"`, fmt.Sprintf(`"sha256-%064x.sig"`, i))
	}
	body := []byte(`{"repository": "team/app", "updated_tags": [` + strings.Join(tags, ",") + `]}`)
	path, edit := proof(Quay, body, secret)
	assert.Equal(t, http.StatusAccepted, s.post(path, body, edit))
	assert.Equal(t, []string{"registry.example/team/app:1.10", fmt.Sprintf("registry.example/team/app:sha256-%064x.sig", 0)}, s.queue.asked)
}

func TestOff(t *testing.T) {
	s := newStation(t)
	assert.Equal(t, http.StatusNotFound, s.post("/notify/a", nil, nil))
}

func TestMany(t *testing.T) {
	s := newStation(t, senderOf(Quay))
	s.options.Observe = nil
	s.queue.wanted["registry.example/team/app:1.10"] = Waiting
	path, _ := proof(Quay, nil, secret)
	body := fixture(t, "quay-push.json")
	server := httptest.NewServer(s)
	defer server.Close()
	var group sync.WaitGroup
	for range 4 * maxReading {
		group.Go(func() {
			response, err := http.Post(server.URL+path, "application/json", bytes.NewReader(body))
			if assert.NoError(t, err) {
				assert.Equal(t, http.StatusAccepted, response.StatusCode)
				assert.NoError(t, response.Body.Close())
			}
		})
	}
	group.Wait()
	assert.Len(t, s.queue.asked, 2*4*maxReading)
}

func TestSecrets(t *testing.T) {
	for _, c := range []struct {
		name, content string
		mode          os.FileMode
		auth          Auth
		want          string // of the error; "" for none
		warning       string
	}{
		{"good", secret, 0o600, Path, "", ""},
		{"with the end of a line", secret + "\r\n", 0o600, Path, "", ""},
		{"that others can read", secret, 0o644, Path, "", "can be read by everybody"},
		{"in base64", "c2VjcmV0IHNlY3JldCE/+w==", 0o600, Header, "", ""},
		{"in base64, in a path", "c2VjcmV0IHNlY3JldCE/+w==", 0o600, Path, "characters that may change", ""},
		{"short", "0123456789abcde\n", 0o600, Header, "has 15 characters and needs at least 16", ""},
		{"none", "\n", 0o600, Header, "has 0 characters", ""},
		{"with spaces", "correct horse battery staple", 0o600, Header, "characters that may change", ""},
		{"of two lines", secret + "\n" + secret, 0o600, Header, "more than one line", ""},
		{"endless", strings.Repeat("a", secretfile.Max+1), 0o600, Header, "more than one line", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "secret")
			require.NoError(t, os.WriteFile(file, []byte(c.content), c.mode))
			var log bytes.Buffer
			_, err := New([]Sender{{At: "images.yaml:7", Name: "hub", Format: DockerHub, Auth: c.auth, SecretFile: file}},
				Options{Queue: &recorder{}, Log: slog.New(slog.NewTextHandler(&log, nil))})
			if c.want == "" {
				require.NoError(t, err)
				assert.Equal(t, c.warning != "", strings.Contains(log.String(), "can be read by everybody"), log.String())
				return
			}
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "images.yaml:7: secret-file "+file+" of hub: ")
			if text := strings.TrimSpace(c.content); text != "" {
				assert.NotContains(t, err.Error(), text)
			}
		})
	}
	_, err := New([]Sender{{Name: "hub", SecretFile: filepath.Join(t.TempDir(), "absent")}}, Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestLogPath(t *testing.T) {
	for path, want := range map[string]string{
		"/notify/hub/" + secret:         "/notify/hub/…",
		"/notify/hub/" + secret + "/x/": "/notify/hub/…",
		"/notify//hub/" + secret:        "/notify/hub/…",
		"//notify/hub/" + secret:        "/notify/hub/…",
		"/a/../notify/hub/" + secret:    "/notify/hub/…",
		"/mirror/notify/hub/" + secret:  "/mirror/notify/hub/…",
		"notify/hub":                    "notify/hub",
		"/notify/hub":                   "/notify/hub",
		"/notify/hub/":                  "/notify/hub/",
		"/notify//" + secret:            "/notify//…",
		"/notify/" + secret:             "/notify/…",
		"/notify/hub/" + secret + "/..": "/notify/hub/…/..",
		"/notify/hub//" + secret:        "/notify/hub/…",
		"/notify%2Fhub%2F" + secret:     "/…",
		"/notify/hub%2F" + secret:       "/notify/…",
		"/notify/hub;" + secret:         "/notify/…",
		"/NOTIFY/hub/" + secret:         "/NOTIFY/hub/…",
		`/notify\hub\` + secret:         "/…",
		"/hooks/hub/" + secret:          "/hooks/hub/…",
		"/metrics":                      "/metrics",
		"":                              "",
	} {
		assert.Equal(t, want, LogPath(path))
	}
}
