package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
)

// repository is one repository at one host, with the credentials for it.
type repository struct {
	shared *Shared
	host   *host
	stats  *counters

	ref           reference.Named
	name          string // in the sense of the specification: without the host
	actions       string // of tokens: "pull" or "pull,push"
	namespace     string // value of the "ns" parameter of all requests, "" for none
	creds         *credentials
	registryToken string // bearer token to use in place of fetched ones, "" for none
	userAgent     string
	authorization *ocihttp.Authorization
	layers        http.RoundTripper // what requests pass

	hasReferrersAPI atomic.Bool // a list of referrers was read
	knowsManifests  atomic.Bool // it has handed out a manifest, said that it has one, or taken one
	hiding          hiding

	kept        *kept       // of what it has handed out; nil but for sources
	asked       *tagsAsked  // nil but for sources
	answersHEAD atomic.Bool // it has stated the digest of a manifest
}

// has tells the cache that r has a blob.
func (r *repository) has(d digest.Digest) {
	if cache := r.shared.BlobInfoCache; cache != nil {
		cache.RecordKnownLocation(docker.Transport, types.BICTransportScope{Opaque: reference.Domain(r.ref)}, d,
			types.BICLocationReference{Opaque: r.ref.Name()})
	}
}

// request is a request to a repository.
type request struct {
	method   string
	path     string   // below /v2/<repository>/; unused if location is set
	query    string   // to be added to the URL, encoded
	location *url.URL // that the registry gave, on whatever host
	header   http.Header

	// body opens the body; nil for none. It may be called again when the request is sent again.
	body func(context.Context) (io.ReadCloser, error)
	size int64 // of the body, -1 if unknown

	homeOnly  bool   // what another host says, to which the registry leads, says nothing about the registry: see ledElsewhere
	mountFrom string // the repository of the same host that is read too
	forced    bool   // does not wait for the limit
	spare     int    // see ocihttp.Call
	slow      bool   // the answer may be long in coming: it brings a blob, or says that one is stored
	unscoped  bool   // it is about the registry, and needs no right in any repository
}

// ofManifest reports whether rq asks for a manifest, or whether there is one.
func (rq *request) ofManifest() bool {
	return strings.HasPrefix(rq.path, "manifests/") && (rq.method == http.MethodGet || rq.method == http.MethodHead)
}

// pulls reports whether rq is what registries count as a pull.
func (rq *request) pulls() bool { return rq.ofManifest() && rq.method == http.MethodGet }

// answer is an answer whose body is of no interest.
type answer struct {
	url    string // clean
	status int
	header http.Header
	body   []byte // its beginning
}

// aboutContent fails if a, the successful answer to a HEAD, is that of a web server and not of a
// registry: of a proxy that wants somebody to log in, for instance. Answers to other requests have
// better signs: registries give empty bodies any type.
func (a answer) aboutContent() error {
	if isPage(a.header) {
		return fmt.Errorf("%s: the answer is a web page", a.url)
	}
	return nil
}

// isPage reports whether an answer claims to be a web page.
func isPage(header http.Header) bool {
	mediaType, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	return mediaType == "text/html"
}

// fromStore fails if a, the bare answer 200 to a PUT, has a body that speaks of something else than
// a success. Registries give empty bodies any type.
func (a answer) fromStore() error {
	body := bytes.TrimSpace(a.body)
	switch errs, _ := parseErrorBody(body); {
	case len(errs) > 0:
		return fmt.Errorf("%s: the answer has status 200, and an error: %s: %s", a.url, errs[0].Code, errs[0].Message)
	case len(body) == 0:
		return nil
	case strings.HasPrefix(http.DetectContentType(body), "text/html"):
		return fmt.Errorf("%s: the answer has status 200, and is a web page", a.url)
	}
	return a.aboutContent()
}

// do sends rq until it is answered with success, as long as rt allows retries.
func (r *repository) do(ctx context.Context, rt *retrier, rq *request) (a answer, err error) {
	err = r.retry(ctx, rt, func() error {
		resp, err := r.send(ctx, rq)
		if err != nil {
			return err
		}
		a = discard(resp)
		return nil
	})
	return a, err
}

// retry calls f until it succeeds, as long as retries are allowed.
func (r *repository) retry(ctx context.Context, rt *retrier, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		rt.unproven = !r.host.proven.Load()
		if said := r.host.busy.Load(); rt.last == nil && said != nil {
			rt.last = said
		}
		if err := rt.wait(ctx, err); err != nil {
			return err
		}
		r.stats.retries.Add(1)
	}
}

// discard reads the rest of an answer's body, so that its connection can be used again.
func discard(resp *http.Response) answer {
	var body []byte
	if resp.ContentLength != 0 {
		body, _ = io.ReadAll(io.LimitReader(resp.Body, maxErrorText))
		_, _ = io.CopyN(io.Discard, resp.Body, 16<<10) // longer rests are not worth a connection
	}
	_ = resp.Body.Close()
	return answer{url: ocihttp.CleanURL(resp.Request.URL), status: resp.StatusCode, header: resp.Header, body: body}
}

// send sends rq once, and again if that is what it takes to be authorized. It returns an answer
// with a status below 300, whose body the caller closes, or an error: *refusal for any other
// answer, *ledElsewhere if rq asks for that, *ocihttp.TransportError if there was none.
func (r *repository) send(ctx context.Context, rq *request) (*http.Response, error) {
	req, err := r.newRequest(ctx, rq)
	if err != nil {
		return nil, err
	}
	resp, err := r.layers.RoundTrip(req)
	if err != nil {
		if none, ok := errors.AsType[*ocihttp.TransportError](err); ok && none.Elsewhere && rq.homeOnly && ctx.Err() == nil {
			return nil, &ledElsewhere{answer: err.Error(), mute: true}
		}
		return nil, r.explained(err)
	}
	if resp.StatusCode < 300 {
		r.host.proven.Store(true)
		r.host.busy.Store(nil)
		return resp, nil
	}
	no := newRefusal(resp, r.shared.now())
	if rq.homeOnly && no.Errors == nil && r.host.Elsewhere(resp.Request.URL) {
		return nil, &ledElsewhere{answer: no.Error()}
	}
	if no.Status == http.StatusTooManyRequests || no.Status == http.StatusServiceUnavailable {
		r.stats.throttled.Add(1)
	}
	if no.Status == http.StatusNotFound && !no.page {
		r.host.proven.Store(true)
	}
	if transient, _ := isRetriable(no); transient {
		r.host.busy.Store(no)
	} else {
		r.host.busy.Store(nil)
	}
	if no.Status == http.StatusTooManyRequests && rq.pulls() {
		return nil, r.refusedPull(no)
	}
	return nil, r.explained(no)
}

// newRequest is rq for the layers: without a scheme, but for a location that has one, and without a
// body that is open.
func (r *repository) newRequest(ctx context.Context, rq *request) (*http.Request, error) {
	u, err := r.url(rq)
	if err != nil {
		return nil, err
	}
	call := ocihttp.Call{Slow: rq.slow, Forced: rq.forced, Spare: rq.spare, Manifest: rq.ofManifest()}
	if !rq.unscoped {
		call.Scopes = r.scopes(rq.mountFrom)
	}
	header := make(http.Header, len(rq.header)+3) // with one for the authorization
	maps.Copy(header, rq.header)
	header["User-Agent"] = []string{r.userAgent}
	header["Docker-Distribution-Api-Version"] = apiVersion
	req := (&http.Request{Method: rq.method, URL: u, Host: u.Host, Header: header}).WithContext(ocihttp.WithCall(ctx, call))
	if rq.body != nil {
		req.ContentLength = rq.size
		req.GetBody = func() (io.ReadCloser, error) { return rq.body(ocihttp.HoldingSlot(ctx)) }
	}
	return req, nil
}

// apiVersion is what docker sends along.
var apiVersion = []string{"registry/2.0"}

// url is where rq goes.
func (r *repository) url(rq *request) (*url.URL, error) {
	u := url.URL{Host: r.host.Name, Path: "/v2/" + r.name + "/" + rq.path}
	switch {
	case rq.location != nil:
		u = *rq.location
	case r.namespace != "":
		u.RawQuery = "ns=" + url.QueryEscape(r.namespace)
	}
	if rq.query != "" {
		u.RawQuery = strings.TrimPrefix(u.RawQuery+"&"+rq.query, "&")
	}
	if rq.location == nil {
		return &u, nil
	}
	usable, err := url.Parse(u.String()) // Parse has been generous about what the registry gave
	if err != nil {
		return nil, fmt.Errorf("%s %s: not a usable URL", rq.method, ocihttp.CleanURL(&u))
	}
	usable.User = nil                                  // a location must not choose credentials
	usable.Host = strings.TrimSuffix(usable.Host, ":") // as http.NewRequest has it
	return usable, nil
}

// bytesBody is the body of a request that we hold.
func bytesBody(content []byte) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
}
