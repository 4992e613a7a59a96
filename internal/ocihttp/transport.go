package ocihttp

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/url"

	"go.podman.io/image/v5/pkg/tlsclientconfig"
)

// maxIdleConnections is how many unused connections to a host are kept: more than a copy has
// requests in flight.
const maxIdleConnections = 256

// A Transport makes connections to one registry, and to the hosts that it leads to, and sends
// requests over them: the bottom of a stack. It may be used concurrently.
//
// It speaks HTTP/1.1 over as many connections as there are requests in flight. One HTTP/2
// connection would cap uploads at its window, 1 MiB with many servers, a round trip.
type Transport struct {
	http  *http.Transport
	ahead *aheadDialer
}

// NewTransport makes a Transport that has tlsConfig, which it changes. proxy is that of
// http.Transport; if it is nil, proxies are those of the environment.
func NewTransport(tlsConfig *tls.Config, proxy func(*http.Request) (*url.URL, error)) *Transport {
	tr := tlsclientconfig.NewTransport() // containers/image's dial and handshake timeouts
	tlsConfig.NextProtos = nil
	if tlsConfig.ClientSessionCache == nil {
		tlsConfig.ClientSessionCache = tls.NewLRUClientSessionCache(maxIdleConnections)
	}
	tr.TLSClientConfig = tlsConfig
	tr.Protocols = new(http.Protocols)
	tr.Protocols.SetHTTP1(true)
	tr.MaxIdleConns = 0
	tr.MaxIdleConnsPerHost = maxIdleConnections
	tr.DisableCompression = true // content is named by its digest: it must arrive as stored
	if proxy != nil {
		tr.Proxy = proxy
	}
	t := &Transport{http: tr, ahead: newAheadDialer(dialSending(tr.DialContext))}
	tr.DialContext = t.ahead.DialContext
	return t
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	return t.http.RoundTrip(req)
}

// OpenAhead opens connections to host in the background, so that at least n were opened so far.
// They are not opened where requests go through a proxy, or where the port depends on the scheme
// and that is "", which is unknown; as long as it is, there is one more, as TLS is tried over one
// in vain unless there is TLS.
func (t *Transport) OpenAhead(host, scheme string, n int) {
	if scheme == "" {
		n++
	}
	if address, ok := t.direct(host, scheme); ok {
		t.ahead.open(address, n)
	}
}

// direct is the address of host, unless a proxy stands before it, or the port depends on a scheme
// that is not known.
func (t *Transport) direct(host, scheme string) (address string, ok bool) {
	schemes := []string{scheme}
	if scheme == "" {
		schemes = []string{"https", "http"}
	}
	for _, scheme := range schemes {
		u := &url.URL{Scheme: scheme, Host: host, Path: "/v2/"}
		with := net.JoinHostPort(u.Hostname(), port(u))
		if address != "" && with != address {
			return "", false
		}
		address = with
		if proxy := t.http.Proxy; proxy != nil {
			if through, err := proxy(&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}}); through != nil || err != nil {
				return "", false
			}
		}
	}
	return address, true
}

// Dialled is how many connections were dialled so far, those that were opened ahead included.
func (t *Transport) Dialled() int {
	t.ahead.mu.Lock()
	defer t.ahead.mu.Unlock()
	return t.ahead.opened
}

// CloseIdle closes connections that nobody uses. None is opened ahead any more.
func (t *Transport) CloseIdle() {
	t.ahead.stop()
	t.http.CloseIdleConnections()
}
