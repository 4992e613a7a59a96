package copy_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestRequestsOriginal: what an original costs beside a plain strip. Registries that refuse it, for
// what it is or before its list is there, take more. Questions about signatures are the source's.
func TestRequestsOriginal(t *testing.T) {
	for name, c := range map[string]struct {
		at     registrytest.Options
		first  int
		second int
	}{
		"referrers API":            {registrytest.Options{Strict: true}, 6, 1},
		"referrers tag":            {registrytest.Options{Strict: true, NoReferrers: true}, 8, 1},
		"the list has to be first": {registrytest.Options{Strict: true, RequireSubjects: true}, 6 + 2, 1},
		"and a referrers tag":      {registrytest.Options{Strict: true, RequireSubjects: true, NoReferrers: true}, 8 + 2, 1},
		"plain images":             {registrytest.Options{Strict: true, TypePolicy: registrytest.GitLabTypes()}, 6 + 2 + 5, 2},
	} {
		t.Run(name, func(t *testing.T) {
			first, second := map[bool]int{}, map[bool]int{}
			for _, attach := range []bool{false, true} {
				o := withOriginal()
				o.AttachOriginal = attach
				counted := newCounted(t, imagetest.Platforms(8, 5, 1000), true)
				counted.dst = copytest.RegistryAt(t, registrytest.Start(t, c.at), "app")
				_, _, first[attach] = counted.copy(t, "v1", o)
				_, _, second[attach] = counted.copy(t, "v1", o)
				asked := counted.dst.Count(registrytest.Is(http.MethodHead, ""))
				assert.Equal(t, second[attach], asked, "nothing but questions")
			}
			assert.Equal(t, c.first, first[true]-first[false], "two blobs, the artifact, and who lists it")
			assert.Equal(t, c.second, second[true]-second[false], "the artifact, in each form that it may have")
		})
	}
}

// A wave is requests that wait for each other: they are answered when all have come.
type wave struct {
	name  string
	match func(*http.Request) bool
	size  int

	mu   sync.Mutex
	came int
	all  chan struct{}
}

// waves is a Script that holds requests until their waves are complete. One that comes in a wave
// before it is its turn fails the test, and so does one that does not come.
func waves(t *testing.T, all ...*wave) registrytest.Script {
	for _, w := range all {
		w.all = make(chan struct{})
	}
	return func(_ int, q *http.Request) registrytest.Answer {
		for _, w := range all {
			if !w.match(q) {
				continue
			}
			w.mu.Lock()
			if w.came++; w.came == w.size {
				close(w.all)
			}
			late := w.came > w.size
			w.mu.Unlock()
			if late {
				continue
			}
			select {
			case <-w.all:
			case <-time.After(time.Minute):
				t.Errorf("%s: %d of %d have come, and the others wait for something", w.name, w.came, w.size)
			}
			break
		}
		return registrytest.Answer{}
	}
}

// TestRoundTripsOriginal: what is attached of an original goes with the images. It takes as many
// round trips before the tag is written as these, and one more to make it known, or three for who
// has to write a referrers tag.
func TestRoundTripsOriginal(t *testing.T) {
	uploads := func(method string) func(*http.Request) bool {
		return registrytest.Matching(method, registrytest.KindUpload)
	}
	for _, api := range []bool{true, false} {
		t.Run(fmt.Sprintf("api=%t", api), func(t *testing.T) {
			e := copytest.NewEnv(t)
			f := imagetest.Platforms(8, 1, 1000)
			src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
			src.Push(f, "v1", imagetest.Top)
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true, NoReferrers: !api, Script: waves(t,
				&wave{name: "begin uploads", match: uploads(http.MethodPost), size: 4 + 2},
				&wave{name: "uploads", match: uploads(http.MethodPut), size: 4 + 2},
				&wave{name: "manifests", match: registrytest.Matching(http.MethodPut, registrytest.KindManifest), size: 2 + 1},
			)}), "app")
			_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), withOriginal())
			require.NoError(t, err)
			var after []string
			puts := 0
			for _, q := range dst.Requests() {
				if q.Method == http.MethodPut && q.Kind == registrytest.KindManifest {
					puts++
				}
				if puts >= 3 {
					after = append(after, q.Method+" "+string(q.Kind))
				}
			}
			want := []string{"PUT manifest", "GET referrers", "PUT manifest"}
			if !api {
				want = []string{"PUT manifest", "GET referrers", "GET manifest", "PUT manifest", "PUT manifest"}
			}
			assert.Equal(t, want, after, "who lists the artifact, and the tag")
		})
	}
}

// TestRoundTripsOriginalAgain: a second run asks for the artifact and for signatures when it asks
// for the images.
func TestRoundTripsOriginalAgain(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(8, 1, 1000)
	var script registrytest.Script
	var mu sync.Mutex
	scripted := func(n int, q *http.Request) registrytest.Answer {
		mu.Lock()
		s := script
		mu.Unlock()
		if s == nil {
			return registrytest.Answer{}
		}
		return s(n, q)
	}
	reg := registrytest.Start(t, registrytest.Options{Script: scripted})
	src, dst := copytest.RegistryAt(t, reg, "app"), copytest.RegistryAt(t, reg, "mirror")
	src.Push(f, "v1", imagetest.Top)
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), withOriginal())
	require.NoError(t, err)
	tags := func(q *http.Request) bool {
		return q.URL.Path == "/v2/app/manifests/v1" || q.URL.Path == "/v2/mirror/manifests/v1"
	}
	mu.Lock()
	script = waves(t,
		&wave{name: "what the references name", match: tags, size: 2},
		&wave{name: "questions", match: func(q *http.Request) bool { return !tags(q) }, size: 2 + 1 + 4},
	)
	mu.Unlock()
	reg.ResetLog()
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), withOriginal())
	require.NoError(t, err)
	assert.Zero(t, r.ManifestsCopied)
	assert.Len(t, reg.Requests(), 2+7)
}
