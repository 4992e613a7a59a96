package ocihttp

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStack(t *testing.T) {
	var passed []string
	named := func(name string) Layer {
		return func(next http.RoundTripper) http.RoundTripper {
			return RoundTripFunc(func(req *http.Request) (*http.Response, error) {
				passed = append(passed, name)
				return next.RoundTrip(req)
			})
		}
	}
	bottom := RoundTripFunc(func(*http.Request) (*http.Response, error) { return &http.Response{}, nil })
	_, err := Stack(bottom, named("first"), named("second")).RoundTrip(nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"first", "second"}, passed)
}

func TestOnClose(t *testing.T) {
	closed := 0
	body := onClose(io.NopCloser(strings.NewReader("")), func() { closed++ })
	require.NoError(t, body.Close())
	require.NoError(t, body.Close())
	assert.Equal(t, 1, closed)
}
