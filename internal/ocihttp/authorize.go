package ocihttp

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/types"
)

// An Authorization authorizes the requests of one end of a copy to one repository. Its fields do
// not change after the first use; it may be used concurrently.
type Authorization struct {
	Host        *Host   // whose challenges and tokens it shares
	Logins      *Logins // what is known about credentials
	Credentials Credentials
	Token       string // a bearer token to use in place of fetched ones, "" for none
	Repository  string // in the sense of the specification: without the host
	UserAgent   string

	// Services is what token services are asked through, and Asked is called before each time.
	Services http.RoundTripper
	Asked    func()
	// Refuse reads an answer that says no, of the registry or of a token service, and closes its
	// body.
	Refuse func(resp *http.Response, tokenService bool) Refusal
	// MostWait bounds for how long a token service is left alone that wants it.
	MostWait time.Duration
	Now      func() time.Time

	next http.RoundTripper // set by Authorize
}

// Credentials are those for a repository.
type Credentials interface {
	// Get returns what to use, which is zero if there are none.
	Get() types.DockerAuthConfig
	// Renew looks for others than those that were refused, and reports whether there are any now.
	Renew(refused types.DockerAuthConfig) bool
}

// A Refusal is the error of an answer that says no.
type Refusal interface {
	error
	HTTPStatus() int
	Wait() time.Duration // for which whoever answered wants to be left alone, 0 if it did not say
}

// A TokenError says that there is no token.
type TokenError struct{ Err error }

func (e *TokenError) Error() string { return "getting a token: " + e.Err.Error() }
func (e *TokenError) Unwrap() error { return e.Err }

const (
	// CredentialsLast is how long what is known about credentials is believed: the answer of files
	// and helpers, and the refusal of a token.
	CredentialsLast = time.Minute
	// maxKnown is how much is remembered of each kind: tokens, credentials, refusals.
	maxKnown = 1 << 10
)

// Bounds on how often a request is sent again with another authorization.
const (
	maxAuthorizations = 30 // in all: a token that others used up first says nothing against the next one
	maxInvalidTokens  = 10 // of tokens that nobody is known to have used yet, which may be just happening
	maxUselessTokens  = 3  // of those, if the registry does not say that they have ended
)

// Authorize is the layer that authorizes requests to the host, as the host's challenges ask, and
// sends them again when they were refused for lack of authorization (401) and there is another one
// to try. An Authorization is one layer of one stack.
//
//   - Only requests to the host itself are authorized, and only its challenges count.
//   - Tokens are for the Scopes of the request's Call, and for one more if the host says that it
//     lacks. They are shared by all whose credentials are the same; concurrent requests fetch one.
//   - A credential of which nobody knows whether it is good goes alone. One that was refused is not
//     sent again for RefusalLasts, but others are looked for. Its error is that of Refuse.
//   - A host that refuses without a challenge is asked for one, once, at /v2/.
//
// If there is nothing to try, the answer 401 is returned as it is. If there is no token, the error
// is a *TokenError.
func (a *Authorization) Authorize(next http.RoundTripper) http.RoundTripper {
	a.next = next
	return RoundTripFunc(a.send)
}

func (a *Authorization) send(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	scopes := callOf(ctx).Scopes
	useless := 0
	for again := 0; ; again++ {
		resp, used, err := a.exchange(req, scopes)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusUnauthorized || !a.Host.Owns(resp.Request.URL) {
			used.accepted(resp.StatusCode)
			return resp, nil
		}
		challenges := ParseChallenges(resp.Header)
		if used.any && used.token == nil {
			no, other := a.refused(used, resp)
			if !other || again == maxAuthorizations {
				return nil, no
			}
			continue
		}
		if used.token != nil && !used.token.accepted.Load() {
			useless++
		}
		most := maxUselessTokens
		if fault, _ := RefusedToken(challenges); fault == InvalidToken {
			most = maxInvalidTokens
		}
		if useless >= most || again == maxAuthorizations {
			return resp, nil
		}
		next, ok := a.answerChallenge(ctx, challenges, used, scopes)
		if !ok {
			return resp, nil
		}
		scopes = next
		discard(resp)
	}
}

// discard reads the rest of an answer, so that its connection can be used again.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 16<<10) // longer rests are not worth a connection
	_ = resp.Body.Close()
}

// exchange sends req once, with the authorization that the host is known to want.
func (a *Authorization) exchange(req *http.Request, scopes []string) (*http.Response, authorization, error) {
	var used authorization
	if req.URL.Scheme == "" || a.Host.Owns(req.URL) {
		var err error
		if used, err = a.authorize(req.Context(), scopes); err != nil {
			return nil, authorization{}, err
		}
	}
	if used.any {
		req = req.Clone(req.Context())
		req.Header.Set("Authorization", used.header())
	}
	resp, err := a.next.RoundTrip(req)
	if err != nil {
		used.turn.leave()
		return nil, authorization{}, err
	}
	return resp, used, nil
}

// authorization is what a request carried.
type authorization struct {
	any   bool
	token *token                 // that was fetched, nil if it was something else
	auth  types.DockerAuthConfig // in place of a token
	given string                 // in place of both: a token that was not fetched
	turn  *loginTurn             // of auth, or of a token that was given; nil for a fetched one
}

// header is the value of the field Authorization.
func (u authorization) header() string {
	switch {
	case u.token != nil:
		return "Bearer " + u.token.text
	case u.given != "":
		return "Bearer " + u.given
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(u.auth.Username+":"+u.auth.Password))
}

// accepted notes that a request was not refused for lack of authorization.
func (u authorization) accepted(status int) {
	u.token.accept()
	if status < http.StatusInternalServerError && status != http.StatusTooManyRequests {
		u.turn.accept()
	} else {
		u.turn.leave()
	}
}

// authorize returns what a request is to carry, as the host's challenges ask: nothing without a
// challenge that it can answer. If it returns a turn, that must be ended.
func (a *Authorization) authorize(ctx context.Context, scopes []string) (authorization, error) {
	for _, c := range a.Host.currentChallenges() {
		switch auth := a.Credentials.Get(); {
		case c.Scheme == "basic" && hasPassword(auth):
			turn, auth, err := a.beginLogin(ctx)
			if err != nil {
				return authorization{}, err
			}
			return authorization{any: true, auth: auth, turn: turn}, nil
		case c.Scheme == "bearer" && a.Token != "":
			turn, _, err := a.beginLogin(ctx)
			if err != nil {
				return authorization{}, err
			}
			return authorization{any: true, given: a.Token, turn: turn}, nil
		case c.Scheme == "bearer":
			token, err := a.bearerToken(ctx, c, scopes)
			if err != nil {
				return authorization{}, err
			}
			return authorization{any: true, token: token}, nil
		}
	}
	return authorization{}, nil
}

func hasPassword(auth types.DockerAuthConfig) bool { return auth.Username != "" || auth.Password != "" }

// login is what is known about credentials, and about the token that was given; nil if there are
// neither.
func (a *Authorization) login(auth types.DockerAuthConfig) *login {
	return a.Logins.of(a.Host.Name, Account{Auth: auth, Token: a.Token}, a.Now)
}

// beginLogin waits until the credentials may be sent, and returns them. If they were refused, it
// looks for others.
func (a *Authorization) beginLogin(ctx context.Context) (*loginTurn, types.DockerAuthConfig, error) {
	for {
		auth := a.Credentials.Get()
		turn, err := a.login(auth).begin(ctx, a.Repository)
		if before, refused := errors.AsType[*refusedBefore](err); refused && a.Token == "" && a.Credentials.Renew(auth) {
			logrus.Debugf("Other credentials for %s/%s: %v", a.Host.Name, a.Repository, before)
			continue
		}
		return turn, auth, err
	}
}

// refused reads the refusal of what is no token that was fetched: a password, for instance. other
// reports whether there is something else by now.
func (a *Authorization) refused(used authorization, resp *http.Response) (no error, other bool) {
	refusal := a.Refuse(resp, false)
	if fault, _ := RefusedToken(ParseChallenges(resp.Header)); fault == InsufficientScope {
		used.turn.accept() // it is the repository's answer
		return refusal, false
	}
	used.turn.refuse(refusal)
	return refusal, a.Token == "" && a.Credentials.Renew(used.auth)
}

// answerChallenge reports whether a request that was refused with challenges should be sent again,
// and for which scopes.
func (a *Authorization) answerChallenge(
	ctx context.Context, challenges []Challenge, used authorization, scopes []string,
) ([]string, bool) {
	if !used.any {
		if len(challenges) == 0 {
			challenges = a.ping(ctx)
		}
		return scopes, a.canAnswer(challenges)
	}
	if used.token == nil {
		return nil, false
	}
	if fault, lacking := RefusedToken(challenges); fault == InsufficientScope {
		if lacking == "" || slices.Contains(scopes, lacking) {
			return nil, false // there is nothing else to ask for
		}
		return append(slices.Clone(scopes), lacking), true
	}
	for _, c := range a.Host.currentChallenges() {
		if c.Scheme == "bearer" {
			a.dropToken(ctx, c, scopes, used.token)
		}
	}
	return scopes, true
}

func (a *Authorization) canAnswer(challenges []Challenge) bool {
	return slices.ContainsFunc(challenges, func(c Challenge) bool {
		return c.Scheme == "bearer" || c.Scheme == "basic" && hasPassword(a.Credentials.Get())
	})
}

// ping asks the host for its challenges, for registries that refuse real requests without any. It
// asks once.
func (a *Authorization) ping(ctx context.Context) []Challenge {
	h := a.Host
	h.pinging.Lock()
	defer h.pinging.Unlock()
	if !h.pinged {
		req := (&http.Request{
			Method: http.MethodGet, URL: &url.URL{Host: h.Name, Path: "/v2/"}, Host: h.Name,
			Header: http.Header{"User-Agent": {a.UserAgent}, "Docker-Distribution-Api-Version": {"registry/2.0"}},
		}).WithContext(WithCall(ctx, Call{}))
		resp, used, err := a.exchange(req, nil)
		if err != nil {
			logrus.Debugf("Asking %s for its way of authentication: %v", h.Name, err)
			return nil
		}
		used.turn.leave()
		discard(resp)
		h.pinged = true
	}
	return h.currentChallenges()
}

// Known reports whether the credentials are known to be good for the repository, and fails if they
// are known not to be.
func (a *Authorization) Known() (good bool, err error) {
	l := a.login(a.Credentials.Get())
	if l == nil {
		return false, nil
	}
	return l.state(a.Repository)
}

// Wanted reports whether the host wants an authorization that there is. It asks for challenges,
// once, if none are known.
func (a *Authorization) Wanted(ctx context.Context) bool { return a.canAnswer(a.ping(ctx)) }
