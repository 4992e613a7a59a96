package sparseserver

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/distribution/distribution/v3/configuration"

	"github.com/sparsecopy/sparsecopy/examples/internal/referrers"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrygc"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
)

// Config is what a server needs. Address is required, and so is Storage, unless Distribution names
// a storage that is no directory.
type Config struct {
	Address string // host:port to listen on; port 0 for any free one
	Storage string // directory, made if it does not exist; Start refuses one that another server has

	// Distribution is what distribution is told beside what the other fields say; nil for nothing.
	// It has Storage, too: its driver is the filesystem's, over that directory, or Storage is "".
	// Then nobody keeps a second server out.
	Distribution *configuration.Configuration

	// What Reload puts in force, too. Start and Reload refuse what does not validate.
	Policies         sparseregistry.Policies
	Certificate, Key string // PEM files for TLS; both or none
	Htpasswd         string // file with hashes of bcrypt, read again when it changes; "" lets everybody in

	// ExternalURL is where clients find the server, as "https://registry.example:8443": Location
	// headers begin with it. If it is "", they begin with what Forwarded or X-Forwarded-Proto and
	// X-Forwarded-Host say, else with what the client asked for. RelativeURLs leaves all that out
	// of them, and cannot be together with ExternalURL.
	ExternalURL  string
	RelativeURLs bool

	// AnonymousPull lets everybody read, without a password. It is for nothing without Htpasswd.
	AnonymousPull bool

	ReadOnly bool // nothing but GET, HEAD and OPTIONS
	NoDelete bool // no DELETE, but of uploads

	// AllowLayerURLs is a regular expression (package regexp) for the URLs that layers may name; a
	// layer that is not distributable, and names one, need not be in the registry. It is not
	// anchored. "" allows none.
	AllowLayerURLs string

	// MinFreeSpace is how many bytes of the storage's file system stay free: with less, nothing is
	// stored any more, and everything else goes on. 0 stores as long as there is any. It means
	// nothing without Storage.
	MinFreeSpace int64

	// UploadAge is how long an upload is kept to which nothing comes any more, TemporaryAge how
	// long a temporary file, which a killed process has left. 0 keeps them. They mean nothing
	// without Storage.
	UploadAge, TemporaryAge time.Duration

	// MetricsAddress is host:port of a second listener that serves Prometheus metrics at /metrics;
	// "" for none. Those of distribution's storage and notifications are the process's, all others
	// are the server's.
	MetricsAddress string

	// Control is the path of the socket by which the server is told to collect garbage: only the
	// user of the process may. "" is for ControlSocket, if there is a storage directory and the
	// path is not too long for the system.
	Control string

	// StallTimeout is how long a client may send nothing of a request's body that it has begun; 0
	// for a minute.
	StallTimeout time.Duration

	// ManifestWait is how long a manifest, or a request for one, waits for memory before it is
	// answered with 503; 0 for 30 s.
	ManifestWait time.Duration

	Log *slog.Logger // nil for none
}

const (
	defaultStallTimeout = time.Minute
	headerTimeout       = 30 * time.Second
	idleTimeout         = 2 * time.Minute
)

// A Server is a registry that is running. Its methods may run concurrently.
type Server struct {
	lock     *registrystore.Lock // of the storage
	registry *registry
	http     *http.Server
	listener net.Listener
	room     *room // nil if nothing is stored in a directory

	leftovers   *leftovers // nil as room
	endSweeping func()     // has leftovers removed no more; nil if leftovers is

	metrics  *metrics
	exporter *http.Server // of the metrics; nil for none
	control  *http.Server // collects garbage when it is told to; nil for none
	budget   *budget      // of manifests that are stored
	reads    *budget      // of those that are read
	children *budget      // of those that the policy looks for
	secure   bool         // speaks TLS

	reloading   sync.Mutex                              // held while what follows is exchanged
	policies    atomic.Pointer[sparseregistry.Policies] // that are in force; what it points to does not change
	certificate atomic.Pointer[tls.Certificate]         // for new connections; nil without TLS
	access      *access

	storage sparseregistry.StorageLock // held by requests, and by turns of online
	online  *registrygc.Online

	stopping atomic.Bool  // Drain has been called, or what follows it
	handlers sync.RWMutex // every handler that runs holds it for reading; close takes it for good
	close    func() error // what Close does, once
	done     chan struct{}
	err      error // why it does not serve any more; set before done is closed
}

// Start starts a server. It listens when Start returns. Whoever calls Start calls Shutdown or
// Close. The error is a *registrystore.LockedError if another process has the storage.
func Start(c Config) (*Server, error) {
	c = c.withDefaults()
	s, err := newServer(c)
	if err != nil {
		return nil, err
	}
	if err := s.listen(c); err != nil {
		return nil, errors.Join(err, s.release())
	}
	go s.serve()
	return s, nil
}

func (c Config) withDefaults() Config {
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	c.StallTimeout = cmp.Or(c.StallTimeout, defaultStallTimeout)
	c.ManifestWait = cmp.Or(c.ManifestWait, defaultManifestWait)
	return c
}

// newServer makes a server that has its storage, and does not listen yet.
func newServer(c Config) (*Server, error) {
	inForce, err := readChangeable(c)
	if err != nil {
		return nil, err
	}
	lock, err := lockStorage(c)
	if err != nil {
		return nil, err
	}
	registry, err := newRegistry(c)
	if err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	s := &Server{
		lock: lock, registry: registry, metrics: newMetrics(), secure: inForce.certificate != nil,
		access: &access{log: c.Log}, done: make(chan struct{}),
	}
	s.online = registrygc.NewOnline(registry.store, &s.storage, clock.System)
	gauges := newBudgetGauges(s.metrics)
	s.budget = newBudget(manifestMemory, c.ManifestWait, gauges)
	s.reads = newBudget(readMemory, c.ManifestWait, gauges)
	s.children = newBudget(childMemory, c.ManifestWait, gauges)
	s.put(inForce)
	s.watchRoom(c)
	s.watchLeftovers(c)
	s.close = sync.OnceValue(s.stop)
	s.http = &http.Server{
		Handler:           s.handler(c),
		TLSConfig:         s.tlsConfig(),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(c.Log.Handler(), slog.LevelWarn),
	}
	return s, nil
}

// listen opens all listeners of s, or none.
func (s *Server) listen(c Config) (err error) {
	if s.listener, err = net.Listen("tcp", c.Address); err != nil {
		return err
	}
	if c.MetricsAddress != "" {
		if s.exporter, err = s.metrics.serve(c.MetricsAddress); err != nil {
			return errors.Join(err, s.listener.Close())
		}
	}
	if s.control, err = s.serveControl(c); err != nil {
		return errors.Join(err, s.listener.Close(), s.closeOthers())
	}
	return nil
}

// handler is everything that answers requests, in the order of the package comment.
func (s *Server) handler(c Config) http.Handler {
	links := referrers.New(s.registry.store.WithNote(s.noteManifest))
	h := s.noteUses(withoutAPIVersion(s.registry), c.Log)
	h = sparseregistry.Enforce(h, sparseregistry.Options{
		Policy: s.policy, Children: s.noteUses(boundReads(s.registry.children, s.children), c.Log), Storage: &s.storage,
		CheckImage: s.registry.images.check, Refused: s.refused(c.Log), LookedUp: s.metrics.lookedUp,
		Stored: links.Stored, Deleted: links.Deleted,
		Admit: s.budget.admit, Spool: spool(c.Storage), AskFirst: c.Distribution != nil && len(c.Distribution.Auth) > 0,
	})
	h = boundReads(h, s.reads)
	h = s.leftovers.mark(h)
	h = links.Handler(h, referrers.Options{Failed: noteFailure, Admit: s.reads.admit, Spool: spool(c.Storage)})
	h = s.withRoom(h)
	h = restrict(h, c)
	h = s.admit(h, c)
	h = sparseregistry.Announce(h, s.Policies)
	h = s.withDraining(h)
	h = s.withHealth(h)
	h = withAPIVersion(h)
	h = withStallTimeout(h, c.StallTimeout)
	h = withRequestLog(h, c.Log, s.metrics)
	return s.counted(h)
}

// admit lets those through who may do what they ask for.
func (s *Server) admit(next http.Handler, c Config) http.Handler {
	if c.AnonymousPull {
		open := &openAccess{access: s.access, tokens: newTokens(s.registry.secret), external: c.ExternalURL}
		return open.admit(next)
	}
	return s.access.require(next)
}

// refused is told of every manifest that was not let through.
func (s *Server) refused(log *slog.Logger) func(*http.Request, sparseregistry.Refusal) {
	write := logRefusal(log)
	return func(r *http.Request, refusal sparseregistry.Refusal) {
		if refusalReason(refusal) == busyReason {
			noteReason(r, busyReason)
		}
		write(r, refusal)
		s.metrics.manifestRefused(s.Policies().RuleFor(refusal.Repository).Pattern, refusal)
	}
}

// counted makes Close wait for the handlers that run. A request that comes after that is not
// answered.
func (s *Server) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.handlers.TryRLock() {
			panic(http.ErrAbortHandler)
		}
		defer s.handlers.RUnlock()
		next.ServeHTTP(w, r)
	})
}

func (s *Server) serve() {
	defer close(s.done)
	var err error
	if s.secure {
		err = s.http.ServeTLS(s.listener, "", "")
	} else {
		err = s.http.Serve(s.listener)
	}
	if !errors.Is(err, http.ErrServerClosed) {
		s.err = err
	}
}

// Address is host:port of the listener.
func (s *Server) Address() string { return s.listener.Addr().String() }

// MetricsAddress is host:port of the listener for metrics, "" if there is none.
func (s *Server) MetricsAddress() string {
	if s.exporter == nil {
		return ""
	}
	return s.exporter.Addr
}

// URL is where the server's root is.
func (s *Server) URL() string {
	if s.secure {
		return "https://" + s.Address()
	}
	return "http://" + s.Address()
}

// Done is closed when the server has stopped to accept connections. Err then says why, with nil for
// Shutdown and Close.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err says why the server stopped. It must not be called before Done is closed.
func (s *Server) Err() error { return s.err }

// Shutdown stops to accept connections, waits for the requests that are being answered, and
// releases everything. If ctx ends first, it closes their connections and returns ctx's error:
// those clients got no answer.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Drain()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("requests were cut off: %w", err)
	}
	return errors.Join(err, s.Close())
}

// Close stops at once, closes the connections of requests that are being answered, and waits until
// nobody works on them any more.
func (s *Server) Close() error { return s.close() }

func (s *Server) stop() error {
	s.Drain()
	err := s.http.Close()
	<-s.done
	err = errors.Join(err, s.closeOthers())
	s.handlers.Lock()
	return errors.Join(err, s.release())
}

// closeOthers closes the servers beside the registry's. A collection ends.
func (s *Server) closeOthers() error {
	var err error
	for _, other := range []*http.Server{s.exporter, s.control} {
		if other != nil {
			err = errors.Join(err, other.Close())
		}
	}
	return err
}

// release gives the storage back. Nobody may be using it any more.
func (s *Server) release() error {
	if s.endSweeping != nil {
		s.endSweeping()
	}
	s.registry.close()
	return s.lock.Release()
}
