package sparseserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	v2 "github.com/distribution/distribution/v3/registry/api/v2"

	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
)

// Where clients get tokens, and for how long one is good.
const (
	tokenPath     = "/token"
	tokenLifetime = 5 * time.Minute
)

// An open access lets everybody read, and the users of an htpasswd file do everything.
//
// Clients find out how to authenticate by asking for /v2/ without credentials. Were that answered
// with 200, some (Docker, Podman, crane) would never send any, and could not push. Were it answered
// with a challenge for a password, Docker could not pull without one. So the challenge is for a
// token, which those who have no password get, too: with that they can read. Passwords are taken in
// the place of tokens.
type openAccess struct {
	access   *access
	tokens   tokens
	external string // URL of the server; "" for what the request says
}

// admit answers 401 to whoever may not do what they ask for, and hands out tokens.
func (o *openAccess) admit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		users := o.access.users()
		switch {
		case users == nil:
			next.ServeHTTP(w, r)
		case r.URL.Path == tokenPath:
			o.serveToken(w, r, users)
		default:
			o.decide(w, r, users, next)
		}
	})
}

func (o *openAccess) decide(w http.ResponseWriter, r *http.Request, users *users, next http.Handler) {
	user, hasToken, ok := o.caller(r, users)
	switch {
	case !ok:
		noteReason(r, wrongCredentials)
		o.challenge(w, r, "invalid_token")
	case user != "":
		noteUser(r, user)
		next.ServeHTTP(w, r)
	case !isRead(r.Method) || (r.URL.Path == "/v2/" && !hasToken):
		noteReason(r, noCredentials)
		o.challenge(w, r, "")
	default:
		next.ServeHTTP(w, r)
	}
}

// caller is who sent r: a user, or "" for somebody else. ok is false if what r has to say about
// that is wrong. Some clients without a password send an empty one.
func (o *openAccess) caller(r *http.Request, users *users) (user string, hasToken, ok bool) {
	if name, password, given := r.BasicAuth(); given {
		return name, false, name+password == "" || users.know(name, password)
	}
	if r.Header.Get("Authorization") == "" {
		return "", false, true
	}
	user, ok = o.tokens.verify(r.Header.Get("Authorization"), users)
	return user, true, ok
}

// challenge asks for a token. fault is the error of RFC 6750 that the one in r has, "" if it has
// none.
func (o *openAccess) challenge(w http.ResponseWriter, r *http.Request, fault string) {
	text := fmt.Sprintf("Bearer realm=%q,service=%q", o.tokenURL(r), realm)
	if p, ok := sparseregistry.ParsePath(r.URL.Path); ok && sparseregistry.ValidName(p.Repository) {
		actions := "pull"
		if !isRead(r.Method) {
			actions = "pull,push,delete"
		}
		text += fmt.Sprintf(",scope=%q", "repository:"+p.Repository+":"+actions)
	}
	if fault != "" {
		text += fmt.Sprintf(",error=%q", fault)
	}
	w.Header().Set("WWW-Authenticate", text)
	_ = errcode.ServeJSON(w, errcode.ErrorCodeUnauthorized) // only the client can make it fail, by leaving
}

// tokenURL is where the client that sent r finds tokens. It has the host and the scheme that
// Locations have.
func (o *openAccess) tokenURL(r *http.Request) string {
	base := o.external
	if base == "" {
		base, _ = v2.NewURLBuilderFromRequest(r, false).BuildBaseURL() // fails for no request
	}
	u, err := url.Parse(base)
	if err != nil {
		return tokenPath // what the client said of itself is no host
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: tokenPath}).String()
}

// serveToken hands out a token, as the token authentication of the distribution registry has it.
// Scopes are not looked at: what one may do depends on who one is.
func (o *openAccess) serveToken(w http.ResponseWriter, r *http.Request, users *users) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		_ = errcode.ServeJSON(w, errcode.ErrorCodeUnsupported) // as in challenge
		return
	}
	name, password, _ := r.BasicAuth()
	if name+password != "" && !users.know(name, password) {
		noteReason(r, wrongCredentials)
		askForPassword(w)
		return
	}
	noteUser(r, name)
	now := clock.System.Now()
	token := o.tokens.issue(name, users, now.Add(tokenLifetime))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(map[string]any{ // as in challenge
		"token": token, "access_token": token,
		"expires_in": int(tokenLifetime / time.Second), "issued_at": now.UTC().Format(time.RFC3339),
	})
}
