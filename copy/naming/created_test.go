package naming_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/cache"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
	"github.com/sparsecopy/sparsecopy/copy/naming"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// aged is what was made at certain times, and what does not say when.
func aged() *imagetest.Fixture {
	f := imagetest.New()
	f.Image("amd64", imagetest.Platform("linux/amd64"), imagetest.Created("2025-03-01T10:00:00.123456789Z"))
	f.Image("arm64", imagetest.Platform("linux/arm64"), imagetest.Created("2025-03-02T10:00:00+02:00"))
	f.Image("windows", imagetest.Platform("windows/amd64"), imagetest.OSVersion("10.0.1"), imagetest.Created("2025-03-03T10:00:00Z"))
	f.Attestation("attestation", "amd64", imagetest.Created("2025-04-01T10:00:00Z"))
	f.Image("epoch", imagetest.Platform("linux/amd64"), imagetest.Created("1980-01-01T00:00:01Z"))
	f.Image("annotated", imagetest.Platform("linux/amd64"), imagetest.Annotation(imgspecv1.AnnotationCreated, "2025-05-01T10:00:00Z"))
	f.Image("silent", imagetest.Platform("linux/amd64"), imagetest.Created("yesterday"))
	f.Image("docker", imagetest.Docker(), imagetest.Platform("linux/amd64"), imagetest.Created("2025-03-04T10:00:00Z"))
	f.Artifact("chart", imagetest.Annotation(imgspecv1.AnnotationCreated, "2025-06-01T10:00:00Z"))
	f.List("list", imagetest.Entries("amd64", "arm64", "windows", "attestation"))
	f.List("nested", imagetest.Entries("list", "docker"))
	f.List("charts", imagetest.Entries("chart"))
	f.List("epochs", imagetest.Entries("epoch", "silent"))
	return f
}

func TestCreated(t *testing.T) {
	f := aged()
	for _, c := range []struct {
		name, want string
		platforms  []string
	}{
		{name: "amd64", want: "2025-03-01T10:00:00.123456789Z"},
		{name: "amd64", platforms: []string{"linux/s390x"}, want: "2025-03-01T10:00:00.123456789Z"},
		{name: "docker", want: "2025-03-04T10:00:00Z"},
		{name: "annotated", want: "2025-05-01T10:00:00Z"},
		{name: "chart", want: "2025-06-01T10:00:00Z"},
		{name: "charts", want: "2025-06-01T10:00:00Z"},
		{name: "charts", platforms: []string{"linux/amd64"}, want: "2025-06-01T10:00:00Z"},
		{name: "list", want: "2025-03-03T10:00:00Z"},
		{name: "list", platforms: []string{"linux/amd64"}, want: "2025-03-01T10:00:00.123456789Z"},
		{name: "list", platforms: []string{"linux/amd64", "linux/arm64"}, want: "2025-03-02T08:00:00Z"},
		{name: "list", platforms: []string{"!windows/*"}, want: "2025-03-02T08:00:00Z"},
		{name: "list", platforms: []string{"linux/s390x"}, want: "2025-03-03T10:00:00Z"},
		{name: "nested", want: "2025-03-04T10:00:00Z"},
		{name: "epoch", want: "0001-01-01T00:00:00Z"},
		{name: "epochs", want: "0001-01-01T00:00:00Z"},
		{name: "silent", want: "0001-01-01T00:00:00Z"},
	} {
		e, names := registries(t)
		r := registrytest.Start(t, registrytest.Options{})
		f.PushTo(r, app, "v1", c.name)
		got, err := names.Created(t.Context(), copytest.RegistryRef(t, r, app, "v1"), &naming.CreatedOptions{SystemContext: e.Sys, Platforms: copytest.Platforms(c.platforms...)})
		require.NoError(t, err, c.name)
		assert.Equal(t, c.want, got.UTC().Format(time.RFC3339Nano), "%s for %v", c.name, c.platforms)
	}
}

// TestCreatedAgain: a tag that names what it did costs a HEAD.
func TestCreatedAgain(t *testing.T) {
	f := aged()
	e, _ := registries(t)
	r := registrytest.Start(t, registrytest.Options{})
	f.PushTo(r, app, "v1", "list")
	kept := cache.Memory(0)
	ask := func(tag string) []registrytest.Request {
		c := copytest.NewCopier(t, copy.CopierOptions{Cache: kept})
		r.ResetLog()
		got, err := c.Registries().Created(t.Context(), copytest.RegistryRef(t, r, app, tag), &naming.CreatedOptions{SystemContext: e.Sys})
		require.NoError(t, err)
		assert.Equal(t, "2025-03-03T10:00:00Z", got.UTC().Format(time.RFC3339Nano))
		return r.Requests()
	}
	assert.Len(t, ask("v1"), 1+2*3, "the list, and a manifest and a config for each image, no attestation")
	again := ask("v1")
	require.Len(t, again, 1)
	assert.Equal(t, http.MethodHead, again[0].Method)
	f.PushTo(r, app, "v2", "list")
	assert.Len(t, ask("v2"), 1, "another tag of the same list")
}

// TestCreatedFails: what cannot be read is an error, what a list names and nobody has is not.
func TestCreatedFails(t *testing.T) {
	f := aged()
	e, names := registries(t)
	options := &naming.CreatedOptions{SystemContext: e.Sys}
	r := registrytest.Start(t, registrytest.Options{})
	f.PushTo(r, app, "v1", "list", "windows")
	got, err := names.Created(t.Context(), copytest.RegistryRef(t, r, app, "v1"), options)
	require.NoError(t, err)
	assert.Equal(t, "2025-03-02T08:00:00Z", got.UTC().Format(time.RFC3339Nano))

	_, err = names.Created(t.Context(), copytest.RegistryRef(t, r, app, "v2"), options)
	require.ErrorIs(t, err, copy.ErrNotFound)

	for name, object := range map[string]digest.Digest{"manifest": f.Digest("arm64"), "config": f.Digest("arm64.config")} {
		r := registrytest.Start(t, registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
			if strings.Contains(req.URL.Path, object.String()) && req.Method == http.MethodGet {
				return registrytest.Answer{Status: http.StatusForbidden}
			}
			return registrytest.Answer{}
		}})
		f.PushTo(r, app, "v1", "list")
		_, err = names.Created(t.Context(), copytest.RegistryRef(t, r, app, "v1"), options)
		require.Error(t, err, name)
		failed := copytest.ErrorAs[*copy.Error](t, err)
		assert.Contains(t, failed.Error(), object.String())
	}
}
