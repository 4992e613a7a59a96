package mirrorcmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/transports"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// withRegistriesConf is a command with a registries.conf.
func withRegistriesConf(t *testing.T, text string) *access {
	path := filepath.Join(t.TempDir(), "registries.conf")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return &access{registriesConf: path}
}

const pinnedDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// TestReferencesWithoutTransport has what people type who come from other tools, as a source and as
// a destination.
func TestReferencesWithoutTransport(t *testing.T) {
	a := withRegistriesConf(t, "unqualified-search-registries = [\"search.example\"]\n[aliases]\n\"app\" = \"quay.io/team/app\"\n\"team/tool\" = \"localhost:5000/tool\"\n")
	for _, c := range []struct{ text, source, destination string }{
		{"docker://quay.io/a/b:1", "docker://quay.io/a/b:1", ""},
		{"quay.io/a/b:1", "docker://quay.io/a/b:1", ""},
		{"quay.io/a/b", "docker://quay.io/a/b:latest", ""},
		{"quay.io/a/b@" + pinnedDigest, "docker://quay.io/a/b@" + pinnedDigest, ""},
		{"localhost/a", "docker://localhost/a:latest", ""},
		{"registry:5000/a:1", "docker://registry:5000/a:1", ""},
		{"docker.io/alpine:3", "docker://alpine:3", ""},
		{"oci:layout:1", "oci:layout:1", ""},
		{"quay.io/a/b:1@" + pinnedDigest, "docker://quay.io/a/b@" + pinnedDigest, "write docker://quay.io/a/b:1, to have the image under that tag"},
		// Short names.
		{"app:1", "docker://quay.io/team/app:1", "names neither a transport nor a registry: write docker://HOST/app:1"},
		{"app", "docker://quay.io/team/app:latest", "names neither"},
		{"team/tool:1@" + pinnedDigest, "docker://localhost:5000/tool@" + pinnedDigest, "names neither"},
		{"team/other:1", "docker://search.example/team/other:1", "names neither"},
		{"nobodys", "docker://search.example/nobodys:latest", "names neither"},
	} {
		source, err := a.parseSource("SOURCE", c.text)
		require.NoError(t, err, c.text)
		assert.Equal(t, c.source, transports.ImageName(source), c.text)
		destination, err := parseDestination("DESTINATION", c.text)
		if c.destination != "" {
			assert.ErrorContains(t, err, c.destination, c.text)
			continue
		}
		require.NoError(t, err, c.text)
		assert.Equal(t, c.source, transports.ImageName(destination), c.text)
	}

	for conf, want := range map[string]string{
		"": `SOURCE "nobodys:3" is a short name, of which registries.conf says nothing: write docker.io/library/nobodys:3`,
		`unqualified-search-registries = [ "quay.io", "docker.io" ]`:                     `several registries: write one of quay.io/nobodys:3, docker.io/library/nobodys:3`,
		"short-name-mode = \"disabled\"\n[aliases]\n\"nobodys\" = \"quay.io/mirrors/x\"": `registries.conf says nothing`,
	} {
		_, err := withRegistriesConf(t, conf).parseSource("SOURCE", "nobodys:3")
		assert.ErrorContains(t, err, want)
	}
}

// TestReferencesThatAreNone has slips, and what to type instead: in commands, and in files, where a
// transport must be.
func TestReferencesThatAreNone(t *testing.T) {
	a := withRegistriesConf(t, "")
	for text, want := range map[string]string{
		"dcoker://quay.io/a:1":        `there is no transport "dcoker"; did you mean docker://quay.io/a:1?`,
		"https://quay.io/a:1":         `there is no transport "https"; did you mean docker://quay.io/a:1?`,
		"http://quay.io/a:1":          "references have no http://; write docker://quay.io/a:1, and say by a flag such as --src-tls-verify=false",
		"oci-archve:a.tar:1:2":        `there is no transport "oci-archve"; did you mean oci-archive:a.tar:1:2?`,
		"oic:/srv/layout:1":           `there is no transport "oic"; did you mean oci:/srv/layout:1?`,
		"oci:":                        "names no directory: write oci:DIRECTORY:TAG",
		"oci::1":                      "names no directory: write oci:DIRECTORY:TAG",
		"oci-archive:":                "names no file: write oci-archive:FILE:TAG",
		"oci-archive::1":              "names no file: write oci-archive:FILE:TAG",
		"docker-archive::a:1":         "names no file: write docker-archive:FILE:NAME",
		"dir:":                        "names no directory: write dir:DIRECTORY",
		"docker-deamon:alpine:3":      `there is no transport "docker-deamon"; did you mean docker-daemon:alpine:3?`,
		"docker:quay.io/a:1":          "write docker://quay.io/a:1",
		"docker:/quay.io/a:1":         "write docker://quay.io/a:1",
		"./layout":                    "is a path, and names no transport: write oci:./layout:TAG for a layout, oci-archive:./layout:TAG for an archive of one, or dir:./layout",
		"../layout":                   "is a path",
		"/srv/layout":                 "write oci:/srv/layout:TAG",
		`C:\layout`:                   "is a path",
		"file:///srv/layout":          "write oci:/srv/layout:TAG",
		"user:secret@quay.io/a:1":     "has a user before its host, which references cannot; use --src-creds",
		"user@quay.io/a:1":            "has a user before its host",
		"dcoker://user:secret@q.io/a": "has a user before its host",
		"docker://u:secret@sha.io/a":  "has a user before its host",
		"u:secret@sha256.io/a":        "has a user before its host",
		"u:secret@sha256:5000/a":      "has a user before its host",
		"quay.io/A:1":                 "names no transport, and no image of a registry: ",
		"":                            "names no transport, and no image of a registry: ",
	} {
		for who, parse := range map[string]func() error{
			"source":      func() error { _, err := a.parseSource("SOURCE", text); return err },
			"destination": func() error { _, err := parseDestination("SOURCE", text); return err },
			"file":        func() error { _, err := parseReference("source", text); return err },
		} {
			err := parse()
			require.Error(t, err, "%s %s", who, text)
			assert.Contains(t, err.Error(), want, who)
			assert.NotContains(t, err.Error(), "secret")
			assert.True(t, strings.HasPrefix(strings.ToUpper(err.Error()), "SOURCE "), err.Error())
		}
	}
	_, err := parseReference("source", "quay.io/a:1")
	assert.ErrorContains(t, err, "names no transport; for a repository of a registry write docker://quay.io/a:1")
}

func TestRepositories(t *testing.T) {
	for text, want := range map[string]string{
		"docker://quay.io/a/b":   "docker://quay.io/a/b:latest",
		"quay.io/a/b":            "docker://quay.io/a/b:latest",
		"dcoker://quay.io/a":     "did you mean docker://quay.io/a?",
		"http://quay.io/a":       "references have no http://",
		"alpine":                 "write docker://HOST/NAME, a repository of a registry",
		"dir:/a":                 "write docker://HOST/NAME, a repository of a registry",
		"u:secret@quay.io/a":     "has a user before its host",
		"docker://u:pw@quay.io/": "has a user before its host",
	} {
		ref, err := parseRepository(text)
		if err != nil {
			assert.ErrorContains(t, err, want, text)
			continue
		}
		assert.Equal(t, want, transports.ImageName(ref))
	}
}

// TestCommandsWithoutTransport runs commands as people type them.
func TestCommandsWithoutTransport(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, "app", "1", imagetest.Top)
	conf := filepath.Join(t.TempDir(), "registries.conf")
	require.NoError(t, os.WriteFile(conf, []byte("[aliases]\n\"my-app\" = \""+src.Host()+"/app\"\n"), 0o600))
	from, to := src.Host()+"/app:1", dst.Host()+"/app:1"
	for _, source := range []string{from, "my-app:1", from + "@" + f.Digest(imagetest.Top).String()} {
		for _, command := range []string{"plan", "copy", "verify"} {
			mirror(t, command, "--all", "--registries-conf", conf, source, to).done(t)
		}
		for _, command := range []string{"inspect", "digest", "manifest"} {
			r := runAll(t.Context(), t, "", command, "--tls-verify=false", "--registries-conf", conf, source).done(t)
			assert.NotEmpty(t, r.stdout)
		}
		path := filepath.Join(t.TempDir(), "bundle.tar")
		r := runAll(t.Context(), t, "", "bundle", "create", "--all", "--insecure-policy", "--src-tls-verify=false", "--registries-conf", conf, path, source)
		assert.Equal(t, StatusDone, r.status, r.stderr)
		assert.Contains(t, r.stdout, "  "+from+"\n")
	}
	mirror(t, "copy", "--all", from, "my-app:1").failed(t, StatusMisused, "write docker://HOST/my-app:1")
	for _, sides := range [][]string{{"my-app:1", to}, {"my-app", dst.Host() + "/app"}} { // images, and all tags
		runAll(t.Context(), t, "", append([]string{"diff", "--src-tls-verify=false", "--dest-tls-verify=false", "--registries-conf", conf}, sides...)...).done(t)
	}
	tag := func(args ...string) outcome {
		return runAll(t.Context(), t, "", append([]string{"tag", "--insecure-policy", "--tls-verify=false", "--registries-conf", conf}, args...)...)
	}
	tag(to, "2", dst.Host()+"/other:1").done(t)
	assert.Equal(t, []string{"1", "2"}, dst.Tags("app"))
	assert.Equal(t, []string{"1"}, dst.Tags("other"))
	listed := runAll(t.Context(), t, "", "tags", "--tls-verify=false", "--registries-conf", conf, "my-app").done(t)
	assert.Equal(t, "1\n", listed.stdout)
	tag("my-app:1", "2").failed(t, StatusMisused, "write docker://HOST/my-app:1")
	kept := runAll(t.Context(), t, "", "delete", "--yes", "--tls-verify=false", dst.Host()+"/other@"+f.Digest(imagetest.Top).String())
	kept.failed(t, StatusFailed, "/other@"+shortDigest(f.Digest(imagetest.Top))+" is needed: tag 1 names it too")
	removed := runAll(t.Context(), t, "", "delete", "--yes", "--tls-verify=false", dst.Host()+"/other:1")
	assert.Equal(t, StatusDone, removed.status, removed.stderr)
	assert.Empty(t, dst.Tags("other"))
}
