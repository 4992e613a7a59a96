package mirrorcmd

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the manual pages anew")

// manDir is where the manual pages are, for those who package the program.
var manDir = filepath.Join("..", "..", "mirror", "man")

// testRoot returns mirror with all commands finished.
func testRoot() *cobra.Command {
	return newCommands(&environment{stdin: strings.NewReader(""), stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}, getenv: os.Getenv}).finishAll()
}

// finished returns a command with its flags.
func finished(one command) *cobra.Command {
	cmd := one.command()
	one.finish(cmd)
	return cmd
}

// writeManPages writes a page for each command. The same commands make the same pages: they have no
// date of their own. The program itself cannot write them: what does takes time when it starts.
func writeManPages(root *cobra.Command, dir string) error {
	root.DisableAutoGenTag = true
	prepareUsages(root)
	never := time.Unix(0, 0).UTC()
	return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "sparsecopy", Manual: "mirror", Date: &never}, dir)
}

// prepareUsages says in the help of flags which values they take: the pages show the default only.
// The text is read as Markdown, which takes <hex> for HTML and drops it.
func prepareUsages(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if c, ok := f.Value.(interface{ choices() []string }); ok {
			f.Usage += " (" + strings.Join(c.choices(), ", ") + ")"
		}
		f.Usage = strings.ReplaceAll(f.Usage, "<", `\<`)
	})
	for _, child := range cmd.Commands() {
		prepareUsages(child)
	}
}

// TestManPages holds the pages in the repository against those that the commands make. -update
// writes them anew.
func TestManPages(t *testing.T) {
	want := t.TempDir()
	require.NoError(t, writeManPages(testRoot(), want))
	if *update {
		require.NoError(t, os.RemoveAll(manDir))
		require.NoError(t, os.CopyFS(manDir, os.DirFS(want)))
	}
	pages, err := os.ReadDir(want)
	require.NoError(t, err)
	committed, err := os.ReadDir(manDir)
	require.NoError(t, err)
	assert.Len(t, committed, len(pages), "go test ./internal/mirrorcmd -run TestManPages -update writes the pages anew")
	for _, page := range pages {
		a, err := os.ReadFile(filepath.Join(want, page.Name()))
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(manDir, page.Name()))
		require.NoError(t, err)
		assert.Equal(t, string(a), string(b), "%s is out of date: go test ./internal/mirrorcmd -run TestManPages -update", page.Name())
	}
}

// TestEveryFlagOfEveryCommand demands that each flag has help, is in the manual page, and is given
// in a test. TestEveryFlag says what those of copy and plan do, which other commands share.
func TestEveryFlagOfEveryCommand(t *testing.T) {
	tests := testTexts(t)
	var check func(*cobra.Command)
	check = func(cmd *cobra.Command) {
		for _, child := range cmd.Commands() {
			check(child)
		}
		if cmd.Hidden || cmd.HasSubCommands() || cmd.Name() == "help" {
			return
		}
		assert.NotEmpty(t, cmd.Short)
		assert.NotEmpty(t, cmd.Long)
		assert.NotEmpty(t, cmd.Example)
		page, err := os.ReadFile(filepath.Join(manDir, strings.ReplaceAll(cmd.CommandPath(), " ", "-")+".1"))
		require.NoError(t, err)
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			assert.NotEmpty(t, f.Usage, "%s --%s has no help", cmd.CommandPath(), f.Name)
			assert.True(t, f.Hidden || strings.Contains(string(page), `--`+f.Name+`\fP`), "%s --%s is not in the manual page", cmd.CommandPath(), f.Name)
			given := strings.Contains(tests, "--"+f.Name) || strings.Contains(tests, strconv.Quote(f.Name)+":")
			assert.True(t, given, "%s --%s is given in no test", cmd.CommandPath(), f.Name)
		})
	}
	root := testRoot()
	check(root)
	about, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	for _, cmd := range root.Commands() {
		assert.True(t, cmd.Hidden || strings.Contains(string(about), cmd.CommandPath()), "doc.go says nothing of %s", cmd.CommandPath())
	}
}

// testTexts is the text of all scripts and tests of this package.
func testTexts(t *testing.T) string {
	var all strings.Builder
	for _, pattern := range []string{"testdata/script/*.txt", "*_test.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			all.Write(text)
		}
	}
	return all.String()
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		r := runAll(t.Context(), t, "", "completion", shell).done(t)
		assert.Contains(t, r.stdout, "mirror")
	}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"copy", "--sparse", ""}, []string{"keep", "strip", "auto"}},
		{[]string{"verify", "--platform", "linux/arm/"}, commonPlatforms},
		{[]string{"bundle", "load", "--log-format", ""}, []string{"text", "json"}},
		{[]string{"bun"}, []string{"bundle\tCarry images to where the source cannot be reached"}},
	} {
		r := runAll(t.Context(), t, "", append([]string{cobra.ShellCompRequestCmd}, c.args...)...)
		assert.Equal(t, StatusDone, r.status)
		lines := strings.Split(r.stdout, "\n")
		assert.Equal(t, c.want, lines[:len(lines)-2], "%v", c.args) // the last line is a directive for the shell
	}
}
