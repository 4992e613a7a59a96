package audit

import (
	"context"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/examples/internal/sparseserver"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

var lenient = sparseregistry.Policies{Default: manifest.SparsePolicy{Enabled: true}}

// A peer is a server whose storage is checked while it runs.
type peer struct {
	t       *testing.T
	storage string
	store   *registrystore.Store
	client  *sparsetest.Client
}

func startPeer(t *testing.T) *peer {
	t.Helper()
	p := &peer{t: t, storage: t.TempDir()}
	server, err := sparseserver.Start(sparseserver.Config{Address: "127.0.0.1:0", Storage: p.storage, Policies: lenient})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Close()) })
	p.client = sparsetest.NewClient(server.URL())
	p.store, err = registrystore.OpenDirectory(p.storage)
	require.NoError(t, err)
	return p
}

// copy returns a copy of the storage, which nobody serves.
func (p *peer) copy(t *testing.T) *peer {
	t.Helper()
	c := &peer{t: t, storage: t.TempDir()}
	require.NoError(t, os.CopyFS(filepath.Join(c.storage, "docker"), os.DirFS(filepath.Join(p.storage, "docker"))))
	var err error
	c.store, err = registrystore.OpenDirectory(c.storage)
	require.NoError(t, err)
	return c
}

// push stores documents of a fixture, each with everything that it names.
func (p *peer) push(f *imagetest.Fixture, repo string, names ...string) {
	p.t.Helper()
	for _, name := range names {
		require.NoError(p.t, p.client.PushImage(p.t.Context(), f, repo, name))
	}
}

// tag stores a document of a fixture without what it names.
func (p *peer) tag(f *imagetest.Fixture, repo, tag, name string) {
	p.t.Helper()
	answer := p.client.Put(p.t, f, repo, tag, name)
	require.Equal(p.t, http.StatusCreated, answer.Status, "%s", answer.Body)
}

// pushSample stores sample in a repository: v1 is complete, cache is a build cache, and sparse is a
// list without its arm64.
func (p *peer) pushSample(f *imagetest.Fixture, repo string) {
	p.t.Helper()
	p.push(f, repo, "outer", "sig", "cache")
	p.tag(f, repo, "v1", "outer")
	p.tag(f, repo, "cache", "cache")
}

func (p *peer) check(o Options) *Report {
	p.t.Helper()
	if o.Wait == nil {
		o.Wait = func(context.Context) error { return nil }
	}
	report, err := Check(p.t.Context(), p.store, o)
	require.NoError(p.t, err)
	return report
}

// file is a file of the storage, below the directory of distribution's.
func (p *peer) file(elements ...string) string {
	return filepath.Join(append([]string{p.storage, "docker/registry/v2"}, elements...)...)
}

func (p *peer) data(d digest.Digest) string {
	return p.file("blobs/sha256", d.Encoded()[:2], d.Encoded(), "data")
}

// link is the link to d in a directory of a repository.
func (p *peer) link(repo, directory string, d digest.Digest) string {
	return p.file("repositories", repo, directory, "sha256", d.Encoded(), "link")
}

func (p *peer) write(path, content string) {
	p.t.Helper()
	require.NoError(p.t, os.WriteFile(path, []byte(content), 0o600))
}

func (p *peer) remove(path string) {
	p.t.Helper()
	_, err := os.Lstat(path)
	require.NoError(p.t, err)
	require.NoError(p.t, os.RemoveAll(path))
}

// age makes every content older than what a push may be about to link.
func (p *peer) age() {
	p.t.Helper()
	long := time.Now().Add(-48 * time.Hour)
	require.NoError(p.t, filepath.WalkDir(p.file("blobs"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, long, long)
	}))
}

func TestNothingIsWrong(t *testing.T) {
	p, f := startPeer(t), sample()
	p.pushSample(f, "app")
	p.pushSample(f, "team/app")
	p.age()
	assert.Equal(t, Rebuilt{}, p.rebuild(), "the server has written the links")
	r := p.check(Options{})
	assert.Empty(t, r.Findings)
	assert.Equal(t, r.Bytes, r.BytesRead)
	r.Bytes, r.BytesRead = 0, 0
	assert.Equal(t, &Report{
		Schema: Schema, Counts: Counts{Repositories: 2, Tags: 6, Manifests: 16, Contents: 8 + 7}, Hashed: true, Findings: []Finding{},
	}, r)
	assert.Zero(t, p.check(Options{SkipContent: true}).BytesRead)
}

// TestDeletedReferrers deletes what the server has listed in a referrers tag: that the index which
// the tag named before lacks it is no finding, although a policy would refuse the push of one.
func TestDeletedReferrers(t *testing.T) {
	p, f := startPeer(t), sample()
	f.Artifact("another", imagetest.Subject("top"))
	p.pushSample(f, "app")
	p.push(f, "app", "another")
	answer := p.client.Do(t, http.MethodDelete, sparsetest.ManifestPath("app", f.Digest("another").String()), nil, nil)
	require.Equal(t, http.StatusAccepted, answer.Status)
	arm64 := sparseregistry.Policies{Default: manifest.SparsePolicy{Enabled: true, RequiredArchitectures: []string{"arm64"}}}
	assert.Empty(t, p.check(Options{Proposed: &arm64}).Findings)
}

// TestFindings breaks a storage in every way in turn.
func TestFindings(t *testing.T) {
	f := sample()
	amd64, top, base, config := f.Digest("amd64"), f.Digest("top"), f.Digest("base"), f.Digest("amd64.config")
	served := startPeer(t)
	served.pushSample(f, "app")
	served.rebuild()
	for _, c := range []struct {
		name   string
		damage func(*peer)
		want   []string
		unread []string // with SkipContent, nil for the same
	}{
		{
			"a blob is altered", func(p *peer) { p.write(p.data(base), "other") },
			[]string{"blob-altered base -"},
			[]string{"size-untrue amd64 base by v1", "size-untrue arm64 base by v1", "size-untrue cache base by cache"},
		},
		{
			"a manifest is altered", func(p *peer) { p.write(p.data(amd64), "{}") },
			[]string{"blob-altered amd64 -"}, nil,
		},
		{
			"a blob is cut to nothing", func(p *peer) { p.write(p.data(config), "") },
			[]string{"blob-altered amd64.config -"},
			[]string{"size-untrue amd64 amd64.config by v1"},
		},
		{
			"a blob is lost", func(p *peer) { p.remove(p.data(config)) },
			[]string{"content-lost amd64 amd64.config by v1"}, nil,
		},
		{
			"a manifest is lost", func(p *peer) { p.remove(p.data(amd64)) },
			[]string{"child-missing top amd64 by v1", "manifest-lost amd64 - by v1"}, nil,
		},
		{
			"a blob is in the storage, and not in the repository", func(p *peer) { p.remove(p.link("app", "_layers", config)) },
			[]string{"content-lost amd64 amd64.config by v1", "orphan amd64.config -"}, nil,
		},
		{
			"a tag names nothing", func(p *peer) { p.remove(p.file("repositories/app/_manifests/tags/v1/current")) },
			[]string{"tag-empty - - :v1"}, nil,
		},
		{
			"a tag's link is empty", func(p *peer) { p.write(p.file("repositories/app/_manifests/tags/v1/current/link"), "") },
			[]string{"link-damaged - - :v1"}, nil,
		},
		{
			"a tag names what is not there", func(p *peer) {
				p.write(p.file("repositories/app/_manifests/tags/v1/current/link"), base.String())
			},
			[]string{"tag-dangling base - :v1"}, nil,
		},
		{
			"a manifest's link is empty", func(p *peer) { p.write(p.link("app", "_manifests/revisions", top), "") },
			[]string{"link-damaged top - by v1"}, nil,
		},
		{
			"a blob's link names another blob", func(p *peer) { p.write(p.link("app", "_layers", base), config.String()) },
			[]string{"link-damaged base -"}, nil,
		},
		{
			"a tag's link cannot be read", func(p *peer) {
				p.remove(p.file("repositories/app/_manifests/tags/v1/current/link"))
				require.NoError(p.t, os.Mkdir(p.file("repositories/app/_manifests/tags/v1/current/link"), 0o755))
			},
			[]string{"unreadable - - :v1"}, nil,
		},
		{
			"a tag is no directory", func(p *peer) { p.write(p.file("repositories/app/_manifests/tags/v2"), "") },
			[]string{"unreadable - - :v2"}, nil,
		},
		{
			"a tag is elsewhere, and that is not there", func(p *peer) {
				p.remove(p.file("repositories/app/_manifests/tags/v1"))
				require.NoError(p.t, os.Symlink("nowhere", p.file("repositories/app/_manifests/tags/v1")))
			},
			[]string{"unreadable - - :v1"}, nil,
		},
		{
			"a referrer's link is lost, and there is another", func(p *peer) {
				p.remove(p.file("repositories/app/_referrers/sha256", top.Encoded()))
				require.NoError(p.t, p.store.PutReferrer(p.t.Context(), "app", amd64, top))
			},
			[]string{"referrer-stray top amd64 by v1", "referrer-unlinked sig top by sha256-top"}, nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := served.copy(t)
			p.age()
			c.damage(p)
			assert.Equal(t, c.want, named(f, p.check(Options{}).Findings))
			if c.unread == nil {
				c.unread = c.want
			}
			assert.Equal(t, c.unread, named(f, p.check(Options{SkipContent: true}).Findings))
		})
	}
}

// TestAStorageWithoutRepositoriesIsNotTrue: their directory may be that of a disk that is not
// mounted.
func TestAStorageWithoutRepositoriesIsNotTrue(t *testing.T) {
	p := startPeer(t)
	assert.Empty(t, p.check(Options{}).Findings, "nothing was ever stored")
	p.pushSample(sample(), "app")
	p.remove(p.file("repositories"))
	_, err := Check(t.Context(), p.store, Options{})
	assert.ErrorIs(t, err, registrystore.ErrNoRepositories)
}

// TestRebuildBesideDamage has a referrer that cannot be read: of what is damaged, only the tag that
// lists it stays as it was, and all others are made anew.
func TestRebuildBesideDamage(t *testing.T) {
	p, f := startPeer(t), sample()
	f.Artifact("another", imagetest.Subject("amd64"))
	tag := func(name string) string { return "sha256-" + f.Digest(name).Encoded() }
	repositories := []string{"app", "team/app"}
	for _, repo := range repositories {
		p.push(f, repo, "outer", "another")
	}
	p.push(f, "app", "sig")
	p = p.copy(t)
	p.write(p.data(f.Digest("sig")), "{}")
	for _, repo := range repositories {
		p.remove(p.file("repositories", repo, "_referrers/sha256", f.Digest("amd64").Encoded()))
		p.remove(p.file("repositories", repo, "_manifests/tags", tag("amd64")))
	}
	rebuilt, err := RebuildReferrers(t.Context(), p.store, Options{})
	require.NoError(t, err)
	assert.Equal(t, 2, rebuilt.Written)
	assert.Zero(t, rebuilt.Removed)
	require.ErrorContains(t, rebuilt.Tags, "repository app: bringing tag "+tag("top")+" up to date: reading blob "+f.Digest("sig").String())
	assert.NotContains(t, rebuilt.Tags.Error(), tag("amd64"))
	for _, repo := range repositories {
		_, err := p.store.Current(t.Context(), repo, tag("amd64"))
		assert.NoError(t, err, repo)
	}
	assert.Equal(t, []string{"blob-altered sig -"}, named(f, p.check(Options{}).Findings))
}

func (p *peer) rebuild() Rebuilt {
	p.t.Helper()
	rebuilt, err := RebuildReferrers(p.t.Context(), p.store, Options{})
	require.NoError(p.t, err)
	require.NoError(p.t, rebuilt.Tags)
	return rebuilt
}
