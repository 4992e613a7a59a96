package syncfile

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/transports"

	"github.com/sparsecopy/sparsecopy/examples/internal/notify"
)

func TestSenders(t *testing.T) {
	f, err := parse(`
images:
- {source: docker://alpine:3, destination: docker://m.example/alpine}
- {source: docker://quay.io/a/b:1, destination: docker://m.example/b}
- {source: docker://ghcr.io/a/c:1, destination: docker://m.example/c}
- {source: docker://registry.example:5000/d:1, destination: docker://m.example/d}
- {source: docker://r.example/d:1, destination: docker://m.example/e}
notify:
- {name: hub, format: docker-hub, secret-file: hub.secret}
- {name: quay, format: quay, auth: header, secret-file: /etc/mirror/quay}
- {name: github, format: ghcr, secret-file: github}
- name: team.registry-1
  format: distribution
  registry: [registry.example:5000, r.example]
  secret-file: registry
- {name: harbor, format: harbor, registry: r.example, auth: path, secret-file: harbor}
`)
	require.NoError(t, err)
	assert.Equal(t, []notify.Sender{
		{At: "f.yaml:9", Name: "hub", Format: notify.DockerHub, Auth: notify.Path, Registries: []string{"docker.io"}, SecretFile: "hub.secret"},
		{At: "f.yaml:10", Name: "quay", Format: notify.Quay, Auth: notify.Header, Registries: []string{"quay.io"}, SecretFile: "/etc/mirror/quay"},
		{At: "f.yaml:11", Name: "github", Format: notify.GHCR, Auth: notify.Signature, Registries: []string{"ghcr.io"}, SecretFile: "github"},
		{At: "f.yaml:12", Name: "team.registry-1", Format: notify.Distribution, Auth: notify.Header, Registries: []string{"registry.example:5000", "r.example"}, SecretFile: "registry"},
		{At: "f.yaml:16", Name: "harbor", Format: notify.Harbor, Auth: notify.Path, Registries: []string{"r.example"}, SecretFile: "harbor"},
	}, f.Notify)

	f, err = Parse("/etc/mirror/images.yaml", []byte("images: [{source: docker://quay.io/a:1, destination: docker://m.example/a}]\n"+
		"notify: [{name: a, format: quay, secret-file: secrets/quay}]"), parseRef)
	require.NoError(t, err)
	assert.Equal(t, "/etc/mirror/secrets/quay", f.Notify[0].SecretFile)
}

func TestSendersProblems(t *testing.T) {
	const images = "images: [{source: 'docker://quay.io/a:1', destination: 'docker://m.example/a'}]\n"
	for text, says := range map[string]string{
		"notify: {}":     "f.yaml:2: notify must be a list",
		"notify: [quay]": "f.yaml:2: a sender must be a mapping",
		"notify: [{nam: a, format: quay, secret-file: s}]":                                              `f.yaml:2: a sender has no key "nam"; did you mean "name"?`,
		"notify: [{format: quay, secret-file: s}]":                                                      "f.yaml:2: the sender has no name",
		"notify: [{name: a/b, format: quay, secret-file: s}]":                                           `f.yaml:2: name: "a/b" cannot stand in the path`,
		"notify: [{name: .., format: quay, secret-file: s}]":                                            `f.yaml:2: name: ".." cannot stand in the path`,
		"notify:\n- {name: a, format: quay, secret-file: s}\n- {name: a, format: quay, secret-file: s}": `f.yaml:4: the sender in line 3 has the name "a" too`,
		"notify: [{name: a, secret-file: s}]":                                                           "f.yaml:2: the sender has no format",
		"notify: [{name: a, format: zot, secret-file: s}]":                                              `f.yaml:2: format: write distribution, docker-hub, ghcr, harbor or quay, not "zot"`,
		"notify: [{name: a, format: quay}]":                                                             "f.yaml:2: the sender has no secret-file",
		"notify: [{name: a, format: quay, secret: x}]":                                                  `f.yaml:2: a sender has no key "secret"`,
		"notify: [{name: a, format: quay, secret-file: s, auth: none}]":                                 `f.yaml:2: auth: write header, path or signature, not "none"`,
		"notify: [{name: a, format: harbor, secret-file: s}]":                                           "f.yaml:2: the sender has no registry: anybody may run a registry that sends harbor",
		"notify: [{name: a, format: harbor, registry: [], secret-file: s}]":                             "f.yaml:2: registry has no elements",
		"notify: [{name: a, format: harbor, registry: 'https://quay.io', secret-file: s}]":              `f.yaml:2: registry: write HOST or HOST:PORT, as in the sources of the images, not "https://quay.io"`,
		"notify: [{name: a, format: harbor, registry: quay.io/a, secret-file: s}]":                      "f.yaml:2: registry: write HOST",
		"notify: [{name: a, format: harbor, registry: index.docker.io, secret-file: s}]":                "f.yaml:2: registry: write HOST",
		"notify: [{name: a, format: harbor, registry: harbor.example, secret-file: s}]":                 "f.yaml:2: registry: no image has a source in harbor.example; known are quay.io",
		"notify: [{name: a, format: docker-hub, secret-file: s}]":                                       "f.yaml:2: registry: no image has a source in docker.io",
	} {
		_, err := parse(images + text)
		var problems Problems
		if assert.ErrorAs(t, err, &problems, text) {
			assert.ErrorContains(t, err, says)
			if !strings.Contains(says, "has no key") { // what was meant is missing, then
				assert.Len(t, problems, 1, "%v", err)
			}
		}
	}
}

func TestPushed(t *testing.T) {
	f, err := parse(`
images:
- {source: docker://alpine:3, destination: docker://m.example/alpine}
- {source: docker://quay.io/a/b, tags: ["1.*", stable], exclude-tags: ["*-rc*"], destination: "docker://m.example/b:{tag}"}
- {source: docker://quay.io/a/b, tags: [stable, "1.1"], destination: "docker://n.example/b-{tag}"}
- {source: docker://quay.io/a/b:stable, destination: docker://o.example/b:blessed}
- {source: docker://quay.io/a/c@` + digestText + `, destination: docker://m.example/c}
- {source: docker://quay.io/a/pinned:1@` + digestText + `, destination: docker://m.example/pinned}
- {source: docker://m.example/b, tags: ["*"], destination: docker://edge.example/b}
- {source: docker://team.example/app:dev, destination: docker://team.example/app:released}
- {source: docker://team.example/app, tags: [released, other], destination: docker://m.example/app}
- {source: docker://one.example/app, tags: ["v*"], destination: "docker://one.example/app:mirror-{tag}"}
- {source: "oci:/layout:x", destination: docker://m.example/x:1}
`)
	require.NoError(t, err)
	for tag, want := range map[string][]string{
		"docker.io/library/alpine:3":   {"m.example/alpine:3"},
		"docker.io/library/alpine:3.1": nil,
		"docker.io/team/alpine:3":      nil,
		"quay.io/a/b:1.2":              {"m.example/b:1.2"},
		"quay.io/a/b:1.1":              {"m.example/b:1.1", "n.example/b-1.1:1.1"},
		"quay.io/a/b:1.2-rc1":          nil,
		"quay.io/a/b:stable":           {"m.example/b:stable", "n.example/b-stable:stable", "o.example/b:blessed"},
		"quay.io/a/c:latest":           nil,
		"m.example/b:1.2":              nil, // a copy is written there
		"team.example/app:dev":         {"team.example/app:released"},
		"team.example/app:released":    nil, // a copy is written there
		"team.example/app:other":       {"m.example/app:other"},
		"one.example/app:v1":           {"one.example/app:mirror-v1"},
		"one.example/app:mirror-v1":    nil,
		"m.example/x:1":                nil,
		// A signature: the file has no other names of tags than these.
		"quay.io/a/b:sha256-" + digestText[7:] + ".sig":      {"m.example/b:stable", "n.example/b-1.1:1.1", "n.example/b-stable:stable", "o.example/b:blessed"},
		"quay.io/a/c:sha256-" + digestText[7:] + ".sig":      nil,
		"quay.io/a/pinned:1":                                 nil, // whatever it names now
		"quay.io/a/pinned:sha256-" + digestText[7:] + ".sig": {"m.example/pinned:1"},
	} {
		named, err := reference.ParseNamed(tag)
		require.NoError(t, err)
		var got []string
		for _, c := range f.Lookup().Pushed(named.(reference.NamedTagged)) {
			got = append(got, c.Destination.DockerReference().String())
			assert.Equal(t, "docker://"+named.Name(), "docker://"+c.Source.DockerReference().Name(), transports.ImageName(c.Source))
		}
		assert.ElementsMatch(t, want, got, tag)
	}
}

// TestPushedToAHostInOtherLetters: however hosts are written, the file's own copies wake nobody.
func TestPushedToAHostInOtherLetters(t *testing.T) {
	f, err := parse(`images: [
  {source: docker://Source.example:443/b, tags: [named], destination: docker://Mirror.example:443/b},
  {source: docker://mirror.example/b, tags: ["*", named], destination: docker://other.example/b}]`)
	require.NoError(t, err)
	for tag, want := range map[string]int{"source.example/b:named": 1, "Mirror.example/b:named": 0, "mirror.example/b:other": 1} {
		named, err := reference.ParseNamed(tag)
		require.NoError(t, err)
		assert.Len(t, f.Lookup().Pushed(named.(reference.NamedTagged)), want, tag)
	}
}

// TestPushedThenSigned: what patterns take is remembered, so that a signature finds it.
func TestPushedThenSigned(t *testing.T) {
	f, err := parse(`images: [{source: docker://quay.io/a/b, tags: ["*", named], destination: docker://m.example/b}]`)
	require.NoError(t, err)
	l := f.Lookup()
	pushed := func(tag string) (tags []string) {
		named, err := reference.ParseNamed("quay.io/a/b:" + tag)
		require.NoError(t, err)
		for _, c := range l.Pushed(named.(reference.NamedTagged)) {
			tags = append(tags, c.Tag)
		}
		return tags
	}
	signature := "sha256-" + digestText[7:] + ".sig"
	assert.Equal(t, []string{"named"}, pushed(signature))
	for i := range maxRecent + 2 {
		assert.Len(t, pushed(strconv.Itoa(i)), 1)
		assert.Equal(t, []string{"0"}, pushed("0"), "the last ones stay")
	}
	got := pushed(signature)
	assert.Len(t, got, 1+maxRecent)
	assert.Equal(t, []string{"named", "3"}, got[:2])
	assert.Equal(t, []string{strconv.Itoa(maxRecent + 1), "0"}, got[maxRecent-1:])
}

// TestSendersOfFilesWithProblems: what is wrong with the images is not said of the senders, too.
func TestSendersOfFilesWithProblems(t *testing.T) {
	_, err := parse("images: [{source: 'docker://quay.io/a:1'}]\nnotify: [{name: a, format: quay, secret-file: s}]")
	var problems Problems
	require.ErrorAs(t, err, &problems)
	assert.Len(t, problems, 1)
	assert.ErrorContains(t, err, "no destination")
}

// TestSendersAreDocumented holds the table of docs/sync.md against the keys that there are.
func TestSendersAreDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "sync.md"))
	require.NoError(t, err)
	for _, key := range senderKeys {
		assert.Regexp(t, "(?m)^\\| `"+key+"`", string(page), "a row of a table begins with it")
	}
	for _, f := range notify.Formats() {
		assert.Regexp(t, "(?m)^\\| `"+regexp.QuoteMeta(string(f))+"` \\|", string(page), "a row says how it is set up")
	}
}
