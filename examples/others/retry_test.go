package others

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/common/pkg/retry"
	upstream "go.podman.io/image/v5/copy"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestIsErrorRetryable holds the verdict of containers' retry package on the errors of this library
// against that on upstream's: programs try again, or do not, as before. Each answer is given to
// every request of a kind, at the source or at the destination.
func TestIsErrorRetryable(t *testing.T) {
	answers := map[string]registrytest.Answer{"closed": registrytest.Close()}
	for _, refusal := range []struct {
		status int
		code   string
	}{
		{400, "MANIFEST_INVALID"}, {400, "NAME_INVALID"}, {401, "UNAUTHORIZED"}, {403, "DENIED"}, {403, "UNAUTHORIZED"}, {404, "MANIFEST_UNKNOWN"},
		{404, "NAME_UNKNOWN"}, {404, "BLOB_UNKNOWN"}, {404, "UNKNOWN"}, {405, "UNSUPPORTED"}, {409, "CONFLICT"}, {413, "SIZE_INVALID"}, {500, "UNKNOWN"},
		{502, "UNKNOWN"}, {503, "UNAVAILABLE"}, {504, "UNKNOWN"},
	} {
		answers[fmt.Sprint(refusal.status, " ", refusal.code)] = registrytest.Fail(refusal.status, refusal.code, "no")
		answers[fmt.Sprint(refusal.status, " page")] = registrytest.FailHTML(refusal.status)
	}
	for _, request := range []struct {
		name, method string
		kind         registrytest.Kind
		destination  bool
	}{
		{"the source's manifest", http.MethodGet, registrytest.KindManifest, false},
		{"the source's blob", http.MethodGet, registrytest.KindBlob, false},
		{"an upload", http.MethodPost, registrytest.KindUpload, true},
		{"the end of an upload", http.MethodPut, registrytest.KindUpload, true},
		{"the destination's manifest", http.MethodPut, registrytest.KindManifest, true},
	} {
		for name, answer := range answers {
			t.Run(request.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				broken := registrytest.Options{Script: registrytest.Only(registrytest.Matching(request.method, request.kind),
					registrytest.EveryNth(1, answer))}
				if request.destination {
					sameVerdict(t, registrytest.Options{}, broken)
				} else {
					sameVerdict(t, broken, registrytest.Options{})
				}
			})
		}
	}
}

// sameVerdict copies with both libraries, which must fail alike.
func sameVerdict(t *testing.T, source, destination registrytest.Options) {
	t.Helper()
	f := imagetest.Platforms(1, 1, 100)
	from, to := registrytest.Start(t, source), registrytest.Start(t, destination)
	f.PushTo(from, repo, tag, imagetest.Top)
	ours, theirs := newBench(t).failBoth(t, t.Context, to.Host(), from.Host())
	assert.Equal(t, retry.IsErrorRetryable(theirs), retry.IsErrorRetryable(ours), "upstream: %v\nours: %v", theirs, ours)
}

// failBoth copies with both libraries, each in a context of its own, and returns their errors.
func (b *bench) failBoth(t *testing.T, ctx func() context.Context, to, from string) (ours, theirs error) {
	t.Helper()
	_, theirs = upstream.Image(ctx(), b.policy, at(t, to), at(t, from), &upstream.Options{
		SourceCtx: b.sys, DestinationCtx: b.sys, ImageListSelection: upstream.CopyAllImages,
	})
	_, ours = b.copy(ctx(), at(t, to), at(t, from), copy.Options{ImageListSelection: copy.CopyAllImages})
	require.Error(t, theirs)
	require.Error(t, ours)
	return ours, theirs
}

// TestIsErrorRetryableWithoutAnAnswer does the same where there is no answer.
func TestIsErrorRetryableWithoutAnAnswer(t *testing.T) {
	f := imagetest.Platforms(1, 1, 100)
	good := registrytest.Start(t, registrytest.Options{})
	f.PushTo(good, repo, tag, imagetest.Top)
	silent := registrytest.Start(t, registrytest.Options{Script: func(int, *http.Request) registrytest.Answer { return registrytest.Stall() }})
	const nobody = "127.0.0.1:1" // a port that the system gives to nobody
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	cancelled := func() context.Context {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		return ctx
	}
	for name, c := range map[string]struct {
		ctx       func() context.Context
		to, from  string
		retryable bool
	}{
		"nobody at the source":      {t.Context, good.Host(), nobody, true},
		"nobody at the destination": {t.Context, nobody, good.Host(), true},
		"a silent source":           {soon, good.Host(), silent.Host(), false},
		"a silent destination":      {soon, silent.Host(), good.Host(), false},
		"cancelled":                 {cancelled, good.Host(), good.Host(), false},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := newBench(t).failBoth(t, c.ctx, c.to, c.from)
			assert.Equal(t, c.retryable, retry.IsErrorRetryable(theirs), "upstream: %v", theirs)
			assert.Equal(t, c.retryable, retry.IsErrorRetryable(ours), "ours: %v", ours)
		})
	}
}
