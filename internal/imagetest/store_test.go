package imagetest

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// recorder is a TB that notes what fails.
type recorder struct{ messages []string }

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.messages = append(r.messages, fmt.Sprintf(format, args...))
}

// messages returns what a check says to its test.
func messages(check func(TB)) []string {
	var r recorder
	check(&r)
	return r.messages
}

func TestRegistryRoundTrip(t *testing.T) {
	f, reg := everyKind(), registrytest.Start(t, registrytest.Options{})
	assert.Equal(t, f.Digest(Top), f.PushTo(reg, "repo", "v1", Top))
	CheckRegistry(t, reg, "repo", Want{Tag: "v1", Digest: f.Digest(Top), Fixture: f, Only: true})
	CheckUnchanged(t, reg, "repo", "v1", f.Digest(Top))
	CheckUnchanged(t, reg, "repo", "v2", "")

	f.PushTo(reg, "sparse", "v1", Top, "oci")
	CheckRegistry(t, reg, "sparse", Want{Tag: "v1", Fixture: f, Absent: []string{"oci"}, Present: []string{"docker"}, Only: true})
	assert.Equal(t, []string{"registry, sparse:v1: 3 violations\n" +
		"\ttop > [0] oci (linux/amd64): dangling: <oci> is not in the store\n" +
		"\ttop > [4] nested > [0] oci (linux/amd64): dangling: <oci> is not in the store\n" +
		"\ttop > [6] oci (linux/arm64/v8): dangling: <oci> is not in the store",
	}, readable(f, messages(func(tb TB) { CheckRegistry(tb, reg, "sparse", Want{Tag: "v1", Fixture: f}) })))
	assert.Equal(t, []string{"registry, repo:v2: 1 violations\n\tv2: the tag names nothing; the tags of the repository are [\"v1\"]"},
		messages(func(tb TB) { CheckRegistry(tb, reg, "repo", Want{Tag: "v2"}) }))

	f.PushTo(reg, "untagged", "", Top)
	assert.Empty(t, reg.Tags("untagged"))
	assert.ElementsMatch(t, f.Manifests(Top), reg.Manifests("untagged"))
	assert.ElementsMatch(t, f.Blobs(Top), reg.Blobs("untagged"))
}

func TestCheckRegistrySeesTheOrder(t *testing.T) {
	f := sample()
	manifest := func(reg *registrytest.Registry, name, ref string) {
		content, mediaType := f.Document(name)
		reg.PutManifest("repo", ref, mediaType, content)
	}
	for name, c := range map[string]struct {
		do    func(reg *registrytest.Registry)
		late  []string
		found []string
	}{
		"children and blobs after the tag": {
			do: func(reg *registrytest.Registry) {
				f.PushTo(reg, "repo", "v1", Top, "arm64")
				f.PushTo(reg, "repo", "v2", "arm64")
			},
			found: []string{
				"arm64: stored (event 13) after the tag was written (event 9)",
				"arm64.app: stored (event 12) after the tag was written (event 9)",
				"arm64.config: stored (event 10) after the tag was written (event 9)",
			},
		},
		"the same, expected": {
			do: func(reg *registrytest.Registry) {
				f.PushTo(reg, "repo", "v1", Top, "arm64")
				f.PushTo(reg, "repo", "", "arm64")
			},
			late: []string{"arm64"},
		},
		"the tag written twice, too early the first time": {
			do: func(reg *registrytest.Registry) {
				f.PushTo(reg, "repo", "v1", Top, "arm64.app")
				f.PushTo(reg, "repo", "v1", Top)
			},
			found: []string{"arm64.app: stored (event 16) after the tag was written (event 11)"},
		},
		"everything written again": {
			do: func(reg *registrytest.Registry) {
				f.PushTo(reg, "repo", "v1", Top)
				f.PushTo(reg, "repo", "", Top)
			},
		},
		"deleted and stored again": {
			do: func(reg *registrytest.Registry) {
				f.PushTo(reg, "repo", "v1", Top)
				reg.DeleteBlob("repo", f.Digest("base"))
				reg.PutBlob("repo", f.Content("base"))
			},
			found: []string{"base: stored (event 14) after the tag was written (event 12)"},
		},
		"the tag moved away and back, complete": {
			do: func(reg *registrytest.Registry) {
				f.PushTo(reg, "repo", "v1", Top, "arm64.app")
				manifest(reg, "amd64", "v1")
				f.PushTo(reg, "repo", "v1", Top)
			},
		},
		"another tag early": {
			do: func(reg *registrytest.Registry) {
				manifest(reg, Top, "v0")
				f.PushTo(reg, "repo", "v1", Top)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			reg := registrytest.Start(t, registrytest.Options{})
			c.do(reg)
			assert.ElementsMatch(t, c.found, inspectRegistry(reg, "repo", Want{Tag: "v1", Fixture: f, Late: c.late}))
		})
	}
}

func TestCheckUnchanged(t *testing.T) {
	f := sample()
	for name, c := range map[string]struct {
		do    func(reg *registrytest.Registry)
		want  digest.Digest
		found []string
	}{
		"moved": {
			do: func(reg *registrytest.Registry) {
				f.PushTo(reg, "repo", "v1", Top)
				f.PushTo(reg, "repo", "v1", "amd64")
			},
			want:  f.Digest(Top),
			found: []string{`registry, repo:v1: the tag names "<amd64>", want "<top>"`},
		},
		"moved before": {
			do: func(reg *registrytest.Registry) {
				f.PushTo(reg, "repo", "v1", "amd64")
				f.PushTo(reg, "repo", "v1", Top)
				f.PushTo(reg, "repo", "v1", Top)
				f.PushTo(reg, "repo", "v2", "amd64")
			},
			want: f.Digest(Top),
		},
		"moved and back": {
			do: func(reg *registrytest.Registry) {
				f.PushTo(reg, "repo", "v1", Top)
				f.PushTo(reg, "repo", "v1", "amd64")
				f.PushTo(reg, "repo", "v1", Top)
			},
			want: f.Digest(Top),
			found: []string{
				`registry, repo:v1: tag <amd64> in between, although in the end the tag names "<top>"`,
				`registry, repo:v1: tag <top> in between, although in the end the tag names "<top>"`,
			},
		},
		"made, but not wanted": {
			do:    func(reg *registrytest.Registry) { f.PushTo(reg, "repo", "v1", Top) },
			found: []string{`registry, repo:v1: the tag names "<top>", want ""`},
		},
		"made and deleted": {
			do: func(reg *registrytest.Registry) {
				f.PushTo(reg, "repo", "v1", Top)
				reg.DeleteTag("repo", "v1")
			},
			found: []string{
				`registry, repo:v1: tag <top> in between, although in the end the tag names ""`,
				`registry, repo:v1: delete tag <top> in between, although in the end the tag names ""`,
			},
		},
		"other content": {
			do: func(reg *registrytest.Registry) {
				f.PushTo(reg, "repo", "v1", Top)
				reg.PutManifest("repo", f.Digest(Top).String(), ociIndex, []byte("{}"))
			},
			want:  f.Digest(Top),
			found: []string{"registry, repo:v1: the content of <top> is not there"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			reg := registrytest.Start(t, registrytest.Options{})
			c.do(reg)
			assert.Equal(t, c.found, readable(f, messages(func(tb TB) { CheckUnchanged(tb, reg, "repo", "v1", c.want) })))
		})
	}
}

// A registry that keeps no content of blobs has their sizes, which is what the checker then relies
// on.
func TestRegistryThatDiscardsBlobs(t *testing.T) {
	f := New()
	f.Blob("blob", "a/b", []byte("content"))
	f.Blob("empty", "a/b", nil)
	reg := registrytest.Start(t, registrytest.Options{DiscardBlobs: true})
	for _, name := range []string{"blob", "empty"} {
		url := reg.URL() + "/v2/repo/blobs/uploads/?digest=" + f.Digest(name).String()
		resp, err := http.Post(url, "application/octet-stream", bytes.NewReader(f.Content(name)))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusCreated, resp.StatusCode)

		r, size, ok := RegistryStore(reg, "repo").Blob(f.Digest(name))
		assert.True(t, ok)
		assert.Equal(t, f.Size(name), size)
		if size > 0 {
			assert.Nil(t, r)
		}
	}
	_, _, ok := RegistryStore(reg, "repo").Blob(digest.FromString("unknown"))
	assert.False(t, ok)
	reg.PutBlob("kept", f.Content("empty"))
	r, _, _ := RegistryStore(reg, "kept").Blob(f.Digest("empty"))
	assert.NotNil(t, r)
}

func TestLayoutRoundTrip(t *testing.T) {
	f, dir := everyKind(), filepath.Join(t.TempDir(), "new", "layout")
	CheckLayoutUnchanged(t, dir, "v1", "")
	require.NoError(t, f.WriteLayout(dir, "v1", Top))
	CheckLayout(t, dir, Want{Tag: "v1", Digest: f.Digest(Top), Fixture: f, Only: true})
	CheckLayoutUnchanged(t, dir, "v1", f.Digest(Top))
	CheckLayoutUnchanged(t, dir, "v2", "")

	require.NoError(t, f.WriteLayout(dir, "v2", "nested"))
	require.NoError(t, f.WriteLayout(dir, "v1", "chart"))
	require.NoError(t, f.WriteLayout(dir, "", "docker"))
	CheckLayout(t, dir, Want{Tag: "v1", Digest: f.Digest("chart"), Fixture: f})
	CheckLayout(t, dir, Want{Tag: "v2", Digest: f.Digest("nested"), Fixture: f})
	CheckLayout(t, dir, Want{Digest: f.Digest("docker"), Fixture: f})
	index, err := os.ReadFile(filepath.Join(dir, "index.json"))
	require.NoError(t, err)
	assert.NotContains(t, string(index), `"org.opencontainers.image.ref.name":""`)

	sparse := t.TempDir()
	require.NoError(t, f.WriteLayout(sparse, "v1", Top, "oci", "chart"))
	CheckLayout(t, sparse, Want{Tag: "v1", Fixture: f, Absent: []string{"oci", "chart"}, Only: true})
}

func TestCheckLayout(t *testing.T) {
	f := sample()
	stranger := digest.FromString("stranger")
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string)
		tag    string // "v1" if empty
		found  []string
	}{
		"no oci-layout": {
			damage: func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "oci-layout"))) },
			found:  []string{"oci-layout: open DIR/oci-layout: no such file or directory"},
		},
		"wrong version": {
			damage: func(t *testing.T, dir string) { write(t, `{}`, dir, "oci-layout") },
			found:  []string{`oci-layout: version ""`},
		},
		"damaged index.json": {
			damage: func(t *testing.T, dir string) { write(t, `{"manifests":[`, dir, "index.json") },
			found:  []string{"index.json: unexpected end of JSON input", "v1: unexpected end of JSON input"},
		},
		"index.json with another schemaVersion": {
			damage: func(t *testing.T, dir string) { write(t, `{"schemaVersion":1}`, dir, "index.json") },
			found: []string{
				`index.json: schemaVersion 1, mediaType ""`,
				`v1: "v1" of index.json: the tag names nothing`,
			},
		},
		"index.json of something else": {
			damage: func(t *testing.T, dir string) { write(t, `{"schemaVersion":2,"mediaType":"a/b"}`, dir, "index.json") },
			found: []string{
				`index.json: schemaVersion 2, mediaType "a/b"`,
				`v1: "v1" of index.json: the tag names nothing`,
			},
		},
		"no such tag": {
			tag:   "v2",
			found: []string{`v2: "v2" of index.json: the tag names nothing`},
		},
		"the tag twice": {
			damage: func(t *testing.T, dir string) {
				entry := `{"digest":"` + f.Digest(Top).String() + `","annotations":{"org.opencontainers.image.ref.name":"v1"}}`
				write(t, `{"schemaVersion":2,"manifests":[`+entry+`,`+entry+`]}`, dir, "index.json")
			},
			found: []string{`v1: 2 descriptors of index.json have the name "v1"`},
		},
		"wrong size in index.json": {
			damage: func(t *testing.T, dir string) {
				write(t, `{"schemaVersion":2,"manifests":[{"mediaType":"`+ociIndex+`","size":3,"digest":"`+f.Digest(Top).String()+
					`","annotations":{"org.opencontainers.image.ref.name":"v1"}}]}`, dir, "index.json")
			},
			found: []string{"top: size is 868, the descriptor says 3"},
		},
		"dangling": {
			damage: func(t *testing.T, dir string) { require.NoError(t, os.Remove(layoutPath(dir, f.Digest("base")))) },
			found: []string{
				"top > [0] amd64 (linux/amd64) > layer[0] base: dangling: <base> is not in the store",
				"top > [1] arm64 (linux/arm64) > layer[0] base: dangling: <base> is not in the store",
			},
		},
		"files that the tag does not lead to": {
			damage: func(t *testing.T, dir string) {
				write(t, "stranger", layoutPath(dir, stranger))
				write(t, "damaged", layoutPath(dir, digest.FromString("other")))
				write(t, "partial", dir, "blobs", "sha256", "oci-put-blob1")
			},
			found: []string{
				"blobs/sha256/d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa: stored as <other>, but the content has digest <other>",
				"blobs/sha256/oci-put-blob1: no valid digest",
			},
		},
		"no blobs": {
			damage: func(t *testing.T, dir string) { require.NoError(t, os.RemoveAll(filepath.Join(dir, "blobs"))) },
			found: []string{
				"top: dangling: <top> is not in the store",
				"lstat DIR/blobs: no such file or directory",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, f.WriteLayout(dir, "v1", Top))
			if c.damage != nil {
				c.damage(t, dir)
			}
			want := Want{Tag: "v1", Fixture: f}
			if c.tag != "" {
				want.Tag = c.tag
			}
			found := inspectLayout(dir, want)
			for i := range found {
				found[i] = strings.ReplaceAll(found[i], dir, "DIR")
			}
			assert.Equal(t, c.found, readable(f, found))
			assert.Len(t, messages(func(tb TB) { CheckLayout(tb, dir, want) }), 1)
		})
	}
}

func TestCheckLayoutUnchanged(t *testing.T) {
	f, dir := sample(), t.TempDir()
	require.NoError(t, f.WriteLayout(dir, "v1", Top))
	check := func(tag string, d digest.Digest) []string {
		return messages(func(tb TB) { CheckLayoutUnchanged(tb, dir, tag, d) })
	}
	assert.Empty(t, check("v1", f.Digest(Top)))
	assert.Empty(t, check("v2", ""))
	assert.Len(t, check("v1", ""), 1)
	assert.Len(t, check("v1", f.Digest("amd64")), 1)
	assert.Len(t, check("v2", f.Digest(Top)), 1)
	write(t, "{", dir, "index.json")
	assert.Len(t, check("v2", ""), 1)
}

func write(t *testing.T, content string, path ...string) {
	require.NoError(t, os.WriteFile(filepath.Join(path...), []byte(content), 0o644))
}

// TestRepositoriesComeBack saves a repository, and loads it into another.
func TestRepositoriesComeBack(t *testing.T) {
	f := Nested()
	from, to := registrytest.NewHandler(registrytest.Options{}), registrytest.NewHandler(registrytest.Options{})
	f.PushTo(from, "app", "v1", Top)
	f.PushTo(from, "app", "again", Top)
	dir := filepath.Join(t.TempDir(), "saved")
	require.NoError(t, SaveRepository(from, "app", dir))

	require.NoError(t, LoadRepository(to, "other", dir))
	assert.Equal(t, from.Snapshot("app"), to.Snapshot("other"))
	CheckLayout(t, dir, Want{Tag: "v1", Digest: f.Digest(Top), Fixture: f, Only: true})

	require.NoError(t, os.WriteFile(layoutPath(dir, f.Digest("amd64")), []byte("{}"), 0o600))
	require.ErrorContains(t, LoadRepository(to, "other", dir), f.Digest("amd64").String()+" has the digest")
}
