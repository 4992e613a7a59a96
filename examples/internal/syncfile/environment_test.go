package syncfile

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/transports"
)

func parseWith(environment map[string]string, text string) (*File, error) {
	return ParseIn(func(name string) (string, bool) {
		value, set := environment[name]
		return value, set
	}, "f.yaml", []byte(text), parseRef)
}

func TestEnvironment(t *testing.T) {
	environment := map[string]string{
		"REG": "quay.io", "M": "m.example:5000", "TAGGED": "b:2", "TEMPLATE": "{repository}", "EMPTY": "", "NEXT": "${REG}", "_1": "x", "tag": "never",
	}
	for _, c := range []struct{ source, destination, wantSource, want string }{
		{"docker://${REG}/a:1", "docker://${M}/{name}", "docker://quay.io/a:1", "docker://m.example:5000/a:1"},
		{"docker://${REG}/${TAGGED}", "docker://${M}/${EMPTY}${TEMPLATE}", "docker://quay.io/b:2", "docker://m.example:5000/b:2"},
		// What has a "$" and no name in braces is as it was.
		{"dir:/a-$REG-$$-$", "dir:/m-$M-$$", "dir:/a-$REG-$$-$", "dir:/m-$M-$$"},
		{"docker://quay.io/a:1", "dir:/m-${tag}-$${tag}-$$${tag}", "docker://quay.io/a:1", "dir:/m-$1-$1-$$1"},
		{"dir:/a-$${REG}", "dir:/m", "dir:/a-${REG}", "dir:/m"},
		{"dir:/a-${NEXT}-${_1}", "dir:/m", "dir:/a-${REG}-x", "dir:/m"},
	} {
		f, err := parseWith(environment, "images: [{source: '"+c.source+"', destination: '"+c.destination+"'}]")
		require.NoError(t, err, c.source)
		copies, err := f.Images[0].Copies(nil)
		require.NoError(t, err)
		assert.Equal(t, []string{c.wantSource, c.want}, []string{transports.ImageName(copies[0].Source), transports.ImageName(copies[0].Destination)})
		assert.Equal(t, c.wantSource, f.Images[0].Source)
	}
	f, err := parseWith(environment, "registries: [{registry: '${REG}', cert-dir: 'certs/${REG}', authfile: '/${_1}'}]\nimages: [{source: 'docker://${REG}/a:1', destination: docker://m.example/a}]")
	require.NoError(t, err)
	assert.Equal(t, []Registry{{Line: 1, Name: "quay.io", CertDir: "certs/quay.io", AuthFile: "/x"}}, f.Registries)

	f, err = parseWith(environment, "images: [{source: 'docker://quay.io/a:1', destination: docker://m.example/a, referrers: true, referrers-source: 'docker://${M}/${TEMPLATE}'}]")
	require.NoError(t, err)
	one, err := f.Images[0].CopyOf("")
	require.NoError(t, err)
	assert.Equal(t, "docker://m.example:5000/a:latest", transports.ImageName(one.ReferrersFrom.Reference))

	for text, want := range map[string]string{
		"source: 'docker://${NONE}/a:1', destination: docker://m.example/a":      `f.yaml:1: source: ${NONE} is not set in the environment; a plain "${" is written "$${"`,
		"source: docker://quay.io/a:1, destination: 'docker://${NONE}/a'":        `f.yaml:1: destination: ${NONE} is not set in the environment`,
		"source: 'docker://${REG:-x}/a:1', destination: docker://m.example/a":    `f.yaml:1: source: what follows "${" is no name of an environment variable with a "}" after it`,
		"source: 'docker://${REG/a:1', destination: docker://m.example/a":        `f.yaml:1: source: what follows "${" is no name`,
		"source: 'docker://${}/a:1', destination: docker://m.example/a":          `f.yaml:1: source: what follows "${" is no name`,
		"source: docker://quay.io/a:1, destination: 'docker://m.example/${tag}'": `f.yaml:1: destination "docker://m.example/${tag}": write {tag} for the source's`,
		// No other key.
		"source: docker://quay.io/a, tags: ['${REG}'], destination: docker://m.example/a": `f.yaml:1: "${REG}" is neither a tag nor a glob`,
	} {
		_, err := parseWith(environment, "images: [{"+text+"}]")
		assert.ErrorContains(t, err, want, text)
	}
}
