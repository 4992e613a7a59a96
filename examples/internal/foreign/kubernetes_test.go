package foreign

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestKubernetes has an image at every place that is known, in lines as Windows ends them.
func TestKubernetes(t *testing.T) {
	var manifest strings.Builder
	var want []string
	for _, kind := range slices.Sorted(maps.Keys(imagePaths)) {
		paths := imagePaths[kind]
		if kind == "" {
			kind = "AnyKind"
		}
		for _, path := range paths {
			image := strings.ToLower("x.example/" + kind + "/" + strings.NewReplacer("**", "any", "[]", "", ".", "/").Replace(path) + ":1")
			want = append(want, image)
			manifest.WriteString("---\r\n# Source: a chart\r\nkind: " + kind + "\r\n" + nested(strings.TrimPrefix(path, "**."), image) + "---\r\n\r\n")
		}
	}
	images, result := converted(t, &kubernetes, manifest.String(), toMirror)
	assert.ElementsMatch(t, want, images)
	assert.Empty(t, result.Lost)
	assert.Empty(t, result.Notes)
}

// nested is YAML with a value at a path.
func nested(path, value string) string {
	var b strings.Builder
	indent := ""
	parts := strings.Split(path, ".")
	for i, part := range parts {
		name, list := strings.CutSuffix(part, "[]")
		b.WriteString(indent + name + ":")
		if indent = strings.ReplaceAll(indent, "- ", "  ") + "  "; list {
			indent += "- "
		}
		if i < len(parts)-1 {
			b.WriteString("\r\n")
		}
	}
	return b.String() + " " + value + "\r\n"
}

// TestKubernetesSuspects has what may be an image and is at no place that is known.
func TestKubernetesSuspects(t *testing.T) {
	const top = "kind: Cache\nspec:\n  template: {spec: {containers: [{image: a}]}}\n  x:\n"
	for text, want := range map[string]string{
		"  - image: b":                                               "Cache=.spec.x[].image",
		"    sidecarImage: b":                                        "Cache=.spec.x.sidecarImage",
		"    image: {repository: b, tag: '1'}":                       "Cache=.spec.x.image",
		"    args: [--reloader=quay.io/a/b:v1]":                      "looks like an image",
		"    env: [{value: 'quay.io/a/b@" + digestA.String() + "'}]": "looks like an image",
		"    data: \"x:\\n- image: a\\n\"":                           "this text has images",
		"    args: [--again=docker.io/library/a:latest]":             "",
		"    image: ''":                                              "",
		"    imagePullPolicy: Always":                                "",
		"    url: https://quay.io/a/b:v1":                            "",
		"    api: apps.example.com/v1":                               "",
		"    args: [--service=kube-system/kubelet, --a=b:c]":         "",
	} {
		images, result := converted(t, &kubernetes, top+text, toMirror)
		assert.Equal(t, []string{"docker.io/library/a:latest"}, images)
		assert.Empty(t, result.Lost)
		if want == "" {
			assert.Empty(t, result.Notes, text)
			continue
		}
		require.Len(t, result.Notes, 1, text)
		assert.Contains(t, result.Notes[0].String(), want)
		assert.Equal(t, 5, result.Notes[0].Line)
	}
}

// TestKubernetesPaths has images in custom resources, as texts and in parts.
func TestKubernetesPaths(t *testing.T) {
	const manifest = `kind: Cache
spec:
  nodes:
  - image: {registry: quay.io, repository: a/b, tag: 1.10}
  - image: {repository: quay.io/c, digest: "` + "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb" + `"}
  main: d
`
	images, result := converted(t, &kubernetes, manifest, Options{To: toMirror.To, KubernetesImagePaths: []string{"Cache=.spec.nodes[*].image", "Cache=spec.main"}})
	assert.Equal(t, []string{"quay.io/a/b:1.10", "quay.io/c@" + digestA.String(), "docker.io/library/d:latest"}, images)
	assert.Empty(t, result.Notes)
	for _, flag := range []string{"", "Cache", "Cache=", "=.spec", "Cache=."} {
		_, err := kubernetes.Convert("file", []byte(manifest), Options{To: toMirror.To, KubernetesImagePaths: []string{flag}})
		assert.ErrorContains(t, err, "--kubernetes-image-path", flag)
	}
}

// TestKubernetesOthers has what is no manifest, or stands for others.
func TestKubernetesOthers(t *testing.T) {
	for text, want := range map[string]string{
		"image: {repository: a, tag: '1'}":             "f:1: the file names no images that are copied: it has no kind",
		"kind: Kustomization\nimages: [{name: a}]":     "f:1: the file names no images that are copied: what a Kustomization deploys is not read",
		"kind: Service\nspec: {}":                      "f: the file names no images",
		"kind: Pod\nspec: {containers: [{image: A}]}":  "f:2: the file names no images that are copied: spec.containers[0].image: \"A\" names no image",
		"kind: Pod\nspec: {containers: [{image: ''}]}": "f:2: the file names no images that are copied: spec.containers[0].image: no image stands here",
		"kind: Pod\nspec: {containers: [{image: a}}\n": ": no valid YAML",
	} {
		_, err := kubernetes.Convert("f", []byte(text), toMirror)
		require.ErrorContains(t, err, want, text)
	}
}
