package copy_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
)

// A life is that of one Copier, which copies two of three platforms, with Auto, to a registry that
// changes.
type life struct {
	t      *testing.T
	e      *copytest.Env
	f      *imagetest.Fixture
	c      *copy.Copier
	src    *registrytest.Registry
	dst    *registrytest.Registry
	certs  string       // where the certificates of dst are
	refuse *atomic.Bool // whether dst refuses sparse lists
	clock  *clocktest.Shifted
}

func newLife(t *testing.T, o registrytest.Options) *life {
	l := &life{t: t, e: copytest.NewEnv(t), f: imagetest.Platforms(3, 2, 100), certs: t.TempDir(), refuse: new(atomic.Bool), clock: &clocktest.Shifted{}}
	l.src = registrytest.Start(t, registrytest.Options{})
	l.f.PushTo(l.src, "app", "v1", imagetest.Top)
	o.TLS = true
	o.Auth = &registrytest.Auth{Bearer: true, Accounts: []registrytest.Account{{Username: "alice", Password: "secret"}}}
	o.ListPolicy = func(put registrytest.ListPut) registrytest.Answer {
		if !l.refuse.Load() {
			return registrytest.Answer{}
		}
		return registrytest.Distribution3(put)
	}
	l.dst = registrytest.Start(t, o)
	l.trust()
	l.c = copytest.NewCopier(t, copy.CopierOptions{Clock: l.clock, Retries: copy.RetryPolicy{BaseDelay: time.Millisecond}})
	return l
}

// trust writes the certificate of the registry's authority to where copies look for it.
func (l *life) trust() { require.NoError(l.t, l.dst.WriteCertsDir(l.certs)) }

// copy copies to a tag.
func (l *life) copy(tag string) (*copy.Report, error) {
	sys := *l.e.Sys
	sys.DockerInsecureSkipTLSVerify = types.OptionalBoolFalse
	sys.DockerPerHostCertDirPath = l.certs
	sys.DockerAuthConfig = &types.DockerAuthConfig{Username: "alice", Password: "secret"}
	o := copytest.Auto("linux/amd64", "linux/arm64")
	o.DestinationCtx = &sys
	return l.e.ImageWith(l.t.Context(), l.c, copytest.RegistryRef(l.t, l.dst, "app", tag), copytest.RegistryRef(l.t, l.src, "app", "v1"), o)
}

// copies makes a copy to a tag, and wants the list to be kept or stripped.
func (l *life) copies(tag string, want copy.SparseManifestListAction) *copy.Report {
	l.t.Helper()
	r, err := l.copy(tag)
	require.NoError(l.t, err)
	assert.Equal(l.t, want, r.Action, r.ActionReason)
	check := imagetest.Want{Tag: tag, Digest: r.DestinationDigest, Fixture: l.f, Present: []string{"amd64", "arm64"}}
	if want == copy.KeepSparseManifestList {
		assert.Equal(l.t, l.f.Digest(imagetest.Top), r.DestinationDigest)
		check.Absent = []string{"arm/v7"}
	}
	imagetest.CheckRegistry(l.t, l.dst, "app", check)
	return r
}

// asked is how often the registry was asked for what it announces.
func (l *life) asked() int {
	return l.dst.Count(registrytest.Is(http.MethodGet, registrytest.KindOther))
}

// TestCopierNoticesAnnouncements has a registry that takes no sparse lists, and says so, and then
// takes them.
func TestCopierNoticesAnnouncements(t *testing.T) {
	l := newLife(t, registrytest.Options{Announce: &registrytest.Announcement{}})
	l.refuse.Store(true)
	l.copies("v1", copy.StripSparseManifestList)
	assert.Equal(t, 1, l.asked())

	l.refuse.Store(false)
	l.dst.SetAnnouncement(&registrytest.Announcement{Sparse: true})
	l.clock.Advance(9 * time.Minute)
	l.copies("v2", copy.StripSparseManifestList)
	l.copies("v1", copy.StripSparseManifestList)
	assert.Equal(t, 1, l.asked(), "it is believed for ten minutes")

	l.clock.Advance(time.Minute)
	r := l.copies("v2", copy.KeepSparseManifestList)
	assert.True(t, r.Written)
	assert.Zero(t, r.BlobsCopied)
	assert.Equal(t, 2, l.asked())
	l.copies("v1", copy.KeepSparseManifestList)
	l.copies("v3", copy.KeepSparseManifestList)
	assert.Equal(t, 2, l.asked())

	l.refuse.Store(true)
	l.dst.SetAnnouncement(&registrytest.Announcement{})
	l.clock.Advance(10 * time.Minute)
	l.copies("v4", copy.StripSparseManifestList)
	l.copies("v3", copy.KeepSparseManifestList)
}

// TestCopierNoticesRefusals has a registry that announces nothing. What it refuses, or takes, is
// tried each time.
func TestCopierNoticesRefusals(t *testing.T) {
	l := newLife(t, registrytest.Options{})
	for i, refuse := range []bool{true, false, true} {
		l.refuse.Store(refuse)
		want := copy.KeepSparseManifestList
		if refuse {
			want = copy.StripSparseManifestList
		}
		l.copies(fmt.Sprint("v", i), want)
	}
}

// TestCopierOutlives has a registry that is restarted, ends its tokens, and gets other
// certificates.
func TestCopierOutlives(t *testing.T) {
	l := newLife(t, registrytest.Options{})
	tokens := func() int { return l.dst.Count(registrytest.Is("", registrytest.KindToken)) }
	keep := func(tag string) { l.t.Helper(); l.copies(tag, copy.KeepSparseManifestList) }
	keep("v1")
	first, connections := tokens(), l.dst.Connections()
	const again = 10
	for range again {
		keep("v2")
	}
	assert.Equal(t, first, tokens())
	assert.Less(t, l.dst.Connections()-connections, again, "connections are used again: else each copy needs one of its own")

	l.dst.Restart()
	keep("v3")
	assert.Equal(t, first, tokens(), "tokens are good after a restart")
	l.dst.ExpireTokens()
	keep("v4")
	assert.Greater(t, tokens(), first)
	l.dst.RenewCertificate(false)
	keep("v5")

	l.dst.RenewCertificate(true)
	_, err := l.copy("v6")
	require.ErrorAs(t, err, new(*tls.CertificateVerificationError))
	l.trust()
	keep("v6")
	keep("v5")
}
