package mirrorcmd

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/pkg/tlsclientconfig"
	"go.podman.io/image/v5/types"
)

// checkFiles refuses files and directories that flags name and that are not what they should be,
// before anything is tried. Much of what is not there is empty for containers/image: a name with a
// spelling mistake would leave out credentials, certificates or signatures without a word.
func (a *access) checkFiles() error {
	type named struct {
		flag, path string
		check      func(path string) error
	}
	files := []named{
		{"authfile", a.authFile, checkAuthFile}, {"registries-conf", a.registriesConf, checkRegistriesConf},
		{"registries.d", a.registriesD, checkRegistriesD},
	}
	for _, e := range []*end{&a.source, &a.dest, &a.referrers} {
		files = append(files, named{e.flag("authfile"), e.authFile, checkAuthFile}, named{e.flag("cert-dir"), e.certDir, checkCertDir})
	}
	for _, f := range files {
		if f.path == "" {
			continue
		}
		if err := f.check(f.path); err != nil {
			return misusef("--%s: %w", f.flag, err)
		}
	}
	return nil
}

// checkAuthFile wants the form of containers-auth.json(5).
func checkAuthFile(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var file struct {
		Auths       map[string]json.RawMessage `json:"auths"`
		CredHelpers map[string]string          `json:"credHelpers"`
	}
	if err := json.Unmarshal(content, &file); err != nil {
		return fmt.Errorf("%s is no file with credentials: %w", path, err)
	}
	return nil
}

func checkRegistriesConf(path string) error {
	if _, err := os.Stat(path); err != nil {
		return err
	}
	_, err := sysregistriesv2.GetRegistries(&types.SystemContext{SystemRegistriesConfPath: path})
	return err
}

func checkRegistriesD(path string) error {
	if err := checkDir(path); err != nil {
		return err
	}
	ref, err := docker.ParseReference("//registry.invalid/any")
	if err != nil {
		return err
	}
	_, err = docker.SignatureStorageBaseURL(&types.SystemContext{RegistriesDirPath: path}, ref, false) // which reads all files
	return err
}

func checkCertDir(path string) error {
	if err := checkDir(path); err != nil {
		return err
	}
	return tlsclientconfig.SetupCertificates(path, &tls.Config{MinVersion: tls.VersionTLS12})
}

func checkDir(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no directory", path)
	}
	return err
}

// checkOutputFile refuses the name of a file that could not be written in the end; "" is none.
func checkOutputFile(flag, path string) error {
	if path == "" {
		return nil
	}
	err := checkDir(filepath.Dir(path))
	if info, statErr := os.Stat(path); err == nil && statErr == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory", path)
	}
	if err != nil {
		return misusef("--%s: %w", flag, err)
	}
	return nil
}

// checkReplacedFile is checkOutputFile for what writeWhole writes: that takes the place of what is
// there, and must not take that of a device or a pipe, such as /dev/stdout.
func checkReplacedFile(flag, path string) error {
	err := checkOutputFile(flag, path)
	if info, statErr := os.Stat(path); err == nil && statErr == nil && !info.Mode().IsRegular() {
		err = misusef("--%s: %s is no regular file, and would be replaced by one", flag, path)
	}
	return err
}

// asMisuse makes a misuse of an error about a file that the command line names, unless it is about
// something else.
func asMisuse(err error) error {
	if _, ok := errors.AsType[*misuse](err); ok || err == nil {
		return err
	}
	return &misuse{err}
}
