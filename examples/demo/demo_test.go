package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

func TestMain(m *testing.M) { os.Exit(hermetictest.Main(m.Run)) }

func TestDemo(t *testing.T) {
	var out strings.Builder
	require.NoError(t, run(t.Context(), &out, registrytest.Options{Strict: true}))

	assert.Contains(t, out.String(), "All 17 checks passed.")
	assert.Equal(t, 17, strings.Count(out.String(), "\n  ok   "))
	assert.NotContains(t, out.String(), "FAIL")
	for _, part := range []string{"MANIFEST_BLOB_UNKNOWN", `echo "Hello from linux/amd64"`, `echo "Hello from linux/arm64"`, "nothing to do", "proven: what its publisher has signed", "the list names another image than its"} {
		assert.Contains(t, out.String(), part)
	}
	assert.Less(t, strings.Count(out.String(), "\n"), 90, "it is meant to be short")
}

// TestDemoNotices runs the demonstration against mirrors that are not what it says, or that do
// wrong.
func TestDemoNotices(t *testing.T) {
	// The requests of the copy itself come first: only what the client that pulls asks for is
	// damaged.
	pulls := func(kind registrytest.Kind, answer registrytest.Answer) registrytest.Script {
		return registrytest.Only(registrytest.Matching(http.MethodGet, kind), registrytest.EveryNth(1, answer))
	}
	for _, c := range []struct {
		name   string
		mirror registrytest.Options
		claim  string
	}{
		{"takes sparse lists", registrytest.Options{}, "refused"},
		{"refuses for another reason", registrytest.Options{ListPolicy: registrytest.Denied}, "refused"},
		{"refuses stripped lists too", registrytest.Options{ListPolicy: func(l registrytest.ListPut) registrytest.Answer {
			if len(l.Missing()) > 0 {
				return registrytest.Distribution3(l)
			}
			return registrytest.Denied(l)
		}}, "mirror succeeded"},
		{"damages blobs", registrytest.Options{Strict: true, Script: pulls(registrytest.KindBlob, registrytest.Corrupt(20))}, "linux/amd64 can be pulled"},
		{"loses manifests", registrytest.Options{Strict: true, Script: pulls(registrytest.KindManifest, registrytest.Fail(404, "MANIFEST_UNKNOWN", "gone"))}, "can be pulled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			err := run(t.Context(), &out, c.mirror)
			require.Error(t, err)
			assert.Contains(t, err.Error(), "checks failed")
			assert.Contains(t, err.Error(), c.claim)
			assert.Contains(t, out.String(), "\n  FAIL ")
			assert.NotContains(t, out.String(), "checks passed")
		})
	}
}

func TestDemoStops(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	require.Error(t, run(ctx, &strings.Builder{}, registrytest.Options{Strict: true}))
}

func TestWrap(t *testing.T) {
	assert.Equal(t, []string{"short"}, wrap("short"))
	long := strings.Repeat("word ", 60) + "end"
	parts := wrap(long)
	assert.Greater(t, len(parts), 1)
	assert.Equal(t, long, strings.Join(parts, " "))
	assert.Equal(t, []string{strings.Repeat("x", 500)}, wrap(strings.Repeat("x", 500)))
}
