package mirrorcmd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.podman.io/image/v5/types"
	"golang.org/x/term"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/login"
	"github.com/sparsecopy/sparsecopy/examples/internal/credentials"
)

// storeFlags say where credentials are kept.
type storeFlags struct {
	flags  *pflag.FlagSet
	places credentials.Places
}

func (s *storeFlags) define(flags *pflag.FlagSet) {
	s.flags = flags
	flags.StringVar(&s.places.AuthFile, "authfile", "", "`FILE` with credentials (default: $REGISTRY_AUTH_FILE, else config.json in $DOCKER_CONFIG, else Podman's auth.json)")
	flags.StringVar(&s.places.CompatAuthFile, "compat-auth-file", "", "`FILE` with credentials that has the form of Docker's config.json")
	flags.StringVar(&s.places.RegistriesConf, "registries-conf", "", "registries.conf `FILE`, which may name credential helpers")
}

// open returns the store.
func (s *storeFlags) open(env *environment) (*credentials.Store, error) {
	if given := changed(s.flags, []string{"authfile", "compat-auth-file"}); len(given) > 1 {
		return nil, misusef("%s exclude each other", dashed(given))
	}
	if s.places.RegistriesConf != "" {
		if err := checkRegistriesConf(s.places.RegistriesConf); err != nil {
			return nil, misusef("--registries-conf: %w", err)
		}
	}
	store := credentials.Open(s.places, env.getenv)
	if info, err := os.Stat(store.Path()); err == nil && info.IsDir() {
		return nil, misusef("%s is a directory: name a file with credentials", store.Path())
	}
	return store, nil
}

// A loginCommand is mirror login.
type loginCommand struct {
	env       *environment
	store     storeFlags
	out       output
	user      string
	password  string
	fromStdin bool
	getLogin  bool
	tlsVerify bool
	certDir   string
}

func (c *loginCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "login [flags] HOST[/NAMESPACE]",
		Short: "Store credentials for a registry",
		Long: "Login asks the registry whether it takes a user's name and password, and stores them if it does: where Podman or Docker\n" +
			"keep them, or with the credential helper that these name. All commands find them there, and those of Podman and Skopeo\n" +
			"do. With NAMESPACE, they are for the repositories below it only. Nothing is stored that the registry refuses.",
		Example: "  mirror login registry.example\n" +
			"  mirror login --username robot --password-stdin registry.example/team < password\n" +
			"  mirror login --get-login registry.example",
		Args: oneRegistry,
		RunE: c.run,
	}
}

func (c *loginCommand) finish(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&c.user, "username", "u", "", "`NAME` of the user; without it, it is asked for")
	flags.StringVarP(&c.password, "password", "p", "", "`PASSWORD` or token; other users of this machine can read it while the command runs: use --password-stdin")
	flags.BoolVar(&c.fromStdin, "password-stdin", false, "read the password from standard input: all of it, but for the end of the last line")
	flags.BoolVar(&c.getLogin, "get-login", false, "print whose credentials are stored, and ask the registry nothing")
	c.store.define(flags)
	flags.BoolVar(&c.tlsVerify, "tls-verify", true, "want HTTPS and a trusted certificate of the registry; false also allows plain HTTP")
	flags.StringVar(&c.certDir, "cert-dir", "", "`DIR` with certificates (*.crt, *.cert, *.key) for the registry")
	c.out.defineLog(flags)
}

// oneRegistry checks the number of arguments of login and logout.
var oneRegistry = takes(1, "HOST, such as docker.io")

func (c *loginCommand) run(cmd *cobra.Command, args []string) error {
	if err := c.check(cmd.Flags()); err != nil {
		return err
	}
	key, err := credentials.ParseKey(args[0])
	if err != nil {
		return &misuse{err}
	}
	store, err := c.store.open(c.env)
	if err != nil {
		return err
	}
	ctx, cancel := c.out.apply(cmd.Context())
	defer cancel()
	if c.getLogin {
		return c.tell(store, key)
	}
	if cmd.Flags().Changed("password") {
		logrus.Warn("--password: other users of this machine can read the command line while it runs, and shells keep it; use --password-stdin")
	}
	auth, err := c.ask(store, key)
	if err != nil {
		return err
	}
	checked, err := login.Check(ctx, key.Host, auth, c.systemContext(cmd.Flags()))
	if err != nil {
		return orStopped(ctx, loginError(key, auth.Username, err))
	}
	where, err := store.Put(key, auth.Username, auth.Password)
	if err != nil {
		return fmt.Errorf("the credentials of %s for %s are good, but cannot be stored: %w", auth.Username, key.Name, err)
	}
	if !checked {
		logrus.Warnf("%s lets everybody in, and has not asked for the password: it may be wrong all the same", key.Host)
	}
	if _, err = fmt.Fprintf(c.env.stdout, "logged in to %s as %s; stored in %s\n", key.Name, printable(auth.Username), where); err != nil {
		return err
	}
	c.warnIfElsewhere(key, auth, where)
	return nil
}

// check refuses flags that contradict each other.
func (c *loginCommand) check(flags *pflag.FlagSet) error {
	if err := c.out.check(); err != nil {
		return err
	}
	given := changed(flags, []string{"password", "password-stdin", "get-login"})
	switch {
	case len(given) > 1:
		return misusef("%s exclude each other", dashed(given))
	case c.getLogin && c.user != "":
		return misusef("--username and --get-login exclude each other")
	case c.fromStdin && c.user == "":
		return misusef("--password-stdin needs --username: standard input has the password only")
	case flags.Changed("password") && c.password == "":
		return misusef("--password is empty")
	case c.certDir != "":
		if err := checkCertDir(c.certDir); err != nil {
			return misusef("--cert-dir: %w", err)
		}
	}
	return nil
}

// tell prints whose credentials are stored.
func (c *loginCommand) tell(store *credentials.Store, key credentials.Key) error {
	auth, err := store.Find(key)
	switch {
	case err != nil:
		return err
	case auth == (types.DockerAuthConfig{}):
		return fmt.Errorf("not logged in to %s: mirror login %s", key.Name, key.Name)
	case auth.Username == "":
		auth.Username = "an identity token, whose user the registry knows"
	}
	_, err = fmt.Fprintln(c.env.stdout, printable(auth.Username))
	return err
}

// maxPassword is how long a password may be: some are keys in JSON.
const maxPassword = 64 << 10

// ask returns the user's name and the password, and asks the user for what was not given.
func (c *loginCommand) ask(store *credentials.Store, key credentials.Key) (types.DockerAuthConfig, error) {
	auth := types.DockerAuthConfig{Username: c.user, Password: c.password}
	if strings.Contains(auth.Username, ":") {
		return auth, misusef("--username has a colon, which no user's name can have; give the password with --password-stdin")
	}
	var err error
	switch f, ok := c.env.stdin.(*os.File); {
	case c.fromStdin:
		auth.Password, err = await(c.env.ctx, c.allOfStdin)
	case auth.Username != "" && auth.Password != "":
	case !ok || !term.IsTerminal(int(f.Fd())):
		return auth, misusef("standard input is no terminal, so that nobody can be asked: use --username NAME --password-stdin")
	default:
		lines := &passwords{env: c.env}
		if auth.Username == "" {
			if auth.Username, err = c.askUser(store, key); err != nil {
				return auth, err
			}
		}
		if auth.Password == "" {
			auth.Password, err = lines.read("Password of " + printable(auth.Username) + " for " + key.Name + ": ")
		}
	}
	switch {
	case err != nil:
		return auth, fmt.Errorf("reading the password: %w", err)
	case auth.Password == "":
		return auth, misusef("the password is empty")
	}
	return auth, nil
}

// allOfStdin returns what standard input has, without the end of the last line.
func (c *loginCommand) allOfStdin() (string, error) {
	content, err := io.ReadAll(io.LimitReader(c.env.stdin, maxPassword+1))
	if err == nil && len(content) > maxPassword {
		err = fmt.Errorf("more than %d bytes on standard input", maxPassword)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r"), err
}

// askUser asks for the user's name at a terminal. An empty line is the name that is stored.
func (c *loginCommand) askUser(store *credentials.Store, key credentials.Key) (string, error) {
	prompt := "User: "
	stored, _ := store.Find(key) // it is an offer
	if stored.Username != "" {
		prompt = "User (" + printable(stored.Username) + "): "
	}
	fmt.Fprint(c.env.stderr, prompt)
	line, err := await(c.env.ctx, func() (string, error) { return bufio.NewReader(c.env.stdin).ReadString('\n') })
	if err != nil {
		return "", fmt.Errorf("reading the user's name: %w", err)
	}
	if line = strings.TrimSpace(line); line == "" {
		line = stored.Username
	}
	if line == "" || strings.Contains(line, ":") {
		return "", misusef("that is no user's name")
	}
	return line, nil
}

// systemContext is how the registry is reached.
func (c *loginCommand) systemContext(flags *pflag.FlagSet) *types.SystemContext {
	sys := &types.SystemContext{DockerCertPath: c.certDir, SystemRegistriesConfPath: c.store.places.RegistriesConf}
	if flags.Changed("tls-verify") { // else registries.conf decides
		sys.DockerInsecureSkipTLSVerify = types.NewOptionalBool(!c.tlsVerify)
	}
	return sys
}

// loginError says why nothing was stored.
func loginError(key credentials.Key, user string, err error) error {
	answer, ok := errors.AsType[*copy.RegistryError](err)
	switch {
	case ok && (answer.Status == http.StatusUnauthorized || answer.Status == http.StatusForbidden):
		return fmt.Errorf("%s refuses the name or the password of %s, and nothing was stored: %s", key.Host, user, registrysWords(err))
	case ok && answer.Status == http.StatusNotFound:
		return fmt.Errorf("%s is no registry, and nothing was stored: %w", key.Host, err)
	}
	return atEnd("", "logging in to "+key.Host, err)
}

// warnIfElsewhere says that other commands will use something else for key than what was stored,
// because it is where they look only if they are told, or because something else comes first.
func (c *loginCommand) warnIfElsewhere(key credentials.Key, stored types.DockerAuthConfig, where string) {
	sys := &types.SystemContext{SystemRegistriesConfPath: c.store.places.RegistriesConf, AuthFilePath: c.env.getenv("REGISTRY_AUTH_FILE")}
	found, err := login.Find(key.Name, key.Host, sys)
	if err == nil && found.Username == stored.Username && found.Password == stored.Password {
		return
	}
	path := where
	for _, given := range []string{c.store.places.AuthFile, c.store.places.CompatAuthFile} {
		if given != "" {
			path = given
		}
	}
	if found != (types.DockerAuthConfig{}) {
		logrus.Warnf("Without --authfile %s, commands use other credentials for %s that are stored on this machine", shellName(path), key.Name)
		return
	}
	fmt.Fprintf(c.env.stdout, "other commands look there with --authfile %s\n", shellName(path))
}

// shellName is a path as it is typed: in quotes if it has what shells read otherwise.
func shellName(path string) string {
	if strings.ContainsAny(path, " \t'\"\\$`&;()<>|*?[]{}~#") {
		return "'" + strings.ReplaceAll(filepath.Clean(path), "'", `'\''`) + "'"
	}
	return path
}

// A logoutCommand is mirror logout.
type logoutCommand struct {
	env   *environment
	store storeFlags
	out   output
	all   bool
}

func (c *logoutCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "logout [flags] HOST[/NAMESPACE] | --all",
		Short: "Remove stored credentials",
		Long: "Logout removes the credentials for a registry, or for a namespace of one, from where login stores them. The registry is\n" +
			"not asked: a token that it has given may be good until it ends.",
		Example: "  mirror logout registry.example\n" +
			"  mirror logout --all",
		Args: func(cmd *cobra.Command, args []string) error {
			if c.all && len(args) > 0 {
				return misusef("--all and HOST exclude each other")
			}
			if c.all {
				return nil
			}
			return oneRegistry(cmd, args)
		},
		RunE: c.run,
	}
}

func (c *logoutCommand) finish(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVarP(&c.all, "all", "a", false, "remove the credentials for all registries from the file, and from the credential helpers that it names")
	c.store.define(flags)
	c.out.defineLog(flags)
}

func (c *logoutCommand) run(cmd *cobra.Command, args []string) error {
	if err := c.out.check(); err != nil {
		return err
	}
	store, err := c.store.open(c.env)
	if err != nil {
		return err
	}
	_, cancel := c.out.apply(cmd.Context())
	defer cancel()
	if c.all {
		return c.removeAll(store)
	}
	key, err := credentials.ParseKey(args[0])
	if err != nil {
		return &misuse{err}
	}
	err = store.Remove(key)
	if errors.Is(err, credentials.ErrNone) {
		return fmt.Errorf("not logged in to %s: %s has no credentials for it%s", key.Name, store.Path(), c.elsewhere(key))
	}
	if err != nil {
		return fmt.Errorf("logging out of %s: %w", key.Name, err)
	}
	_, err = fmt.Fprintf(c.env.stdout, "logged out of %s%s\n", key.Name, c.elsewhere(key))
	return err
}

func (c *logoutCommand) removeAll(store *credentials.Store) error {
	left, err := store.RemoveAll()
	switch {
	case errors.Is(err, credentials.ErrNone) && left == "":
		return fmt.Errorf("logged in nowhere: %s has no credentials", store.Path())
	case err != nil && !errors.Is(err, credentials.ErrNone):
		return fmt.Errorf("logging out of all registries: %w", err)
	}
	if left != "" {
		logrus.Warnf("What %s has for all programs stays there: mirror logout HOST removes it for a registry", left)
	}
	_, err = fmt.Fprintf(c.env.stdout, "logged out of all registries of %s\n", store.Path())
	return err
}

// elsewhere says that commands find other credentials for key all the same, "" if they find none.
func (c *logoutCommand) elsewhere(key credentials.Key) string {
	sys := &types.SystemContext{SystemRegistriesConfPath: c.store.places.RegistriesConf, AuthFilePath: c.env.getenv("REGISTRY_AUTH_FILE")}
	found, err := login.Find(key.Name, key.Host, sys)
	if err != nil || found == (types.DockerAuthConfig{}) {
		return ""
	}
	return "; commands find other credentials for it, those of " + printable(found.Username) + ": --authfile and --compat-auth-file say where to remove them"
}
