package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// build returns the directory where the programs are.
func build(t *testing.T) string {
	t.Helper()
	dir, err := built()
	require.NoError(t, err)
	return dir
}

// built builds the programs, once, into the home that TestMain has made, without what debuggers
// read, which takes half the time of linking.
var built = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(os.Getenv("HOME"), "programs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-ldflags=-w", "-tags", "containers_image_openpgp", "-o", dir, "./mirror", "./sparse-registry", "./demo")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	output, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, output)
	}
	return dir, nil
})

// A registryProcess is a sparse-registry of its own.
type registryProcess struct {
	t    *testing.T
	cmd  *exec.Cmd
	host string
	log  chan string // what it logged after its first line, once it is closed
}

// startRegistry starts a registry that requires amd64 of sparse lists.
func startRegistry(t *testing.T, programs, storage string) *registryProcess {
	t.Helper()
	return startRegistryWith(t, programs, storage, "--feature-sparse-index", "--sparse-index-required-archs=amd64")
}

func startRegistryWith(t *testing.T, programs, storage string, policy ...string) *registryProcess {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), filepath.Join(programs, "sparse-registry"),
		append([]string{"--address", "127.0.0.1:0", "--storage", storage}, policy...)...)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &registryProcess{t: t, cmd: cmd, log: make(chan string, 1)}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // fails if it has been waited for
	lines := bufio.NewReader(stderr)
	first, err := lines.ReadString('\n')
	require.NoError(t, err)
	match := regexp.MustCompile(`msg=listening url=http://(\S+)`).FindStringSubmatch(first)
	require.NotNil(t, match, "%q", first)
	p.host = match[1]
	go func() {
		rest, _ := io.ReadAll(lines) // until the process ends
		p.log <- string(rest)
	}()
	return p
}

func (p *registryProcess) ref() string { return "docker://" + p.host + "/" + repo + ":" + tag }

// terminate ends the process as service managers do, and demands that it ends well. It returns what
// it logged.
func (p *registryProcess) terminate() string {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	log := <-p.log
	require.NoError(p.t, p.cmd.Wait(), "%s", log)
	return log
}

// TestPrograms pushes with one program to the other, which is stopped and started again before
// anything is pulled.
func TestPrograms(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two programs")
	}
	f := threePlatforms()
	source, programs, storage := newSource(t, f), build(t), t.TempDir()
	run := func(args ...string) (stdout, stderr string, status int) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(programs, "mirror"), args...)
		var out, err bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &err
		_ = cmd.Run() // the status says it
		return out.String(), itsOwn(err.String()), cmd.ProcessState.ExitCode()
	}
	push := []string{"copy", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false"}

	registry := startRegistry(t, programs, storage)
	_, stderr, status := run(append(push, "--platform", "linux/arm64", source, registry.ref())...)
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "requires the instance")
	assert.Contains(t, stderr, "(linux/amd64)")
	digestFile := filepath.Join(t.TempDir(), "digest")
	stdout, stderr, status := run(append(push, "--platform", "linux/amd64", "--digestfile", digestFile, source, registry.ref())...)
	require.Equal(t, 0, status, "%s", stderr)
	assert.Empty(t, stderr)
	assert.Contains(t, stdout, "(unchanged)")
	pushed, err := os.ReadFile(digestFile)
	require.NoError(t, err)
	assert.Equal(t, f.Digest(imagetest.Top).String(), string(pushed))
	assert.Contains(t, registry.terminate(), "msg=stopped")

	registry = startRegistry(t, programs, storage)
	client := sparsetest.NewClient("http://" + registry.host)
	want, _ := f.Document(imagetest.Top)
	for _, ref := range []string{tag, f.Digest(imagetest.Top).String()} {
		got := client.Get(t, http.MethodGet, repo, ref)
		assert.Equal(t, string(want), string(got.Body))
		assert.Equal(t, f.Digest(imagetest.Top).String(), got.Header.Get("Docker-Content-Digest"))
	}
	checkPulled(t, f, registry.ref(), "amd64", nil)
	layout := t.TempDir()
	_, stderr, status = run("copy", "--insecure-policy", "--src-tls-verify=false", "--override-os", "linux", "--override-arch", "amd64",
		registry.ref(), "oci:"+layout+":pulled")
	require.Equal(t, 0, status, "%s", stderr)
	imagetest.CheckLayout(t, layout, imagetest.Want{Tag: "pulled", Digest: f.Digest("amd64"), Fixture: f, Only: true})
	_, stderr, status = run("copy", "--insecure-policy", "--src-tls-verify=false", "--override-os", "linux", "--override-arch", "arm64",
		registry.ref(), "oci:"+t.TempDir()+":absent")
	assert.Equal(t, 1, status)
	assert.Equal(t, "mirror: missing at the source: "+f.Digest("arm64").String()+" (linux/arm64)\n", stderr)
	client.CloseIdle()
	registry.terminate()
}

// A step of a page: commands, and a part of what they print.
type step struct {
	commands string
	output   []string // lines, in their order; "…" stands for anything
}

// readSteps returns the blocks of a page that are marked sh, each with the block marked text that
// follows, if there is one.
func readSteps(t *testing.T, page string) []step {
	t.Helper()
	content, err := os.ReadFile(page)
	require.NoError(t, err)
	var steps []step
	for _, block := range regexp.MustCompile("(?ms)^```(sh|text)\n(.*?)^```$").FindAllStringSubmatch(string(content), -1) {
		if block[1] == "sh" {
			steps = append(steps, step{commands: block[2]})
		} else if len(steps) > 0 {
			last := &steps[len(steps)-1]
			last.output = strings.Split(strings.TrimSpace(block[2]), "\n")
		}
	}
	return steps
}

// check fails the test unless what was printed has the lines of the step.
func (s step) check(t *testing.T, printed string) {
	t.Helper()
	var pattern strings.Builder
	pattern.WriteString("(?m)")
	for i, line := range s.output {
		if i > 0 {
			pattern.WriteString(`\n(?:.*\n)*?`)
		}
		pattern.WriteString("^" + strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*") + "$")
	}
	assert.Regexp(t, pattern.String(), printed, "after:\n%s", s.commands)
}

// script makes one script of all steps, and separates what they print.
func script(steps []step) string {
	var b strings.Builder
	b.WriteString("exec 2>&1\ntrap 'kill $(jobs -p) 2>/dev/null' EXIT\n")
	for _, s := range steps {
		b.WriteString(s.commands + "echo; echo " + endOfStep + "\n")
	}
	return b.String()
}

const endOfStep = "--- end of step ---"

// freeAddress returns an address on loopback on which nobody listens, with one of the 6000 ports
// from lowest on. They are to be below 32768: systems give others to whoever wants some port, as
// tests that run beside this one do.
func freeAddress(t *testing.T, lowest int) string {
	t.Helper()
	for range 100 {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", lowest+rand.IntN(6000)))
		if err != nil {
			continue // somebody listens there
		}
		require.NoError(t, listener.Close())
		return listener.Addr().String()
	}
	require.FailNow(t, "somebody listens on each of 100 ports")
	return ""
}

// TestScenario runs the commands of docs/sparse-registry-scenario.md and compares what they print.
func TestScenario(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two programs")
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl")
	}
	source, registry, strict := newSource(t, threePlatforms()), freeAddress(t, 20_000), freeAddress(t, 26_000)
	conf := filepath.Join(t.TempDir(), "registries.conf")
	host, _, _ := strings.Cut(strings.TrimPrefix(source, "docker://"), "/")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, "[[registry]]\nlocation = %q\ninsecure = true\n", host), 0o600))

	steps := readSteps(t, "../../docs/sparse-registry-scenario.md")
	require.Len(t, strings.Split(strings.TrimSpace(steps[0].commands), "\n"), 3, "the first step has the values, and nothing else")
	steps[0].commands = fmt.Sprintf("SOURCE=%s\nREGISTRY=%s\nSTRICT=%s\n", source, registry, strict)
	for _, s := range steps[1:] {
		for i, line := range s.output {
			s.output[i] = strings.NewReplacer("127.0.0.1:5000", registry, "127.0.0.1:5001", strict).Replace(line)
		}
	}

	cmd := exec.CommandContext(t.Context(), bash, "-c", script(steps))
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CONTAINERS_REGISTRIES_CONF="+conf, "TMPDIR="+t.TempDir(),
		"GOFLAGS="+os.Getenv("GOFLAGS")+" -ldflags=-w") // as in built
	checkSteps(t, steps, cmd)
}

// checkSteps runs cmd, which runs the script of the steps, and compares what is printed.
func checkSteps(t *testing.T, steps []step, cmd *exec.Cmd) {
	t.Helper()
	output, err := cmd.Output()
	require.NoError(t, err)
	printed := strings.Split(string(output), endOfStep)
	require.Len(t, printed, len(steps)+1)
	for i, s := range steps {
		s.check(t, printed[i])
	}
}

// TestReadme runs the commands of README.md in the playground and compares what they print.
func TestReadme(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	var steps []step
	for _, s := range readSteps(t, "../../README.md") {
		if strings.Contains(s.commands, "$SOURCE") || strings.Contains(s.commands, "$PLAYGROUND") {
			steps = append(steps, s)
		}
	}
	require.Len(t, steps, 4)
	steps[3].commands = untilItServes(t, steps[3].commands)
	cmd := exec.CommandContext(t.Context(), filepath.Join(build(t), "demo"), "playground", bash, "-c", script(steps))
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir(), "XDG_STATE_HOME="+t.TempDir())
	cmd.Dir = t.TempDir() // for the state of the server
	checkSteps(t, steps, cmd)
}

// untilItServes makes the command of a server, which runs for ever, one that ends when it serves.
func untilItServes(t *testing.T, command string) string {
	t.Helper()
	command, ok := strings.CutPrefix(strings.TrimSpace(command), "mirror serve ")
	require.True(t, ok)
	return "while read -r line; do echo \"$line\"; [[ $line != *msg=serving* ]] || kill $!; done < <(exec mirror serve --listen 127.0.0.1:0 " + command + " 2>&1)\n"
}
