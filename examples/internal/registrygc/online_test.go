package registrygc_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrygc"
	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// meanwhile calls f, once, when a collection has marked everything and has removed nothing.
type meanwhile struct {
	storagedriver.StorageDriver
	f func()
}

func (m *meanwhile) Walk(ctx context.Context, path string, f storagedriver.WalkFn, options ...func(*storagedriver.WalkOptions)) error {
	if strings.HasSuffix(path, "/blobs") && m.f != nil {
		m.f()
		m.f = nil
	}
	return m.StorageDriver.Walk(ctx, path, f, options...)
}

// online lets r be used under the lock of a collection, which it returns. f is called in the middle
// of the first one.
func (r *registry) online(f func()) *registrygc.Online {
	return r.onlineBy(later{clock.System, time.Hour}, f)
}

// onlineBy is online by another clock.
func (r *registry) onlineBy(c clock.Clock, f func()) *registrygc.Online {
	lock := &sparseregistry.StorageLock{}
	store := r.store.WithDriver(func(d storagedriver.StorageDriver) storagedriver.StorageDriver { return &meanwhile{d, f} })
	online := registrygc.NewOnline(store, lock, c)
	r.store = r.store.WithNote(func(repository string, d digest.Digest) {
		online.Note(sparseregistry.Use{Repository: repository, Manifest: true, Digest: d})
	})
	r.handler = sparseregistry.Enforce(sparseregistry.NoteUses(r.handler, online.Note), sparseregistry.Options{
		Storage: lock,
		Policy:  func(string) manifest.SparsePolicy { return manifest.SparsePolicy{Enabled: true} },
	})
	return online
}

func nobody(registrygc.Progress) {}

// TestOnlineSparesWhatIsUsedMeanwhile: each case uses something of what goes, after all was marked.
func TestOnlineSparesWhatIsUsedMeanwhile(t *testing.T) {
	r := newRegistry(t)
	config, layer := digest.FromString("{}"), digest.FromString("layer")
	img := image("", config, layer)
	top := list("", img.digest())
	signature := image(top.digest(), config)
	other := image("", config)
	all := []digest.Digest{config, layer, img.digest(), top.digest(), signature.digest()}
	path := func(kind string, d digest.Digest) string { return "/v2/app/" + kind + "/" + d.String() }
	for name, c := range map[string]struct {
		use  func(r *registry)
		want []digest.Digest // contents that stay
	}{
		"nothing":       {func(*registry) {}, nil},
		"a blob":        {func(r *registry) { r.must(200, "HEAD", path("blobs", layer), "", "") }, []digest.Digest{layer}},
		"a mount":       {func(r *registry) { r.must(201, "POST", "/v2/b/blobs/uploads/?from=app&mount="+layer.String(), "", "") }, []digest.Digest{layer}},
		"a second push": {func(r *registry) { r.pushBlob("app", "layer") }, []digest.Digest{layer}},
		"a new manifest": {
			func(r *registry) { r.push("app", "", other) },
			[]digest.Digest{config, other.digest()},
		},
		"a manifest":        {func(r *registry) { r.must(200, "GET", path("manifests", img.digest()), "", "") }, all[:3]},
		"a list, tagged":    {func(r *registry) { r.push("app", "v1", top) }, all},
		"its subject":       {func(r *registry) { r.must(200, "HEAD", path("manifests", top.digest()), "", "") }, all},
		"a child":           {func(r *registry) { r.push("app", "", list("", img.digest(), digest.FromString("absent"))) }, append(all[:3:3], list("", img.digest(), digest.FromString("absent")).digest())},
		"a deletion":        {func(r *registry) { r.must(202, "DELETE", path("manifests", img.digest()), "", "") }, nil},
		"what is not there": {func(r *registry) { r.must(404, "HEAD", path("blobs", digest.FromString("absent")), "", "") }, nil},
		"behind the registry's back": {
			func(r *registry) {
				d, err := r.store.PutManifest(r.t.Context(), "app", []byte(other.text))
				require.NoError(r.t, err)
				require.NoError(r.t, r.store.PutTag(r.t.Context(), "app", "v1", d))
			},
			[]digest.Digest{config, other.digest()},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r = newRegistry(t)
			online := r.online(func() { c.use(r) })
			r.pushBlob("app", "{}")
			r.pushBlob("app", "layer")
			for _, d := range []document{img, top, signature} {
				r.push("app", "", d)
			}
			report, err := online.Collect(t.Context(), registrygc.Options{Untagged: true}, nobody)
			require.NoError(t, err)
			assert.True(t, report.Online)
			assert.ElementsMatch(t, c.want, r.contents())
			for _, d := range c.want {
				assert.True(t, r.hasManifest("app", d) || r.hasBlob("app", d) || r.hasBlob("b", d), d)
			}
		})
	}
}

// TestOnlineDamageThatIsUsed: a client asks for a manifest that cannot be read. Everything in its
// repository stays, because nobody knows what it needs, and the collection goes on with the others.
func TestOnlineDamageThatIsUsed(t *testing.T) {
	config := digest.FromString("{}")
	tagged, untagged := image("", config), image("", config, config)
	harm := func(r *registry) {
		d := tagged.digest()
		p := "/docker/registry/v2/blobs/sha256/" + d.Encoded()[:2] + "/" + d.Encoded() + "/data"
		require.NoError(r.t, r.driver.PutContent(r.t.Context(), p, []byte(strings.Replace(tagged.text, "digest", "Digest", 1))))
	}
	for name, c := range map[string]struct{ before, meanwhile func(*registry) }{
		"before":    {harm, func(*registry) {}},
		"meanwhile": {func(*registry) {}, harm},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t)
			online := r.online(func() {
				c.meanwhile(r)
				r.must(200, "GET", "/v2/app/manifests/v1", "", "")
			})
			r.pushBlob("app", "{}")
			loose := r.pushBlob("app", "loose")
			r.push("app", "v1", tagged)
			r.push("app", "", untagged)
			gone := r.pushBlob("other", "loose in another")
			c.before(r)
			_, err := online.Collect(t.Context(), registrygc.Options{Untagged: true}, nobody)
			require.NoError(t, err)
			assert.True(t, r.hasManifest("app", untagged.digest()))
			assert.True(t, r.hasBlob("app", config))
			assert.True(t, r.hasBlob("app", loose))
			assert.False(t, r.hasBlob("other", gone))
		})
	}
}

// A hasty clock lets an hour pass whenever somebody looks at it, so that each turn of a collection
// takes one step, and lets nobody wait.
type hasty struct{ now time.Time }

func (h *hasty) Now() time.Time {
	h.now = h.now.Add(time.Hour)
	return h.now
}

func (h *hasty) NewTimer(time.Duration) clock.Timer { return clock.System.NewTimer(0) }

// TestOnlineReferrersThatStay: what refers to a subject, and is about to go with it, comes to be
// used before any of its steps is taken, or between two of them. It is listed, then, by the links
// and by the tag.
func TestOnlineReferrersThatStay(t *testing.T) {
	r := newRegistry(t)
	config := digest.FromString("{}")
	image1 := image("", config)
	subject := image1.digest()
	tag := "sha256-" + subject.Encoded()
	signatures := []document{image(subject, config, digest.FromString("one")), image(subject, config, digest.FromString("another"))}
	uses := map[string]struct {
		use  func()
		want []document
	}{
		"one":     {func() { r.must(200, "GET", "/v2/app/manifests/"+signatures[0].digest().String(), "", "") }, signatures[:1]},
		"another": {func() { r.must(200, "GET", "/v2/app/manifests/"+signatures[1].digest().String(), "", "") }, signatures[1:]},
		"subject": {func() { r.push("app", "v1", image1) }, signatures},
	}
	for name, use := range uses {
		for removed := range 4 { // the tag, two links, and then a manifest would go
			t.Run(fmt.Sprintf("%s, after %d", name, removed), func(t *testing.T) {
				r = newRegistry(t)
				used := sync.OnceFunc(use.use)
				useIf := func(gone registrygc.Totals) {
					if gone.Tags+gone.Referrers == removed {
						used()
					}
				}
				online := r.onlineBy(&hasty{time.Now()}, func() { useIf(registrygc.Totals{}) })
				r.pushBlob("app", "{}")
				r.push("app", "", image1)
				r.madeTags(subject, config)
				_, err := online.Collect(t.Context(), registrygc.Options{Untagged: true}, func(p registrygc.Progress) {
					if p.Goes != (registrygc.Totals{}) {
						useIf(p.Removed)
					}
				})
				require.NoError(t, err)
				links, err := r.store.ReferrersOf(t.Context(), "app", subject)
				require.NoError(t, err)
				current, err := r.store.Current(t.Context(), "app", tag)
				require.NoError(t, err)
				listed := r.must(200, "GET", "/v2/app/manifests/"+tag, "", "").Body.String()
				assert.True(t, r.hasManifest("app", current))
				for _, signature := range use.want {
					assert.True(t, r.hasManifest("app", signature.digest()))
					assert.Contains(t, links, signature.digest())
					assert.Contains(t, listed, signature.digest())
				}
				assert.Zero(t, r.plan(registrygc.Options{}).Totals().Referrers, "links to what is gone")
			})
		}
	}
}

func TestOneOnlineCollectionAtATime(t *testing.T) {
	r := newRegistry(t)
	var online *registrygc.Online
	var second error
	online = r.online(func() { _, second = online.Collect(t.Context(), registrygc.Options{}, nobody) })
	_, err := online.Collect(t.Context(), registrygc.Options{}, nobody)
	require.NoError(t, err)
	assert.ErrorIs(t, second, registrygc.ErrRunning)
	_, err = online.Collect(t.Context(), registrygc.Options{}, nobody)
	require.NoError(t, err)
}

func TestAnOnlineCollectionIsCancelled(t *testing.T) {
	r := newRegistry(t)
	ctx, cancel := context.WithCancel(t.Context())
	online := r.online(cancel)
	loose := r.pushBlob("app", "loose")
	report, err := online.Collect(ctx, registrygc.Options{}, nobody)
	require.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, report.Removed)
	assert.Equal(t, "context canceled", report.Error)
	assert.True(t, r.hasBlob("app", loose))
}

// TestOnlineAgainstClients: whatever a client was told is there, it can build on, however many
// collections come between; and what it has pushed stays.
func TestOnlineAgainstClients(t *testing.T) {
	r := newDirectory(t)
	online := r.online(nil)
	const clients, sessions = 4, 15
	// No session has begun before the collection that it runs beside: grace is for those that have.
	var begun sync.RWMutex
	stop := make(chan struct{})
	var collections atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			begun.Lock()
			unlock := sync.OnceFunc(begun.Unlock)
			_, err := online.Collect(t.Context(), registrygc.Options{Untagged: true}, func(registrygc.Progress) { unlock() })
			unlock()
			if !assert.NoError(t, err) {
				return
			}
			collections.Add(1)
		}
	})
	var pushing sync.WaitGroup
	for n := range clients {
		pushing.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 0))
			for done := 0; done < sessions || collections.Load() == 0 && !t.Failed(); done++ {
				begun.RLock()
				problem := r.session(random, fmt.Sprintf("r%d", n%2), fmt.Sprintf("client%d", n))
				begun.RUnlock()
				if !assert.Empty(t, problem) {
					return
				}
			}
		})
	}
	pushing.Wait()
	close(stop)
	wg.Wait()
	_, err := online.Collect(t.Context(), registrygc.Options{Untagged: true}, nobody)
	require.NoError(t, err)
	for n := range clients {
		assert.Empty(t, r.pull(fmt.Sprintf("r%d", n%2), fmt.Sprintf("client%d", n)))
	}
}

// session does what a client does that pushes a list with an image, and says what went wrong. Its
// blobs are of few, so that it finds some there, which may be about to go.
func (r *registry) session(random *rand.Rand, repository, tag string) (problem string) {
	blobs := make([]digest.Digest, 2)
	for i := range blobs {
		content := fmt.Sprintf("blob %d", random.IntN(6))
		blobs[i] = digest.FromString(content)
		if !r.hasBlob(repository, blobs[i]) {
			answer := r.do(http.MethodPost, "/v2/"+repository+"/blobs/uploads/?from=r0&mount="+blobs[i].String(), "", "")
			if answer.Code == http.StatusAccepted {
				r.pushBlob(repository, content)
			}
		}
	}
	img := image("", blobs[0], blobs[1])
	if random.IntN(2) == 0 || !r.hasManifest(repository, img.digest()) {
		if answer := r.do(http.MethodPut, "/v2/"+repository+"/manifests/"+img.digest().String(), img.mediaType, img.text); answer.Code != http.StatusCreated {
			return "the image: " + answer.Body.String()
		}
	}
	top := list("", img.digest())
	if answer := r.do(http.MethodPut, "/v2/"+repository+"/manifests/"+tag, top.mediaType, top.text); answer.Code != http.StatusCreated {
		return "the list: " + answer.Body.String()
	}
	return r.pull(repository, tag)
}

// pull says what a client cannot pull of a list with one image.
func (r *registry) pull(repository, tag string) (problem string) {
	get := func(kind, reference string) string {
		answer := r.do(http.MethodGet, "/v2/"+repository+"/"+kind+"/"+reference, "", "")
		if answer.Code != http.StatusOK {
			problem += fmt.Sprintf("%s %s: %d; ", kind, reference, answer.Code)
		}
		return answer.Body.String()
	}
	for _, child := range digestsIn(get("manifests", tag)) {
		for _, blob := range digestsIn(get("manifests", child)) {
			get("blobs", blob)
		}
	}
	return problem
}

// digestsIn are the digests of a document.
func digestsIn(text string) (all []string) {
	for _, part := range strings.Split(text, `"`) {
		if strings.HasPrefix(part, "sha256:") {
			all = append(all, part)
		}
	}
	return all
}
