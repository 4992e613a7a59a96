package e2e

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// BenchmarkStartup measures whole processes, mirror's and those of other tools, which print their
// help, or copy an image to where it is already: processor time beside the time. The peak of memory
// that the system knows of a child is at least that of its parent.
func BenchmarkStartup(b *testing.B) {
	programs, err := built()
	require.NoError(b, err)
	for _, tool := range []string{"github.com/google/go-containerregistry/cmd/crane", "github.com/regclient/regclient/cmd/regctl"} {
		output, err := exec.CommandContext(b.Context(), "go", "build", "-o", programs, tool).CombinedOutput()
		require.NoError(b, err, string(output))
	}
	registry := registrytest.Start(b, registrytest.Options{})
	want := threePlatforms().PushTo(registry, repo, tag, imagetest.Top)
	host := registry.Host()
	source := host + "/" + repo + ":" + tag

	for _, command := range []struct {
		name string
		line []string // the reference that is written is added to what copies
	}{
		{"help/mirror", []string{"mirror", "--help"}},
		{"help/crane", []string{"crane", "--help"}},
		{"help/regctl", []string{"regctl", "--help"}},
		{"nothing/mirror", []string{"mirror", "copy", "--all", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", source}},
		{"nothing/crane", []string{"crane", "copy", "--insecure", source}},
		{"nothing/regctl", []string{"regctl", "--host", "reg=" + host + ",tls=disabled", "image", "copy", source}},
	} {
		b.Run(command.name, func(b *testing.B) {
			line, name := command.line, command.line[0]
			copies := line[len(line)-1] == source
			if copies {
				line = append(line, host+"/"+name+":"+tag)
			}
			start := func() time.Duration {
				cmd := exec.CommandContext(b.Context(), filepath.Join(programs, name), line[1:]...)
				output, err := cmd.CombinedOutput()
				require.NoError(b, err, string(output))
				return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			}
			start() // which copies
			var processor time.Duration
			for b.Loop() {
				processor += start()
			}
			b.ReportMetric(float64(processor.Microseconds())/1000/float64(b.N), "cpu-ms/op")
			if copies {
				got, _ := registry.Resolve(name, tag)
				assert.Equal(b, want, got)
			}
		})
	}
}
