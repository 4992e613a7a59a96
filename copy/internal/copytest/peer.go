package copytest

import (
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

var discardLog = log.New(io.Discard, "", 0)

// A Peer is a registry whose port can be closed and opened again, and which loses nothing by that.
type Peer struct {
	*registrytest.Registry
	// Addr is the host and port, which stay the same from the first Open on.
	Addr     string
	handler  http.Handler
	giveBack func() // the port
	mu       sync.Mutex
	server   *http.Server // nil while the port is closed; guarded by mu
	listener net.Listener // of server; guarded by mu
}

// NewPeer starts a registry. wrap, if not nil, stands in front of it.
func NewPeer(t testing.TB, o registrytest.Options, wrap func(http.Handler) http.Handler) *Peer {
	addr, giveBack, err := keepPort()
	require.NoError(t, err)
	p := &Peer{Registry: registrytest.NewHandler(o), Addr: addr, giveBack: sync.OnceFunc(giveBack)}
	p.handler = p.Registry
	if wrap != nil {
		p.handler = wrap(p.Registry)
	}
	require.NoError(t, p.Open())
	return p
}

// StartPeer is NewPeer for a test, which closes it at its end.
func StartPeer(t testing.TB, o registrytest.Options, wrap func(http.Handler) http.Handler) *Peer {
	p := NewPeer(t, o, wrap)
	t.Cleanup(p.Stop)
	return p
}

// Open opens the port, unless it is open.
func (p *Peer) Open() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != nil {
		return nil
	}
	listener, err := net.Listen("tcp", p.Addr)
	// A process that is just being started may have the port for a moment.
	for tries := 0; err != nil && tries < 3_000; tries++ {
		time.Sleep(10 * time.Millisecond)
		listener, err = net.Listen("tcp", p.Addr)
	}
	if err != nil {
		return err
	}
	p.Addr = listener.Addr().String()
	server := &http.Server{Handler: p.handler, ErrorLog: discardLog}
	p.server, p.listener = server, listener
	go func() { _ = server.Serve(listener) }()
	return nil
}

// Shut closes the port and breaks all connections.
func (p *Peer) Shut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != nil {
		_ = p.server.Close()
		_ = p.listener.Close() // which a server that has not begun to serve does later
		p.server = nil
	}
}

// Stop is Shut, for good: it closes the registry, and gives the port back.
func (p *Peer) Stop() {
	p.Shut()
	p.Close()
	p.giveBack()
}

// Ref is the reference of a tag.
func (p *Peer) Ref(t testing.TB, repo, tag string) types.ImageReference {
	t.Helper()
	named, err := reference.ParseNormalizedNamed(p.Addr + "/" + repo + ":" + tag)
	require.NoError(t, err)
	ref, err := docker.NewReference(named)
	require.NoError(t, err)
	return ref
}

// Fill puts everything that another registry has into p.
func (p *Peer) Fill(from *registrytest.Registry) {
	for _, repo := range from.Repos() {
		for _, d := range from.Blobs(repo) {
			content, _ := from.Content(repo, d)
			p.PutContent(repo, content)
		}
		for _, d := range from.Manifests(repo) {
			b, mediaType, _ := from.Manifest(repo, d.String())
			p.PutManifest(repo, d.String(), mediaType, b)
		}
		for _, tag := range from.Tags(repo) {
			b, mediaType, _ := from.Manifest(repo, tag)
			p.PutManifest(repo, tag, mediaType, b)
		}
	}
}
