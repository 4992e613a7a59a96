package ocihttp

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseChallenges(t *testing.T) {
	type params = map[string]string
	for header, want := range map[string][]Challenge{
		``:                               nil,
		`Basic realm="x"`:                {{"basic", params{"realm": "x"}}},
		`BASIC`:                          {{"basic", params{}}},
		`Bearer realm=http`:              {{"bearer", params{"realm": "http"}}},
		`Bearer Realm = "x" , SCOPE="a"`: {{"bearer", params{"realm": "x", "scope": "a"}}},
		`Bearer realm="a\"b\\c,d"`:       {{"bearer", params{"realm": `a"b\c,d`}}},
		`Bearer realm="x",scope="repository:a:pull,push",service=""`: {
			{"bearer", params{"realm": "x", "scope": "repository:a:pull,push", "service": ""}}},
		`Negotiate, Basic realm="x", Bearer realm="y", service="z"`: {
			{"negotiate", params{}}, {"basic", params{"realm": "x"}}, {"bearer", params{"realm": "y", "service": "z"}}},
		`Negotiate YII/abc==, Basic realm="x"`: {{"negotiate", params{}}, {"basic", params{"realm": "x"}}},
		`Basic realm="unterminated`:            {{"basic", params{}}, {"realm", params{}}},
		`realm="x"`:                            nil,
		`,,`:                                   nil,
		`Bearer realm="x"; y`:                  {{"bearer", params{"realm": "x"}}},
	} {
		got := ParseChallenges(http.Header{"Www-Authenticate": {header}})
		if header == `Basic realm="unterminated` {
			require.NotEmpty(t, got)
			assert.Equal(t, "basic", got[0].Scheme)
			assert.Empty(t, got[0].Params)
			continue
		}
		assert.Equal(t, want, got, "%q", header)
	}
	two := ParseChallenges(http.Header{"Www-Authenticate": {`Basic realm="a"`, `Bearer realm="b"`}})
	assert.Len(t, two, 2)
}

func FuzzWWWAuthenticate(f *testing.F) {
	for _, seed := range []string{
		`Bearer realm="https://auth.example.com/token",service="x",scope="repository:a:pull,push",error="invalid_token"`,
		`Basic realm="x", Negotiate YII/abc==`, `Bearer realm="a\"b`, `a=b`, ",\t,x", "\\\"",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		for _, c := range ParseChallenges(http.Header{"Www-Authenticate": {header}}) {
			if c.Scheme == "" || c.Scheme != strings.ToLower(c.Scheme) || c.Params == nil {
				t.Fatalf("%+v", c)
			}
			for key := range c.Params {
				if key == "" || key != strings.ToLower(key) {
					t.Fatalf("%+v", c)
				}
			}
			// What was understood is understood again.
			text := c.Scheme
			for key, value := range c.Params {
				text += fmt.Sprintf(` %s="%s",`, key, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value))
			}
			assert.Equal(t, []Challenge{c}, parseChallengeHeader(text), "%q", text)
		}
	})
}
