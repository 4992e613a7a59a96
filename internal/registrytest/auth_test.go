package registrytest

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func basic(username, password string) []string {
	return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password))}
}

var teams = []Account{
	{Username: "a", Password: "1", Namespace: "team-a", IdentityToken: "id-a"},
	{Username: "b", Password: "2", Namespace: "team-b"},
	{Username: "reader", Password: "3", PullOnly: true},
}

func TestBasicAuth(t *testing.T) {
	c := start(t, Options{Auth: &Auth{Accounts: teams}})
	for _, repo := range []string{"team-a", "team-a/x", "team-ab", "team-b"} {
		c.PutManifest(repo, "v1", imageType, []byte("{}"))
	}
	a := c.do(401, "GET", "/v2/", "")
	require.Equal(t, `Basic realm="registrytest"`, a.Header.Get("WWW-Authenticate"))
	require.Equal(t, []string{"UNAUTHORIZED"}, a.codes(t))
	c.do(401, "GET", "/v2/", "", basic("a", "2")...)
	c.do(401, "GET", "/v2/", "", "Authorization", "Bearer x")
	c.do(200, "GET", "/v2/", "", basic("a", "1")...)
	c.do(200, "GET", "/v2/team-a/manifests/v1", "", basic("a", "1")...)
	c.do(200, "GET", "/v2/team-a/x/manifests/v1", "", basic("a", "1")...)
	require.Equal(t, []string{"DENIED"}, c.do(403, "GET", "/v2/team-ab/manifests/v1", "", basic("a", "1")...).codes(t))
	c.do(403, "GET", "/v2/team-b/manifests/v1", "", basic("a", "1")...)
	c.do(200, "GET", "/v2/team-b/manifests/v1", "", basic("reader", "3")...)
	c.do(403, "POST", "/v2/team-b/blobs/uploads/", "", basic("reader", "3")...)
	c.do(403, "DELETE", "/v2/team-b/manifests/v1", "", basic("reader", "3")...)
	c.do(202, "POST", "/v2/team-b/blobs/uploads/", "", basic("b", "2")...)
	c.do(404, "GET", "/token", "", basic("b", "2")...) // no token service

	// a mount needs access to both
	d := c.PutBlob("team-a", []byte("x"))
	mount := "/v2/team-b/blobs/uploads/?mount=" + d.String() + "&from=team-a"
	c.do(202, "POST", mount, "", basic("b", "2")...)

	c = start(t, Options{Auth: &Auth{Accounts: teams, AnonymousPull: true}})
	d = c.PutBlob("team-a", []byte("x"))
	c.do(401, "GET", "/v2/", "")
	c.do(200, "GET", "/v2/team-a/blobs/"+d.String(), "")
	c.do(401, "POST", "/v2/team-a/blobs/uploads/", "")
	c.do(201, "POST", mount, "", basic("b", "2")...)
}

// challenge is a parsed WWW-Authenticate header.
type challenge map[string]string

func (a answer) challenge() challenge {
	c := challenge{}
	for _, m := range regexp.MustCompile(`(\w+)="([^"]*)"`).FindAllStringSubmatch(a.Header.Get("WWW-Authenticate"), -1) {
		c[m[1]] = m[2]
	}
	return c
}

// getToken asks the token service and returns the header to send.
func (c *client) getToken(ch challenge, headers ...string) []string {
	c.t.Helper()
	a := c.do(200, "GET", ch["realm"]+"?service="+url.QueryEscape(ch["service"])+"&scope="+url.QueryEscape(ch["scope"]), "", headers...)
	var doc struct {
		Token     string `json:"token"`
		Access    string `json:"access_token"`
		ExpiresIn int    `json:"expires_in"`
	}
	unmarshal(c.t, a.body, &doc)
	require.NotEmpty(c.t, doc.Token)
	require.Equal(c.t, doc.Token, doc.Access)
	require.Equal(c.t, 300, doc.ExpiresIn)
	return []string{"Authorization", "Bearer " + doc.Token}
}

func TestBearerAuth(t *testing.T) {
	for _, second := range []bool{false, true} {
		c := start(t, Options{Auth: &Auth{Bearer: true, SecondServer: second, Accounts: teams}})
		c.PutManifest("team-a/x", "v1", imageType, []byte("{}"))
		c.PutManifest("team-b/x", "v1", imageType, []byte("{}"))

		ping := c.do(401, "GET", "/v2/", "").challenge()
		host := c.Host()
		if second {
			host = c.SecondHost()
			c.do(404, "GET", "/token", "", basic("a", "1")...)
		}
		require.Equal(t, challenge{"realm": "http://" + host + "/token", "service": c.Host()}, ping)
		c.do(401, "GET", ping["realm"], "")
		c.do(401, "GET", ping["realm"], "", basic("a", "wrong")...)
		c.do(405, "PUT", ping["realm"], "", basic("a", "1")...)

		pull := c.do(401, "GET", "/v2/team-a/x/manifests/v1", "").challenge()
		require.Equal(t, "repository:team-a/x:pull", pull["scope"])
		token := c.getToken(pull, basic("a", "1")...)
		c.do(200, "GET", "/v2/", "", token...)
		c.do(200, "GET", "/v2/team-a/x/manifests/v1", "", token...)
		c.do(401, "GET", "/v2/team-a/x/manifests/v1", "", basic("a", "1")...) // tokens only

		// scopes: another repository, another action
		denied := c.do(401, "GET", "/v2/team-b/x/manifests/v1", "", token...).challenge()
		require.Equal(t, "insufficient_scope", denied["error"])
		push := c.do(401, "POST", "/v2/team-a/x/blobs/uploads/", "", token...).challenge()
		require.Equal(t, "repository:team-a/x:pull,push", push["scope"])
		c.do(202, "POST", "/v2/team-a/x/blobs/uploads/", "", c.getToken(push, basic("a", "1")...)...)
		// credentials of another namespace give a token that is good for nothing
		c.do(401, "POST", "/v2/team-a/x/blobs/uploads/", "", c.getToken(push, basic("b", "2")...)...)
		c.do(401, "POST", "/v2/team-a/x/blobs/uploads/", "", c.getToken(push, basic("reader", "3")...)...)
		del := c.do(401, "DELETE", "/v2/team-a/x/manifests/v1", "").challenge()
		require.Equal(t, "repository:team-a/x:delete", del["scope"])
		c.do(202, "DELETE", "/v2/team-a/x/manifests/v1", "", c.getToken(challenge{
			"realm": del["realm"], "scope": "registry:catalog:* repository:team-a/x:*",
		}, basic("a", "1")...)...)

		c.ExpireTokens()
		require.Equal(t, "invalid_token", c.do(401, "GET", "/v2/", "", token...).challenge()["error"])
		require.Positive(t, c.Count(Is("GET", KindToken)))
		require.Equal(t, second, c.Count(func(q Request) bool { return q.Kind == KindToken && q.Second }) > 0)
	}
}

func TestBearerMount(t *testing.T) {
	c := start(t, Options{Auth: &Auth{Bearer: true, Accounts: []Account{{Username: "u", Password: "p"}}}})
	d := c.PutBlob("a", []byte("x"))
	mount := "/v2/b/blobs/uploads/?mount=" + d.String() + "&from=a"
	ch := c.do(401, "POST", mount, "").challenge()
	c.do(202, "POST", mount, "", c.getToken(ch, basic("u", "p")...)...)
	ch["scope"] += " repository:a:pull"
	c.do(201, "POST", mount, "", c.getToken(ch, basic("u", "p")...)...)
}

func TestAnonymousTokens(t *testing.T) {
	c := start(t, Options{Auth: &Auth{Bearer: true, AnonymousPull: true, Accounts: teams}})
	c.PutManifest("team-a", "v1", imageType, []byte("{}"))
	ch := c.do(401, "GET", "/v2/team-a/manifests/v1", "").challenge()
	c.do(200, "GET", "/v2/team-a/manifests/v1", "", c.getToken(ch)...)
	ch["scope"] = "repository:team-a:pull,push"
	c.do(401, "POST", "/v2/team-a/blobs/uploads/", "", c.getToken(ch)...)
	c.do(401, "GET", ch["realm"], "", basic("a", "wrong")...) // wrong is not anonymous
	c.do(401, "GET", ch["realm"], "", "Authorization", "Bearer x")
}

func TestOAuth2(t *testing.T) {
	c := start(t, Options{Auth: &Auth{Bearer: true, Accounts: teams}})
	c.PutManifest("team-a", "v1", imageType, []byte("{}"))
	post := func(status int, form url.Values) answer {
		form.Set("scope", "repository:team-a:pull")
		return c.do(status, "POST", "/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	}
	for _, form := range []url.Values{
		{"grant_type": {"password"}, "username": {"a"}, "password": {"1"}},
		{"grant_type": {"refresh_token"}, "refresh_token": {"id-a"}},
	} {
		var doc struct {
			Access string `json:"access_token"`
		}
		unmarshal(t, post(200, form).body, &doc)
		c.do(200, "GET", "/v2/team-a/manifests/v1", "", "Authorization", "Bearer "+doc.Access)
	}
	post(401, url.Values{"grant_type": {"password"}, "username": {"a"}, "password": {"2"}})
	post(401, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {""}})
	post(401, url.Values{"grant_type": {"other"}})
	c.do(401, "POST", "/token", "%zz", "Content-Type", "application/x-www-form-urlencoded")
}

func TestTokensEnd(t *testing.T) {
	c := start(t, Options{Auth: &Auth{Bearer: true, TokenRequests: 2, Accounts: teams}})
	c.PutManifest("team-a", "v1", imageType, []byte("{}"))
	ch := c.do(401, "GET", "/v2/team-a/manifests/v1", "").challenge()
	bearer := c.getToken(ch, basic("a", "1")...)
	c.do(200, "GET", "/v2/team-a/manifests/v1", "", bearer...)
	c.do(401, "GET", "/v2/team-b/manifests/v1", "", bearer...) // does not count
	c.do(200, "GET", "/v2/team-a/manifests/v1", "", bearer...)
	require.Equal(t, "invalid_token", c.do(401, "GET", "/v2/team-a/manifests/v1", "", bearer...).challenge()["error"])

	a := newAuthenticator(Auth{TokenLifetime: time.Hour})
	a.tokens["old"] = &token{expires: time.Now().Add(-time.Second), requests: -1}
	require.False(t, a.valid("old", "", nil))
	a.tokens["new"] = &token{expires: time.Now().Add(time.Hour), requests: -1}
	require.True(t, a.valid("new", "", nil))
}

func TestScopes(t *testing.T) {
	require.Equal(t, map[string][]string{"a/b": {"pull", "push"}, "host:5000/c": {"pull", "push", "delete"}, "d": {"pull"}},
		scopes([]string{"repository:a/b:pull,push repository:host:5000/c:*", "repository:d:pull", "repository:x", "other:y:pull"}))
}
