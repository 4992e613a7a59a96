package e2e

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorcmd"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard)
	logrus.SetLevel(logrus.WarnLevel) // as the command does: distribution has much to tell
	os.Exit(hermetictest.Main(m.Run))
}

// forms are the two formats of lists, as options of fixtures.
var forms = map[string][]imagetest.Option{"OCI": nil, "Docker": {imagetest.Docker()}}

// threePlatforms makes the list of all scenarios: amd64, arm64 and ppc64le.
func threePlatforms(form ...imagetest.Option) *imagetest.Fixture {
	f := imagetest.New()
	f.Layer("base", imagetest.File("etc/motd", "hello\n"))
	names := []string{"amd64", "arm64", "ppc64le"}
	for i, name := range names {
		f.Layer(name+".app", imagetest.Random(uint64(i), 10_000))
		f.Image(name, append([]imagetest.Option{imagetest.Platform("linux/" + name), imagetest.Layers("base", name+".app")}, form...)...)
	}
	f.List(imagetest.Top, append([]imagetest.Option{imagetest.Entries(names...), imagetest.Indent("  ")}, form...)...)
	return f
}

// refs are the digests of documents, as references.
func refs(f *imagetest.Fixture, names ...string) []string {
	out := make([]string, len(names))
	for i, d := range f.Digests(names...) {
		out[i] = d.String()
	}
	return out
}

// newSource starts a registry with the fixture's list, and returns a reference to it.
func newSource(t *testing.T, f *imagetest.Fixture) string {
	t.Helper()
	src := registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top)
	return "docker://" + src.Host() + "/" + repo + ":" + tag
}

// An outcome is what a run of the command left.
type outcome struct {
	t              *testing.T
	status         int
	stdout, stderr string
}

// mirror runs the command against registries without TLS, with a policy that accepts anything.
func mirror(t *testing.T, command string, args ...string) outcome {
	t.Helper()
	common := []string{command, "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false"}
	return mirrorAs(t, append(common, args...)...)
}

// mirrorAs runs the command with no arguments but these.
func mirrorAs(t *testing.T, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	status := mirrorcmd.Run(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
	return outcome{t, status, stdout.String(), itsOwn(stderr.String())}
}

// progress is what a run that takes long writes to stderr now and then.
var progress = regexp.MustCompile(`^images \d+/\d+ `)

// itsOwn leaves out of a log what distribution, which runs in the same process, has to say about
// its requests, and progress.
func itsOwn(log string) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		if !strings.Contains(line, ` msg="response completed with error" `) && !progress.MatchString(line) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// done demands success, without a word on stderr.
func (o outcome) done() outcome {
	o.t.Helper()
	require.Equal(o.t, mirrorcmd.StatusDone, o.status, "%s", o.stderr)
	assert.Empty(o.t, o.stderr)
	return o
}

// failed demands one line on stderr that has all these parts.
func (o outcome) failed(parts ...string) {
	o.t.Helper()
	require.Equal(o.t, mirrorcmd.StatusFailed, o.status, "%s", o.stdout)
	assert.Equal(o.t, 1, strings.Count(o.stderr, "\n"), "stderr: %q", o.stderr)
	for _, part := range parts {
		assert.Contains(o.t, o.stderr, part)
	}
}

// pull copies the image for a platform of Linux into a new layout, as users of containers/image do:
// with upstream's package, not with ours. It returns the layout. sys may be nil.
func pull(t *testing.T, ref, architecture string, sys *types.SystemContext) (dir string, err error) {
	t.Helper()
	if sys == nil {
		sys = &types.SystemContext{DockerInsecureSkipTLSVerify: types.OptionalBoolTrue}
	}
	sys.OSChoice, sys.ArchitectureChoice = "linux", architecture
	dir = t.TempDir()
	destRef, err := alltransports.ParseImageName("oci:" + dir + ":pulled")
	require.NoError(t, err)
	srcRef, err := alltransports.ParseImageName(ref)
	require.NoError(t, err)
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	require.NoError(t, err)
	defer func() { assert.NoError(t, policy.Destroy()) }()
	_, err = upstream.Image(t.Context(), policy, destRef, srcRef, &upstream.Options{SourceCtx: sys})
	return dir, err
}

// checkPulled pulls an OCI image and fails the test unless it is the fixture's, to the byte.
func checkPulled(t *testing.T, f *imagetest.Fixture, ref, architecture string, sys *types.SystemContext) {
	t.Helper()
	dir, err := pull(t, ref, architecture, sys)
	require.NoError(t, err)
	imagetest.CheckLayout(t, dir, imagetest.Want{Tag: "pulled", Digest: f.Digest(architecture), Fixture: f, Only: true})
}

// checkPullable is checkPulled for amd64 in either form: upstream converts Docker images for the
// layout, and layers stay.
func checkPullable(t *testing.T, f *imagetest.Fixture, ref string) {
	t.Helper()
	dir, err := pull(t, ref, "amd64", nil)
	require.NoError(t, err)
	for _, layer := range []string{"base", "amd64.app"} {
		content, err := os.ReadFile(filepath.Join(dir, "blobs", digest.SHA256.String(), f.Digest(layer).Encoded()))
		require.NoError(t, err)
		assert.Equal(t, f.Content(layer), content)
	}
}
