package foreign

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// exportedStep is what an image becomes, without the head of the file, and what is lost.
func exportedStep(t *testing.T, image string) (step, lost string) {
	t.Helper()
	exported, err := regsyncExport.Export("f", []byte("images:\n- {"+image+"}\n- {source: 'docker://z.example/z:1', destination: 'docker://m.example/z'}\n"), nil)
	require.NoError(t, err, image)
	const head, tail = "# Made by mirror export.\nversion: 1\nsync:\n", "- source: z.example/z:1\n  target: m.example/z:1\n  type: image\n"
	text := string(exported.Text)
	require.Contains(t, text, head)
	require.Contains(t, text, tail)
	return text[len(head) : len(text)-len(tail)], string(lines(exported.Lost))
}

func TestExportToRegsync(t *testing.T) {
	for image, want := range map[string]string{
		"source: 'docker://nginx:1', destination: 'docker://m.example/{registry}/{repository}'":    "- source: docker.io/library/nginx:1\n  target: m.example/docker.io/library/nginx:1\n  type: image\n",
		"source: 'docker://a.example/b:3', destination: 'oci:dir:x'":                               "- source: a.example/b:3\n  target: ocidir://dir:x\n  type: image\n",
		"source: 'docker://a.example/b:1@" + someDigest + "', destination: 'docker://m.example/b'": "- source: a.example/b:1@" + someDigest + "\n  target: m.example/b:1\n  type: image\n",
		"source: 'docker://a.example/b@" + someDigest + "', destination: 'docker://m.example/b'":   "- source: a.example/b@" + someDigest + "\n  target: m.example/b@" + someDigest + "\n  type: image\n",
		"source: 'docker://${HOST}/b:1', destination: 'docker://m.example/b:${V}'":                 "- source: '{{env \"HOST\"}}/b:1'\n  target: m.example/b:{{env \"V\"}}\n  type: image\n",
	} {
		step, lost := exportedStep(t, image)
		assert.Equal(t, want, step, image)
		assert.Empty(t, lost)
	}
	const source = "source: 'docker://a.example/b', destination: 'docker://m.example/b', "
	for image, want := range map[string]string{
		"source: 'dir:x', destination: 'docker://m.example/b:1'":                                     "f:2: images[0]: regsync copies between registries and OCI layouts, not dir:\n",
		"source: 'docker://a.example/b', tags: [x], destination: 'docker://m.example/b:{tag}-old'":   "f:2: images[0]: regsync fills in no {tag} of docker://m.example/b:{tag}-old\n",
		"source: 'docker://a.example/b', tags: [x], destination: 'docker://m.example/{tag}/b:{tag}'": "f:2: images[0]: regsync fills in no {tag} of docker://m.example/{tag}/b\n",
		source + "tags: [x, {semver: '~1'}]":                                                         "f:2: images[0].tags[1].semver: regsync reads \"~1\" otherwise, or not at all\n",
		source + "tags: [x, {all: [a*, b*]}]":                                                        "f:2: images[0].tags[1]: regsync has one expression and one range in a set\n",
		source + "tags: [x, {not: {semver: '>=1'}}]":                                                 "f:2: images[0].tags[1].not: regsync cannot combine patterns so\n",
		source + "tags: ['x*'], newest: 3":                                                           "f:2: images[0].newest: regsync's YAML has no such key\n",
		source + "tags: [x], platforms: [linux/amd64, '!windows/*']":                                 "f:2: images[0].platforms[1]: regsync has no exclusions, and no *\n",
		source + "tags: [x], sparse: strip, platforms: [linux/amd64]":                                "f:2: images[0].sparse: regsync keeps lists\n",
		source + "tags: [x], every: 1h, jitter: 5m":                                                  "f:2: images[0].jitter: regsync's YAML has no such key\n",
	} {
		_, lost := exportedStep(t, image)
		assert.Equal(t, want, lost, image)
	}
	step, lost := exportedStep(t, source+"tags: ['v[0-9]', {regexp: 'a|b'}], exclude-tags: [v1]")
	assert.Empty(t, lost)
	assert.Contains(t, step, "  tags:\n    allow:\n    - v[0-9]\n    - (?:a|b)\n    deny:\n    - v1\n")
}

func TestRangesThatRegsyncReadsTheSame(t *testing.T) {
	for field, want := range map[string]bool{
		">=1": true, "<2.0": true, "^1.2": true, "~1.2": true, "1.2.3": true, "=1.2.3": true, ">1.2.3": true, "<=1.2.3-rc1": true, ">=v1": true,
		"1.2": false, "=1": false, ">1": false, "<=1.2": false, "~1": false, "^0.2": false, "1.x": false, "!=1.2.3": false, "*": false, "-": false, "=>1.0.0": false,
	} {
		assert.Equal(t, want, sameRange().MatchString(field), field)
	}
}
