package sparseserver

import (
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
)

// entry is a line of an htpasswd file.
func entry(t *testing.T, name, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	require.NoError(t, err)
	return name + ":" + string(hash) + "\n"
}

// writeFile replaces a file as careful programs do.
func writeFile(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", []byte(content), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

func mustReadUsers(t *testing.T, path string) *users {
	t.Helper()
	u, err := readUsers(path)
	require.NoError(t, err)
	return u
}

func TestHtpasswdFilesThatAreTaken(t *testing.T) {
	alice, bob := entry(t, "alice", "secret"), entry(t, "bob", "a:b")
	apache := strings.Replace(alice, "$2a$", "$2y$", 1) // as htpasswd -B writes it
	for name, content := range map[string]string{
		"two":            alice + bob,
		"apache's":       apache + bob,
		"no end of line": strings.TrimSpace(alice + bob),
		"Windows":        "\ufeff" + strings.ReplaceAll(alice+bob, "\n", "\r\n"),
		"comments":       "# people\n\n" + alice + "  # machines\n\t" + bob,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "htpasswd")
			writeFile(t, path, content)
			u := mustReadUsers(t, path)
			assert.True(t, u.know("alice", "secret"))
			assert.True(t, u.know("bob", "a:b"))
			assert.False(t, u.know("alice", "a:b"))
			assert.False(t, u.know("carol", "secret"))
		})
	}
}

func TestHtpasswdFilesThatAreRefused(t *testing.T) {
	alice := entry(t, "alice", "secret")
	bad := strings.TrimSpace(alice)
	for _, c := range []struct{ name, content, err string }{
		{"empty", "", `PATH: no user in it, so nobody could get in; type: htpasswd -B PATH USER`},
		{"comments only", "# nobody\n\n", `PATH: no user in it, so nobody could get in; type: htpasswd -B PATH USER`},
		{"no colon", alice + "bob\n", `PATH:2: not of the form USER:HASH`},
		{"no user", ":hash\n", `PATH:1: not of the form USER:HASH`},
		{"MD5", alice + "\nbob:$apr1$4Kq/vQ7w$8c7Yw2u2mX0M8s0mYv0aT.\n", `PATH:3: user "bob": the hash is MD5 (apr1), and only bcrypt's are taken; type: htpasswd -B PATH bob`},
		{"SHA", "bob:{SHA}5siv5c0SHx681xU6GiSx9ZQryqs=\n", `PATH:1: user "bob": the hash is SHA-1, and only bcrypt's are taken; type: htpasswd -B PATH bob`},
		{"SHA-512", "bob:$6$salt$hash\n", `PATH:1: user "bob": the hash is SHA-512, and only bcrypt's are taken; type: htpasswd -B PATH bob`},
		{"crypt", "bob:rqXexS6ZhobKA\n", `PATH:1: user "bob": the hash is not bcrypt's, and no other is taken; type: htpasswd -B PATH bob`},
		{"plain text", "bob:secret\n", `PATH:1: user "bob": the hash is not bcrypt's, and no other is taken; type: htpasswd -B PATH bob`},
		{"cut off", bad[:len(bad)-1], `PATH:1: user "alice": the hash looks like bcrypt's, but is damaged; type: htpasswd -B PATH alice`},
		{"too long", bad + ":a comment", `PATH:1: user "alice": the hash looks like bcrypt's, but is damaged; type: htpasswd -B PATH alice`},
		{"twice", alice + "\n" + alice, `PATH:3: user "alice" is in line 1, too: remove one`},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "htpasswd")
			writeFile(t, path, c.content)
			_, err := readUsers(path)
			require.EqualError(t, err, strings.ReplaceAll(c.err, "PATH", path))
			assert.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestAnHtpasswdFileForEverybodyIsAWarning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "htpasswd")
	for mode, want := range map[os.FileMode]string{
		0o600: "",
		0o640: "",
		0o644: `level=WARN msg="htpasswd file: everybody on this machine can read it" file=` + path + ` mode=-rw-r--r--`,
		0o660: `level=WARN msg="htpasswd file: others than its owner can change it" file=` + path + ` mode=-rw-rw----`,
	} {
		writeFile(t, path, entry(t, "alice", "secret"))
		require.NoError(t, os.Chmod(path, mode))
		var log logBuffer
		access := &access{log: log.logger()}
		access.set(mustReadUsers(t, path))
		if want == "" {
			assert.Empty(t, log.lines("htpasswd"))
		} else {
			assert.Equal(t, []string{want}, log.lines("htpasswd"))
		}
	}
}

// TestHtpasswdIsReadAgain changes the file under a server: what is faulty changes nothing.
func TestHtpasswdIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "htpasswd")
	writeFile(t, path, entry(t, "alice", "secret"))
	var log logBuffer
	_, client := start(t, Config{Htpasswd: path, Log: log.logger()})
	status := func(name string) int {
		r, err := http.NewRequest(http.MethodGet, "/", nil)
		require.NoError(t, err)
		r.SetBasicAuth(name, "secret")
		return client.Do(t, http.MethodGet, "/v2/", r.Header, nil).Status
	}
	require.Equal(t, http.StatusOK, status("alice"))

	writeFile(t, path, entry(t, "bob", "secret"))
	assert.Equal(t, http.StatusOK, status("bob"))
	assert.Equal(t, http.StatusUnauthorized, status("alice"))
	assert.Equal(t, []string{`level=INFO msg="htpasswd file has been read again" file=` + path + ` users=1`}, log.lines("htpasswd"))

	writeFile(t, path, "alice:$apr1$x$y\n")
	for range 3 {
		assert.Equal(t, http.StatusOK, status("bob"), "those who could get in still can")
	}
	faults := log.lines("level=ERROR")
	require.Len(t, faults, 1, "it is said once")
	assert.Contains(t, faults[0], `msg="htpasswd file is not taken: the users stay those of before" error="`+path+`:1: user \"alice\": the hash is MD5`)

	for times := 1; times <= 2; times++ {
		require.NoError(t, os.Remove(path))
		for range 3 {
			assert.Equal(t, http.StatusOK, status("bob"), "it may be about to be replaced")
		}
		warnings := log.lines("level=WARN")
		require.Len(t, warnings, times, "it is said once")
		assert.Contains(t, warnings[times-1], `msg="htpasswd file is gone: the users stay those of before" error="`)
		writeFile(t, path, entry(t, "bob", "secret"))
		assert.Equal(t, http.StatusOK, status("bob"))
	}
	writeFile(t, path, entry(t, "alice", "secret"))
	assert.Equal(t, http.StatusOK, status("alice"))
	assert.Equal(t, http.StatusUnauthorized, status("bob"))
}

// TestUsersAreReadAgainInPlace changes the file without another taking its place, as editors do.
func TestUsersAreReadAgainInPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "htpasswd")
	require.NoError(t, os.WriteFile(path, []byte(entry(t, "alice", "secret")), 0o600))
	access := &access{log: slog.New(slog.DiscardHandler)}
	access.set(mustReadUsers(t, path))
	require.True(t, access.users().know("alice", "secret"))
	require.NoError(t, os.WriteFile(path, []byte(entry(t, "alice", "changed")), 0o600))
	require.NoError(t, os.Chtimes(path, time.Time{}, time.Now().Add(time.Minute)))
	assert.True(t, access.users().know("alice", "changed"))
}
