package foreign

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// converted converts a file, and returns its images as "SOURCE" or "SOURCE => DESTINATION", if that
// is its own.
func converted(t *testing.T, f *Format, content string, o Options) (images []string, result *Result) {
	t.Helper()
	r := &reader{format: f, name: "file", content: []byte(content), options: o}
	f.convert(r)
	require.Empty(t, r.problems)
	for _, e := range r.images {
		text := strings.TrimPrefix(e.values["source"].(string), "docker://")
		if to, ok := e.values["destination"].(string); ok {
			text += " => " + strings.TrimPrefix(to, "docker://")
		}
		images = append(images, text)
	}
	return images, &Result{Lost: inOrder(r.lostKeys), Notes: inOrder(r.notes)}
}

var (
	toMirror = Options{To: "docker://mirror.example/{repository}"}
	digestA  = digest.FromString("a")
	digestB  = digest.FromString("b")
)

// TestList reads lines of all forms.
func TestList(t *testing.T) {
	a := digestA.String()
	for line, want := range map[string]string{
		"alpine":                                "docker.io/library/alpine:latest",
		"  alpine:3.20\t# why":                  "docker.io/library/alpine:3.20",
		"quay.io/a/b:1\r":                       "quay.io/a/b:1",
		"\ufeffdocker://quay.io/a/b:1":          "quay.io/a/b:1",
		"localhost:5000/a":                      "localhost:5000/a:latest",
		"quay.io/a/b@" + a:                      "quay.io/a/b@" + a,
		"quay.io/a/b:1 " + a:                    "quay.io/a/b:1@" + a,
		"quay.io/a/b:1@" + a:                    "quay.io/a/b:1@" + a,
		"rancher/fleet:v0.14.2 fleet:108.0.2":   "docker.io/rancher/fleet:v0.14.2",
		"a => m.example/x":                      "docker.io/library/a:latest => m.example/x",
		"a=>m.example/{name}:2":                 "docker.io/library/a:latest => m.example/{name}:2",
		"quay.io/a@" + a + "=m.example/a:abc":   "quay.io/a@" + a + " => m.example/a:abc",
		"a => oci:/srv/a:1":                     "docker.io/library/a:latest => oci:/srv/a:1",
		"a => docker://m.example/a:1 # comment": "docker.io/library/a:latest => m.example/a:1",
	} {
		images, result := converted(t, &list, line, toMirror)
		assert.Equal(t, []string{want}, images, "%q", line)
		assert.Empty(t, result.Lost, "%q", line)
	}
	for line, want := range map[string]string{
		"a b":         `file:2: "a" has no tag: if that is "b", write a:b`,
		"a b c":       `file:2: "a b c" is no image`,
		"=> m/x":      `file:2: "=> m/x" is no image`,
		"a =>":        `file:2: "a =>" is no image`,
		"a\x00b":      "no images",
		"\xff\xfea\n": "no text in UTF-8",
		"":            "no images",
	} {
		_, err := list.Convert("file", []byte("\n"+line), toMirror)
		require.ErrorContains(t, err, want, "%q", line)
	}
	images, result := converted(t, &list, "a:1\nB:1\n", toMirror)
	assert.Equal(t, []string{"docker.io/library/a:1"}, images)
	assert.Equal(t, 2, result.Lost[0].Line)
}

// TestOnes has images that stand in a file several times, and tags that have several digests.
func TestOnes(t *testing.T) {
	images, result := converted(t, &list, strings.Join([]string{
		"x:1@" + digestA.String(),
		"x:2@" + digestA.String(),
		"x:2@" + digestB.String(),
		"x:2@" + digestA.String(),
		"x:1",
		"docker.io/library/x:1",
		"x@" + digestB.String(),
		"x:1 => m.example/other",
	}, "\n"), toMirror)
	assert.Equal(t, []string{
		"docker.io/library/x@" + digestA.String(), // x:1 is what line 5 says
		"docker.io/library/x:2@" + digestA.String(),
		"docker.io/library/x@" + digestB.String(), // x:2 is what line 2 says
		"docker.io/library/x:1",
		"docker.io/library/x:1 => m.example/other",
	}, images)
	var notes []string
	for _, n := range result.Notes {
		notes = append(notes, n.String())
	}
	assert.Equal(t, []string{
		"file:1: the tag 1 is what line 5 says; this image is copied by its digest alone",
		"file:3: the tag 2 is what line 2 says; this image is copied by its digest alone",
	}, notes)
}

// TestNamesAtTheDestination has names that files give images at the destination, among them some
// that would have a meaning in ours.
func TestNamesAtTheDestination(t *testing.T) {
	file := func(key, name string) string {
		return "kind: ImageSetConfiguration\nmirror:\n  additionalImages:\n  - name: quay.io/a/b:1\n    " + key + ": " + name + "\n"
	}
	for _, c := range []struct{ to, key, name, want string }{
		{"docker://m.example/{registry}/{repository}", "targetRepo", "c/d", "m.example/{registry}/c/d:1"},
		{"docker://m.example/all/{name}", "targetRepo", "c/d", "m.example/all/d:1"},
		{"docker://m.example/{repository}:{tag}-x", "targetTag", "2", "m.example/a/b:2-x"},
		{"docker://m.example/{repository}", "targetTag", "2", "m.example/a/b:2"},
		{"docker://m.example/{tag}", "targetRepo", "c", ""},
		{"docker://m.example", "targetRepo", "'{tag}'", ""},
		{"docker://m.example", "targetRepo", "A", ""},
		{"docker://m.example", "targetRepo", "c:2", ""},
		{"docker://m.example", "targetTag", "'${HOME}'", ""},
	} {
		images, result := converted(t, &ocMirror, file(c.key, c.name), Options{To: c.to})
		if c.want == "" {
			assert.Empty(t, images, c)
			assert.Equal(t, 4, result.Lost[0].Line, c)
			continue
		}
		assert.Equal(t, []string{"quay.io/a/b:1 => " + c.want}, images)
		assert.Empty(t, result.Lost, c)
	}
}
