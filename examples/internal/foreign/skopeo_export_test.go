package foreign

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const toExport = `version: 1
registries:
- {registry: a.example, tls-verify: false, cert-dir: /certs, authfile: auth.json}
- {registry: m.example, tls-verify: false}
defaults:
  destination: docker://m.example/x/{name}
  sparse: keep
  digest-tags: false
  check: blobs
  referrers: true
images:
- source: docker://a.example/team/app
  tags: [v1, "v2.*", {regexp: "rc[0-9]"}, {semver: ">=3"}, {semver: "~2.1", suffix: -alpine}]
  exclude-tags: [v2.1]
- source: docker://a.example/team/app@sha256:0000000000000000000000000000000000000000000000000000000000000000
  referrers: false
- source: docker://docker.io/library/all
  tags: ["*"]
- source: docker://docker.io/library/other:1
  digest-tags: all
  platforms: [linux/amd64]
- source: docker://b.example/c:1
  destination: docker://elsewhere.example/c
- source: docker://b.example/c:2
  destination: docker://m.example/x/c:3
- source: oci:layout:1
  destination: docker://m.example/x/layout:1
- source: docker://b.example/d:1
  system: native
- source: docker://${HOST}/d:1
  destination: docker://m.example/x/variable
- source: docker://b.example/pinned:1@sha256:0000000000000000000000000000000000000000000000000000000000000000
- source: docker://b.example/pinned:2@sha256:0000000000000000000000000000000000000000000000000000000000000000
  destination: docker://m.example/x/{name}:{tag}
`

func TestExportToSkopeo(t *testing.T) {
	exported, err := skopeoExport.Export("f", []byte(toExport), nil)
	require.NoError(t, err)
	assert.Equal(t, `# Made by mirror export.
a.example:
  cert-dir: /certs
  tls-verify: false
  images:
    team/app:
    - v1
    - sha256:0000000000000000000000000000000000000000000000000000000000000000
  images-by-tag-regex:
    team/app: ^v2\..*$|^(?:rc[0-9])$
  images-by-semver:
    team/app: '>=3'
docker.io:
  images:
    library/all: []
    library/other:
    - "1"
`, string(exported.Text))
	assert.Equal(t, `f:3: registries[0].authfile: the command line has `+"`--src-authfile` and `--dest-authfile`"+`
f:4: registries[1]: no image is read from it; for destinations, the command line has --dest-tls-verify and --dest-cert-dir
f:9: defaults.check: Skopeo's sync YAML has no such key
f:10: defaults.referrers: Skopeo's sync YAML has no such key
f:13: images[0].tags[4].suffix: Skopeo has no ranges of versions with a suffix, and so the range is lost
f:14: images[0].exclude-tags: Skopeo cannot exclude tags, and copies these, too
f:20: images[3].digest-tags: `+"`all`"+`, where all tags are copied; otherwise it is lost
f:21: images[3].platforms: Skopeo copies all of a list, or the image for one system
f:22: images[4]: it needs another command line than the image in line 12: skopeo sync --src yaml --dest docker --all FILE elsewhere.example
f:24: images[5]: Skopeo gives images no other tags
f:26: images[6]: its source is in no registry
f:28: images[7]: it needs another command line than the image in line 12: skopeo sync --src yaml --dest docker FILE m.example/x
f:30: images[8]: its source has a variable, and Skopeo's sync YAML has none
f:32: images[9]: Skopeo gives no tag to what it reads by digest
f:33: images[10]: Skopeo gives no tag to what it reads by digest
`, string(lines(exported.Lost)))
	assert.Equal(t, `f: type skopeo sync --src yaml --dest docker --all FILE m.example/x
f:18: images[2].tags: Skopeo copies the tags that are named after digests, too
`, string(lines(exported.Notes)))
}

// TestSkopeosCommandLine has what only the command line says.
func TestSkopeosCommandLine(t *testing.T) {
	for keys, want := range map[string]string{
		"destination: 'docker://m.example/{registry}/{repository}'":                               "skopeo sync --src yaml --dest docker --all --scoped FILE m.example",
		"destination: 'docker://m.example/x/{name}:{tag}-old'":                                    "skopeo sync --src yaml --dest docker --all --append-suffix -old FILE m.example/x",
		"destination: 'docker://m.example/x/a.example/b/c:1-old'":                                 "skopeo sync --src yaml --dest docker --all --scoped --append-suffix -old FILE m.example/x",
		"destination: 'dir:/tmp/{name}:{tag}'":                                                    "skopeo sync --src yaml --dest dir --all FILE /tmp",
		"destination: 'docker://m.example/{name}', system: native, preserve-digests: true":        "skopeo sync --src yaml --dest docker --preserve-digests FILE m.example",
		"destination: 'docker://m.example/{name}', system: linux/arm/v7, remove-signatures: true": "skopeo --override-os linux --override-arch arm --override-variant v7 sync --src yaml --dest docker --remove-signatures FILE m.example",
	} {
		exported, err := skopeoExport.Export("f", []byte("images: [{source: 'docker://a.example/b/c:1', "+keys+"}]\n"), nil)
		require.NoError(t, err, keys)
		assert.Equal(t, "f: type "+want+"\n", string(lines(exported.Notes)), keys)
		assert.Empty(t, exported.Lost, keys)
	}
	for keys, want := range map[string]string{
		"destination: 'oci:/tmp:{tag}'":                         "Skopeo syncs to docker: and dir: alone, not to oci:/tmp:{tag}",
		"destination: 'dir:/tmp/c'":                             "Skopeo's directories end with the tag",
		"destination: 'docker://m.example/{repository}/{name}'": "Skopeo puts images below one place",
		"destination: 'docker://m.example/other'":               "Skopeo puts images below one place",
	} {
		_, err := skopeoExport.Export("f", []byte("images: [{source: 'docker://a.example/b/c:1', "+keys+"}]\n"), nil)
		require.ErrorContains(t, err, "f: Skopeo's sync YAML can have none of its images; the first: "+want, keys)
	}
}
