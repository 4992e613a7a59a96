package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	helperclient "github.com/docker/docker-credential-helpers/client"
	helpererrors "github.com/docker/docker-credential-helpers/credentials"
	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/docker/config"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage/pkg/homedir"

	"github.com/sparsecopy/sparsecopy/internal/bounded"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
)

// credentials are those for a repository.
type credentials struct {
	// ask looks them up, or returns what was found less than ocihttp.CredentialsLast ago. nil if
	// the caller gave them.
	ask func() (types.DockerAuthConfig, error)
	// looked says where they are looked for, "" if they were given.
	looked func() string

	mu      sync.Mutex
	current types.DockerAuthConfig // guarded by mu
}

// Get returns the credentials. c may be nil.
func (c *credentials) Get() types.DockerAuthConfig {
	if c == nil {
		return types.DockerAuthConfig{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

// Renew looks for other credentials than those that were refused, and reports whether there are any
// now.
func (c *credentials) Renew(refused types.DockerAuthConfig) bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != refused {
		return true
	}
	if c.ask == nil {
		return false
	}
	found, err := c.ask()
	if err != nil {
		logrus.Debugf("Looking up credentials again: %v", err)
		return false
	}
	c.current = found
	return found != refused && found != types.DockerAuthConfig{}
}

// credentialsFor are the credentials for name that sys leads to.
func (s *Shared) credentialsFor(name reference.Named, sys *types.SystemContext) (*credentials, error) {
	if sys != nil && sys.DockerAuthConfig != nil {
		return &credentials{current: *sys.DockerAuthConfig, looked: func() string { return "" }}, nil
	}
	entry := s.foundCredentials(newCredentialKey(name, sys))
	c := &credentials{
		ask:    func() (types.DockerAuthConfig, error) { return entry.lookUp(s, name, sys) },
		looked: func() string { return whereCredentialsAre(sys, name) },
	}
	var err error
	c.current, err = c.ask()
	return c, err
}

// credentialKey is what the credentials that are found depend on, beside the files.
type credentialKey struct {
	repository                               string
	authFile, dockerFile, legacyFile         string
	root, registriesConf, registriesConfDirs string
}

func newCredentialKey(name reference.Named, sys *types.SystemContext) credentialKey {
	key := credentialKey{repository: name.Name()}
	if sys != nil {
		key.authFile, key.dockerFile, key.legacyFile = sys.AuthFilePath, sys.DockerCompatAuthFilePath, sys.LegacyFormatAuthFilePath
		key.root, key.registriesConf, key.registriesConfDirs = sys.RootForImplicitAbsolutePaths, sys.SystemRegistriesConfPath, sys.SystemRegistriesConfDirPath
	}
	return key
}

// credentialAnswer is what the last look for credentials found.
type credentialAnswer struct {
	mu    sync.Mutex // held while looking
	asked time.Time  // zero if nothing is known
	files string     // the state of the files then
	auth  types.DockerAuthConfig
}

func (s *Shared) foundCredentials(key credentialKey) *credentialAnswer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bounded.GetOrAdd(&s.credentials, key, maxKnown, func() *credentialAnswer { return &credentialAnswer{} })
}

func (f *credentialAnswer) lookUp(s *Shared, name reference.Named, sys *types.SystemContext) (types.DockerAuthConfig, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, files := s.now(), stateOf(authFiles(sys))
	if !f.asked.IsZero() && now.Sub(f.asked) < ocihttp.CredentialsLast && files == f.files {
		return f.auth, nil
	}
	auth, err := s.findCredentials(name.Name(), reference.Domain(name), sys)
	if err != nil {
		return types.DockerAuthConfig{}, err
	}
	f.auth, f.asked, f.files = auth, now, files
	return auth, nil
}

// FindCredentials are those that sys leads to for a registry, or for what begins with key there;
// zero if there are none.
func FindCredentials(key, registry string, sys *types.SystemContext) (types.DockerAuthConfig, error) {
	return (&Shared{}).findCredentials(key, registry, sys)
}

func (s *Shared) findCredentials(key, registry string, sys *types.SystemContext) (types.DockerAuthConfig, error) {
	auth, err := config.GetCredentials(sys, key)
	if err != nil {
		return auth, fmt.Errorf("looking up the credentials for %s%s: %w", key, inFiles(authFiles(sys)), cmp.Or(missingHelper(registry, sys), err))
	}
	if auth == (types.DockerAuthConfig{}) {
		auth = s.fromStores(registry, sys)
	}
	return auth, nil
}

// missingHelper says that a credential helper which is to be asked for a registry is not on this
// machine, nil if all are.
func missingHelper(registry string, sys *types.SystemContext) error {
	helpers, _ := sysregistriesv2.CredentialHelpers(sys) // whoever looks up credentials says what is wrong with it
	for _, name := range helpers {
		if name != sysregistriesv2.AuthenticationFileHelper && !isInstalled(name) {
			return notInstalled(name, "credential-helpers of registries.conf")
		}
	}
	for _, f := range authFiles(sys) {
		content, _ := os.ReadFile(f.path)
		var file struct {
			CredHelpers map[string]string `json:"credHelpers"`
		}
		_ = json.Unmarshal(content, &file)
		if name := file.CredHelpers[registry]; name != "" && !isInstalled(name) {
			return notInstalled(name, fmt.Sprintf("%q in credHelpers of %s", registry, f.path))
		}
	}
	return nil
}

// isInstalled reports whether the program of a credential helper is there.
func isInstalled(helper string) bool {
	_, err := exec.LookPath("docker-credential-" + helper)
	return err == nil
}

func notInstalled(helper, setting string) error {
	return fmt.Errorf("docker-credential-%s is not in $PATH: install it, or remove %s", helper, setting)
}

// An authFile is one of the files that containers/image looks for credentials in.
type authFile struct {
	path   string
	legacy bool // the format of ~/.dockercfg
}

// authFiles are the files that credentials are looked for in, in their order, whether or not they
// exist: those of containers-auth.json(5), unless registries.conf names other helpers only.
func authFiles(sys *types.SystemContext) []authFile {
	helpers, err := sysregistriesv2.CredentialHelpers(sys)
	if err == nil && !slices.Contains(helpers, sysregistriesv2.AuthenticationFileHelper) {
		return nil
	}
	root := ""
	if sys != nil {
		switch {
		case sys.AuthFilePath != "":
			return []authFile{{path: sys.AuthFilePath}}
		case sys.DockerCompatAuthFilePath != "":
			return []authFile{{path: sys.DockerCompatAuthFilePath}}
		case sys.LegacyFormatAuthFilePath != "":
			return []authFile{{path: sys.LegacyFormatAuthFilePath, legacy: true}}
		}
		root = sys.RootForImplicitAbsolutePaths
	}
	home := homedir.Get()
	perUser := filepath.Join("/run/containers", fmt.Sprint(os.Getuid()), "auth.json")
	switch runtimeDir := os.Getenv("XDG_RUNTIME_DIR"); {
	case runtime.GOOS != "linux":
		perUser = filepath.Join(home, ".config/containers/auth.json")
	case root != "":
		perUser = filepath.Join(root, perUser)
	case runtimeDir != "":
		perUser = filepath.Join(runtimeDir, "containers/auth.json")
	}
	configHome := os.Getenv("XDG_CONFIG_HOME")
	if configHome == "" {
		configHome = filepath.Join(home, ".config")
	}
	docker := os.Getenv("DOCKER_CONFIG")
	if docker == "" {
		docker = filepath.Join(home, ".docker")
	}
	return []authFile{
		{path: perUser},
		{path: filepath.Join(configHome, "containers/auth.json")},
		{path: filepath.Join(docker, "config.json")},
		{path: filepath.Join(home, ".dockercfg"), legacy: true},
	}
}

// stateOf changes when one of the files does.
func stateOf(files []authFile) string {
	var b strings.Builder
	for _, f := range files {
		if info, err := os.Stat(f.path); err == nil {
			fmt.Fprintf(&b, "%d %d ", info.Size(), info.ModTime().UnixNano())
		}
		b.WriteString(f.path + "\n")
	}
	return b.String()
}

// inFiles names files in a sentence about what was looked for, "" if there are none.
func inFiles(files []authFile) string {
	var names []string
	for _, f := range files {
		text := f.path
		if _, err := os.Stat(f.path); errors.Is(err, fs.ErrNotExist) {
			text += " (absent)"
		}
		names = append(names, text)
	}
	if len(names) == 0 {
		return ""
	}
	return " in " + strings.Join(names, ", ")
}

// whereCredentialsAre says where credentials for name were looked for.
func whereCredentialsAre(sys *types.SystemContext, name reference.Named) string {
	text := fmt.Sprintf("credentials for %s were looked for%s", name.Name(), inFiles(authFiles(sys)))
	helpers, err := sysregistriesv2.CredentialHelpers(sys)
	if err != nil {
		return text
	}
	var with []string
	for _, h := range helpers {
		if h != sysregistriesv2.AuthenticationFileHelper {
			with = append(with, "docker-credential-"+h)
		}
	}
	for _, store := range credentialStores(sys) {
		with = append(with, fmt.Sprintf("%s (of %s)", "docker-credential-"+store.name, store.file))
	}
	if len(with) > 0 {
		text += ", with " + strings.Join(with, ", ")
	}
	return text
}

// A credentialStore is the program that credsStore of Docker's config.json names: it holds the
// credentials of all registries.
type credentialStore struct{ name, file string }

// credentialStores are those of all files that may name one, in their order. containers/image does
// not look at them.
func credentialStores(sys *types.SystemContext) []credentialStore {
	var all []credentialStore
	for _, f := range authFiles(sys) {
		content, err := os.ReadFile(f.path)
		if err != nil || f.legacy {
			continue
		}
		var docker struct {
			CredsStore string `json:"credsStore"`
		}
		if err := json.Unmarshal(content, &docker); err != nil || docker.CredsStore == "" {
			continue
		}
		if strings.ContainsAny(docker.CredsStore, `/\`) {
			logrus.Warnf("credsStore %q of %s is not the name of a program", docker.CredsStore, f.path)
			continue
		}
		all = append(all, credentialStore{docker.CredsStore, f.path})
	}
	return all
}

// hubServer is how Docker names Docker Hub to credential helpers.
const hubServer = "https://index.docker.io/v1/"

// fromStores asks the credential stores for the credentials for a registry. A store that does not
// work is not there: the registry may let everybody in.
func (s *Shared) fromStores(registry string, sys *types.SystemContext) types.DockerAuthConfig {
	if registry == dockerHub {
		registry = hubServer
	}
	for _, store := range credentialStores(sys) {
		answer := s.askedStore(storeKey{store.name, registry})
		auth, err := answer.ask(s, store.name, registry)
		if err != nil && !isInstalled(store.name) {
			logrus.Warnf("Credentials for %s: %v", registry, notInstalled(store.name, "credsStore of "+store.file))
			continue
		}
		if err != nil {
			logrus.Warnf("Credentials for %s: docker-credential-%s, the credsStore of %s: %v", registry, store.name, store.file, err)
			continue
		}
		if auth != (types.DockerAuthConfig{}) {
			return auth
		}
	}
	return types.DockerAuthConfig{}
}

// storeKey says what a store was asked.
type storeKey struct{ store, server string }

// storeAnswer is what a store said last about a registry, of which there may be many repositories.
type storeAnswer struct {
	mu    sync.Mutex // held while asking
	asked time.Time  // zero if it was not asked
	auth  types.DockerAuthConfig
	err   error
}

func (s *Shared) askedStore(key storeKey) *storeAnswer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bounded.GetOrAdd(&s.stores, key, maxKnown, func() *storeAnswer { return &storeAnswer{} })
}

func (a *storeAnswer) ask(s *Shared, store, server string) (types.DockerAuthConfig, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := s.now(); a.asked.IsZero() || now.Sub(a.asked) >= ocihttp.CredentialsLast {
		a.auth, a.err = askStore(store, server)
		a.asked = now
	}
	return a.auth, a.err
}

// askStore runs a credential helper. An identity token has the user name <token>.
func askStore(store, server string) (types.DockerAuthConfig, error) {
	got, err := helperclient.Get(helperclient.NewShellProgramFunc("docker-credential-"+store), server)
	switch {
	case helpererrors.IsErrCredentialsNotFound(err):
		return types.DockerAuthConfig{}, nil
	case err != nil:
		return types.DockerAuthConfig{}, err
	case got.Username == "<token>":
		return types.DockerAuthConfig{IdentityToken: got.Secret}, nil
	}
	return types.DockerAuthConfig{Username: got.Username, Password: got.Secret}, nil
}

// CheckCredentials fails if the registry refuses the credentials for d. It asks what d's reference
// names, unless it is known that they are good, or there are none. It does not fail for anything
// else, nor where the registry does not ask for credentials.
func (d *Destination) CheckCredentials(ctx context.Context) error {
	authorization := d.repo.authorization
	if d.repo.account() == (ocihttp.Account{}) {
		return nil
	}
	if good, _ := authorization.Known(); good {
		return nil
	}
	_, err := d.Top(ctx)
	if good, refused := authorization.Known(); !good && refused == nil && authorization.Wanted(ctx) {
		_, err = d.Top(ctx) // everybody may read, so that nobody was asked for credentials yet
	}
	if _, refused := authorization.Known(); refused != nil {
		return err
	}
	return context.Cause(ctx)
}
