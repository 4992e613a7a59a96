package registrytest

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// Auth is how a registry asks for credentials.
type Auth struct {
	// Bearer wants tokens from a token service, which gives them for credentials (docker's token
	// authentication and OAuth2). Without it the registry wants the credentials themselves (basic
	// authentication).
	Bearer bool
	// SecondServer moves the token service to the second server.
	SecondServer bool
	// Accounts are the credentials that are good for something.
	Accounts []Account
	// AnonymousPull lets everybody pull; tokens are given without credentials then.
	AnonymousPull bool
	// OpenBase answers everybody at /v2/ with AnonymousPull and without Bearer, as registries do
	// that want a password for what nobody may do without. Wrong ones are refused there.
	OpenBase bool
	// TokenLifetime ends tokens by time; 0 means 5 minutes. Clients are told whole seconds.
	TokenLifetime time.Duration
	// TokenRequests ends tokens after so many requests that they were good for, without telling; 0
	// means never.
	TokenRequests int
	// TokenMethod is the only method that the token service knows, "" for both: GET (Harbor,
	// GitLab, Artifactory), or POST. Others get 405, or 404 and a page if TokenPage is set, as
	// GitLab's do.
	TokenMethod string
	TokenPage   bool
	// ExpiresInText gives the lifetime of tokens as a text, as some services that are written in
	// other languages do.
	ExpiresInText bool
	// BasicForRefused challenges a request that brings an Authorization header which is not good
	// with Basic, as Harbor does whatever it wants otherwise.
	BasicForRefused bool
	// NoChallengeForRefused challenges such a request with nothing, as Docker Hardened Images did
	// in 2026.
	NoChallengeForRefused bool
	// TokenRefusal is what the token service answers, with DENIED, to known accounts that have no
	// access to what they ask for: 403 is GitLab's answer, 401 others'. 0 gives them a token that
	// is good for less.
	TokenRefusal int
}

// Account is a user.
type Account struct {
	Username string
	Password string
	// IdentityToken is an OAuth2 refresh token that is as good as the password; "" for none.
	IdentityToken string
	// Namespace is what the account has access to: the repository of that name, and those below it.
	// "" means all.
	Namespace string
	// PullOnly gives no access to anything that changes the repository.
	PullOnly bool
}

// may reports whether the account has access to the repository for an action, "pull", "push" or
// "delete".
func (a Account) may(repo, action string) bool {
	inside := a.Namespace == "" || repo == a.Namespace || strings.HasPrefix(repo, a.Namespace+"/")
	return inside && (action == "pull" || !a.PullOnly)
}

// token is a bearer token.
type token struct {
	access   map[string][]string // repository → actions
	expires  time.Time
	requests int // that it is still good for; negative means no limit
}

type authenticator struct {
	Auth
	mu     sync.Mutex
	tokens map[string]*token
	wrong  int // logins; guarded by mu, as are Accounts
}

func newAuthenticator(a Auth) *authenticator {
	if a.TokenLifetime == 0 {
		a.TokenLifetime = 5 * time.Minute
	}
	return &authenticator{Auth: a, tokens: map[string]*token{}}
}

// account finds the account that credentials belong to.
func (a *authenticator) account(match func(Account) bool) (Account, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.IndexFunc(a.Accounts, match)
	if i < 0 {
		return Account{}, false
	}
	return a.Accounts[i], true
}

// wrongLogin counts a credential that belongs to no account.
func (a *authenticator) wrongLogin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wrong++
}

// WrongLogins returns how often a password or identity token came that belongs to no account: what
// locks accounts.
func (r *Registry) WrongLogins() int {
	r.auth.mu.Lock()
	defer r.auth.mu.Unlock()
	return r.auth.wrong
}

// SetAccounts replaces the accounts. Tokens that were given stay good.
func (r *Registry) SetAccounts(accounts ...Account) {
	r.auth.mu.Lock()
	defer r.auth.mu.Unlock()
	r.auth.Accounts = accounts
}

func (a *authenticator) byPassword(username, password string) (Account, bool) {
	return a.account(func(c Account) bool {
		return c.Username == username && subtle.ConstantTimeCompare([]byte(c.Password), []byte(password)) == 1
	})
}

// access is what the request needs: a repository and actions. The repository is "" if any
// credentials will do.
func (x *exchange) access() (repo string, actions []string) {
	switch {
	case x.route.repo == "":
		return "", nil
	case x.req.Method == http.MethodGet && x.route.kind != KindUpload, x.req.Method == http.MethodHead && x.route.kind != KindUpload:
		return x.route.repo, []string{"pull"}
	case x.req.Method == http.MethodDelete && x.route.kind != KindUpload:
		return x.route.repo, []string{"delete"}
	}
	return x.route.repo, []string{"pull", "push"}
}

// authorized reports whether the request may be served. If not, it has answered.
func (x *exchange) authorized() bool {
	if x.auth == nil {
		return true
	}
	if x.auth.Bearer {
		return x.authorizedBearer()
	}
	return x.authorizedBasic()
}

func (x *exchange) authorizedBasic() bool {
	repo, actions := x.access()
	open := slices.Equal(actions, []string{"pull"}) || x.auth.OpenBase && repo == ""
	if x.req.Header.Get("Authorization") == "" && x.auth.AnonymousPull && open {
		return true
	}
	username, password, given := x.req.BasicAuth()
	account, ok := x.auth.byPassword(username, password)
	if given && !ok {
		x.auth.wrongLogin()
	}
	switch {
	case !ok:
		x.w.Header().Set("WWW-Authenticate", `Basic realm="registrytest"`)
		x.unauthorized()
		return false
	case repo != "" && slices.ContainsFunc(actions, func(action string) bool { return !account.may(repo, action) }):
		x.refuse(http.StatusForbidden, Error{Code: "DENIED", Message: "requested access to the resource is denied"})
		return false
	}
	return true
}

func (x *exchange) unauthorized() {
	x.refuse(http.StatusUnauthorized, Error{Code: "UNAUTHORIZED", Message: "authentication required"})
}

func (x *exchange) authorizedBearer() bool {
	repo, actions := x.access()
	given, ok := strings.CutPrefix(x.req.Header.Get("Authorization"), "Bearer ")
	if ok && repo == "" && x.auth.valid(given, "", nil) || ok && repo != "" && x.auth.valid(given, repo, actions) {
		return true
	}
	challenge := fmt.Sprintf(`Bearer realm="%s",service="%s"`, x.realm(), x.req.Host)
	if repo != "" {
		challenge += fmt.Sprintf(`,scope="repository:%s:%s"`, repo, strings.Join(actions, ","))
	}
	if ok {
		challenge += `,error="` + x.auth.fault(given) + `"`
	}
	switch came := x.req.Header.Get("Authorization") != ""; {
	case came && x.auth.BasicForRefused:
		x.w.Header().Set("WWW-Authenticate", `Basic realm="harbor"`)
	case came && x.auth.NoChallengeForRefused:
	default:
		x.w.Header().Set("WWW-Authenticate", challenge)
	}
	x.unauthorized()
	return false
}

// mayPull reports whether the request may read another repository, too.
func (x *exchange) mayPull(repo string) bool {
	switch {
	case x.auth == nil || x.auth.AnonymousPull || repo == x.route.repo:
		return true
	case x.auth.Bearer:
		given, _ := strings.CutPrefix(x.req.Header.Get("Authorization"), "Bearer ")
		return x.auth.grants(given, repo, "pull")
	}
	username, password, _ := x.req.BasicAuth()
	account, ok := x.auth.byPassword(username, password)
	return ok && account.may(repo, "pull")
}

// realm is the URL of the token service.
func (x *exchange) realm() string {
	if base := x.secondURL(); x.auth.SecondServer && base != "" {
		return base + tokenPath
	}
	return x.baseURL() + tokenPath
}

// valid reports whether a token is good for all the actions, and counts its use if so.
func (a *authenticator) valid(given, repo string, actions []string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tokens[given]
	if !t.alive() {
		return false
	}
	for _, action := range actions {
		if !slices.Contains(t.access[repo], action) {
			return false
		}
	}
	if t.requests > 0 {
		t.requests--
	}
	return true
}

// grants reports whether a token is good for an action, without counting.
func (a *authenticator) grants(given, repo, action string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tokens[given]
	return t != nil && slices.Contains(t.access[repo], action)
}

// fault is the error (RFC 6750, section 3.1) of a token that was not good enough.
func (a *authenticator) fault(given string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tokens[given].alive() {
		return "insufficient_scope"
	}
	return "invalid_token"
}

// alive reports whether the token, which may be nil, has not ended.
func (t *token) alive() bool {
	return t != nil && t.requests != 0 && clock.System.Now().Before(t.expires)
}

// ExpireTokens ends all tokens that were given so far.
func (r *Registry) ExpireTokens() {
	if r.auth == nil {
		return
	}
	r.auth.mu.Lock()
	defer r.auth.mu.Unlock()
	clear(r.auth.tokens)
}

// token serves the token service: GET with basic authentication, and POST with a form (OAuth2). As
// the services in the field do, it gives a token for what the account may do, which can be less
// than was asked for.
func (x *exchange) token() {
	if x.auth.SecondServer && !x.second && x.secondURL() != "" {
		x.refuse(http.StatusNotFound, Error{Code: "UNSUPPORTED", Message: "the token service is elsewhere"})
		return
	}
	if only := x.auth.TokenMethod; only != "" && x.req.Method != only {
		if x.auth.TokenPage {
			FailHTML(http.StatusNotFound).write(x)
		} else {
			x.notAllowed()
		}
		return
	}
	var account Account
	var known, anonymous bool
	var form url.Values
	switch x.req.Method {
	case http.MethodGet:
		form = x.req.URL.Query()
		username, password, given := x.req.BasicAuth()
		if account, known = x.auth.byPassword(username, password); given && !known {
			account, known = x.auth.account(func(a Account) bool { return a.IdentityToken != "" && a.IdentityToken == password })
		}
		anonymous = !given && x.req.Header.Get("Authorization") == ""
	case http.MethodPost:
		x.req.Body = http.MaxBytesReader(nil, x.req.Body, 1<<20)
		if x.req.ParseForm() != nil {
			x.unauthorized()
			return
		}
		form = x.req.PostForm
		account, known = x.oauthAccount(form)
	default:
		x.notAllowed()
		return
	}
	if !known && !(anonymous && x.auth.AnonymousPull) {
		if !anonymous {
			x.auth.wrongLogin()
		}
		x.unauthorized()
		return
	}
	if x.auth.TokenRefusal != 0 && known {
		for repo, actions := range scopes(form["scope"]) {
			if slices.ContainsFunc(actions, func(action string) bool { return !account.may(repo, action) }) {
				x.refuse(x.auth.TokenRefusal, Error{Code: "DENIED", Message: "access forbidden"})
				return
			}
		}
	}
	x.giveToken(scopes(form["scope"]), func(repo, action string) bool {
		return action == "pull" && x.auth.AnonymousPull || known && account.may(repo, action)
	})
}

// oauthAccount finds the account of an OAuth2 request.
func (x *exchange) oauthAccount(form url.Values) (Account, bool) {
	switch form.Get("grant_type") {
	case "password":
		return x.auth.byPassword(form.Get("username"), form.Get("password"))
	case "refresh_token":
		return x.auth.account(func(a Account) bool {
			return a.IdentityToken != "" && a.IdentityToken == form.Get("refresh_token")
		})
	}
	return Account{}, false
}

// giveToken answers with a token for those of the scopes that may be had.
func (x *exchange) giveToken(asked map[string][]string, may func(repo, action string) bool) {
	t := &token{access: map[string][]string{}, expires: clock.System.Now().Add(x.auth.TokenLifetime), requests: -1}
	if x.auth.TokenRequests > 0 {
		t.requests = x.auth.TokenRequests
	}
	for repo, actions := range asked {
		for _, action := range actions {
			if may(repo, action) {
				t.access[repo] = append(t.access[repo], action)
			}
		}
	}
	text := secret()
	x.auth.mu.Lock()
	x.auth.tokens[text] = t
	x.auth.mu.Unlock()
	var lifetime any = int(x.auth.TokenLifetime.Seconds())
	if x.auth.ExpiresInText {
		lifetime = fmt.Sprint(lifetime)
	}
	x.json(http.StatusOK, "application/json", map[string]any{
		"token": text, "access_token": text, "expires_in": lifetime,
		"issued_at": clock.System.Now().UTC().Format(time.RFC3339),
	})
}

// scopes parses "repository:name:action,action", several of them in one value or in several. "*" is
// every action.
func scopes(values []string) map[string][]string {
	all := map[string][]string{}
	for _, scope := range strings.Fields(strings.Join(values, " ")) {
		rest, ok := strings.CutPrefix(scope, "repository:")
		if !ok {
			continue
		}
		i := strings.LastIndexByte(rest, ':')
		if i < 0 {
			continue
		}
		for action := range strings.SplitSeq(rest[i+1:], ",") {
			if action == "*" {
				all[rest[:i]] = append(all[rest[:i]], "pull", "push", "delete")
			} else {
				all[rest[:i]] = append(all[rest[:i]], action)
			}
		}
	}
	return all
}
