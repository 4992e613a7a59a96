package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	craneapi "github.com/google/go-containerregistry/pkg/crane"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorcmd"
)

// earlierInTests is the revision of the contestant earlier.
const earlierInTests = "some/revision"

// programNames are what programs are called, but for starter.
var programNames = []string{mirrorProgram, craneProgram, earlierProgram + "-some-revision"}

// playProgram is one of the programs, if these tests are called like it: the real ones take minutes
// to build. It returns the exit status.
func playProgram(name string, args []string) (status int, plays bool) {
	switch name {
	case mirrorProgram, programNames[2]:
		return mirrorcmd.Run(context.Background(), args, os.Stdin, os.Stdout, os.Stderr), true
	case craneProgram:
		if args[0] == "copy" {
			if err := craneapi.Copy(args[2], args[3], craneapi.Insecure); err != nil {
				return 1, true
			}
		}
		return 0, true
	}
	return 0, false
}

// playedPrograms is a directory with programs that are these tests.
func playedPrograms(t *testing.T) string {
	dir := t.TempDir()
	path, err := os.Executable()
	require.NoError(t, err)
	for _, name := range programNames {
		require.NoError(t, os.Symlink(path, filepath.Join(dir, name)))
	}
	return dir
}

// TestRunStarts starts programs, and builds the one that starts them.
func TestRunStarts(t *testing.T) {
	var out, errors bytes.Buffer
	status := run(t.Context(), "", []string{
		"-quick", "-links", "none", "-rtt", "0", "-tls", "false", "-workloads", "help,start", "-programs", playedPrograms(t), "-earlier", earlierInTests,
	}, nil, &out, &errors)
	require.Zero(t, status, "%s%s", out.String(), errors.String())
	for _, name := range []string{mirrorItself, earlier, craneItself} {
		assert.Regexp(t, `(?m)^BenchmarkCopy/workload=help/rtt=0s/tls=false/tool=`+name+`-\d+\t.*\t0 src-req\t.*\t0 dst-req\t`, out.String())
		assert.Regexp(t, `(?m)^BenchmarkCopy/workload=start/rtt=0s/tls=false/tool=`+name+`-\d+\t1\t\d+ ns/op\t[1-9]\d* cpu-ns/op\t.*\t[1-9]\d* src-req\t`, out.String())
	}
}

// TestProgramsThatCannotBeHad are told, and fail nothing.
func TestProgramsThatCannotBeHad(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(t.TempDir()))
	var out, errors bytes.Buffer
	status := run(t.Context(), "", []string{
		"-quick", "-goals", "-links", "none", "-tools", "earlier", "-workloads", "help", "-programs", t.TempDir(),
	}, nil, &out, &errors)
	require.Zero(t, status, "%s%s", out.String(), errors.String())
	assert.Contains(t, out.String(), "workload=help/rtt=0s/tls=false/tool=earlier not measured: building mirror-earlier: no history of this repository: ")
}

// repository makes one with two revisions of a program, of which the first is tagged.
func repository(t *testing.T) string {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	git := func(args ...string) {
		args = append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false"}, args...)
		require.NoError(t, said(exec.CommandContext(t.Context(), "git", args...)))
	}
	write := func(name, content string) {
		path := filepath.Join(dir, "examples", name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	git("init", "--quiet")
	write("go.mod", "module example.com/examples\n\ngo 1.26.0\n")
	for _, revision := range []string{"one", "two"} {
		write("mirror/main.go", "package main\n\nfunc main() { print(`"+revision+"`) }\n")
		git("add", ".")
		git("commit", "--quiet", "--message", revision)
		if revision == "one" {
			git("tag", revision)
		}
	}
	return dir
}

// TestEarlierProgram is built of the history, once.
func TestEarlierProgram(t *testing.T) {
	t.Chdir(repository(t))
	w := newWorkshop(t.TempDir(), "one")
	path, err := w.program(t.Context(), earlierProgram)
	require.NoError(t, err)
	out, err := exec.CommandContext(t.Context(), path).CombinedOutput()
	require.NoError(t, err)
	assert.Equal(t, "one", string(out))

	w.earlier = "three"
	_, err = w.program(t.Context(), earlierProgram)
	require.ErrorContains(t, err, "building mirror-earlier: no history of this repository up to three: git: ")
	_, again := w.program(t.Context(), earlierProgram)
	require.Equal(t, err, again)
}
