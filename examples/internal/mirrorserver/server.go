package mirrorserver

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"github.com/sparsecopy/sparsecopy/examples/internal/notify"
	"github.com/sparsecopy/sparsecopy/examples/internal/secretfile"
)

// Limits on what strangers send.
const (
	headerTimeout  = 10 * time.Second
	readTimeout    = 30 * time.Second
	writeTimeout   = 2 * time.Minute
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
	maxConnections = 512
	aliveTimeout   = 5 * time.Second
)

// ServerOptions say what a Server answers, and to whom.
type ServerOptions struct {
	Address string // HOST:PORT to listen on; port 0 for any free one
	// Insecure allows an address that other machines reach, without TLS.
	Insecure bool
	// Certificate and Key are PEM files for TLS; both or none.
	Certificate, Key string
	// TokenFile is a file with the token that / and /metrics want; "" lets everybody read them.
	TokenFile string

	// Page is what / answers to GET and HEAD; Metrics is what /metrics does, Notify what
	// notify.Prefix does. Page may be nil.
	Page, Metrics, Notify http.Handler
	// Alive reports whether the mirror works, before its context ends.
	Alive func(context.Context) bool

	Log *slog.Logger
}

// ErrReachable says that other machines would reach a server that has no TLS.
var ErrReachable = errors.New("other machines reach this address, and there is no TLS")

// A Server answers over HTTP what a mirror has to say. Its methods may be called concurrently.
type Server struct {
	http     *http.Server
	listener net.Listener
	secure   bool
	options  ServerOptions
	secrets  atomic.Pointer[secrets]

	mu       sync.Mutex
	notReady string // why not, "" if it is; guarded by mu
	notify   http.Handler
	done     chan struct{}
	err      error // why it does not serve any more; set before done is closed
}

// secrets are what is read from files.
type secrets struct {
	token       []byte           // its SHA-256, nil if everybody may read
	certificate *tls.Certificate // nil without TLS
}

// Start starts a server, which is not ready: see SetReady. The error is ErrReachable if Address is
// for other machines, but neither TLS nor Insecure is set; a *net.OpError if nothing can listen
// there; else it is about one of the files. Whoever calls Start calls Shutdown.
func Start(options ServerOptions) (*Server, error) {
	s := &Server{options: options, notReady: "starting", notify: options.Notify, secure: options.Certificate != "", done: make(chan struct{})}
	if err := s.Reload(); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", options.Address)
	if err != nil {
		return nil, err
	}
	if at, ok := listener.Addr().(*net.TCPAddr); !s.secure && !options.Insecure && !(ok && at.IP.IsLoopback()) {
		return nil, errors.Join(fmt.Errorf("%s: %w", options.Address, ErrReachable), listener.Close())
	}
	s.listener = listener
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(options.Log.Handler(), slog.LevelDebug), // clients that leave, or speak no TLS
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.secrets.Load().certificate, nil
		}},
	}
	go s.serve(netutil.LimitListener(listener, maxConnections))
	return s, nil
}

func (s *Server) serve(listener net.Listener) {
	defer close(s.done)
	var err error
	if s.secure {
		err = s.http.ServeTLS(listener, "", "")
	} else {
		err = s.http.Serve(listener)
	}
	if !errors.Is(err, http.ErrServerClosed) {
		s.err = err
	}
}

// Reload reads token, certificate and key once more. After an error, those before stay.
func (s *Server) Reload() error {
	var read secrets
	if s.options.TokenFile != "" {
		token, warning, err := secretfile.Read(s.options.TokenFile)
		if err != nil {
			return fmt.Errorf("--token-file %s: %w", s.options.TokenFile, err)
		}
		if warning != "" {
			s.options.Log.Warn("the token in " + warning)
		}
		sum := sha256.Sum256([]byte(token))
		read.token = sum[:]
	}
	if s.secure {
		pair, err := tls.LoadX509KeyPair(s.options.Certificate, s.options.Key)
		if err != nil {
			return fmt.Errorf("--tls-cert %s, --tls-key %s: %w", s.options.Certificate, s.options.Key, err)
		}
		read.certificate = &pair
	}
	s.secrets.Store(&read)
	return nil
}

// SetReady says whether the mirror is ready: reason is why not, "" if it is.
func (s *Server) SetReady(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notReady = reason
}

// SetNotify replaces what answers notifications.
func (s *Server) SetNotify(h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notify = h
}

// URL is where the server is.
func (s *Server) URL() string {
	scheme := "http"
	if s.secure {
		scheme = "https"
	}
	return scheme + "://" + s.listener.Addr().String()
}

// Done is closed when the server does not serve any more. Err then says why, with nil for Shutdown.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err says why the server does not serve any more. It must not be called before Done is closed.
func (s *Server) Err() error { return s.err }

// Shutdown stops to accept connections, waits until ctx ends for what is being answered, and closes
// the rest.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.done
	return err
}

// handler is everything that answers.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", s.withToken(s.options.Metrics))
	if s.options.Page != nil {
		mux.Handle("GET /{$}", s.withToken(s.options.Page))
	}
	mux.HandleFunc(notify.Prefix, func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		h := s.notify
		s.mu.Unlock()
		h.ServeHTTP(w, r)
	})
	return s.logged(plain(mux))
}

// plain has browsers take answers for what they say that they are, and keep none.
func plain(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// logged logs requests, for who wants to know everything.
func (s *Server) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		s.options.Log.Debug("request", "method", r.Method, "path", notify.LogPath(r.URL.Path), "client", r.RemoteAddr)
	})
}

// withToken lets through who has the token: as a bearer, or as the password of any user, which is
// what browsers can send.
func (s *Server) withToken(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if want := s.secrets.Load().token; want != nil {
			given := sha256.Sum256([]byte(tokenOf(r)))
			if subtle.ConstantTimeCompare(given[:], want) != 1 {
				w.Header().Set("WWW-Authenticate", `Basic realm="mirror", charset="UTF-8"`)
				http.Error(w, "this needs the token of the server, as a bearer token or as a password", http.StatusUnauthorized)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// tokenOf is the token that a request has, "" if none.
func tokenOf(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// healthz answers 200 as long as the mirror looks after what is due, else 503.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), aliveTimeout)
	defer cancel()
	if !s.options.Alive(ctx) {
		http.Error(w, "the mirror does not look after what is due", http.StatusServiceUnavailable)
		return
	}
	say(w, "ok\n")
}

// readyz answers 200 if the mirror does what its file says, and will go on to, else 503.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	reason := s.notReady
	s.mu.Unlock()
	if reason != "" {
		http.Error(w, reason, http.StatusServiceUnavailable)
		return
	}
	say(w, "ready\n")
}

func say(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, text) // only the client can make it fail, by leaving
}
