package syncfile

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"
)

func TestRegistries(t *testing.T) {
	const images = "images: [{source: docker://quay.io/a:1, destination: docker://m.example/a}]\n"
	f, err := Parse("/etc/mirror/images.yaml", []byte(images+`registries:
- {registry: m.example, tls-verify: false}
- {registry: "quay.io:5000", tls-verify: true, cert-dir: certs/quay, authfile: /run/auth.json}
`), parseRef)
	require.NoError(t, err)
	assert.Equal(t, []Registry{
		{Line: 3, Name: "m.example", TLSVerify: types.OptionalBoolFalse},
		{Line: 4, Name: "quay.io:5000", TLSVerify: types.OptionalBoolTrue, CertDir: "/etc/mirror/certs/quay", AuthFile: "/run/auth.json"},
	}, f.Registries)
	assert.Empty(t, f.Images[0].Files, "they say nothing about what destinations are to have")

	for text, want := range map[string]string{
		"[{tls-verify: false}]":                                                          "f.yaml:2: a registry has no key registry, which names it: HOST or HOST:PORT",
		"[{registry: a.example}]":                                                        "f.yaml:2: the registry has none of tls-verify, cert-dir and authfile",
		"[{registry: 'docker://a.example', tls-verify: false}]":                          `f.yaml:2: registry: write HOST or HOST:PORT, as in references, not "docker://a.example"`,
		"[{registry: a.example/b, tls-verify: false}]":                                   `f.yaml:2: registry: write HOST or HOST:PORT, as in references, not "a.example/b"`,
		"[{registry: index.docker.io, tls-verify: false}]":                               "f.yaml:2: registry: references call index.docker.io docker.io",
		"[{registry: a.example, tls-verify: no}]":                                        `f.yaml:2: tls-verify: write false or true, not "no"`,
		"[{registry: a.example, creds: 'a:b'}]":                                          `f.yaml:2: a registry has no key "creds"; known are authfile, cert-dir, registry, tls-verify`,
		"[{registry: a.example, cert-dir: }]":                                            "f.yaml:2: cert-dir must be a text",
		"[{registry: a.example, tls-verify: false}, {registry: A.example, authfile: b}]": "f.yaml:2: the registry in line 2 is A.example, too: say it all in one place",
		"{a.example: {tls-verify: false}}":                                               "f.yaml:2: registries must be a list",
	} {
		_, err := parse(images + "registries: " + text)
		assert.ErrorContains(t, err, want)
	}
}
