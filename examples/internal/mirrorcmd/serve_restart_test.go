package mirrorcmd

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/state"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// again starts the server anew, after it has ended.
func (s *serveTest) again(args ...string) {
	s.Helper()
	assert.Equal(s, StatusDone, s.end())
	s.ended = make(chan int, 1)
	s.mu.Lock()
	s.log = nil
	s.mu.Unlock()
	s.begin(args...)
}

// notified writes a file with images, of which the source may tell of pushes.
func (s *serveTest) notified(images string) {
	secret := filepath.Join(filepath.Dir(s.file), "secret")
	require.NoError(s, os.WriteFile(secret, []byte("a-secret-of-the-sender\n"), 0o600))
	s.write(images + "notify:\n- {name: hook, format: distribution, registry: '" + s.src.Host() + "', secret-file: secret}\n")
}

// tell sends the notification of a push.
func (s *serveTest) tell(repository, tag string) {
	s.Helper()
	status, _ := s.request(http.MethodPost, "/notify/hook", "a-secret-of-the-sender", fmt.Sprintf(
		`{"events": [{"action": "push", "target": {"mediaType": "application/vnd.oci.image.index.v1+json", "repository": %q, "tag": %q}}]}`, repository, tag))
	assert.Equal(s, 202, status)
}

// change changes what the state says of its only image. The server must have ended.
func (s *serveTest) change(f func(*state.Image)) {
	s.Helper()
	store, _, err := state.Open(s.stateFile())
	require.NoError(s, err)
	all, err := store.All()
	require.NoError(s, err)
	require.Len(s, all, 1)
	f(&all[0])
	require.NoError(s, store.Put(all[0]))
	require.NoError(s, store.Close())
}

func TestServeMakesUpForWhatWasMissed(t *testing.T) {
	for _, images := range []string{
		"images: [{source: SRC/b, tags: ['v*'], destination: DST/b, cron: 'CRON_TZ=UTC 0 3 * * *'}]\n",
		"images: [{source: SRC/b, tags: ['v1'], destination: DST/b, cron: 'CRON_TZ=UTC 0 3 * * *'}]\n",
	} {
		s := newServeTest(t)
		s.push("b", "v1", 1)
		s.write(images)
		s.begin()
		s.pass(24 * time.Hour)
		s.wait("copied", 1)
		s.push("b", "v1", 2)
		assert.Equal(t, StatusDone, s.end())
		s.clock.Advance(30 * time.Hour)
		s.again()
		s.wait("copied", 1)
		s.same("b", "b", "v1")
	}
}

func TestServeTriesAgainAfterAStart(t *testing.T) {
	s := newServeTest(t)
	s.push("a", "1", 1)
	s.write("images: [{source: SRC/a:1, destination: DST/a, every: 240h}]")
	s.begin()
	s.wait("copied", 1)
	assert.Equal(t, StatusDone, s.end())
	s.change(func(i *state.Image) { i.Status, i.Error = state.Failed, "the source was down" })
	s.push("a", "1", 2)
	s.again()
	s.pass(10 * time.Minute)
	s.wait("copied", 1)
}

func TestServeSeesWhatChangedWhileItWasDown(t *testing.T) {
	s := newServeTest(t)
	s.push("a", "1", 2)
	s.write("images: [{source: SRC/a:1, destination: DST/a, every: 240h, platforms: [linux/amd64], sparse: strip}]")
	s.begin()
	s.wait("copied", 1)
	assert.Equal(t, StatusDone, s.end())
	s.write("images: [{source: SRC/a:1, destination: DST/a, every: 240h}]")
	s.again()
	s.wait("copied", 1)
	s.same("a", "a", "1")
}

func TestServeForgetsTags(t *testing.T) {
	s := newServeTest(t)
	s.push("a", "1", 1)
	s.push("a", "2", 1)
	s.write("images: [{source: SRC/a, tags: ['1', '2'], destination: DST/a, every: 1h}]")
	s.begin()
	s.wait("copied", 2)
	s.write("images: [{source: SRC/a, tags: ['1'], destination: DST/a, every: 1h}]")
	s.pass(lookEvery)
	s.wait("read again", 1)
	assert.Equal(t, StatusDone, s.end())
	images, err := state.Read(s.stateFile())
	require.NoError(t, err)
	assert.Len(t, images, 1)
}

// held makes requests for manifests of the source wait until the result is called; so many are
// answered before.
func (s *serveTest) held(answered int) (release func()) {
	hold := make(chan struct{})
	var n atomic.Int64
	s.src = registrytest.Start(s.T, registrytest.Options{Script: func(_ int, r *http.Request) registrytest.Answer {
		if strings.Contains(r.URL.Path, "/manifests/") && n.Add(1) > int64(answered) {
			select {
			case <-hold:
			case <-r.Context().Done():
			}
		}
		return registrytest.Answer{}
	}})
	release = sync.OnceFunc(func() { close(hold) })
	s.Cleanup(release)
	return release
}

func TestServeKeepsItsPromises(t *testing.T) {
	s := newServeTest(t)
	release := s.held(2)
	s.push("a", "1", 1)
	s.notified("images: [{source: SRC/a:1, destination: DST/a, every: 240h}]\n")
	s.begin("--stop-timeout", "0s")
	s.wait("copied", 1)
	s.push("a", "1", 2)
	s.tell("a", "1")
	assert.Equal(t, StatusDone, s.end())
	images, err := state.Read(s.stateFile())
	require.NoError(t, err)
	assert.False(t, images[0].Pushed.IsZero())
	release()
	s.again()
	s.wait("copied", 1)
	s.same("a", "a", "1")
	assert.Equal(t, StatusDone, s.end())
	images, err = state.Read(s.stateFile())
	require.NoError(t, err)
	assert.True(t, images[0].Pushed.IsZero())
}

// TestServeSaysThatItStops, before it cuts off what is being copied.
func TestServeSaysThatItStops(t *testing.T) {
	s := newServeTest(t)
	var once sync.Once
	copying := make(chan struct{})
	s.src = registrytest.Start(t, registrytest.Options{Script: func(int, *http.Request) registrytest.Answer {
		once.Do(func() { close(copying) })
		return registrytest.Stall()
	}})
	s.write("images: [{source: SRC/a:1, destination: DST/a}]")
	s.begin("--stop-timeout", "0s")
	<-copying
	assert.Equal(t, StatusDone, s.end())
	var said []any
	for _, entry := range s.log {
		said = append(said, entry["msg"])
	}
	require.GreaterOrEqual(t, len(said), 3)
	assert.Equal(t, []any{"serving", "stopping", "copies are cut off: they take longer than they may when the server stops"}, said[:3])
}
