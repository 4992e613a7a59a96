package ocihttp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.podman.io/image/v5/types"
)

// clientID is how containers/image names itself to token services.
const clientID = "containers/image"

// maxTokenSize bounds what is read of the answer of a token service.
const maxTokenSize = 1 << 20

// Methods of asking a token service.
const (
	byGet  = http.MethodGet  // the distribution project's token form
	byPost = http.MethodPost // its OAuth2 form
)

// fetchToken asks the token service that c names: with an identity token by POST, and else by GET.
// Some services know only one of the two: the other is tried if the first is not known there, and
// remembered.
func (a *Authorization) fetchToken(ctx context.Context, c Challenge, scopes []string, auth types.DockerAuthConfig) (string, time.Duration, error) {
	realm, err := url.Parse(c.Params["realm"])
	if err != nil || realm.Host == "" || (realm.Scheme != "https" && realm.Scheme != "http") {
		return "", 0, errors.New("the registry names no usable token service")
	}
	first, other := byGet, byPost
	if auth.IdentityToken != "" {
		first, other = byPost, byGet
	}
	if auth == (types.DockerAuthConfig{}) { // the OAuth2 form is for somebody
		return a.askForToken(ctx, realm, c, scopes, auth, byGet)
	}
	if a.Host.tokens.knowsOnly(realm, other) {
		return a.askForToken(ctx, realm, c, scopes, auth, other)
	}
	text, lifetime, err := a.askForToken(ctx, realm, c, scopes, auth, first)
	if !saysOtherMethod(err) {
		return text, lifetime, err
	}
	text, lifetime, second := a.askForToken(ctx, realm, c, scopes, auth, other)
	if saysOtherMethod(second) {
		return "", 0, err // it is something else
	}
	if second == nil {
		a.Host.tokens.noteOnly(realm, other)
	}
	return text, lifetime, second
}

// errNoToken is about an answer of success that has no token.
var errNoToken = errors.New("the answer is not a token")

// saysOtherMethod reports whether err may come of a token service that does not know the method.
func saysOtherMethod(err error) bool {
	if no, ok := errors.AsType[Refusal](err); ok {
		switch no.HTTPStatus() {
		case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusUnsupportedMediaType, http.StatusNotImplemented:
			return true
		}
	}
	return errors.Is(err, errNoToken)
}

// knowsOnly reports whether the token service is known to answer only one method.
func (c *tokenCache) knowsOnly(realm *url.URL, method string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.only[realm.String()] == method
}

func (c *tokenCache) noteOnly(realm *url.URL, method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.only == nil {
		c.only = map[string]string{}
	}
	c.only[realm.String()] = method
}

// askForToken asks the token service once.
func (a *Authorization) askForToken(ctx context.Context, realm *url.URL, c Challenge, scopes []string, auth types.DockerAuthConfig, method string) (string, time.Duration, error) {
	ask := tokenByGet
	if method == byPost {
		ask = tokenByPost
	}
	req, err := ask(ctx, realm, c, scopes, auth)
	if err != nil {
		return "", 0, errors.New("the registry names no usable token service")
	}
	req.URL.User = nil
	req.Header.Set("User-Agent", a.UserAgent)
	a.Asked()

	resp, err := a.Services.RoundTrip(req)
	if err != nil {
		return "", 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return "", 0, a.Refuse(resp, true)
	}
	defer resp.Body.Close()
	return readToken(resp)
}

// noUser is how Docker's helpers name whoever has an identity token only.
const noUser = "<token>"

// tokenByGet asks as the token form says. An identity token takes the place of the password then.
func tokenByGet(ctx context.Context, realm *url.URL, c Challenge, scopes []string, auth types.DockerAuthConfig) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, realm.String(), nil)
	if err != nil {
		return nil, err
	}
	query := req.URL.Query()
	if auth.Username != "" {
		query.Set("account", auth.Username)
	}
	addService(query, c, scopes)
	req.URL.RawQuery = query.Encode()
	switch {
	case auth.IdentityToken != "":
		req.SetBasicAuth(cmp.Or(auth.Username, noUser), auth.IdentityToken)
	case auth.Username != "" && auth.Password != "":
		req.SetBasicAuth(auth.Username, auth.Password)
	}
	return req, nil
}

// tokenByPost asks as the OAuth2 form says.
func tokenByPost(ctx context.Context, realm *url.URL, c Challenge, scopes []string, auth types.DockerAuthConfig) (*http.Request, error) {
	form := url.Values{"client_id": {clientID}}
	if auth.IdentityToken != "" {
		form.Set("grant_type", "refresh_token")
		form.Set("refresh_token", auth.IdentityToken)
	} else {
		form.Set("grant_type", "password")
		form.Set("username", auth.Username)
		form.Set("password", auth.Password)
	}
	addService(form, c, scopes)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req, nil
}

func addService(values url.Values, c Challenge, scopes []string) {
	if service := c.Params["service"]; service != "" {
		values.Set("service", service)
	}
	values["scope"] = scopes
}

// defaultTokenLifetime is what the token specification says for an answer without expires_in.
const defaultTokenLifetime = 60 * time.Second

// readToken reads the answer of a token service. Its issued_at is ignored: the clocks may differ.
func readToken(resp *http.Response) (string, time.Duration, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTokenSize))
	if err != nil {
		return "", 0, err
	}
	var answer struct {
		Token       string  `json:"token"`
		AccessToken string  `json:"access_token"`
		ExpiresIn   seconds `json:"expires_in"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", 0, fmt.Errorf("%s: %w", CleanURL(resp.Request.URL), errNoToken)
	}
	token := answer.Token
	if token == "" {
		token = answer.AccessToken
	}
	if token == "" || strings.ContainsAny(token, "\r\n") {
		return "", 0, fmt.Errorf("%s: the answer has no token", CleanURL(resp.Request.URL))
	}
	lifetime := defaultTokenLifetime
	if answer.ExpiresIn > 0 {
		lifetime = time.Duration(min(float64(answer.ExpiresIn), 24*3600) * float64(time.Second))
	}
	return token, lifetime, nil
}

// seconds is a number, or one in a text; 0 for anything else.
type seconds float64

// UnmarshalJSON implements json.Unmarshaler.
func (s *seconds) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseFloat(strings.TrimSpace(strings.Trim(string(b), `"`)), 64)
	if err != nil || math.IsNaN(n) {
		n = 0
	}
	*s = seconds(n)
	return nil
}
