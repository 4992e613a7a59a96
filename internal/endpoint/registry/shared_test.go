package registry

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestSharedIsBounded copies an image to many tags of a repository, with a configuration of its own
// each time: nothing grows with that.
func TestSharedIsBounded(t *testing.T) {
	auth := &registrytest.Auth{Bearer: true, AnonymousPull: true}
	from, to := registrytest.Start(t, registrytest.Options{Auth: auth}), registrytest.Start(t, registrytest.Options{NoReferrers: true})
	im := newImage(t, 2, 100, from, "a")
	shared, same := &Shared{}, insecure(t)
	sizes := func() map[string]int {
		all := map[string]int{"hosts": len(shared.hosts), "logins": shared.logins.Len(), "credentials": len(shared.credentials), "stores": len(shared.stores)}
		for key, h := range shared.hosts {
			all[string(key.role)+" tokens"] = h.Tokens()
			all[string(key.role)+" blobs"] = len(h.blobs.there) + len(h.blobs.origins) + len(h.blobs.moving)
		}
		return all
	}
	const again = 19
	var first map[string]int
	var connections int
	for i := range 1 + again {
		sys := *same
		s := openSource(t, from.Host()+"/a:tag", &sys, shared)
		mustCopy(t, s, openDestination(t, fmt.Sprintf("%s/b:tag%d", to.Host(), i), &sys, shared), im)
		if i == 0 {
			first, connections = sizes(), to.Connections()
		}
	}
	assert.Equal(t, first, sizes())
	assert.Equal(t, 2, first["hosts"])
	assert.Less(t, to.Connections()-connections, again, "they are used again: else each copy needs one of its own")
}

// TestHostsAreBounded forgets the host that was wanted least recently. Who uses it goes on.
func TestHostsAreBounded(t *testing.T) {
	clock := &clocktest.Shifted{}
	shared := &Shared{Clock: clock}
	r := registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 1, 100, r, "a")
	s := openSource(t, r.Host()+"/a:tag", insecure(t), shared)
	for i := range maxHosts {
		clock.Advance(time.Second)
		openDestination(t, fmt.Sprintf("registry%d.invalid/a:tag", i), insecure(t), shared)
	}
	assert.Len(t, shared.hosts, maxHosts)
	for key := range shared.hosts {
		assert.NotEqual(t, r.Host(), key.registry)
	}
	_, err := s.Manifest(t.Context(), im.manifest.Digest)
	require.NoError(t, err)
	for i := range 2 * maxWarnings {
		s.endpoints[0].repo.host.firstWarning(fmt.Sprint(i))
	}
	assert.Len(t, s.endpoints[0].repo.host.warnings, maxWarnings)
}

// TestFactsEnd has a registry that collects blobs, and one that has no referrers API any more.
func TestFactsEnd(t *testing.T) {
	clock := &clocktest.Shifted{}
	shared, sys := &Shared{Clock: clock}, insecure(t)
	from := registrytest.Start(t, registrytest.Options{})
	var older atomic.Bool
	to := registrytest.Start(t, registrytest.Options{Script: registrytest.Only(registrytest.Matching("", registrytest.KindReferrers), func(int, *http.Request) registrytest.Answer {
		if older.Load() {
			return registrytest.FailHTML(http.StatusNotFound)
		}
		return registrytest.Answer{}
	})})
	im := newImage(t, 1, 100, from, "a")
	copied := func() *Destination {
		d := openDestination(t, to.Host()+"/b:tag", sys, shared)
		mustCopy(t, openSource(t, from.Host()+"/a:tag", sys, shared), d, im)
		return d
	}
	d := copied()
	require.NoError(t, d.PutReferrers(t.Context(), im.manifest.Digest, descriptors(sboms(1), "sbom0")))
	assert.Len(t, to.Tags("b"), 1, "the API lists them")

	for _, b := range im.blobs {
		to.DeleteBlob("b", b.Digest)
	}
	older.Store(true)
	clock.Advance(factsLast)
	d = copied()
	requireImage(t, to, "b", im)
	require.NoError(t, d.PutReferrers(t.Context(), im.manifest.Digest, descriptors(sboms(1), "sbom0")))
	assert.Len(t, to.Tags("b"), 2, "the tag lists them")
}
