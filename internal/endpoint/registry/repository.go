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
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
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

	hasReferrersAPI atomic.Bool // a list of referrers was read
	knowsManifests  atomic.Bool // it has handed out a manifest, said that it has one, or taken one
	hiding          hiding
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
	slow      bool   // the answer may be long in coming: it brings a blob, or says that one is stored
}

// slotKey is the key of holdingSlot.
type slotKey struct{}

// holdingSlot marks the context of work that a request of one end waits for: requests to the other end that are part of it must not
// wait for a slot there, whose holder may be waiting for the first one's.
func holdingSlot(ctx context.Context) context.Context { return context.WithValue(ctx, slotKey{}, true) }

func holdsSlot(ctx context.Context) bool { return ctx.Value(slotKey{}) != nil }

// answer is an answer whose body is of no interest.
type answer struct {
	url    string // clean
	status int
	header http.Header
	body   []byte // its beginning
}

// aboutContent fails if a, the successful answer to a HEAD, is that of a web server and not of a registry: of a proxy that wants somebody to
// log in, for instance. Answers to other requests have better signs: registries give empty bodies any type.
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

// fromStore fails if a, the bare answer 200 to a PUT, has a body that speaks of something else than a success. Registries give empty bodies
// any type.
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
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorText))
	_, _ = io.CopyN(io.Discard, resp.Body, 16<<10) // longer rests are not worth a connection
	_ = resp.Body.Close()
	return answer{url: ocihttp.CleanURL(resp.Request.URL), status: resp.StatusCode, header: resp.Header, body: body}
}

// send sends rq once, and again if that is what it takes to be authorized. It returns an answer with a status below 300, whose
// body the caller closes, or an error: *refusal for any other answer, *ledElsewhere if rq asks for that, *transportError if there was none.
func (r *repository) send(ctx context.Context, rq *request) (*http.Response, error) {
	leave, err := r.host.enter(ctx, r.creds.get() != (types.DockerAuthConfig{}))
	if err != nil {
		return nil, err
	}
	defer leave()

	limit := &r.host.limit
	var epoch int
	if rq.forced {
		epoch = limit.force()
	} else if epoch, err = limit.acquire(ctx); err != nil {
		return nil, err
	}
	resp, err := r.sendAuthorized(ctx, rq)
	if err != nil {
		limit.release()
		if none, ok := errors.AsType[*transportError](err); ok && none.elsewhere && rq.homeOnly && ctx.Err() == nil {
			return nil, &ledElsewhere{answer: err.Error(), mute: true}
		}
		return nil, r.explained(err)
	}
	if resp.StatusCode < 300 {
		r.host.proven.Store(true)
		r.host.busy.Store(nil)
		limit.succeeded()
		resp.Body.(*answerBody).onClose(limit.release)
		return resp, nil
	}
	defer limit.release()
	no := newRefusal(resp, time.Now())
	if rq.homeOnly && no.Errors == nil && r.host.elsewhere(resp.Request.URL) {
		return nil, &ledElsewhere{answer: no.Error()}
	}
	if no.Status == http.StatusTooManyRequests || no.Status == http.StatusServiceUnavailable {
		r.stats.throttled.Add(1)
		limit.busy(epoch)
	}
	if no.Status == http.StatusNotFound && !no.page {
		r.host.proven.Store(true)
	}
	if transient, _ := isRetriable(no); transient {
		r.host.busy.Store(no)
	} else {
		r.host.busy.Store(nil)
	}
	return nil, r.explained(no)
}

// Bounds on how often a request is sent again with another authorization.
const (
	maxAuthorizations = 30 // in all: a token that others used up first says nothing against the next one
	maxInvalidTokens  = 10 // of tokens that nobody is known to have used yet, which may be just happening
	maxUselessTokens  = 3  // of those, if the registry does not say that they have ended
)

// sendAuthorized sends rq, and again when that was refused for lack of authorization and there is another one to try.
func (r *repository) sendAuthorized(ctx context.Context, rq *request) (*http.Response, error) {
	scopes := r.scopes(rq.mountFrom)
	useless := 0
	for again := 0; ; again++ {
		resp, used, err := r.exchange(ctx, rq, scopes)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusUnauthorized || !r.host.owns(resp.Request.URL) {
			used.accepted(resp.StatusCode)
			return resp, nil
		}
		challenges := parseChallenges(resp.Header)
		if used.any && used.token == nil {
			no, other := r.refused(used, resp)
			if !other || again == maxAuthorizations {
				return nil, no
			}
			continue
		}
		if used.token != nil && !used.token.accepted.Load() {
			useless++
		}
		most := maxUselessTokens
		if fault, _ := refusedToken(challenges); fault == invalidToken {
			most = maxInvalidTokens
		}
		if useless >= most || again == maxAuthorizations {
			return resp, nil
		}
		next, ok := r.answerChallenge(ctx, challenges, used, scopes)
		if !ok {
			return resp, nil
		}
		scopes = next
		discard(resp)
	}
}

// refused reads the refusal of what is no token that was fetched: a password, for instance. other reports whether there is something else by now.
func (r *repository) refused(used authorization, resp *http.Response) (no error, other bool) {
	refusal := newRefusal(resp, r.shared.now())
	if fault, _ := refusedToken(parseChallenges(resp.Header)); fault == insufficientScope {
		used.turn.accept() // it is the repository's answer
		return refusal, false
	}
	used.turn.refuse(refusal)
	return refusal, r.registryToken == "" && r.creds.renew(used.auth)
}

// answerChallenge says whether a request that was refused with challenges should be sent again, and for which scopes.
func (r *repository) answerChallenge(ctx context.Context, challenges []challenge, used authorization, scopes []string) ([]string, bool) {
	if !used.any {
		if len(challenges) == 0 {
			challenges = r.ping(ctx)
		}
		return scopes, r.canAnswer(challenges)
	}
	if used.token == nil {
		return nil, false
	}
	if fault, lacking := refusedToken(challenges); fault == insufficientScope {
		if lacking == "" || slices.Contains(scopes, lacking) {
			return nil, false // there is nothing else to ask for
		}
		return append(slices.Clone(scopes), lacking), true
	}
	for _, c := range r.host.currentChallenges() {
		if c.scheme == "bearer" {
			r.dropToken(ctx, c, scopes, used.token)
		}
	}
	return scopes, true
}

func (r *repository) canAnswer(challenges []challenge) bool {
	for _, c := range challenges {
		auth := r.creds.get()
		if c.scheme == "bearer" || (c.scheme == "basic" && (auth.Username != "" || auth.Password != "")) {
			return true
		}
	}
	return false
}

// ping asks the host for its challenges, for registries that refuse real requests without any. It asks once.
func (r *repository) ping(ctx context.Context) []challenge {
	h := r.host
	h.pinging.Lock()
	defer h.pinging.Unlock()
	if !h.pinged {
		root := &url.URL{Scheme: h.currentScheme(), Host: h.registry, Path: "/v2/"}
		resp, used, err := r.exchange(ctx, &request{method: http.MethodGet, location: root}, nil)
		if err != nil {
			logrus.Debugf("Asking %s for its way of authentication: %v", h.registry, err)
			return nil
		}
		used.turn.leave()
		discard(resp)
		h.pinged = true
	}
	return h.currentChallenges()
}

// exchange sends rq with the authorization that the host is known to want. The body of the answer is an *answerBody.
func (r *repository) exchange(ctx context.Context, rq *request, scopes []string) (*http.Response, authorization, error) {
	r.stats.requests.Add(1)
	scheme := r.host.currentScheme()
	if scheme == "" && rq.location == nil {
		return r.discoverScheme(ctx, rq, scopes)
	}
	resp, used, err := r.exchangeOver(ctx, scheme, rq, scopes)
	if err == nil {
		r.host.learn(scheme, resp)
	}
	return resp, used, err
}

// discoverScheme is exchange with a host that may speak TLS or plain HTTP. TLS is preferred: what the host answers over plain HTTP
// counts only if there is no TLS. Requests without a body are tried over both at once, or a plain host would cost two round trips
// more.
func (r *repository) discoverScheme(ctx context.Context, rq *request, scopes []string) (*http.Response, authorization, error) {
	plain := r.tryPlain(ctx, rq, scopes)
	if rq.body == nil {
		plain.start()
	}
	resp, used, err := r.exchangeOver(ctx, "https", rq, scopes)
	if err == nil {
		r.host.learn("https", resp)
	}
	if err == nil || ctx.Err() != nil || r.host.currentScheme() != "" {
		plain.abandon()
		return resp, used, err
	}
	if rq.body != nil {
		plain.start()
	}
	<-plain.done
	switch {
	case plain.err != nil:
		plain.abandon()
		return nil, authorization{}, fmt.Errorf("%w (and over TLS: %s)", plain.err, err.Error())
	case plain.resp.StatusCode == http.StatusBadRequest && !errors.Is(err, http.ErrSchemeMismatch):
		// That is what servers that speak TLS say to those who do not.
		plain.abandon()
		return nil, authorization{}, err
	}
	plain.resp.Body.(*answerBody).onClose(plain.cancel)
	r.host.learn("http", plain.resp)
	return plain.resp, plain.used, nil
}

// plainAttempt is an exchange over plain HTTP that may turn out not to be wanted.
type plainAttempt struct {
	exchange func()
	cancel   context.CancelFunc
	started  bool
	done     chan struct{} // closed when exchange ends; the fields below are set then

	resp *http.Response
	used authorization
	err  error
}

func (r *repository) tryPlain(ctx context.Context, rq *request, scopes []string) *plainAttempt {
	p := &plainAttempt{done: make(chan struct{})}
	ctx, p.cancel = context.WithCancel(ctx)
	p.exchange = func() {
		defer close(p.done)
		p.resp, p.used, p.err = r.exchangeOver(ctx, "http", rq, scopes) //nolint:bodyclose // by who takes it, or abandon
	}
	return p
}

func (p *plainAttempt) start() {
	p.started = true
	go p.exchange()
}

// abandon ends the attempt, wherever it is, and does not wait for the end.
func (p *plainAttempt) abandon() {
	p.cancel()
	if !p.started {
		return
	}
	go func() {
		<-p.done
		if p.err == nil {
			_ = p.resp.Body.Close()
		}
	}()
}

// exchangeOver is exchange over the given scheme. It learns nothing from the answer.
func (r *repository) exchangeOver(ctx context.Context, scheme string, rq *request, scopes []string) (*http.Response, authorization, error) {
	req, err := r.newRequest(ctx, scheme, rq)
	if err != nil {
		return nil, authorization{}, err
	}
	var used authorization
	if r.host.isOrigin(scheme, req.URL) {
		if used, err = r.authorize(ctx, req, scopes); err != nil {
			return nil, authorization{}, err
		}
	}
	late := r.shared.unanswered(rq.slow)
	ctx, watch := newWatchdog(ctx, late)
	req = req.WithContext(r.host.traceTLS(ctx))
	var body *uploadBody
	if rq.body != nil {
		watch.disarm() // content may be long in coming
		if body, err = r.attachBody(req, rq, watch, late); err != nil {
			watch.stop()
			used.turn.leave()
			return nil, authorization{}, &contentError{err}
		}
		watch.arm(late)
	}
	logrus.Debugf("%s %s", req.Method, ocihttp.CleanURL(req.URL))
	resp, err := r.host.sends.RoundTrip(req)
	watch.disarm()
	if err != nil {
		used.turn.leave()
		err = watch.cause(err)
		ended := ctx.Err() != nil
		watch.stop()
		if given := body.failure(); given != nil && !ended {
			return nil, authorization{}, &contentError{given}
		}
		return nil, authorization{}, newTransportError(req, err, r.host.answered.Load())
	}
	moving := r.shared.stalled()
	next := moving
	if rq.slow {
		next = late // it may be the header only that is sent at once
	}
	resp.Body = &answerBody{ReadCloser: resp.Body, watch: watch, next: next, moving: moving, pace: r.host.pace, fail: func(err error) error {
		return newTransportError(resp.Request, err, true)
	}}
	return resp, used, nil
}

func (r *repository) newRequest(ctx context.Context, scheme string, rq *request) (*http.Request, error) {
	u := rq.location
	if u == nil {
		u = &url.URL{Scheme: scheme, Host: r.host.registry, Path: "/v2/" + r.name + "/" + rq.path}
		if r.namespace != "" {
			u.RawQuery = "ns=" + url.QueryEscape(r.namespace)
		}
	}
	if rq.query != "" {
		with := *u
		with.RawQuery = strings.TrimPrefix(u.RawQuery+"&"+rq.query, "&")
		u = &with
	}
	req, err := http.NewRequestWithContext(ctx, rq.method, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("%s %s: not a usable URL", rq.method, ocihttp.CleanURL(u))
	}
	req.URL.User = nil // a location must not choose credentials
	maps.Copy(req.Header, rq.header)
	req.Header.Set("User-Agent", r.userAgent)
	req.Header.Set("Docker-Distribution-Api-Version", "registry/2.0")
	return req, nil
}

// longUpload is the size from which on a complete upload to which there is no answer is not sent again.
const longUpload = 16 << 20

// attachBody opens the body of rq for req, to which the answer must not be late. The transport closes it.
func (r *repository) attachBody(req *http.Request, rq *request, watch *watchdog, late TimeoutError) (*uploadBody, error) {
	late.final = rq.size < 0 || rq.size > longUpload
	open := func() (*uploadBody, error) {
		content, err := rq.body(holdingSlot(req.Context()))
		if err != nil {
			return nil, err
		}
		return &uploadBody{content: content, watch: watch, pace: r.host.pace, moving: r.shared.stalled(), late: late}, nil
	}
	body, err := open()
	if err != nil {
		return nil, err
	}
	req.ContentLength = rq.size
	if rq.size == 0 {
		defer body.Close()
		if err := body.expectEmpty(); err != nil {
			return nil, err
		}
		req.Body = http.NoBody
		return body, nil
	}
	req.Body = body
	req.GetBody = func() (io.ReadCloser, error) {
		again, err := open()
		if err != nil {
			return nil, err // and not a nil *uploadBody, which the client would close
		}
		return again, nil
	}
	return body, nil
}

// contentError is an error of our own side: what should be sent could not be read.
type contentError struct{ err error }

func (e *contentError) Error() string { return e.err.Error() }
func (e *contentError) Unwrap() error { return e.err }

// uploadBody is the body of a request. While the transport reads from it, the other side is not expected to do anything.
type uploadBody struct {
	content io.ReadCloser
	watch   *watchdog
	pace    *pace        // what is sent is counted by
	moving  TimeoutError // what it is when what was read is not sent
	late    TimeoutError // what it is when there is no answer after the end

	mu      sync.Mutex
	err     error // of content; guarded by mu, as the transport reads on after an early answer
	reading bool  // a Read is under way; guarded by mu
	closed  bool  // Close was called; guarded by mu
}

func (b *uploadBody) Read(p []byte) (int, error) {
	if !b.begin() {
		return 0, errBodyClosed
	}
	defer b.end()
	b.watch.disarm()
	n, err := b.content.Read(p)
	if ended := b.pace.take(b.watch.ctx, n); ended != nil {
		return 0, ended
	}
	switch {
	case err == nil:
		b.watch.arm(b.moving)
	case errors.Is(err, io.EOF):
		b.watch.arm(b.late)
	default:
		b.watch.arm(b.moving)
		b.fail(err)
	}
	return n, err
}

func (b *uploadBody) fail(err error) {
	if errors.Is(err, io.EOF) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

// errBodyClosed is what reading a body after its end says.
var errBodyClosed = errors.New("read of a closed body")

// begin says whether content may be read. If so, end must follow.
func (b *uploadBody) begin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = !b.closed
	return b.reading
}

func (b *uploadBody) end() {
	b.mu.Lock()
	b.reading = false
	closed := b.closed
	b.mu.Unlock()
	if closed {
		_ = b.content.Close()
	}
}

// Close may be called again, and during Read: when a request is redirected before its body was sent, the client and the transport both
// close it. Then Read closes the content, which is for one goroutine at a time.
func (b *uploadBody) Close() error {
	b.mu.Lock()
	first, reading := !b.closed, b.reading
	b.closed = true
	b.mu.Unlock()
	if !first || reading {
		return nil
	}
	return b.content.Close()
}

// failure is the error that reading the content ended with, nil if there was none. b may be nil.
func (b *uploadBody) failure() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// expectEmpty reads the end of content that has no bytes, which is where content is verified.
func (b *uploadBody) expectEmpty() error {
	n, err := io.CopyN(io.Discard, b.content, 1)
	if n > 0 {
		return errors.New("content is longer than its size says")
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// bytesBody is the body of a request that we hold.
func bytesBody(content []byte) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
}
