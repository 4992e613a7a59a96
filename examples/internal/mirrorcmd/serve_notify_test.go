package mirrorcmd

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/notify"
	"github.com/sparsecopy/sparsecopy/examples/internal/state"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// senderSecret is that of all senders.
const senderSecret = "6f1ed002ab5595859014ebf0951522d9"

// notified is a file with images that all products notify of, and their senders.
func notified(s *serveTest, images string) string {
	file := filepath.Join(filepath.Dir(s.file), "sender")
	require.NoError(s, os.WriteFile(file, []byte(senderSecret), 0o600))
	var b strings.Builder
	b.WriteString("defaults: {every: 8000h}\nimages:\n" + images + "notify:\n")
	for _, f := range notify.Formats() {
		fmt.Fprintf(&b, "- {name: %s, format: %s, registry: '%s', secret-file: sender}\n", f, f, s.src.Host())
	}
	return b.String()
}

// document is one of those of package notify, in which every address is that of elsewhere.
func document(t *testing.T, name string, elsewhere *registrytest.Registry) []byte {
	t.Helper()
	content, err := os.ReadFile("../notify/testdata/" + name)
	require.NoError(t, err)
	return bytes.ReplaceAll(content, []byte("169.254.169.254"), []byte(elsewhere.Host()))
}

// notify sends a document as the product of a format does that has a secret, and returns the
// status.
func (s *serveTest) notify(f notify.Format, secret string, body []byte) int {
	path := notify.Prefix + string(f)
	if f.Auth() == notify.Path {
		path += "/" + secret
	}
	req, err := http.NewRequestWithContext(s.Context(), http.MethodPost, s.url+path, bytes.NewReader(body))
	require.NoError(s, err)
	switch f.Auth() {
	case notify.Header:
		req.Header.Set("Authorization", "Bearer "+secret)
	case notify.Signature:
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(body)
		req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	case notify.Path:
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s, err)
	require.NoError(s, resp.Body.Close())
	return resp.StatusCode
}

// TestServeIsNotifiedByFiveProducts: what each sends leads to the copy of that tag, and what others
// send in its name to nothing. No address in a document is asked for anything.
func TestServeIsNotifiedByFiveProducts(t *testing.T) {
	s := newServeTest(t)
	elsewhere := registrytest.Start(t, registrytest.Options{})
	s.push("team/app", "1.10", 1)
	s.write(notified(s, "- {source: 'SRC/team/app:1.10', destination: 'DST/m/app'}\n"+
		"- {source: 'SRC/team/app', tags: [1.10], destination: 'SRC/team/copy'}\n"))
	s.begin("--debug")
	s.wait("copied", 2)
	for i, sent := range []struct {
		by   notify.Format
		what string
	}{
		{notify.Distribution, "distribution-push.json"},
		{notify.DockerHub, "docker-hub-push.json"},
		{notify.Harbor, "harbor-push.json"},
		{notify.Quay, "quay-push.json"},
		{notify.GHCR, "ghcr-package.json"},
	} {
		body := document(t, sent.what, elsewhere)
		s.push("team/app", "1.10", 1)
		s.src.ResetLog()
		assert.Equal(t, http.StatusUnauthorized, s.notify(sent.by, strings.Repeat("0", len(senderSecret)), body))
		assert.Empty(t, s.src.Requests(), "%s: a forged one leads to nothing", sent.by)
		assert.Equal(t, http.StatusAccepted, s.notify(sent.by, senderSecret, body))
		s.wait("copied", 2+2*(i+1))
		s.same("team/app", "m/app", "1.10")
	}
	assert.Empty(t, elsewhere.Requests())

	// What a copy of the file is written to leads to nothing.
	s.src.ResetLog()
	body := bytes.ReplaceAll(document(t, "quay-push.json", elsewhere), []byte("team/app"), []byte("team/copy"))
	assert.Equal(t, http.StatusAccepted, s.notify(notify.Quay, senderSecret, body))
	assert.Empty(t, s.src.Requests())
	_, metrics := s.get("/metrics")
	assert.Contains(t, metrics, `mirror_notifications_total{outcome="ignored",sender="quay"} 1`)
	assert.Contains(t, metrics, `mirror_notifications_total{outcome="accepted",sender="quay"} 1`)
	assert.Contains(t, metrics, `mirror_notifications_total{outcome="refused",sender="quay"} 1`)

	s.mu.Lock()
	defer s.mu.Unlock()
	assert.NotContains(t, fmt.Sprint(s.log), senderSecret)
	assert.Contains(t, fmt.Sprint(s.log), "/notify/quay/…", "requests are logged, without secrets")
}

// TestServeUnderAFlood: while a tag is being copied, it is notified of a thousand times. That leads
// to one look more.
func TestServeUnderAFlood(t *testing.T) {
	s := newServeTest(t)
	var once sync.Once
	copying, goOn := make(chan struct{}), make(chan struct{})
	s.dst = registrytest.Start(t, registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
		if req.Method == http.MethodPut && strings.HasSuffix(req.URL.Path, "/m/app/manifests/1.10") {
			once.Do(func() { close(copying); <-goOn })
		}
		return registrytest.Answer{}
	}})
	s.push("team/app", "1.10", 1)
	s.write(notified(s, "- {source: 'SRC/team/app:1.10', destination: 'DST/m/app'}\n"))
	s.begin("--debug")
	release := sync.OnceFunc(func() { close(goOn) })
	s.Cleanup(release) // or the server would not end
	<-copying
	body := document(t, "quay-push.json", s.dst)
	for range 1000 {
		require.Equal(t, http.StatusAccepted, s.notify(notify.Quay, senderSecret, body))
	}
	s.src.ResetLog()
	release()
	s.wait("there already", 1)
	assert.Equal(t, StatusDone, s.end())
	assert.Equal(t, 1, s.src.Count(func(q registrytest.Request) bool {
		return q.Method == http.MethodHead && q.Kind == registrytest.KindManifest
	}), "looks at the source")
	s.same("team/app", "m/app", "1.10")
}

// TestServeIsNotifiedOfAnything: whoever has the secret may name any tag that a pattern takes. That
// leads to no copy over another image's, and what is not there leaves nothing behind.
func TestServeIsNotifiedOfAnything(t *testing.T) {
	s := newServeTest(t)
	s.push("team/app", "1.10", 1)
	s.push("team/other", "2", 1)
	s.write(strings.ReplaceAll(notified(s, "- {source: 'SRC/team/other:2', destination: 'DST/m/app:2'}\n"+
		"- {source: 'SRC/team/app', tags: ['*'], destination: 'DST/m/app'}\n"), "8000h", "1h"))
	s.begin("--debug")
	s.wait("copied", 2)
	push := func(tag string) {
		body := bytes.ReplaceAll(document(t, "quay-push.json", s.dst), []byte(`"1.10", "latest"`), []byte(`"`+tag+`"`))
		require.Equal(t, http.StatusAccepted, s.notify(notify.Quay, senderSecret, body))
	}
	s.push("team/app", "2", 1)
	push("2")
	_, metrics := s.get("/metrics")
	assert.Contains(t, metrics, `mirror_notifications_total{outcome="ignored",sender="quay"} 1`, "it is another image's")
	s.same("team/other", "m/app", "2")

	push("absent")
	s.wait("not copied", 1)
	_, metrics = s.get("/metrics")
	assert.Contains(t, metrics, "mirror_images{status=\"failed\"} 0\n")
	s.push("team/app", "3", 1)
	push("3")
	s.wait("copied", 3)
	_, page := s.get("/")
	assert.Contains(t, page, ">m/app:3<", "also before tags are listed the next time")

	s.src.DeleteTag("team/app", "2") // for which tags could not be listed
	// What is too large to be read has everything looked at, before the absent one is tried again.
	require.Equal(t, http.StatusAccepted, s.notify(notify.Quay, senderSecret, make([]byte, notify.MaxBody+1)))
	s.wait("there already", 3)
	s.src.ResetLog()
	s.pass(66 * time.Minute)
	s.wait("there already", 6)
	assert.Equal(t, StatusDone, s.end())
	assert.Zero(t, s.src.Count(func(q registrytest.Request) bool { return strings.HasSuffix(q.Path, "/absent") }), "the list of tags has said so")
	images, err := state.Read(s.stateFile())
	require.NoError(t, err)
	assert.Len(t, images, 3)
}
