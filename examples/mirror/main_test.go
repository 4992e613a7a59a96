package main

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorcmd"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// asProgram makes the test binary the program itself, which has as long to stop as this says.
const asProgram = "MIRROR_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if d, err := time.ParseDuration(os.Getenv(asProgram)); err == nil {
		usual = d
		main()
	}
	os.Exit(hermetictest.Main(m.Run))
}

// program is the command with its own arguments. It has long to stop by itself.
func program(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=10m")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	return cmd, &stderr
}

// TestSignals interrupts a copy in the middle of a blob.
func TestSignals(t *testing.T) {
	f := imagetest.Platforms(2, 1, 1000)
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			reading := make(chan struct{})
			var once sync.Once
			src := registrytest.Start(t, registrytest.Options{
				Script: registrytest.Only(registrytest.Matching(http.MethodGet, registrytest.KindBlob), func(int, *http.Request) registrytest.Answer {
					once.Do(func() { close(reading) })
					return registrytest.Stall()
				}),
			})
			dst := registrytest.Start(t, registrytest.Options{})
			f.PushTo(src, "image", "1", imagetest.Top)
			cmd, stderr := program(t, "copy", "--all", "--quiet", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", "--src-no-creds", "--dest-no-creds",
				"docker://"+src.Host()+"/image:1", "docker://"+dst.Host()+"/image:1")
			require.NoError(t, cmd.Start())
			<-reading
			require.NoError(t, cmd.Process.Signal(sig))

			var exit *exec.ExitError
			require.ErrorAs(t, cmd.Wait(), &exit)
			assert.Equal(t, mirrorcmd.StatusFailed, exit.ExitCode())
			assert.Equal(t, "mirror: stopped: "+sig.String()+" signal received\n", stderr.String())
			imagetest.CheckUnchanged(t, dst, "image", "1", "")
		})
	}
}

func TestStatus(t *testing.T) {
	cmd, stderr := program(t, "copy")
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Run(), &exit)
	assert.Equal(t, mirrorcmd.StatusMisused, exit.ExitCode())
	assert.Contains(t, stderr.String(), "mirror: ")
}
