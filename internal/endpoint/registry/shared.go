package registry

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"go.podman.io/image/v5/types"
	"golang.org/x/time/rate"

	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
	"github.com/sparsecopy/sparsecopy/internal/turns"
	"github.com/sparsecopy/sparsecopy/internal/unfinished"
)

// The limits of a Shared that sets none.
const (
	DefaultStallTimeout  = 2 * time.Minute
	DefaultBlobTimeout   = 15 * time.Minute
	DefaultAnswerTimeout = 2 * time.Minute
)

// Shared is what several copies of one process share: connections, tokens, and what was learned
// about registries. The zero value works; its fields must not change after the first use. It may be
// used concurrently and must not be copied.
//
// Sources share with sources, and destinations with destinations, where their SystemContexts mean
// the same. What it holds is bounded.
type Shared struct {
	// StallTimeout is how long no byte may move in the middle of a transfer. DefaultStallTimeout if
	// 0.
	StallTimeout time.Duration
	// BlobTimeout is how long the first byte of a blob may take, and the answer to the request that
	// ends one: some registries scan, move or fetch it first. DefaultBlobTimeout if 0.
	BlobTimeout time.Duration
	// AnswerTimeout is how long any other answer may take, from connecting on. DefaultAnswerTimeout
	// if 0.
	//
	// What takes longer is tried once more, on a new connection; not so a long upload that is
	// complete.
	AnswerTimeout time.Duration
	// Retry bounds retries. Its zero fields have the defaults that are documented there.
	Retry RetryPolicy
	// MaxRequests bounds the requests in flight at each registry, those that read and those that
	// write apart: the answer to a request is in flight until its body is read. 0 for no bound.
	// Requests that must not wait, because they go on with one that has begun, do not.
	MaxRequests int
	// BytesPerSecond bounds what is sent to each registry as the bodies of requests, and what is
	// read from each as those of answers. 0 for no bound.
	BytesPerSecond int64
	// ChunkSize is how many bytes of a blob one request brings to a registry at most, 0 for no
	// bound. A registry that wants larger pieces gets them (OCI-Chunk-Min-Length), and one that
	// loses pieces gets each blob in one request.
	ChunkSize int64
	// Unfinished remembers how far the uploads of large blobs have come, so that they go on after
	// an end of the process; nil for nobody.
	Unfinished *unfinished.Directory

	// NoRanges reads every blob over one connection. Otherwise a blob of 32 MiB or more is read
	// over several, as long as that brings more, in ranges that wait in 64 MiB of memory at most,
	// over all blobs.
	NoRanges bool
	// MaxParallel bounds how many requests are in flight at a registry when ranges are asked for,
	// beside MaxRequests. 0 for no other bound than 8.
	MaxParallel int

	// MinRemaining is how many pulls are to remain of those that a registry allows a source.
	MinRemaining int

	// NoSync, HardLinks and TrustFiles are for layouts, which are opened elsewhere: see
	// transport.Options.
	NoSync, HardLinks, TrustFiles bool

	// BlobInfoCache is told where blobs are, as containers/image's docker transport tells it; nil
	// for nobody.
	BlobInfoCache types.BlobInfoCache
	// Cache keeps what sources hand out; nil for nobody.
	Cache endpoint.DocumentCache
	// UserAgent is sent with requests of ends whose SystemContext names none. "" for this package's
	// own.
	UserAgent string
	// ContextFor, if not nil, returns the configuration to reach a registry with, HOST[:PORT] as
	// references have it, given that of an end, which may be nil. Where registries are configured,
	// and where signatures are, the end's says all the same. It must be safe for concurrent use.
	ContextFor func(registry string, sys *types.SystemContext) *types.SystemContext
	// Clock is the one by which retries wait, and tokens, credentials, refusals of them and
	// announcements end; nil for clock.System.
	Clock clock.Clock

	tags   turns.Turns[string] // of those who update tags
	logins ocihttp.Logins

	mu          sync.Mutex
	hosts       map[hostKey]*host                   // guarded by mu
	credentials map[credentialKey]*credentialAnswer // guarded by mu
	stores      map[storeKey]*storeAnswer           // guarded by mu
	pulls       map[pullsKey]*ocihttp.Pulls         // guarded by mu

	signatureConfigs map[signatureConfigKey]*signatureConfig // guarded by mu

	ranges  *ranging // nil until it was needed; guarded by mu
	buffers segmentBuffers
}

func (s *Shared) clock() clock.Clock { return clock.Or(s.Clock) }

func (s *Shared) now() time.Time { return s.clock().Now() }

// hostKey says what a host may be shared for: the same role, as limits of one side must not wait
// for the other's, and the same configuration.
type hostKey struct {
	registry     string
	role         role
	insecure     bool
	certificates string // see certificatesIn
	tls          *tls.Config
	proxy        string               // its URL
	choosing     *types.SystemContext // that chooses a proxy by a function, which cannot be compared; else nil
}

func newHostKey(registry string, r role, insecure bool, certificates string, sys *types.SystemContext) hostKey {
	key := hostKey{registry: registry, role: r, insecure: insecure, certificates: certificates}
	if sys == nil {
		return key
	}
	key.tls = sys.BaseTLSConfig
	if sys.DockerProxyURL != nil {
		key.proxy = sys.DockerProxyURL.String()
	}
	if sys.DockerProxy != nil {
		key.choosing = sys
	}
	return key
}

type role string

const (
	pulling role = "source"
	pushing role = "destination"
)

// Close closes idle connections. Ends that use s must have been closed before.
func (s *Shared) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.hosts {
		h.transport.CloseIdle()
	}
	return nil
}

// timeouts are the limits of time that s sets.
func (s *Shared) timeouts() ocihttp.Timeouts {
	return ocihttp.Timeouts{
		Stall:  positive(s.StallTimeout, DefaultStallTimeout),
		Blob:   positive(s.BlobTimeout, DefaultBlobTimeout),
		Answer: positive(s.AnswerTimeout, DefaultAnswerTimeout),
	}
}

func positive(d, other time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return other
}

// host returns the host for key, which create makes if it is not known yet.
func (s *Shared) host(key hostKey, create func() (*host, error)) (*host, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h, ok := s.hosts[key]; ok {
		h.wanted = s.now()
		return h, nil
	}
	h, err := create()
	if err != nil {
		return nil, err
	}
	if s.hosts == nil {
		s.hosts = map[hostKey]*host{}
	}
	if len(s.hosts) >= maxHosts {
		s.dropHost()
	}
	h.wanted = s.now()
	for key, other := range s.hosts {
		if key.registry == h.Name {
			h.proven = other.proven
		}
	}
	h.now, h.blobs.clock = s.now, s.Clock
	h.limit.Most = s.MaxRequests
	h.stack(s.timeouts())
	h.rate = ocihttp.NewRate(s.BytesPerSecond)
	h.uploads.chunk = s.ChunkSize
	s.hosts[key] = h
	return h, nil
}

// maxHosts is how many hosts are known. Each is a registry in one role, with one configuration.
const maxHosts = 512

// dropHost forgets the host that was not wanted for the longest time. s.mu is held. Ends that are
// open go on using it.
func (s *Shared) dropHost() {
	var oldest hostKey
	for key, h := range s.hosts {
		if s.hosts[oldest] == nil || h.wanted.Before(s.hosts[oldest].wanted) {
			oldest = key
		}
	}
	s.hosts[oldest].transport.CloseIdle()
	delete(s.hosts, oldest)
}

// host is one registry in one role, and what was learned about it.
type host struct {
	*ocihttp.Host
	now    func() time.Time
	wanted time.Time // when an end was opened last; guarded by the mu of Shared
	limit  ocihttp.Limiter
	blobs  blobKnowledge

	transport *ocihttp.Transport
	asks      http.RoundTripper // sends one request, and those that it is redirected to
	rate      *rate.Limiter     // nil for no bound
	ahead     *ocihttp.Ahead

	proven *atomic.Bool            // of the registry in all roles: it has done what it was asked for, or said that something is not there
	busy   atomic.Pointer[refusal] // its last answer, if that was that it cannot now

	mu         sync.Mutex
	mounts     mountSupport    // guarded by mu
	probes     int             // existence checks made next to mounts; guarded by mu
	warnings   map[string]bool // that were logged; guarded by mu
	unanswered int             // mounts that failed without a definite answer; guarded by mu
	uploads    uploads         // guarded by mu

	announcements announcements

	referrersAPI facts // the referrers API has answered
	plainOnly    facts // artifacts had to be stored as plain images

	ranges rangeKnowledge

	signatures fact // X-Registry-Supports-Signatures was seen
}

// newHost makes a host. Plain HTTP is tried only if insecure is set.
func newHost(registry string, insecure bool, tlsConfig *tls.Config, sys *types.SystemContext) *host {
	tlsConfig.InsecureSkipVerify = insecure
	h := &host{
		Host:      ocihttp.NewHost(registry, insecure),
		transport: ocihttp.NewTransport(tlsConfig, proxyOf(sys)),
		proven:    new(atomic.Bool),
	}
	h.ahead = ocihttp.NewAhead(h.Host, openAhead, func(n int) { h.transport.OpenAhead(h.Name, h.Scheme(), h.limit.AtMost(n)) })
	return h
}

// proxyOf is the choice of proxies that sys makes, nil for that of the environment.
func proxyOf(sys *types.SystemContext) func(*http.Request) (*url.URL, error) {
	switch {
	case sys == nil:
		return nil
	case sys.DockerProxy != nil:
		return func(req *http.Request) (*url.URL, error) { return sys.DockerProxy(req.URL) }
	case sys.DockerProxyURL != nil:
		return http.ProxyURL(sys.DockerProxyURL)
	}
	return nil
}

// openAhead is how many connections to a host are opened during the first request: a list's
// children are asked for at once.
const openAhead = 8
