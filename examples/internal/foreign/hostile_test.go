package foreign

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"
)

// said is all that people are shown of a conversion.
func said(f *Format, text string) string {
	o := Options{Dir: "/srv", Environment: AnyEnvironment}
	if f.NeedsTo {
		o.To = "docker://mirror.example/{registry}/{repository}"
	}
	result, err := f.Convert("f", []byte(text), o)
	if err != nil {
		return err.Error()
	}
	return string(result.Sync) + string(lines(result.Lost)) + string(lines(result.Notes))
}

// mayBeAnything is a line with something that is no name of an image or a host.
var mayBeAnything = regexp.MustCompile(`regexp: |cert-dir: |referrers: `)

// TestPasswordsInNames has a password in front of a host, in the place of each value and of each
// key that stands before one.
func TestPasswordsInNames(t *testing.T) {
	scalar := regexp.MustCompile(`^(\s*(?:- )*)([^\s:'"{\[-][^:'"{\[]*)(?:: (.*))?$`)
	for format, files := range examples(t) {
		seen := map[string]bool{}
		for _, text := range files {
			all := strings.Split(text, "\n")
			for i, line := range all {
				parts := scalar.FindStringSubmatch(line)
				if parts == nil || seen[line] {
					continue
				}
				seen[line] = true
				for _, name := range []string{"user:secret@host.example/x:1", "https://user:sec/ret@host.example/x"} {
					changed := []string{parts[1] + `"` + name + `"`}
					if parts[3] != "" {
						changed = []string{parts[1] + parts[2] + `: "` + name + `"`, parts[1] + `"` + name + `": ` + parts[3]}
					}
					for _, c := range changed {
						all[i] = c
						out := said(format, strings.Join(all, "\n"))
						for line := range strings.Lines(out) {
							if !mayBeAnything.MatchString(line) {
								assert.NotRegexp(t, "sec/?ret", line, "%s: %s", format.Name, c)
							}
						}
					}
				}
				all[i] = line
			}
		}
	}
	assert.Contains(t, said(&list, "user:secret@a.example/b:1\n"), `"user:***@a.example/b:1"`)
	assert.Contains(t, said(&list, "a.example:5000/B:1@"+someDigest+"\n"), "a.example:5000/B:1@"+someDigest)
	assert.Contains(t, said(&zot, `{http: {port: "5000"}, extensions: {sync: {registries: [{urls: ["https://user:secret@a.example"], pollInterval: 1h, content: [{prefix: a}]}]}}}`), "mirror login a.example\n")
}

// TestEmptyValuesAreNotLost has keys without a counterpart that say nothing.
func TestEmptyValuesAreNotLost(t *testing.T) {
	o := Options{To: "docker://mirror.example"}
	text := "kind: ImageSetConfiguration\nmirror:\n  platform:\n  operators: []\n  samples: ''\n  helm: {local: [], repositories: }\n  additionalImages: [{name: 'a/b:1'}]\n"
	result, err := ocMirror.Convert("f", []byte(text), o)
	require.NoError(t, err)
	assert.Empty(t, result.Lost)
	result, err = ocMirror.Convert("f", []byte(strings.Replace(text, "local: []", "local: [{name: x}]", 1)), o)
	require.NoError(t, err)
	assert.Len(t, result.Lost, 1)
}

// TestManyOfOneKind converts files that name many repositories, digests and registries, for which
// nothing is looked through from its beginning each time: one with ten times as many would take ten
// times as long as ten files.
func TestManyOfOneKind(t *testing.T) {
	const few, many = 2000, 20_000
	for _, test := range []struct {
		format     *Format
		begin, one string
	}{
		{&skopeo, "a.example:\n  images:\n", "    a%d: [x]\n"},
		{&skopeo, "a.example:\n  images:\n    a:\n", "    - sha256:%064x\n"},
		{&regsync, "sync: [{source: a/b:1, target: m.example/b:1, type: image}]\ncreds:\n", "- {registry: a%d.example, tls: disabled}\n"},
	} {
		read := func(files, entries int) time.Duration {
			text := strings.Builder{}
			text.WriteString(test.begin)
			for i := range entries {
				fmt.Fprintf(&text, test.one, i)
			}
			start := time.Now()
			for range files {
				r := &reader{format: test.format, content: []byte(text.String()), options: Options{To: "docker://mirror.example"}}
				test.format.read(r)
				require.Empty(t, r.problems)
			}
			return time.Since(start)
		}
		var took, limit time.Duration
		for range 5 { // the machine may have something else to do meanwhile
			limit = 4 * read(many/few, few)
			if took = read(1, many); took < limit {
				break
			}
		}
		assert.Less(t, took, limit, "%s with %q", test.format.Name, test.one)
	}
}

// TestLayoutsNeedNotBeThere converts a file on a machine that does not have its directories.
func TestLayoutsNeedNotBeThere(t *testing.T) {
	text := "sync: [{source: a/b:1, target: 'ocidir://nowhere/at/all:1', type: image}, {source: a/b:1, target: 'ocidir://nowhere/else', type: image}]\n"
	o := Options{Dir: "/srv", Parse: AnyDirectory(func(_, text string) (types.ImageReference, error) { return alltransports.ParseImageName(text) })}
	result, err := regsync.Convert("f", []byte(text), o)
	require.NoError(t, err)
	assert.Contains(t, string(result.Sync), "destination: oci:/srv/nowhere/at/all:1\n")
}

// TestListWithPlatforms has the flag of docker pull in front of images.
func TestListWithPlatforms(t *testing.T) {
	result, err := list.Convert("f", []byte("--platform=linux/amd64 redis:7\n--platform linux/arm64 redis:7\n--platform=linux/arm64 a/b:1 => m.example/b:1\n"), Options{To: "docker://mirror.example"})
	require.NoError(t, err)
	assert.Empty(t, result.Lost)
	assert.Contains(t, string(result.Sync), "- source: docker://docker.io/library/redis:7\n  platforms: [linux/amd64, linux/arm64]\n  single: copy\n")
	assert.Contains(t, string(result.Sync), "- source: docker://docker.io/a/b:1\n  destination: docker://m.example/b:1\n  platforms: [linux/arm64]\n")
}
