package mirrorcmd

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/progress/terminaltest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// atTerminal runs the command at a terminal, where somebody answers questions, in a home. It
// returns the status, and what the terminal showed.
func atTerminal(t *testing.T, answers [][2]string, args ...string) (int, string) {
	t.Helper()
	terminal := terminaltest.NewPseudo(t, 200, 20)
	var stdout bytes.Buffer
	ended := make(chan int, 1)
	go func() { ended <- Run(t.Context(), args, terminal.Writer, &stdout, terminal.Writer) }()
	for _, a := range answers {
		terminal.WaitFor(a[0])
		terminal.Type(a[1] + "\n")
	}
	status := <-ended
	return status, strings.Join(terminal.FinalLines(), "\n")
}

// TestAListIsGuarded copies one image to where a list is: somebody at a terminal is asked, others
// are warned.
func TestAListIsGuarded(t *testing.T) {
	hermetictest.Home(t)
	f := imagetest.Platforms(3, 1, 1000)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top)
	top := f.PushTo(dst, repo, tag, imagetest.Top)
	args := []string{"copy", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", refTo(src), refTo(dst)}
	names := func() string {
		d, _ := dst.Resolve(repo, tag)
		return d.String()
	}
	question := `Replace it\? \[y/N\] $`
	for _, answer := range []string{"", "n", "what?"} {
		status, shown := atTerminal(t, [][2]string{{question, answer}}, args...)
		assert.Equal(t, StatusFailed, status)
		assert.Contains(t, shown, refTo(dst)+" names a list (linux/amd64, linux/arm64, linux/arm/v7), which one image would replace; --all or --platform copies lists")
		assert.Contains(t, shown, "mirror: nothing was copied: ")
		require.Equal(t, top.String(), names())
	}
	status, shown := atTerminal(t, nil, append(args, "--yes")...)
	assert.Equal(t, StatusDone, status, shown)
	assert.NotContains(t, shown, "Replace")
	require.NotEqual(t, top.String(), names())

	f.PushTo(dst, repo, tag, imagetest.Top)
	status, shown = atTerminal(t, [][2]string{{question, "y"}}, args...)
	assert.Equal(t, StatusDone, status, shown)
	assert.NotEqual(t, top.String(), names())
	status, shown = atTerminal(t, nil, args...)
	assert.Equal(t, StatusDone, status, shown)
	assert.NotContains(t, shown, "Replace")
}

// TestNobodyIsAsked warns of a list that is replaced, unless something says that it is meant; and
// it costs no request where there is nothing to replace.
func TestNobodyIsAsked(t *testing.T) {
	f := imagetest.Platforms(3, 1, 1000)
	src := registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top)
	for _, test := range []struct {
		there bool
		flags []string
		warns bool
	}{
		{false, nil, false}, {true, nil, true},
		{true, []string{"--yes"}, false}, {true, []string{"--quiet"}, false}, {true, []string{"--override-arch", "arm64"}, false},
		{true, []string{"--all"}, false}, {true, []string{"--platform", "linux/amd64", "--sparse", "strip"}, false},
	} {
		dst := registrytest.Start(t, registrytest.Options{})
		if test.there {
			other := imagetest.Platforms(2, 2, 1000)
			other.PushTo(dst, repo, tag, imagetest.Top)
		}
		r := mirror(t, "copy", append(test.flags, refTo(src), refTo(dst))...)
		assert.Equal(t, StatusDone, r.status, "%v: %s", test.flags, r.stderr)
		assert.Equal(t, test.warns, strings.Contains(r.stderr, "names a list (linux/amd64, linux/arm64), which one image replaces; --all or --platform copies lists, and --yes says that this is meant"), "%v: %s", test.flags, r.stderr)
		reads := dst.Count(func(q registrytest.Request) bool { return q.Kind == registrytest.KindManifest && q.Method != "PUT" })
		if !test.there {
			assert.Equal(t, 1, reads, "what the tag names is asked once, as without a guard")
		}
	}
}

// TestLoginAtATerminal asks for the user's name and the password.
func TestLoginAtATerminal(t *testing.T) {
	home := hermetictest.Home(t)
	t.Setenv("DOCKER_CONFIG", "")
	r := registrytest.Start(t, registrytest.Options{Auth: &registrytest.Auth{Accounts: []registrytest.Account{{Username: "user", Password: "secret"}}}})
	status, shown := atTerminal(t, [][2]string{{`User: $`, "user"}, {`Password of user for .*: $`, "secret"}}, "login", "--tls-verify=false", r.Host())
	assert.Equal(t, StatusDone, status, shown)
	_, err := os.Stat(home + "/.run/containers/auth.json")
	require.NoError(t, err)
	status, shown = atTerminal(t, [][2]string{{`User \(user\): $`, ""}, {`Password of user for .*: $`, "wrong"}}, "login", "--tls-verify=false", r.Host())
	assert.Equal(t, StatusFailed, status)
	assert.Contains(t, shown, "refuses the name or the password of user")
}
