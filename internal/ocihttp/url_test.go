package ocihttp

import (
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
