package credentials

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/pkg/docker/config"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage/pkg/homedir"

	"github.com/sparsecopy/sparsecopy/copy/login"
)

// ErrNone says that there are no credentials to remove.
var ErrNone = errors.New("no credentials are stored")

// A Store is where credentials are kept: in one file, and with the programs that it or
// registries.conf names. Two Stores of one file must not change it at the same time.
type Store struct {
	sys    types.SystemContext
	path   string // of the file
	docker bool   // the file is Docker's config.json, or has its form
}

// Places say which file a Store has. Where both are "", it is the one of $REGISTRY_AUTH_FILE, else
// of $DOCKER_CONFIG, else Podman's auth.json, as for podman login.
type Places struct {
	AuthFile       string // in the form of containers-auth.json(5)
	CompatAuthFile string // Docker's config.json, or one like it
	RegistriesConf string // "" for that of this machine and user
}

// Open returns the Store of places. Nothing is read yet.
func Open(places Places, getenv func(string) string) *Store {
	s := &Store{sys: types.SystemContext{SystemRegistriesConfPath: places.RegistriesConf}}
	switch registry, docker := getenv("REGISTRY_AUTH_FILE"), getenv("DOCKER_CONFIG"); {
	case places.AuthFile != "":
		s.path = places.AuthFile
	case places.CompatAuthFile != "":
		s.path, s.docker = places.CompatAuthFile, true
	case registry != "":
		s.path = registry
	case docker != "":
		s.path, s.docker = filepath.Join(docker, "config.json"), true
	default:
		s.path = podmansFile(getenv)
		return s // containers/image finds it by itself
	}
	if s.docker {
		s.sys.DockerCompatAuthFilePath = s.path
	} else {
		s.sys.AuthFilePath = s.path
	}
	return s
}

// podmansFile is where Podman keeps credentials.
func podmansFile(getenv func(string) string) string {
	switch dir := getenv("XDG_RUNTIME_DIR"); {
	case runtime.GOOS != "linux":
		return filepath.Join(homedir.Get(), ".config", "containers", "auth.json")
	case dir != "":
		return filepath.Join(dir, "containers", "auth.json")
	}
	return filepath.Join("/run/containers", fmt.Sprint(os.Getuid()), "auth.json")
}

// Path is the file of the store.
func (s *Store) Path() string { return s.path }

// Find returns the credentials for a key that are in the store, or that copies find if the store is
// where they look. It returns zero if there are none.
func (s *Store) Find(key Key) (types.DockerAuthConfig, error) {
	return login.Find(key.Name, key.Host, &s.sys)
}

// Put stores credentials, and returns where they are now, for people. What else is in the file
// stays there. The error is a *MissingHelperError if a program that is to have them is not there.
func (s *Store) Put(key Key, user, password string) (where string, err error) {
	defer func() { err = without(password, err) }()
	f, err := s.read()
	if err != nil {
		return "", err
	}
	if s.docker && key.namespaced() {
		return "", fmt.Errorf("%s has Docker's form, which has credentials for registries only; write %s, or name a file of Podman's form with --authfile FILE", s.path, key.Host)
	}
	h, ours := s.dockersStore(f, key)
	if ours {
		return s.putWith(h, f, key, user, password)
	}
	if err := s.checkHelpers(f, key); err != nil {
		return "", err
	}
	where, err = config.SetCredentials(&s.sys, key.Name, user, password)
	if errors.Is(err, os.ErrPermission) {
		return "", fmt.Errorf("%w; name a file that you may write with --authfile FILE, or in $REGISTRY_AUTH_FILE", err)
	}
	return where, err
}

// read returns what the file says, and fails if containers/image would lose something of it.
func (s *Store) read() (file, error) {
	f, err := readFile(s.path)
	if err == nil && !s.docker && len(f.others) > 0 {
		err = fmt.Errorf("%s has more than credentials (%s), which would be lost: it is a file of Docker; name it with --compat-auth-file", s.path, strings.Join(f.others, ", "))
	}
	return f, err
}

// dockersStore returns the program that a file of Docker names for all registries, if it is to have
// the credentials for key. containers/image knows nothing of it.
func (s *Store) dockersStore(f file, key Key) (helper, bool) {
	if !s.docker {
		return helper{}, false
	}
	if _, other := f.helperFor(key.server()); other {
		return helper{}, false
	}
	return f.store()
}

// putWith stores credentials with a program, and removes those that the file has, which would be
// found before.
func (s *Store) putWith(h helper, f file, key Key, user, password string) (string, error) {
	if err := h.check(); err != nil {
		return "", err
	}
	if err := h.put(key.server(), user, password); err != nil {
		return "", err
	}
	if f.entries[key.server()] {
		if err := config.RemoveAuthentication(&s.sys, key.Name); err != nil {
			return "", err
		}
	}
	return h.String(), nil
}

// checkHelpers fails if a program that is to have the credentials for key is not there. Of those
// that registries.conf names, in their order, one is enough.
func (s *Store) checkHelpers(f file, key Key) error {
	if h, ok := f.helperFor(key.Name, key.server()); ok {
		return h.check()
	}
	if s.docker {
		return nil
	}
	names, err := sysregistriesv2.CredentialHelpers(&s.sys)
	if err != nil {
		return err
	}
	var missing error
	for _, name := range names {
		if name == sysregistriesv2.AuthenticationFileHelper {
			return nil
		}
		err := helper{name, "credential-helpers of registries.conf"}.check()
		if err == nil {
			return nil
		}
		logrus.Warn(err)
		missing = err
	}
	return missing
}

// Remove removes the credentials for a key from the file, and from the programs. The error is
// ErrNone if there are none, and a *MissingHelperError if a program that may have them is not
// there.
func (s *Store) Remove(key Key) error {
	f, err := s.read()
	if err != nil {
		return err
	}
	removed := false
	if h, ok := s.dockersStore(f, key); ok {
		if err := h.check(); err != nil {
			return err
		}
		if removed, err = h.remove(key.server()); err != nil {
			return err
		}
	}
	_, named := f.entries[key.server()]
	_, namedSo := f.entries[key.Name]
	if _, ok := f.helperFor(key.Name, key.server()); !named && !namedSo && !ok && !s.otherHelpers() {
		return noneUnless(removed) // and the file is not written
	}
	if err := s.checkHelpers(f, key); err != nil {
		return err
	}
	err = config.RemoveAuthentication(&s.sys, key.Name)
	if errors.Is(err, config.ErrNotLoggedIn) {
		return noneUnless(removed)
	}
	return err
}

func noneUnless(removed bool) error {
	if removed {
		return nil
	}
	return ErrNone
}

// otherHelpers reports whether registries.conf names programs.
func (s *Store) otherHelpers() bool {
	names, err := sysregistriesv2.CredentialHelpers(&s.sys)
	return !s.docker && (err != nil || len(names) != 1 || names[0] != sysregistriesv2.AuthenticationFileHelper)
}

// RemoveAll removes all credentials from the file, and from the programs that it, or
// registries.conf, names for some registries. What a credsStore of Docker has stays: others keep
// secrets there, too; left names it then.
func (s *Store) RemoveAll() (left string, err error) {
	f, err := s.read()
	if err != nil {
		return "", err
	}
	if h, ok := f.store(); ok {
		left = h.String()
	}
	if len(f.entries)+len(f.credHelpers) == 0 && !s.otherHelpers() {
		return left, ErrNone
	}
	for registry, name := range f.credHelpers {
		if err := (helper{name, fmt.Sprintf("%q in credHelpers of %s", registry, s.path)}).check(); err != nil {
			return "", err
		}
	}
	return left, config.RemoveAllAuthentication(&s.sys)
}

// without takes a secret out of an error: programs may repeat what they were told.
func without(secret string, err error) error {
	if err == nil || secret == "" {
		return err
	}
	said, _ := json.Marshal(secret) // as programs were told it
	text := strings.NewReplacer(secret, "***", strings.Trim(string(said), `"`), "***").Replace(err.Error())
	if text == err.Error() {
		return err
	}
	return errors.New(text)
}
