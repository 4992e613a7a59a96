package transforming_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"

	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
	"github.com/sparsecopy/sparsecopy/copy/internal/transforming"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/progress"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// one has an image with layers of which upstream compresses two, one small and one large.
func one() *imagetest.Fixture {
	f := imagetest.New()
	f.Layer("small", imagetest.File("small", strings.Repeat("small", 1000)), imagetest.Uncompressed())
	f.Layer("large", imagetest.Random(1, 5<<18), imagetest.Uncompressed())
	f.Layer("gzip", imagetest.Random(2, 5<<18))
	f.Image("image", imagetest.Platform("linux/amd64"), imagetest.Layers("small", "large", "gzip"))
	return f
}

// configOf returns the digest of an image's config.
func configOf(t *testing.T, f *imagetest.Fixture, name string) digest.Digest {
	t.Helper()
	parsed, err := manifest.ParseImage(f.Document(name))
	require.NoError(t, err)
	return parsed.Config.Digest
}

// about is a script about requests for one blob.
func about(d digest.Digest, method string, script registrytest.Script) registrytest.Options {
	match := func(req *http.Request) bool {
		return req.Method == method && strings.Contains(req.URL.Path, d.String())
	}
	return registrytest.Options{Script: registrytest.Only(match, script)}
}

func always(a registrytest.Answer) registrytest.Script {
	return func(int, *http.Request) registrytest.Answer { return a }
}

// uploads is a script about requests that bring content.
func uploads(script registrytest.Script) registrytest.Options {
	return registrytest.Options{Script: registrytest.Only(registrytest.Matching(http.MethodPut, registrytest.KindUpload), script)}
}

func manifests(script registrytest.Script) registrytest.Options {
	return registrytest.Options{Script: registrytest.Only(registrytest.Matching(http.MethodPut, registrytest.KindManifest), script)}
}

// TestFailures: what cannot be read or written ends everything, and says so of the right side.
// Nothing of it is left, which the bench checks.
func TestFailures(t *testing.T) {
	f := one()
	var none registrytest.Options
	gone := registrytest.Fail(http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown")
	for name, c := range map[string]struct {
		src, dst registrytest.Options
		op       string // at the destination, "" if the source fails
		says     string
	}{
		"a small layer is gone":                {src: about(f.Digest("small"), http.MethodGet, always(gone)), says: "BLOB_UNKNOWN"},
		"a large layer is gone":                {src: about(f.Digest("large"), http.MethodGet, always(gone)), says: "BLOB_UNKNOWN"},
		"a layer that does not change is gone": {src: about(f.Digest("gzip"), http.MethodGet, always(gone)), says: "BLOB_UNKNOWN"},
		"the config is gone":                   {src: about(configOf(t, f, "image"), http.MethodGet, always(gone)), says: "BLOB_UNKNOWN"},
		"a small layer is damaged":             {src: about(f.Digest("small"), http.MethodGet, always(registrytest.Corrupt(100))), says: "does not match the digest"},
		"a large layer is damaged":             {src: about(f.Digest("large"), http.MethodGet, always(registrytest.Corrupt(1<<20))), says: "does not match the digest"},
		"the first byte is damaged":            {src: about(f.Digest("large"), http.MethodGet, always(registrytest.Corrupt(0))), says: "does not match the digest"},
		"one that does not change is damaged":  {src: about(f.Digest("gzip"), http.MethodGet, always(registrytest.Corrupt(1<<20))), says: "does not match the digest"},
		"a large layer is cut again and again": {src: about(f.Digest("large"), http.MethodGet, always(registrytest.CutBody(100))), says: "EOF"},
		"no content is taken":                  {dst: uploads(always(registrytest.Fail(http.StatusForbidden, "DENIED", "no"))), op: "writing blob", says: "DENIED"},
		"all content is cut":                   {dst: uploads(always(registrytest.CutUpload(1 << 20))), op: "writing blob"},
		"the last content is not taken": {dst: uploads(func(n int, _ *http.Request) registrytest.Answer {
			if n == 4 { // after the layers
				return registrytest.Fail(http.StatusForbidden, "DENIED", "no")
			}
			return registrytest.Answer{}
		}), op: "writing blob", says: "DENIED"},
		"the manifest is not taken": {dst: manifests(always(registrytest.Fail(http.StatusForbidden, "DENIED", "no"))), op: "writing manifest", says: "DENIED"},
	} {
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			_, src := source(t, f, "image", or(c.src, none))
			p := newPlace(t, "docker", or(c.dst, none))
			b := newBench(t, e, src, p.ref(), 3)
			_, err := b.transform(t.Context(), "", upstream.Options{})
			require.ErrorContains(t, err, c.says)
			ended, atDestination := errors.AsType[*transforming.Error](err)
			_, atSource := errors.AsType[*sourceError](err)
			assert.Equal(t, c.op == "", atSource, "%v", err)
			assert.Equal(t, c.op != "", atDestination, "%v", err)
			if c.op != "" {
				assert.Equal(t, c.op, ended.Op)
				assert.True(t, ended.AtDestination)
			}
			assert.Empty(t, p.reg.Manifests(p.repo))
			failed := 0
			for _, transfer := range b.transfers {
				if transfer.outcome[0] == progress.Failed {
					failed++
				}
			}
			if c.op != "writing manifest" {
				assert.Positive(t, failed)
			}
		})
	}
}

// TestFailureEndsAll: one layer cannot be read, and another has stalled.
func TestFailureEndsAll(t *testing.T) {
	f := one()
	stalls := make(chan struct{})
	_, src := source(t, f, "image", registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
		switch {
		case strings.Contains(req.URL.Path, f.Digest("large").String()):
			close(stalls)
			return registrytest.StallBody(1 << 20)
		case strings.Contains(req.URL.Path, f.Digest("gzip").String()):
			<-stalls
			return registrytest.Fail(http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown")
		}
		return registrytest.Answer{}
	}})
	b := newBench(t, copytest.NewEnv(t), src, newPlace(t, "docker", registrytest.Options{}).ref(), 3)
	_, err := b.transform(t.Context(), "", upstream.Options{})
	copytest.ErrorAs[*sourceError](t, err)
	require.ErrorContains(t, err, "BLOB_UNKNOWN")
}

func or(o, otherwise registrytest.Options) registrytest.Options {
	if o.Script == nil {
		return otherwise
	}
	return o
}

// TestPassingFaults: what fails once or twice is done again, and the result is the same.
func TestPassingFaults(t *testing.T) {
	f := one()
	e := copytest.NewEnv(t)
	_, src := source(t, f, "image", registrytest.Options{})
	want, err := theirs(t, e, src, newPlace(t, "docker", registrytest.Options{}).ref(), upstream.Options{})
	require.NoError(t, err)
	first := func(n int, a registrytest.Answer) registrytest.Script { return registrytest.FirstN(n, a) }
	for name, c := range map[string]struct{ src, dst registrytest.Options }{
		"a large layer is cut":       {src: about(f.Digest("large"), http.MethodGet, first(2, registrytest.CutBody(1<<20)))},
		"a gzip layer is cut":        {src: about(f.Digest("gzip"), http.MethodGet, first(2, registrytest.CutBody(1<<20)))},
		"the source is busy":         {src: about(f.Digest("small"), http.MethodGet, first(2, registrytest.Fail(503, "UNAVAILABLE", "busy")))},
		"uploads are cut":            {dst: uploads(first(3, registrytest.CutUpload(1<<10)))},
		"uploads are lost":           {dst: uploads(first(3, registrytest.Fail(404, "BLOB_UPLOAD_UNKNOWN", "lost")))},
		"the destination is busy":    {dst: uploads(first(3, registrytest.Fail(503, "UNAVAILABLE", "busy")))},
		"answers are lost":           {dst: uploads(first(3, registrytest.LostAnswer()))},
		"the manifest's answer, too": {dst: manifests(first(1, registrytest.LostAnswer()))},
	} {
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			_, src := source(t, f, "image", c.src)
			p := newPlace(t, "docker", c.dst)
			b := newBench(t, e, src, p.ref(), 3)
			result, err := b.transform(t.Context(), "", upstream.Options{})
			require.NoError(t, err)
			assert.Equal(t, string(want), string(result.Document.Bytes))
			p.published(b, result.Document)
			checkBlobs(t, b, result.Document.Digest, p.ref())
		})
	}
}

// TestCancelled ends a transformation wherever it is. The error is the reason.
func TestCancelled(t *testing.T) {
	f := one()
	for name, c := range map[string]struct {
		src, dst func(registrytest.Script) registrytest.Options
		fault    registrytest.Answer
	}{
		"while a small layer is read": {src: func(s registrytest.Script) registrytest.Options { return about(f.Digest("small"), http.MethodGet, s) }, fault: registrytest.StallBody(10)},
		"while a large layer is read": {src: func(s registrytest.Script) registrytest.Options { return about(f.Digest("large"), http.MethodGet, s) }, fault: registrytest.StallBody(1 << 20)},
		"while the config is read": {src: func(s registrytest.Script) registrytest.Options {
			return registrytest.Options{Script: registrytest.Only(registrytest.Matching(http.MethodGet, registrytest.KindBlob), s)}
		}, fault: registrytest.Stall()},
		"while a layer is asked for":   {dst: func(s registrytest.Script) registrytest.Options { return about(f.Digest("small"), http.MethodHead, s) }, fault: registrytest.Stall()},
		"while content is sent":        {dst: uploads, fault: registrytest.StallUpload(1 << 10)},
		"while the manifest is stored": {dst: manifests, fault: registrytest.StallUpload(1)},
	} {
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			enough := errors.New("enough")
			ctx, cancel := context.WithCancelCause(t.Context())
			script := func(int, *http.Request) registrytest.Answer {
				cancel(enough)
				return c.fault
			}
			var at, to registrytest.Options
			if c.src != nil {
				at = c.src(script)
			} else {
				to = c.dst(script)
			}
			_, src := source(t, f, "image", at)
			b := newBench(t, e, src, newPlace(t, "docker", to).ref(), 3)
			_, err := b.transform(ctx, "", upstream.Options{})
			require.ErrorIs(t, err, enough)
		})
	}
}

// TestLostBlobs: the destination says that it has blobs, and then that it has not. All are sent.
func TestLostBlobs(t *testing.T) {
	f := one()
	e := copytest.NewEnv(t)
	_, src := source(t, f, "image", registrytest.Options{})
	p := newPlace(t, "docker", registrytest.Options{})
	b := newBench(t, e, src, p.ref(), 3)
	before, err := b.transform(t.Context(), "", upstream.Options{})
	require.NoError(t, err)
	assert.Len(t, before.Copied, 4)
	for _, lost := range before.Copied {
		p.reg.LoseBlob(p.repo, lost.Digest)
	}
	p.reg.DeleteManifest(p.repo, before.Document.Digest)
	b = newBench(t, e, src, p.ref(), 3)
	after, err := b.transform(t.Context(), "", upstream.Options{})
	require.NoError(t, err)
	assert.Equal(t, before.Document, after.Document)
	assert.ElementsMatch(t, before.Copied, after.Copied)
	p.published(b, after.Document)
	checkBlobs(t, b, after.Document.Digest, p.ref())
}

// TestNoRoom: the place for temporary files is not there.
func TestNoRoom(t *testing.T) {
	e := copytest.NewEnv(t)
	_, src := source(t, one(), "image", registrytest.Options{})
	b := newBench(t, e, src, newPlace(t, "docker", registrytest.Options{}).ref(), 3)
	sys := *e.Sys
	sys.BigFilesTemporaryDir = filepath.Join(t.TempDir(), "gone")
	_, err := b.transform(t.Context(), "", upstream.Options{DestinationCtx: &sys})
	require.ErrorContains(t, err, "keeping what becomes of layer")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestList: lists are not transformed.
func TestList(t *testing.T) {
	f := imagetest.Platforms(1, 1, 100)
	_, src := source(t, f, imagetest.Top, registrytest.Options{})
	b := newBench(t, copytest.NewEnv(t), src, newPlace(t, "docker", registrytest.Options{}).ref(), 3)
	_, err := b.transform(t.Context(), "", upstream.Options{})
	require.ErrorContains(t, err, "is a list, not an image")
}

// TestForeignLayers: layers with URLs stay elsewhere, unless they are wanted; then they are read
// from there.
func TestForeignLayers(t *testing.T) {
	content := imagetest.New()
	content.Layer("elsewhere", imagetest.Random(3, 5<<18))
	asked := 0
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_, _ = w.Write(content.Content("elsewhere"))
	}))
	t.Cleanup(elsewhere.Close)
	f := imagetest.New()
	f.Layer("elsewhere", imagetest.Random(3, 5<<18), imagetest.Foreign(elsewhere.URL))
	f.Layer("plain", imagetest.Uncompressed())
	f.Image("image", imagetest.Docker(), imagetest.Platform("linux/amd64"), imagetest.Layers("elsewhere", "plain"))
	for _, to := range []string{"docker", "oci", "dir"} {
		t.Run(to, func(t *testing.T) {
			e := copytest.NewEnv(t)
			reg := registrytest.Start(t, registrytest.Options{})
			f.PushTo(reg, "lib/app", "v1", "image", "elsewhere")
			src := copytest.RegistryRef(t, reg, "lib/app", "v1")
			o := upstream.Options{DownloadForeignLayers: true}
			want, err := theirs(t, e, src, newPlace(t, to, registrytest.Options{}).ref(), o)
			require.NoError(t, err)
			asked = 0
			p := newPlace(t, to, registrytest.Options{})
			b := newBench(t, e, src, p.ref(), 3)
			result, err := b.transform(t.Context(), "", o)
			require.NoError(t, err)
			assert.Equal(t, string(want), string(result.Document.Bytes))
			assert.Equal(t, 1, asked)
			p.published(b, result.Document)
			checkBlobs(t, b, result.Document.Digest, p.ref())

			if to == "dir" {
				_, err := b.transform(t.Context(), "", upstream.Options{})
				require.ErrorIs(t, err, endpoint.ErrNotFound, "the URL is not asked")
			} else {
				_, err := b.transform(t.Context(), "", upstream.Options{})
				require.NoError(t, err)
			}
			assert.Equal(t, 1, asked)
		})
	}
}

// TestForeignLayersOfASourceThatIsGone: layers with URLs are read by the source's own transport,
// which cannot be opened any more. That is an error, and nothing else is done with it.
func TestForeignLayersOfASourceThatIsGone(t *testing.T) {
	f := imagetest.New()
	f.Layer("elsewhere", imagetest.Random(3, 1000), imagetest.Foreign("http://127.0.0.1:1/layer"))
	f.Image("image", imagetest.Docker(), imagetest.Platform("linux/amd64"), imagetest.Layers("elsewhere"))
	var gone atomic.Bool
	_, src := source(t, f, "image", registrytest.Options{Script: registrytest.Only(registrytest.Matching("", registrytest.KindManifest),
		func(int, *http.Request) registrytest.Answer {
			if gone.Load() {
				return registrytest.Fail(http.StatusForbidden, "DENIED", "no more")
			}
			return registrytest.Answer{}
		})})
	b := newBench(t, copytest.NewEnv(t), src, newPlace(t, "docker", registrytest.Options{}).ref(), 3)
	gone.Store(true)
	_, err := b.transform(t.Context(), "", upstream.Options{DownloadForeignLayers: true})
	failed := copytest.ErrorAs[*transforming.Error](t, err)
	assert.Equal(t, "reading blob", failed.Op)
	assert.False(t, failed.AtDestination)
	require.ErrorContains(t, err, "no more")
}
