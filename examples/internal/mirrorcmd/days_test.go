package mirrorcmd

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/pkg/sysregistriesv2"

	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// A habitRow is a row of a table in docs/commands.md: what people type who know another tool, and
// what to type here.
type habitRow struct{ typed, here string }

// tasksOf returns the rows of the table below a heading.
func tasksOf(t *testing.T, heading string) (rows []habitRow) {
	t.Helper()
	page, err := os.ReadFile("../../../docs/commands.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(page), "## "+heading+"\n")
	require.True(t, found, heading)
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		cells := strings.Split(line, " | ")
		typed, isTask := strings.CutPrefix(cells[0], "| `")
		if !isTask {
			continue
		}
		_, typed, _ = strings.Cut(strings.Trim(typed, "`"), " ")
		rows = append(rows, habitRow{typed, strings.TrimPrefix(strings.Trim(cells[1], "`"), "mirror ")})
	}
	return rows
}

// A day is where somebody works: a home in which nothing is set up but how two registries are
// reached.
type day struct{ source, mirror *registrytest.Registry }

func startDay(t *testing.T) *day {
	hermetictest.Home(t)
	d := &day{registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{Strict: true})}
	t.Chdir(t.TempDir())
	f := imagetest.Platforms(2, 1, 1000)
	f.Artifact("sbom", imagetest.ArtifactType("application/vnd.example.sbom"), imagetest.Subject(imagetest.Top))
	f.PushTo(d.source, "app", "1", imagetest.Top)
	f.PushTo(d.source, "app", "", "sbom")
	for name, content := range map[string]string{
		"registries.conf": "[[registry]]\nlocation = \"source.example\"\ninsecure = true\n\n[[registry]]\nlocation = \"mirror.example\"\ninsecure = true\n",
		"sync.yml":        "source.example:\n  images:\n    app: ['1']\n",
		"regsync.yml":     "version: 1\nsync:\n- {source: source.example/app, target: mirror.example/regsync, type: repository}\n",
		"images.json":     `{"source.example/app:1": "mirror.example/image-syncer:1"}`,
		"auth.json":       `{"source.example": {"insecure": true}, "mirror.example": {"insecure": true}}`,
		"dregsy.yml":      "relay: skopeo\ntasks:\n- name: app\n  source: {registry: source.example, skip-tls-verify: true}\n  target: {registry: mirror.example, skip-tls-verify: true}\n  mappings: [{from: app, to: dregsy, tags: ['1'], platform: all}]\n",
	} {
		require.NoError(t, os.WriteFile(name, []byte(d.hosts(content)), 0o600))
	}
	conf, err := filepath.Abs("registries.conf")
	require.NoError(t, err)
	t.Setenv("CONTAINERS_REGISTRIES_CONF", conf)
	sysregistriesv2.InvalidateCache() // which does not look at the variable again
	t.Cleanup(sysregistriesv2.InvalidateCache)
	return d
}

// hosts puts the registries in the place of those of the documents.
func (d *day) hosts(text string) string {
	return strings.NewReplacer("source.example", d.source.Host(), "mirror.example", d.mirror.Host()).Replace(text)
}

// types is a command line that is typed, with a password on standard input.
func (d *day) types(t *testing.T, line string) outcome {
	t.Helper()
	args := strings.Fields(d.hosts(line))
	for i := range args {
		args[i] = strings.Trim(args[i], "'")
	}
	var stdout, stderr bytes.Buffer
	status := Run(t.Context(), args, strings.NewReader("secret\n"), &stdout, &stderr)
	return outcome{status, stdout.String(), stderr.String()}
}

// TestDays types what the tables of docs/commands.md say that is typed with other tools. It is
// done, or the answer says what to type, and that is done.
func TestDays(t *testing.T) {
	for heading, least := range map[string]int{"Coming from Skopeo": 10, "Coming from regctl": 10, "Coming from crane": 10, "Coming from tools with a file": 5} {
		t.Run(heading, func(t *testing.T) {
			tasks := tasksOf(t, heading)
			d := startDay(t)
			require.GreaterOrEqual(t, len(tasks), least)
			for _, task := range tasks {
				first := d.types(t, task.typed)
				if task.here == "the same" {
					assert.Equal(t, StatusDone, first.status, "%s: %s", task.typed, first.stderr)
					continue
				}
				first.failed(t, StatusMisused)
				assert.True(t, leadsTo(first.stderr, task), "mirror %s\n%sdoes not lead to mirror %s", task.typed, first.stderr, task.here)
				want := StatusDone
				switch command, _, _ := strings.Cut(task.here, " "); command {
				case "serve": // would not end
					continue
				case "diff":
					want = StatusDifferent // what is attached stays behind
				}
				then := d.types(t, task.here)
				assert.Equal(t, want, then.status, "%s: %s", task.here, then.stderr)
			}
		})
	}
}

// leadsTo reports whether an answer names the command to type, or the first of its flags that was
// not typed.
func leadsTo(answer string, task habitRow) bool {
	words, typed := strings.Fields(task.here), strings.Fields(task.typed)
	if words[0] != typed[0] || strings.Contains(answer, "mirror "+words[0]+" ") {
		return strings.Contains(answer, "mirror "+words[0]+" ")
	}
	for _, word := range words {
		if strings.HasPrefix(word, "--") && !strings.Contains(task.typed, word) {
			return strings.Contains(answer, word)
		}
	}
	return false
}

// TestDaysDo is what some of these commands come to.
func TestDaysDo(t *testing.T) {
	d := startDay(t)
	list, _ := d.source.Resolve("app", "1")
	assert.Equal(t, "1\n", d.types(t, "tags source.example/app").stdout)
	assert.Equal(t, list.String()+"\n", d.types(t, "digest docker://source.example/app:1").stdout)
	assert.Contains(t, d.types(t, "plan --all --referrers source.example/app:1 mirror.example/app:1").stdout, "application/vnd.example.sbom")
	for line, repository := range map[string]string{
		"sync --from skopeo --skopeo-all sync.yml --to docker://mirror.example/skopeo":   "skopeo/app",
		"sync --from regsync regsync.yml":                                                "regsync",
		"sync --from image-syncer --image-syncer-auth auth.json images.json":             "image-syncer",
		"sync --from dregsy dregsy.yml":                                                  "dregsy",
		"copy --all docker://source.example/app:1 docker://mirror.example/copied:1":      "copied",
		"copy --all --src-tls-verify=false source.example/app:1 mirror.example/copied:1": "copied",
	} {
		r := d.types(t, line)
		assert.Equal(t, StatusDone, r.status, "%s: %s", line, r.stderr)
		got, _ := d.mirror.Resolve(repository, "1")
		assert.Equal(t, list, got, line)
	}
}

// TestFilesOfOthers is sync without --from.
func TestFilesOfOthers(t *testing.T) {
	d := startDay(t)
	for file, want := range map[string]string{
		"sync.yml": "sync.yml is no sync file, but looks like Skopeo's sync YAML: read it with --from skopeo and --to TEMPLATE", "regsync.yml": "--from regsync;",
		"images.json": "--from image-syncer;", "dregsy.yml": "--from dregsy;",
	} {
		d.types(t, "sync "+file).failed(t, StatusMisused, want)
	}
	require.NoError(t, os.WriteFile("ours.yaml", []byte("version: 1\nimage: []\n"), 0o600))
	r := d.types(t, "sync ours.yaml")
	r.failed(t, StatusMisused, `did you mean "images"?`)
	assert.NotContains(t, r.stderr, "looks like")
}

// TestHabitsOfOtherTools are answers to what is in no table.
func TestHabitsOfOtherTools(t *testing.T) {
	for typed, want := range map[string]string{
		"repo ls registry.example":                                "repositories are not listed here; mirror tags",
		"catalog registry.example":                                "repositories are not listed here",
		"repo copy registry.example/a other.example/a":            "mirror sync FILE copies all tags",
		"registry whoami registry.example":                        "mirror login --get-login HOST",
		"registry set --tls disabled registry.example":            "--tls-verify=false",
		"blob get registry.example/a sha256:00":                   "mirror copy SOURCE dir:DIRECTORY",
		"image mod registry.example/a:1 --to-oci":                 "not made or edited",
		"standalone-verify manifest.json a:1 KEY signature":       "mirror copy --policy FILE",
		"manifest put registry.example/a:1":                       `mirror manifest has no command "put"`,
		"tag ls --include 1.* registry.example/a":                 `mirror tag has no command "ls"; mirror tags`,
		"export registry.example/a:1 -":                           "mirror copy SOURCE docker-archive:FILE",
		"--debug inspect --creds=robot:secret registry.example/a": "flags stand behind the command: mirror inspect --debug …",
		"--insecure ls registry.example/a":                        `unknown command "ls"; mirror tags`,
		"-c regsync.yml once":                                     "mirror sync --from regsync FILE",
		"--proc 6 --auth=auth.json --images images.json":          "mirror sync --from image-syncer --image-syncer-auth AUTH IMAGES",
		"-config=dregsy.yml":                                      "mirror sync --from dregsy FILE",
		"sync -c regsync.yml":                                     "mirror sync --from regsync FILE",
		"sync --scoped --src yaml sync.yml registry.example":      "--skopeo-scoped, with --from skopeo",
		"copy -f oci a b":                                         "--format converts manifests",
		"copy --dest-compress docker://registry.example/a:1 d":    "unless --dest-compress-format says otherwise",
		"inspect --override-arch arm64 docker://registry.example": "mirror manifest --platform PLATFORM",
		"copy --all registry.example/a:1 ocidir://layout:1":       "did you mean oci:layout:1?",
		"tags --limit 5 registry.example/a":                       "--newest N bounds them",
	} {
		r := runAll(t.Context(), t, "", strings.Fields(typed)...)
		r.failed(t, StatusMisused, want)
		assert.NotContains(t, r.stderr, "secret", fmt.Sprint(typed))
	}
}
