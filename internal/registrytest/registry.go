package registrytest

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Registry is a registry. Its methods may be called concurrently, also while it serves.
type Registry struct {
	opts  Options
	store *store
	log   requestLog
	auth  *authenticator // nil if no credentials are asked for
	certs *certificates  // nil without TLS

	main   *server // nil without a listener
	second *server // nil unless an option needs it

	announcement atomic.Pointer[Announcement] // nil for none

	puts   sync.Map     // digest of a list that was PUT → *atomic.Int64, how often
	served atomic.Int64 // requests in progress that Throttle counts
	pulls  pulls        // that RateLimit counts

	closed  chan struct{} // closed by Close
	mu      sync.Mutex    // guards closing, and handlers against Add after Wait
	closing bool
	working sync.WaitGroup // handlers
}

// closeTimeout is how long Close waits for handlers, all of whose connections are closed.
const closeTimeout = 30 * time.Second

// New starts a registry on a free port of 127.0.0.1, or of Options.Address. It panics if it cannot:
// there is nothing that a caller could do about it. Close stops it.
func New(o Options) *Registry {
	r := NewHandler(o)
	r.certs = newCertificates(o)
	if o.needsSecond() {
		r.second = r.listen("localhost", true)
	}
	r.main = r.listen(o.address(), false)
	return r
}

// Start is New for a test or benchmark, which closes it at its end.
func Start(tb testing.TB, o Options) *Registry {
	r := New(o)
	tb.Cleanup(r.Close)
	return r
}

// NewHandler makes a registry without a port, to be called as an http.Handler. Options that concern
// connections have no effect, nor have those that need a second server: RedirectBlobs,
// LocationSecond, Auth.SecondServer. Where an Answer closes a connection, ServeHTTP panics with
// http.ErrAbortHandler.
func NewHandler(o Options) *Registry {
	r := &Registry{opts: o, store: newStore(), closed: make(chan struct{})}
	r.announcement.Store(o.Announce)
	if o.Auth != nil {
		r.auth = newAuthenticator(*o.Auth)
	}
	return r
}

// needsSecond reports whether something is to be on another host.
func (o Options) needsSecond() bool {
	return o.RedirectBlobs || o.ReferrersPage != 0 || o.Links == LinkSecond || o.Location == LocationSecond || o.Auth != nil && o.Auth.SecondServer
}

// server is a port with an http.Server.
type server struct {
	http    *http.Server
	host    string // with port, as clients name it
	address string // that it listens at
	second  bool
	conns   atomic.Int64
}

// listen starts a server that calls itself host.
func (r *Registry) listen(host string, second bool) *server {
	s := &server{second: second}
	port := r.start(s, net.JoinHostPort(r.opts.address(), "0"))
	s.host = net.JoinHostPort(host, port)
	return s
}

// start starts a server at an address, and returns its port.
func (r *Registry) start(s *server, address string) (port string) {
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		panic(fmt.Sprintf("registrytest: %v", err))
	}
	s.address = tcp.Addr().String()
	_, port, _ = net.SplitHostPort(s.address)
	s.http = &http.Server{
		Handler:  http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.serve(w, req, s.second) }),
		ErrorLog: log.New(io.Discard, "", 0), // broken connections and handshakes are what tests are about
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.conns.Add(1)
			}
		},
	}
	r.certs.configure(s.http, r.opts)
	l, server, overTLS := newDelayListener(tcp, r.opts.RTT, r.opts.Rate), s.http, r.certs != nil
	go func() {
		if overTLS {
			_ = server.ServeTLS(l, "", "")
		} else {
			_ = server.Serve(l)
		}
	}()
	return port
}

// Restart breaks all connections, and starts the registry again at the same addresses. It loses
// nothing. It must not be called concurrently with itself or Close.
func (r *Registry) Restart() {
	for _, s := range []*server{r.main, r.second} {
		if s != nil {
			_ = s.http.Close()
			r.start(s, s.address)
		}
	}
}

// Host is host and port, as in references: 127.0.0.1:port, or with Options.Address. It is ""
// without a listener.
func (r *Registry) Host() string { return r.main.name() }

// SecondHost is host and port of the second server, localhost:port; "" if no option needs one. Its
// name differs from that of Host, so that clients take it for another host.
func (r *Registry) SecondHost() string { return r.second.name() }

// name is the host of a server, which may be nil.
func (s *server) name() string {
	if s == nil {
		return ""
	}
	return s.host
}

// URL is the scheme and the host, without a slash at the end.
func (r *Registry) URL() string { return r.scheme() + "://" + r.Host() }

func (r *Registry) scheme() string {
	if r.opts.TLS {
		return "https"
	}
	return "http"
}

// Connections returns how many connections were ever made to the registry, second server included.
func (r *Registry) Connections() int {
	var n int64
	for _, s := range []*server{r.main, r.second} {
		if s != nil {
			n += s.conns.Load()
		}
	}
	return int(n)
}

// Close breaks all connections, waits until the handlers have noticed (half a minute at most), and
// stops. What the registry holds can still be looked at. Closing again does nothing.
func (r *Registry) Close() {
	r.mu.Lock()
	first := !r.closing
	r.closing = true
	r.mu.Unlock()
	if !first {
		return
	}
	close(r.closed)
	for _, s := range []*server{r.main, r.second} {
		if s != nil {
			_ = s.http.Close()
		}
	}
	done := make(chan struct{})
	go func() {
		r.working.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(closeTimeout):
	}
}

// enter reports whether a handler may start. If so, it must call r.working.Done.
func (r *Registry) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closing {
		r.working.Add(1)
	}
	return !r.closing
}

// hold waits until the client has left or the registry is closed. As net/http does, it notices that
// a client of HTTP/1.1 has left only if the request's body was read.
func (r *Registry) hold(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-r.closed:
	}
}

// wait waits, but no longer than hold does.
func (r *Registry) wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timed, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	r.hold(timed)
}

// ServeHTTP serves a request as the registry's own port does.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) { r.serve(w, req, false) }

// exchange is a request and its answer.
type exchange struct {
	*Registry
	w      http.ResponseWriter
	req    *http.Request
	route  route
	n      int  // number of the request
	second bool // it came to the second server
	ranges RangeForm
}

// serve takes a request through all steps: log, script, throttle, credentials, protocol.
func (r *Registry) serve(w http.ResponseWriter, req *http.Request, second bool) {
	if !r.enter() {
		panic(http.ErrAbortHandler)
	}
	defer r.working.Done()

	x := &exchange{Registry: r, req: req, route: parseRoute(req.URL.Path), second: second, ranges: r.opts.Ranges}
	e := r.log.begin(newRequest(x))
	aborted := true
	defer func() { r.log.end(e, aborted) }()

	x.n = e.request.N
	x.w = &countingWriter{ResponseWriter: w, log: &r.log, e: e}
	body := req.Body
	if body == nil { // a request that no server made
		body = http.NoBody
	}
	req.Body = &countingBody{ReadCloser: body, e: e}

	var a Answer
	if r.opts.Script != nil {
		a = r.opts.Script(x.n, req)
	}
	a.play(x, x.throttled)
	aborted = false
}

// throttled serves the request unless too many others are in progress.
func (x *exchange) throttled() {
	if x.opts.Throttle > 0 {
		defer x.served.Add(-1)
		if x.served.Add(1) > int64(x.opts.Throttle) {
			a := Fail(http.StatusTooManyRequests, "TOOMANYREQUESTS", "too many requests in flight")
			switch after := x.opts.RetryAfter; after {
			case "":
				a.Header = http.Header{"Retry-After": {"1"}}
			case "-":
			default:
				a.Header = http.Header{"Retry-After": {after}}
			}
			a.write(x)
			return
		}
	}
	x.dispatch()
}

// dispatch serves the request.
func (x *exchange) dispatch() {
	x.w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	switch {
	case x.route.kind == KindToken && x.auth != nil && x.auth.Bearer:
		x.token()
	case x.second:
		x.serveSecond()
	case x.req.URL.Path == capabilitiesPath:
		x.capabilities()
	case x.authorized():
		x.protocol()
	}
}

// serveSecond serves what the second server has: blobs that downloads are redirected to, uploads,
// and the like. Their URLs are the permission.
func (x *exchange) serveSecond() {
	switch {
	case x.route.kind == KindBlob:
		x.storage()
	case x.route.kind == KindUpload && x.route.ref != "":
		x.protocol()
	case x.route.kind == KindTags && x.opts.Links == LinkSecond:
		x.tags()
	case x.route.kind == KindReferrers && x.opts.ReferrersPage != 0:
		x.referrers()
	default:
		x.refuse(http.StatusNotFound, Error{Code: "UNSUPPORTED", Message: "nothing here"})
	}
}

// protocol serves the endpoints of the specification.
func (x *exchange) protocol() {
	switch x.route.kind {
	case KindPing:
		x.ping()
	case KindManifest:
		x.manifest()
	case KindBlob:
		x.blob()
	case KindUpload:
		x.upload()
	case KindTags:
		x.tags()
	case KindReferrers:
		x.referrers()
	default:
		x.refuse(http.StatusNotFound, Error{Code: "NAME_INVALID", Message: "no such endpoint"})
	}
}

// notAllowed answers a method that the endpoint does not have.
func (x *exchange) notAllowed() {
	x.refuse(http.StatusMethodNotAllowed, Error{Code: "UNSUPPORTED", Message: "the operation is unsupported"})
}

// newRequest is what the log says about x before it is served.
func newRequest(x *exchange) Request {
	q := x.req
	return Request{
		Method: q.Method, Kind: x.route.kind, Repo: x.route.repo, Ref: x.route.ref,
		Path: q.URL.Path, Query: q.URL.RawQuery, Host: q.Host, Second: x.second,
		Proto: q.Proto, Remote: q.RemoteAddr, Header: q.Header.Clone(),
	}
}

// baseURL is scheme and host of the server that the request came to, as the client named it.
func (x *exchange) baseURL() string {
	scheme := "http"
	if x.req.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + x.req.Host
}

// secondURL is scheme and host of the second server; "" if there is none.
func (r *Registry) secondURL() string {
	if r.second == nil {
		return ""
	}
	return r.scheme() + "://" + r.second.host
}
