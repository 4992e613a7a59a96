package mirrorcmd

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage/pkg/configfile"
	"golang.org/x/term"

	"github.com/sparsecopy/sparsecopy/copy"
)

// access are the flags that say how the two ends are reached, and what the source's signatures must
// be like.
type access struct {
	flags        *pflag.FlagSet
	source, dest end
	referrers    end        // another repository that is read: --referrers-source
	registries   registries // of the sync file, if there is one

	authFile       string
	registriesD    string
	registriesConf string
	times          times
	uploads        uploads // only of commands that write blobs
	layouts        layouts // only of commands that write them
	caching        caching
	cache          copy.DocumentCache // that check has opened, nil for none
	overrideArch   string
	overrideOS     string
	overrideVar    string

	policy         string
	insecurePolicy bool
}

// An end are the flags of one end.
type end struct {
	prefix, name string // of its flags, and in help: "src", "source"; the only end of a command has no prefix

	tlsVerify bool
	creds     string
	noCreds   bool
	authFile  string
	certDir   string
	token     string
}

func (a *access) define(flags *pflag.FlagSet) {
	a.defineEnds(flags, &a.source, &a.dest, &a.referrers)
	a.defineSystem(flags)
	a.definePolicy(flags)
}

// defineEnds defines the flags of these ends, and those of the configuration that they share.
func (a *access) defineEnds(flags *pflag.FlagSet, ends ...*end) {
	a.flags = flags
	a.source = end{prefix: "src", name: "source"}
	a.dest = end{prefix: "dest", name: "destination"}
	a.referrers = end{prefix: "referrers-source", name: "referrers source's"}
	for _, e := range ends {
		e.define(flags)
	}
	flags.StringVar(&a.authFile, "authfile", "", "`FILE` with credentials for registries (default: $REGISTRY_AUTH_FILE, else those of Podman and Docker)")
	a.defineConfig(flags)
	if slices.Contains(ends, &a.source) {
		a.caching.define(flags)
	}
}

// defineOnly defines the flags of a command with one end, which reads.
func (a *access) defineOnly(flags *pflag.FlagSet) {
	a.defineWritten(flags)
	a.caching.define(flags)
}

// defineWritten defines the flags of a command with one end, of which nothing is kept.
func (a *access) defineWritten(flags *pflag.FlagSet) {
	a.flags = flags
	a.source = end{name: "image's"}
	a.source.define(flags)
	a.defineConfig(flags)
}

func (a *access) defineConfig(flags *pflag.FlagSet) {
	flags.StringVar(&a.registriesD, "registries.d", "", "`DIR` that says where registries keep signatures")
	flags.StringVar(&a.registriesConf, "registries-conf", "", "registries.conf `FILE` with mirrors, rewrites and blocked registries")
	a.times.define(flags)
}

// defineSystem defines the flags that choose one image of a list.
func (a *access) defineSystem(flags *pflag.FlagSet) {
	flags.StringVar(&a.overrideArch, "override-arch", "", "choose the image for `ARCH` instead of this machine's")
	flags.StringVar(&a.overrideOS, "override-os", "", "choose the image for `OS` instead of this machine's")
	flags.StringVar(&a.overrideVar, "override-variant", "", "choose the image for `VARIANT` of the architecture instead of this machine's")
}

func (a *access) definePolicy(flags *pflag.FlagSet) {
	flags.StringVar(&a.policy, "policy", "", "signature policy `FILE` (default: policy.json of this user, else of this machine)")
	flags.BoolVar(&a.insecurePolicy, "insecure-policy", false, "accept any image, signed or not")
}

// flagNames are the flags of an end, without prefix.
var flagNames = []string{"tls-verify", "creds", "no-creds", "authfile", "cert-dir", "registry-token"}

func (e *end) define(flags *pflag.FlagSet) {
	flags.BoolVar(&e.tlsVerify, e.flag("tls-verify"), true, "want HTTPS and a trusted certificate of the "+e.name+" registry; false also allows plain HTTP")
	flags.StringVar(&e.creds, e.flag("creds"), "", "`USER[:PASSWORD]` for the "+e.name+" registry; without a password, it is read from standard input")
	flags.BoolVar(&e.noCreds, e.flag("no-creds"), false, "use no credentials for the "+e.name+" registry")
	flags.StringVar(&e.authFile, e.flag("authfile"), "", "`FILE` with credentials for the "+e.name+" registry")
	flags.StringVar(&e.certDir, e.flag("cert-dir"), "", "`DIR` with certificates (*.crt, *.cert, *.key) for the "+e.name+" registry")
	flags.StringVar(&e.token, e.flag("registry-token"), "", "bearer `TOKEN` for the "+e.name+" registry")
}

// flag is the name of one of the end's flags.
func (e *end) flag(name string) string {
	if e.prefix == "" {
		return name
	}
	return e.prefix + "-" + name
}

// names are the names of the end's flags.
func (e *end) names() []string {
	var names []string
	for _, name := range flagNames {
		names = append(names, e.flag(name))
	}
	return names
}

// given returns those of the end's flags that were given.
func (e *end) given(flags *pflag.FlagSet) []string { return changed(flags, e.names()) }

// check refuses flags that contradict each other, and files that they name and that are not what
// they should be. It opens the cache.
func (a *access) check() error {
	for _, e := range []*end{&a.source, &a.dest, &a.referrers} {
		if e.name == "" {
			continue // the command has no such end
		}
		if given := changed(a.flags, []string{e.flag("creds"), e.flag("no-creds"), e.flag("registry-token")}); len(given) > 1 {
			return misusef("%s exclude each other", dashed(given))
		}
		if user, _, _ := strings.Cut(e.creds, ":"); a.flags.Changed(e.flag("creds")) && user == "" {
			return misusef("--%s names no user: write USER:PASSWORD", e.flag("creds"))
		}
	}
	if a.policy != "" && a.insecurePolicy {
		return misusef("--policy and --insecure-policy exclude each other")
	}
	if err := a.times.check(); err != nil {
		return err
	}
	if err := a.uploads.check(); err != nil {
		return err
	}
	if err := a.checkFiles(); err != nil {
		return err
	}
	var err error
	a.cache, err = a.caching.open()
	return err
}

// contexts are the configuration of the ends, and what reads more secrets from stdin.
type contexts struct {
	source, destination, referrers *types.SystemContext
	secrets                        *passwords
	registry                       func(name string, sys *types.SystemContext) *types.SystemContext
}

// destinationIn is the configuration of the destination in a registry, for what asks that by
// itself.
func (c *contexts) destinationIn(registry string) *types.SystemContext {
	return c.registry(registry, c.destination)
}

// systemContexts returns the configuration of all ends. Passwords that are lacking are read from
// stdin, the source's first.
func (a *access) systemContexts(env *environment) (contexts, error) {
	common := types.SystemContext{RegistriesDirPath: a.registriesD, SystemRegistriesConfPath: a.registriesConf}
	all := contexts{secrets: &passwords{env: env}, registry: a.registryContext}
	for _, e := range []struct {
		end *end
		to  **types.SystemContext
	}{{&a.source, &all.source}, {&a.dest, &all.destination}, {&a.referrers, &all.referrers}} {
		var err error
		if *e.to, err = a.systemContext(common, e.end, env, all.secrets); err != nil {
			return contexts{}, err
		}
	}
	all.source.ArchitectureChoice, all.source.OSChoice, all.source.VariantChoice = a.overrideArch, a.overrideOS, a.overrideVar
	return all, nil
}

// oneContext returns the configuration of the only end of a command.
func (a *access) oneContext(env *environment) (*types.SystemContext, error) {
	common := types.SystemContext{RegistriesDirPath: a.registriesD, SystemRegistriesConfPath: a.registriesConf}
	return a.systemContext(common, &a.source, env, &passwords{env: env})
}

func (a *access) systemContext(sys types.SystemContext, e *end, env *environment, lines *passwords) (*types.SystemContext, error) {
	if sys.AuthFilePath = cmp.Or(e.authFile, a.authFile); sys.AuthFilePath == "" {
		if sys.AuthFilePath = env.getenv("REGISTRY_AUTH_FILE"); sys.AuthFilePath != "" {
			if err := checkAuthFile(sys.AuthFilePath); err != nil {
				return nil, fmt.Errorf("$REGISTRY_AUTH_FILE: %w", err)
			}
		}
	}
	sys.DockerCertPath = e.certDir
	sys.DockerBearerRegistryToken = e.token
	if a.flags.Changed(e.flag("tls-verify")) { // else registries.conf decides
		sys.DockerInsecureSkipTLSVerify = types.NewOptionalBool(!e.tlsVerify)
		sys.OCIInsecureSkipTLSVerify = !e.tlsVerify
	}
	switch user, password, given := strings.Cut(e.creds, ":"); {
	case e.noCreds:
		sys.DockerAuthConfig = &types.DockerAuthConfig{}
	case user != "":
		if !given {
			var err error
			if password, err = lines.read("Password of " + user + " for the " + e.name + ": "); err != nil {
				return nil, fmt.Errorf("password for --%s: %w", e.flag("creds"), err)
			}
		}
		sys.DockerAuthConfig = &types.DockerAuthConfig{Username: user, Password: password}
	}
	return &sys, nil
}

// passwords reads passwords from stdin: unseen from a terminal, else a line each.
type passwords struct {
	env   *environment
	lines *bufio.Reader
}

// read returns the next password. When the run ends, it does not wait any longer.
func (p *passwords) read(prompt string) (string, error) {
	f, ok := p.env.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return await(p.env.ctx, p.line)
	}
	echo, err := term.GetState(int(f.Fd()))
	if err != nil {
		return "", err
	}
	fmt.Fprint(p.env.stderr, prompt)
	defer fmt.Fprintln(p.env.stderr)
	password, err := await(p.env.ctx, func() (string, error) {
		password, err := term.ReadPassword(int(f.Fd()))
		return string(password), err
	})
	if p.env.ctx.Err() != nil { // the reader is still there, and has the echo switched off
		_ = term.Restore(int(f.Fd()), echo)
	}
	return password, err
}

// line reads a line.
func (p *passwords) line() (string, error) {
	if p.lines == nil {
		p.lines = bufio.NewReader(p.env.stdin)
	}
	line, err := p.lines.ReadString('\n')
	if errors.Is(err, io.EOF) && line != "" {
		err = nil
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("none on standard input")
	}
	return strings.TrimRight(line, "\r\n"), err
}

// await returns what read does, or the cause of the end of ctx, if that comes first; nobody can
// stop read then.
func await(ctx context.Context, read func() (string, error)) (string, error) {
	type result struct {
		text string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := read()
		done <- result{text, err}
	}()
	select {
	case r := <-done:
		return r.text, r.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// policyContext returns the signature policy, to be destroyed by the caller.
func (a *access) policyContext(sys *types.SystemContext) (*signature.PolicyContext, error) {
	policy, err := a.signaturePolicy(sys)
	if err != nil {
		return nil, err
	}
	return signature.NewPolicyContext(policy)
}

func (a *access) signaturePolicy(sys *types.SystemContext) (*signature.Policy, error) {
	switch {
	case a.insecurePolicy:
		return &signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}}, nil
	case a.policy != "":
		policy, err := signature.NewPolicyFromFile(a.policy)
		if err != nil {
			return nil, misusef("--policy: signature policy: %w", err)
		}
		return policy, nil
	}
	policy, err := signature.DefaultPolicy(sys)
	if errors.Is(err, configfile.ErrConfigFileNotFound) {
		err = fmt.Errorf("%w; %s", err, withoutPolicy())
	} else if err != nil {
		err = fmt.Errorf("%w; name one with --policy, or accept any image with --insecure-policy", err)
	}
	if err != nil {
		return nil, fmt.Errorf("no usable signature policy on this machine: %w", err)
	}
	return policy, nil
}

// withoutPolicy says what to type where there is no policy.json.
func withoutPolicy() string {
	dir := "~/.config/containers"
	if config := os.Getenv("XDG_CONFIG_HOME"); config != "" {
		dir = shellName(filepath.Join(config, "containers"))
	}
	return fmt.Sprintf("it says whose signatures images must have; to accept any image, give --insecure-policy, or type once: "+
		`mkdir -p %s && echo '{"default":[{"type":"insecureAcceptAnything"}]}' > %s/policy.json; --policy FILE names another policy`, dir, dir)
}
