package foreign

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
)

var update = flag.Bool("update", false, "write what conversions are now into testdata")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(hermetictest.Main(m.Run))
}

// TestReal converts files in the shape of real ones, with other names: FORMAT-N.txtar. The comment
// of each archive has the flags; its first file is converted, and the others say what comes of it.
func TestReal(t *testing.T) {
	archives, err := filepath.Glob("testdata/real/*.txtar")
	require.NoError(t, err)
	for _, name := range archives {
		t.Run(filepath.Base(name), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			require.NoError(t, err)
			base := filepath.Base(name)
			format, err := Find(base[:strings.LastIndex(base, "-")])
			require.NoError(t, err)
			in := archive.Files[0]
			result, err := format.Convert(in.Name, in.Data, flagsOf(t, string(archive.Comment)))
			require.NoError(t, err)
			accepted(t, result.Sync)

			got := &txtar.Archive{Comment: archive.Comment, Files: []txtar.File{
				in, {Name: "sync", Data: result.Sync}, {Name: "lost", Data: lines(result.Lost)}, {Name: "notes", Data: lines(result.Notes)},
			}}
			if *update {
				require.NoError(t, os.WriteFile(name, txtar.Format(got), 0o644))
				return
			}
			assert.Equal(t, string(txtar.Format(archive)), string(txtar.Format(got)))
		})
	}
}

// flagsOf are the options that flags stand for.
func flagsOf(t *testing.T, text string) Options {
	t.Helper()
	o := Options{Dir: "/srv", Environment: AnyEnvironment}
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	o.Define(flags)
	require.NoError(t, flags.Parse(strings.Fields(text)))
	return o
}

// accepted fails if the text of a sync file is not accepted.
func accepted(t *testing.T, text []byte) *syncfile.File {
	t.Helper()
	file, err := syncfile.ParseIn(AnyEnvironment, "images.yaml", text, func(_, text string) (types.ImageReference, error) { return alltransports.ParseImageName(text) })
	require.NoError(t, err, "%s", text)
	return file
}

func lines(notes []Note) []byte {
	var b strings.Builder
	for _, n := range notes {
		fmt.Fprintln(&b, n)
	}
	return []byte(b.String())
}

// TestVariables converts a file that names one of the environment.
func TestVariables(t *testing.T) {
	format := Format{Title: "a test's", read: func(r *reader) {
		image := r.image(r.document())
		image.set("source", "docker://${PLACE_OF_A}/a:1")
		image.set("destination", "docker://m.example/a")
	}}
	o := Options{Environment: func(string) (string, bool) { return "registry.example", true }}
	result, err := format.Convert("f", []byte("a: 1"), o)
	require.NoError(t, err)
	assert.Contains(t, string(result.Sync), "source: docker://${PLACE_OF_A}/a:1\n")
	assert.Equal(t, "docker://registry.example/a:1", result.File.Images[0].Source)

	_, err = format.Convert("f", []byte("a: 1"), Options{})
	require.ErrorContains(t, err, "${PLACE_OF_A} is not set in the environment")
	result, err = format.Convert("f", []byte("a: 1"), Options{Environment: AnyEnvironment})
	require.NoError(t, err)
	assert.Equal(t, "docker://xplace--of--ax.example/a:1", result.File.Images[0].Source)
	t.Setenv("PLACE_OF_A", "known.example")
	result, err = format.Convert("f", []byte("a: 1"), Options{Environment: AnyEnvironment})
	require.NoError(t, err)
	assert.Equal(t, "docker://known.example/a:1", result.File.Images[0].Source)
}
