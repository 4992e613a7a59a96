// Package hermetictest keeps the machine out of tests: whatever lies in its configuration, caches
// and states, and whoever runs the tests from whatever home, they do the same.
//
//   - Main gives the tests of a package a home of their own, by way of the environment; their
//     children inherit it. The garbage collector runs less there: see DefaultGC.
//   - Environment makes such a home for one test, or for one program.
//   - System is the configuration of containers/image with every path pinned: tests that make a
//     types.SystemContext start from it.
//
// The environment alone leads everything that the machine's administrator did not set into the
// home. What lies in /etc/containers and /usr/share/containers cannot be led away; Environment
// hides the drop-in files there, as users may, and System looks at none.
package hermetictest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"testing"

	"go.podman.io/image/v5/types"
	"go.podman.io/storage/pkg/configfile"
)

// Main is the middle of a TestMain: it gives the process a home, calls run, and removes the home.
// It returns what run does, or 1 if there can be no home. The garbage collector runs less from then
// on.
//
// Temporary files are in the home as well, and those of children, and their homes: nothing stays
// behind when a test kills a child.
func Main(run func() int) int {
	home, err := os.MkdirTemp("", "hermetic-")
	if err == nil {
		defer func() { _ = os.RemoveAll(home) }()
		err = enter(home)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "hermetictest:", err)
		return 1
	}
	debug.SetGCPercent(relaxedGC)
	return run()
}

func enter(home string) error {
	variables, err := Environment(home)
	temporary := filepath.Join(home, "tmp")
	err = errors.Join(err, os.Mkdir(temporary, 0o700))
	for _, name := range []string{"TMPDIR", "TMP", "TEMP"} { // on Unix, and on Windows
		err = errors.Join(err, os.Setenv(name, temporary))
	}
	for name, value := range variables {
		err = errors.Join(err, os.Setenv(name, value))
	}
	return err
}

// Home is Environment for one test, in a new directory, which it returns.
func Home(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	variables, err := Environment(home)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range variables {
		t.Setenv(name, value)
	}
	return home
}

// elsewhere are the variables of the environment that point at something of this machine or user.
// Where they are set, they are emptied.
var elsewhere = []string{
	"REGISTRY_AUTH_FILE", "CONTAINERS_REGISTRIES_CONF_OVERRIDE", "CONTAINERS_STORAGE_CONF_OVERRIDE", "STORAGE_DRIVER", "STORAGE_OPTS",
	"KUBECONFIG", "KUBERNETES_MASTER", "DOCKER_HOST",
}

// user is the number of a user who owns nothing on any machine.
const user = 65533

// Environment makes home, which must be an empty directory, the home of an unprivileged user who
// has set up nothing, and returns the variables that lead there. Where the go command keeps its
// caches and settings stays what it was.
//
// Containers/image must not take the user for root: it would leave the home for /var. Its variable
// _CONTAINERS_ROOTLESS_UID says so.
func Environment(home string) (map[string]string, error) {
	variables := map[string]string{"_CONTAINERS_ROOTLESS_UID": strconv.Itoa(user)}
	for _, name := range elsewhere {
		if os.Getenv(name) != "" {
			variables[name] = ""
		}
	}
	maps.Copy(variables, goCaches())
	for name, sub := range map[string]string{
		"HOME": "", "XDG_CONFIG_HOME": ".config", "XDG_DATA_HOME": ".local/share", "XDG_STATE_HOME": ".local/state", "XDG_CACHE_HOME": ".cache",
		"XDG_RUNTIME_DIR": ".run", "DOCKER_CONFIG": ".docker", "GNUPGHOME": ".gnupg",
	} {
		variables[name] = filepath.Join(home, sub)
	}
	err := os.Mkdir(variables["XDG_RUNTIME_DIR"], 0o700) // it must be there, the others need not
	for name, file := range map[string]string{
		"CONTAINERS_REGISTRIES_CONF": "registries.conf", "CONTAINERS_STORAGE_CONF": "storage.conf",
	} {
		variables[name] = filepath.Join(home, file)
		err = errors.Join(err, os.WriteFile(variables[name], nil, 0o600))
	}
	config := filepath.Join(variables["XDG_CONFIG_HOME"], "containers")
	return variables, errors.Join(err,
		hide(filepath.Join(config, "registries.d"), &configfile.File{Name: "registries", Extension: "yaml", DoNotUseExtensionForConfigName: true}),
		// For who names a registries.conf by other means than the environment.
		hide(filepath.Join(config, "registries.conf.d"), &configfile.File{Name: "registries", Extension: "conf"}),
	)
}

// hide makes an empty file in dir, a directory of the user's drop-in files, for each of the
// machine's: a user's file counts instead of the machine's of the same name
// (containers-registries.d(5)). A directory that cannot be read stays in the way.
func hide(dir string, files *configfile.File) error {
	files.DoNotLoadMainFiles, files.UserId = true, user
	paths, err := configfile.GetSearchPaths(files)
	if err != nil {
		return err
	}
	err = os.MkdirAll(dir, 0o700)
	for _, machines := range paths.DropInDirectories {
		entries, _ := os.ReadDir(machines) // most are not there
		for _, entry := range entries {
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, entry.Name()), nil, 0o600))
		}
	}
	return err
}

// goCaches are the variables with which the go command finds its caches and settings without a
// home, for tests that run it. There are none where there is no go command. It is asked once: it
// leaves a process behind that writes to the home, which may be gone by then.
var goCaches = sync.OnceValue(func() map[string]string {
	values := map[string]string{}
	if output, err := exec.Command("go", "env", "-json", "GOCACHE", "GOENV", "GOMODCACHE", "GOPATH").Output(); err == nil {
		_ = json.Unmarshal(output, &values) // the go command's own output
	}
	return values
})

// System is SystemIn a new directory, which it returns too.
func System(t testing.TB) (sys *types.SystemContext, dir string) {
	t.Helper()
	dir = t.TempDir()
	sys, err := SystemIn(dir)
	if err != nil {
		t.Fatal(err)
	}
	return sys, dir
}

// SystemIn is a configuration that leads all of containers/image into dir, an empty directory or
// none yet, where tests may write what they need into the files and directories that it names. As
// it is, signatures are looked for in dir/lookaside only, which is not there, and there are no
// credentials, no certificates, no settings for any registry, and no policy.
func SystemIn(dir string) (*types.SystemContext, error) {
	in := func(name string) string { return filepath.Join(dir, name) }
	sys := &types.SystemContext{
		RootForImplicitAbsolutePaths: in("root"),
		SignaturePolicyPath:          in("policy.json"),
		RegistriesDirPath:            in("registries.d"),
		SystemRegistriesConfPath:     in("registries.conf"),
		SystemRegistriesConfDirPath:  in("registries.conf.d"),
		UserShortNameAliasConfPath:   in("short-names.conf"),
		DockerPerHostCertDirPath:     in("certs.d"),
		AuthFilePath:                 in("auth.json"),
		BlobInfoCacheDir:             in("cache"),
		BigFilesTemporaryDir:         in("big"),
	}
	var err error
	for _, sub := range []string{
		sys.RegistriesDirPath, sys.SystemRegistriesConfDirPath, sys.DockerPerHostCertDirPath, sys.BlobInfoCacheDir, sys.BigFilesTemporaryDir,
	} {
		err = errors.Join(err, os.MkdirAll(sub, 0o700))
	}
	return sys, errors.Join(err, os.WriteFile(sys.SystemRegistriesConfPath, nil, 0o600),
		os.WriteFile(filepath.Join(sys.RegistriesDirPath, "default.yaml"), []byte("default-docker:\n  lookaside: file://"+in("lookaside")+"\n"), 0o600))
}
