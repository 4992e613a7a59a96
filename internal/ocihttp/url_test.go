package ocihttp

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSameOrigin(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"https://x/a", "https://X:443/b?c", true},
		{"http://x", "http://x:80", true},
		{"http://x", "https://x", false},
		{"http://x:1", "http://x:2", false},
		{"https://x", "https://sub.x", false},
		{"https://[::1]:5", "https://[::1]:5/", true},
	} {
		a, err := url.Parse(test.a)
		require.NoError(t, err)
		b, err := url.Parse(test.b)
		require.NoError(t, err)
		assert.Equal(t, test.want, sameOrigin(a, b), "%+v", test)
	}
}

func TestCleanURL(t *testing.T) {
	u, err := url.Parse("https://me:secret@x:5000/v2/a%20b?token=secret#secret")
	require.NoError(t, err)
	assert.Equal(t, "https://x:5000/v2/a%20b", CleanURL(u))
}

func TestCleanAnswer(t *testing.T) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://x/", nil)
	require.NoError(t, err)
	for text, want := range map[string]string{
		"":                  "",
		"as it is: c2VjcmV": "as it is: c2VjcmV",
		"Get https://me:secret@x/v2?sig=secret: EOF": "Get https://x/v2: EOF",
		"me said Basic bWU6Y29ycmVjdCBob3JzZQ==":     "me said Basic …",
		"the password is correct horse, not that":    "the password is …, not that",
	} {
		req.SetBasicAuth("me", "correct horse")
		assert.Equal(t, want, CleanAnswer(req, text))
	}
	req.Header.Set("Authorization", "Bearer a.b-c_d")
	assert.Equal(t, "token … is none", CleanAnswer(req, "token a.b-c_d is none"))
	req.SetBasicAuth("me", "it")
	assert.Equal(t, "as it is", CleanAnswer(req, "as it is"))
	req.Header.Del("Authorization")
	assert.Equal(t, "as it is", CleanAnswer(req, "as it is"))
}

// TestCleanAnswerOfAnObjectStore: some tell what they have signed, and not as a URL.
func TestCleanAnswerOfAnObjectStore(t *testing.T) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
		"https://x/blob?X-Amz-Signature=0a1b2c3d&X-Amz-Credential=AKIA1234%2Fus&sig=a%2Bb%2Fc%3D%3D&digest=sha256:0123", nil)
	require.NoError(t, err)
	for text, want := range map[string]string{
		"<SignatureProvided>0a1b2c3d</SignatureProvided>": "<SignatureProvided>…</SignatureProvided>",
		"X-Amz-Credential=AKIA1234%2Fus of AKIA1234/us":   "X-Amz-Credential=… of …",
		"sig a+b/c== is a%2Bb%2Fc%3D%3D":                  "sig … is …",
		"sha256:0123 is not there":                        "sha256:0123 is not there",
	} {
		assert.Equal(t, want, CleanAnswer(req, text))
	}
}
