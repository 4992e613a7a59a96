package mirrorcmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// An importTest is a file of Skopeo's, and two registries.
type importTest struct {
	*syncTest
	fixture *imagetest.Fixture
	to      []string // the flags that say what the file becomes
}

func newImportTest(t *testing.T, text string) *importTest {
	i := &importTest{syncTest: newSyncTest(t, registrytest.Options{}, registrytest.Options{}), fixture: imagetest.WithAttestations()}
	for _, tag := range []string{"1.0", "1.1", "2.0"} {
		i.fixture.PushTo(i.src, "team/app", tag, imagetest.Top)
	}
	require.NoError(t, os.WriteFile(i.file, []byte(strings.ReplaceAll(text, "SRC", i.src.Host())), 0o600))
	i.to = []string{"--to", "docker://" + i.dst.Host() + "/mirrored", "--skopeo-all"}
	return i
}

const (
	appOnly = "SRC:\n  images-by-tag-regex: {team/app: ^1}\n"
	appLost = appOnly + "  proxy: cache\n"
)

func (i *importTest) run(args ...string) outcome {
	i.Helper()
	return runAll(i.Context(), i.T, "", append(append([]string{"import"}, i.to...), args...)...)
}

func (i *importTest) tags() []string {
	var all []string
	for _, repo := range i.dst.Repos() {
		for _, tag := range i.dst.Tags(repo) {
			all = append(all, repo+":"+tag)
		}
	}
	return all
}

// TestImportedFilesAreSyncFiles imports a file, and syncs what that prints.
func TestImportedFilesAreSyncFiles(t *testing.T) {
	i := newImportTest(t, appOnly)
	r := i.run("skopeo", i.file).done(t)
	assert.Contains(t, r.stdout, "# line 2\n- source: docker://"+i.src.Host()+"/team/app\n  tags:\n  - {regexp: ^1.*}\n")
	stdin := runAll(t.Context(), t, string(mustRead(t, i.file)), append([]string{"import", "skopeo", "-"}, i.to...)...).done(t)
	assert.Equal(t, strings.ReplaceAll(r.stdout, i.file, "-"), stdin.stdout)

	out := filepath.Join(t.TempDir(), "images.yaml")
	assert.Empty(t, i.run("skopeo", i.file, "--out", out).done(t).stdout)
	assert.Equal(t, r.stdout, string(mustRead(t, out)))
	mirror(t, "sync", "--state-dir", i.state, out).done(t)
	assert.Equal(t, []string{"mirrored/app:1.0", "mirrored/app:1.1"}, i.tags())
}

func mustRead(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(name)
	require.NoError(t, err)
	return content
}

// TestOutIsNotTheInput names the file that is read as the one to write, also through a link.
func TestOutIsNotTheInput(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	link := file + "-link"
	require.NoError(t, os.Symlink(file, link))
	for text, args := range map[string][]string{
		"a.example: {images: {b: ['1']}}\n":                                               {"import", "skopeo", "--to", "docker://m.example"},
		"images: [{source: docker://a.example/b:1, destination: docker://m.example/b}]\n": {"export", "skopeo"},
	} {
		for _, out := range []string{file, link} {
			require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
			r := runAll(t.Context(), t, "", append(args, file, "-o", out)...)
			assert.Equal(t, StatusMisused, r.status, r.stderr)
			assert.Contains(t, r.stderr, "--out: "+out+" is the file that is read, and would be lost")
			assert.Equal(t, text, string(mustRead(t, file)))
		}
	}
}

// TestWhatIsLostIsRefused has a key without a counterpart.
func TestWhatIsLostIsRefused(t *testing.T) {
	i := newImportTest(t, appLost)
	lost := "lost: " + i.file + ":3: " + i.src.Host() + ".proxy: Skopeo's sync YAML has no such key\n"
	r := i.run("skopeo", i.file)
	assert.Equal(t, StatusMisused, r.status)
	assert.Contains(t, r.stdout, "images:")
	assert.Equal(t, lost+"mirror: 1 key of "+i.file+" without a counterpart; --accept-lost takes that for success\n", r.stderr)
	r = i.run("skopeo", i.file, "--accept-lost")
	assert.Equal(t, StatusDone, r.status)
	assert.Equal(t, lost, r.stderr)

	from := append(i.to, "--from", "skopeo")
	i.sync(from...).failed(t, StatusMisused, "1 key of "+i.file+" without a counterpart", ":3: "+i.src.Host()+".proxy", "mirror import --check skopeo "+i.file, "--accept-lost")
	assert.Empty(t, i.dst.Repos())
	accepted := i.sync(append(from, "--accept-lost")...)
	assert.Equal(t, StatusDone, accepted.status)
	assert.Contains(t, accepted.stderr, "1 key without a counterpart, and not looked at")
	assert.Len(t, i.tags(), 2)
}

// TestImportCheck compares with what was written before, and since edited.
func TestImportCheck(t *testing.T) {
	i := newImportTest(t, appLost+"  credentials: {username: a, password: secret}\n")
	out := filepath.Join(t.TempDir(), "images.yaml")
	check := func(args ...string) outcome {
		return i.run(append([]string{"--check", "skopeo", i.file}, args...)...)
	}
	r := check()
	assert.Equal(t, StatusMisused, r.status)
	assert.Contains(t, r.stdout, "lost: "+i.file+":3: ")
	assert.Contains(t, r.stdout, "note: "+i.file+":4: "+i.src.Host()+".credentials: credentials stay out of sync files: type mirror login "+i.src.Host())
	assert.NotContains(t, r.stdout, "secret")
	check("-o", out, "--accept-lost").failed(t, StatusMisused, out, "no such file")
	assert.NoFileExists(t, out)

	require.Equal(t, StatusDone, i.run("skopeo", i.file, "-o", out, "--accept-lost").status)
	assert.NotContains(t, string(mustRead(t, out)), "secret")
	require.NoError(t, os.WriteFile(i.file, append([]byte("# a line more\n"), mustRead(t, i.file)...), 0o600))
	check("-o", out, "--accept-lost").done(t)

	edited := strings.Replace(string(mustRead(t, out)), "images:", "# by hand\nimages:", 1)
	require.NoError(t, os.WriteFile(out, []byte(strings.Replace(edited, "mirrored/app", "elsewhere/app", 1)), 0o600))
	r = check("-o", out, "--accept-lost")
	r.failed(t, StatusFailed, out+" is not what mirror import makes of "+i.file)
	assert.Contains(t, r.stdout, "-  destination: docker://"+i.dst.Host()+"/elsewhere/app:{tag}\n")
	assert.Contains(t, r.stdout, "+  destination: docker://"+i.dst.Host()+"/mirrored/app:{tag}\n")
}

// TestCommandsReadFilesOfOtherTools gives one to each command that reads a sync file.
func TestCommandsReadFilesOfOtherTools(t *testing.T) {
	i := newImportTest(t, appOnly)
	from := append(i.to, "--from", "skopeo")
	i.sync(from...).done(t)
	found := mirror(t, "verify", append(from, i.file)...).done(t)
	assert.Contains(t, found.stdout, "2 images: 2 verified")

	bundle := filepath.Join(t.TempDir(), "b.tar")
	create := []string{"bundle", "create", "--insecure-policy", "--src-tls-verify=false", bundle}
	runAll(t.Context(), t, "", append(create, "--from", "skopeo", "--skopeo-all", "-f", i.file)...).done(t)
	runAll(t.Context(), t, "", append(create, "--from", "skopeo", "docker://a.example/a")...).failed(t, StatusMisused, "--from needs --file")
	runAll(t.Context(), t, "", append(create, "--from", "skopeo", "-f", i.file, "--to", "docker://a.example")...).failed(t, StatusMisused, "--to has no effect on a bundle")
}

// TestServedFilesOfOtherTools changes a file while a server has it.
func TestServedFilesOfOtherTools(t *testing.T) {
	s := newServeTest(t)
	write := func(text string) {
		require.NoError(t, os.WriteFile(s.file, []byte(s.src.Host()+":\n"+text), 0o600))
	}
	s.push("team/app", "1.0", 1)
	s.push("team/app", "2.0", 1)
	write("  images: {team/app: ['1.0']}\n")
	s.begin("--from", "skopeo", "--skopeo-all", "--to", "docker://"+s.dst.Host())
	s.wait("copied", 1)
	s.same("team/app", "app", "1.0")

	write("  images: {team/app: ['2.0']}\n  lost: 1\n")
	s.pass(lookEvery)
	broken := s.wait("what was read again is broken: what was in force stays so", 1)
	assert.Contains(t, broken["error"], s.src.Host()+".lost: Skopeo's sync YAML has no such key")
	write("  images: {team/app: ['2.0']}\n")
	s.pass(lookEvery)
	s.wait("copied", 2)
	s.same("team/app", "app", "2.0")
}

// TestVariablesNeedNotBeSet imports a file whose destinations have one.
func TestVariablesNeedNotBeSet(t *testing.T) {
	i := newImportTest(t, appOnly)
	i.to = []string{"--to", "docker://${MIRROR_TEST_HOST}/x", "--skopeo-all"}
	assert.Contains(t, i.run("skopeo", i.file).done(t).stdout, "destination: docker://${MIRROR_TEST_HOST}/x/app:{tag}")
	i.sync(append(i.to, "--from", "skopeo")...).failed(t, StatusMisused, i.file+":2: destination: ${MIRROR_TEST_HOST} is not set")
	t.Setenv("MIRROR_TEST_HOST", i.dst.Host())
	i.sync(append(i.to, "--from", "skopeo")...).done(t)
	assert.Equal(t, []string{"x/app:1.0", "x/app:1.1"}, i.tags())
}

// TestImportToDirectories imports a file on a machine that has not the directories, and syncs it on
// one that has.
func TestImportToDirectories(t *testing.T) {
	i := newImportTest(t, appOnly)
	dir := filepath.Join(t.TempDir(), "usb")
	i.to = []string{"--to", "dir:" + dir, "--skopeo-all"}
	assert.Contains(t, i.run("skopeo", i.file).done(t).stdout, "destination: dir:"+dir+"/app:{tag}\n")
	i.sync(append(i.to, "--from", "skopeo")...).failed(t, StatusMisused, i.file+":2: ", dir+": no such file")
	require.NoError(t, os.Mkdir(dir, 0o700))
	i.sync(append(i.to, "--from", "skopeo")...).done(t)
	for _, tag := range []string{"1.0", "1.1"} {
		assert.FileExists(t, filepath.Join(dir, "app:"+tag, "manifest.json"))
	}
}

// TestConversionFlags are those that have no effect, and say so.
func TestConversionFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sync.yml")
	require.NoError(t, os.WriteFile(file, []byte("a.example: {images: {a: ['1'], b: [sha256:"+strings.Repeat("0", 64)+"]}}\n"), 0o600))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"sync", "--accept-lost", file}, "--accept-lost needs --from"},
		{[]string{"sync", "--to", "docker://a", "--skopeo-scoped", file}, "--to, --skopeo-scoped need --from"},
		{[]string{"bundle", "create", "--to", "docker://a", "-f", file, file + ".tar"}, "--to has no effect on a bundle"},
		{[]string{"verify", "--to", "docker://a", file}, "--to needs --from"},
		{[]string{"verify", "--from", "skopeo", "docker://a.example/a", "docker://b.example/a"}, "--from has no effect"},
		{[]string{"sync", "--from", "skopeo", file}, "names no destinations: say where the images go, with --to"},
		{[]string{"sync", "--from", "scopeo", file}, `format "scopeo" is unknown; known are `},
		{[]string{"sync", "--from", "skopeo", "--kubernetes-image-path", "A=.b", file}, "--kubernetes-image-path has no effect on files of the format skopeo"},
		{[]string{"import", "skopeo"}, "takes FORMAT and FILE"},
		{[]string{"import", "nothing", file}, `format "nothing" is unknown`},
		{[]string{"import", "skopeo", "--to", "docker://a.example", file + ".none"}, "no such file"},
		{[]string{"import", "skopeo", "--to", "docker://a.example", "--out", "/dev/null", file}, "--out"},
		{[]string{"import", "skopeo", "--to", "dcoker://m.example/x", "--skopeo-all", file}, `--to "dcoker://m.example/x": there is no transport "dcoker"; did you mean docker://m.example/x?`},
		{[]string{"import", "skopeo", "--to", "nowhere", "--skopeo-all", file}, `--to "nowhere" names no transport; for a registry write --to docker://nowhere`},
		{[]string{"import", "skopeo", "--to", "docker://a.example/{name}", "--skopeo-append-suffix", "-x", file}, "--to has variables"},
		{[]string{"import", "skopeo", "--to", "docker://a.example/one/a:{tag}", "--skopeo-all", file}, file + `:1: destination "docker://a.example/one/a:{tag}" has {tag}, and the source has none`},
	} {
		runAll(t.Context(), t, "", c.args...).failed(t, StatusMisused, c.want)
	}
	r := runAll(t.Context(), t, "", "import", "skopeo", file, "--to", "docker://m.example/n", "--skopeo-all",
		"--skopeo-scoped", "--skopeo-preserve-digests", "--skopeo-remove-signatures", "--skopeo-append-suffix", "-x")
	assert.Contains(t, r.stdout, "defaults:\n  preserve-digests: true\n  remove-signatures: true\n")
	assert.Contains(t, r.stdout, "destination: docker://m.example/n/a.example/a:{tag}-x\n")
	assert.Contains(t, r.stderr, "b[0]: a digest takes no suffix")
}
