package registrycmd

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparsecopy/sparsecopy/examples/internal/distributionconfig"
	"github.com/sparsecopy/sparsecopy/examples/internal/sparseserver"
)

// options are the effective settings.
type options struct {
	server       sparseserver.Config
	log          logForm
	drainDelay   time.Duration
	drainTimeout time.Duration
	distribution *distributionconfig.Settings // nil for none
	allowDelete  *bool                        // nil if it is not set
	values       map[string]string            // what each setting was set to, by its flag
	whole        map[string]bool              // by its path, whether a YAML file that was read ends with the end of a line
}

// A setting can be given in three ways.
type setting struct {
	flag    string // its name on the command line
	env     string // its name in the environment
	key     string // its name in the file
	initial string
	boolean bool // the flag alone means true
	several bool // in the file, it can be a sequence
	usage   string
	set     func(*options, string) error

	reloaded bool // a running server goes by a new value after SIGHUP
}

// The names of the policy's settings in the environment and in the file are Quay's, where Quay has
// them.
var settings = []setting{
	{
		flag: "address", env: "SPARSE_REGISTRY_ADDRESS", key: "address", initial: "127.0.0.1:5000",
		usage: "`HOST:PORT` to listen on",
		set:   func(o *options, v string) error { return setAddress(&o.server.Address, v) },
	},
	{
		flag: "storage", env: "SPARSE_REGISTRY_STORAGE", key: "storage",
		usage: "`DIRECTORY` for everything that is pushed; required, unless --distribution-config names a storage; one server at a time",
		set:   func(o *options, v string) error { o.server.Storage = v; return nil },
	},
	{
		flag: "distribution-config", env: "SPARSE_REGISTRY_DISTRIBUTION_CONFIG", key: "distribution-config",
		usage: "`FILE` in the format of plain distribution: storage, auth, notifications and more, with its variables REGISTRY_*",
		set:   setDistribution,
	},
	{
		flag: "feature-sparse-index", env: "FEATURE_SPARSE_INDEX", key: "FEATURE_SPARSE_INDEX", initial: "false", boolean: true, reloaded: true,
		usage: "`BOOL`: accept lists some of whose children are absent",
		set:   func(o *options, v string) error { return setBool(&o.server.Policies.Default.Enabled, v) },
	},
	{
		flag: "sparse-index-required-archs", env: "SPARSE_INDEX_REQUIRED_ARCHS", key: "SPARSE_INDEX_REQUIRED_ARCHS", several: true, reloaded: true,
		usage: "`ARCHITECTURES` whose children must exist nevertheless, separated by commas",
		set:   setArchitectures,
	},
	{
		flag: "sparse-index-required-platforms", env: "SPARSE_INDEX_REQUIRED_PLATFORMS", key: "SPARSE_INDEX_REQUIRED_PLATFORMS", several: true, reloaded: true,
		usage: "`PLATFORMS` whose children must exist besides, as os/architecture[/variant], separated by commas",
		set:   setPlatforms,
	},
	{
		flag: "sparse-index-optional-without-platform", env: "SPARSE_INDEX_OPTIONAL_WITHOUT_PLATFORM",
		key: "SPARSE_INDEX_OPTIONAL_WITHOUT_PLATFORM", initial: "false", boolean: true, reloaded: true,
		usage: "`BOOL`: with required architectures or platforms, do not require children whose entry states no platform",
		set: func(o *options, v string) error {
			return setBool(&o.server.Policies.Default.OptionalWithoutPlatform, v)
		},
	},
	{
		flag: "policies", env: "SPARSE_REGISTRY_POLICIES", key: "policies", reloaded: true,
		usage: "YAML `FILE` with rules for repositories that have a policy of their own",
		set:   setPolicies,
	},
	{
		flag: "tls-certificate", env: "SPARSE_REGISTRY_TLS_CERTIFICATE", key: "tls-certificate", reloaded: true,
		usage: "PEM `FILE` with the certificate; with --tls-key, the server speaks TLS",
		set:   func(o *options, v string) error { o.server.Certificate = v; return nil },
	},
	{
		flag: "tls-key", env: "SPARSE_REGISTRY_TLS_KEY", key: "tls-key", reloaded: true,
		usage: "PEM `FILE` with the certificate's key",
		set:   func(o *options, v string) error { o.server.Key = v; return nil },
	},
	{
		flag: "htpasswd", env: "SPARSE_REGISTRY_HTPASSWD", key: "htpasswd", reloaded: true,
		usage: "`FILE` with users and bcrypt hashes (htpasswd -B); without it, everybody may do everything",
		set:   func(o *options, v string) error { o.server.Htpasswd = v; return nil },
	},
	{
		flag: "anonymous-pull", env: "SPARSE_REGISTRY_ANONYMOUS_PULL", key: "anonymous-pull", initial: "false", boolean: true,
		usage: "`BOOL`: with --htpasswd, let everybody read without a password",
		set:   func(o *options, v string) error { return setBool(&o.server.AnonymousPull, v) },
	},
	{
		flag: "read-only", env: "SPARSE_REGISTRY_READ_ONLY", key: "read-only", initial: "false", boolean: true,
		usage: "`BOOL`: answer 405 to everything that writes or deletes",
		set:   func(o *options, v string) error { return setBool(&o.server.ReadOnly, v) },
	},
	{
		flag: "delete", env: "SPARSE_REGISTRY_DELETE", key: "delete", boolean: true,
		usage: "`BOOL`: let clients delete manifests, tags and blobs; true by default, with --distribution-config as that says; if not, DELETE is answered with 405",
		set:   setDelete,
	},
	{
		flag: "external-url", env: "SPARSE_REGISTRY_EXTERNAL_URL", key: "external-url",
		usage: "`URL` where clients find the registry, as https://HOST:PORT, when a proxy in front does not say so",
		set:   func(o *options, v string) error { o.server.ExternalURL = v; return nil },
	},
	{
		flag: "relative-urls", env: "SPARSE_REGISTRY_RELATIVE_URLS", key: "relative-urls", initial: "false", boolean: true,
		usage: "`BOOL`: answer with Locations that have no host, for any proxy in front",
		set:   func(o *options, v string) error { return setBool(&o.server.RelativeURLs, v) },
	},
	{
		flag: "allow-layer-urls", env: "SPARSE_REGISTRY_ALLOW_LAYER_URLS", key: "allow-layer-urls",
		usage: "`REGEXP` of the URLs that layers may name (Windows images); begin it with ^; without it, none",
		set:   setLayerURLs,
	},
	{
		flag: "control", env: "SPARSE_REGISTRY_CONTROL", key: "control",
		usage: "`PATH` of the socket by which sparse-registry gc has a running server collect garbage; .sparse-registry/control.sock in the storage unless it is set",
		set:   func(o *options, v string) error { o.server.Control = v; return nil },
	},
	{
		flag: "metrics-address", env: "SPARSE_REGISTRY_METRICS_ADDRESS", key: "metrics-address",
		usage: "`HOST:PORT` to serve Prometheus metrics on, at /metrics",
		set:   func(o *options, v string) error { return setAddress(&o.server.MetricsAddress, v) },
	},
	{
		flag: "min-free-space", env: "SPARSE_REGISTRY_MIN_FREE_SPACE", key: "min-free-space", initial: "256MB",
		usage: "`SIZE` of the storage's file system that stays free: with less, pushes are refused, and nothing else; 0 fills it",
		set:   func(o *options, v string) error { return setSize(&o.server.MinFreeSpace, v) },
	},
	{
		flag: "upload-age", env: "SPARSE_REGISTRY_UPLOAD_AGE", key: "upload-age", initial: "168h",
		usage: "`DURATION` since something came to an upload, after which it is removed; 0 keeps all",
		set:   func(o *options, v string) error { return setDuration(&o.server.UploadAge, v, 0) },
	},
	{
		flag: "temporary-age", env: "SPARSE_REGISTRY_TEMPORARY_AGE", key: "temporary-age", initial: "24h",
		usage: "`DURATION` after which a temporary file that a killed process has left is removed; 0 keeps all",
		set:   func(o *options, v string) error { return setDuration(&o.server.TemporaryAge, v, 0) },
	},
	{
		flag: "log-format", env: "SPARSE_REGISTRY_LOG_FORMAT", key: "log-format", initial: "text",
		usage: "`FORMAT` of the log: text or json",
		set:   setLogFormat,
	},
	{
		flag: "log-level", env: "SPARSE_REGISTRY_LOG_LEVEL", key: "log-level", initial: "info",
		usage: "`LEVEL` of the lines that are logged: debug, info (one for each request), warn or error",
		set:   setLogLevel,
	},
	{
		flag: "drain-delay", env: "SPARSE_REGISTRY_DRAIN_DELAY", key: "drain-delay", initial: "5s", reloaded: true,
		usage: "`DURATION` to answer everything, when stopping, while /readyz says 503, so that nobody is sent here any more",
		set:   func(o *options, v string) error { return setDuration(&o.drainDelay, v, 0) },
	},
	{
		flag: "drain-timeout", env: "SPARSE_REGISTRY_DRAIN_TIMEOUT", key: "drain-timeout", initial: "5m", reloaded: true,
		usage: "`DURATION` to wait after that, when stopping, for the requests that are under way",
		set:   func(o *options, v string) error { return setDuration(&o.drainTimeout, v, 1) },
	},
}

const (
	configFlag = "config"
	configEnv  = "SPARSE_REGISTRY_CONFIG"
)

func longHelp() string {
	var b strings.Builder
	b.WriteString("A registry that stores lists some of whose children are absent, if the policy allows it.\n\n" +
		"Settings are taken from flags, else from the environment, else from the YAML file:\n\n")
	fmt.Fprintf(&b, "  %-42s %-40s %s\n", "flag", "environment (empty means unset)", "key in the file")
	fmt.Fprintf(&b, "  %-42s %-40s\n", "--"+configFlag, configEnv)
	for _, s := range settings {
		fmt.Fprintf(&b, "  %-42s %-40s %s\n", "--"+s.flag, s.env, s.key)
	}
	return b.String()
}

// defineFlags defines the flags of some settings, and the one for a file, which may have all.
func defineFlags(cmd *cobra.Command, settings []setting) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.String(configFlag, "", "YAML `FILE` with settings")
	for _, s := range settings {
		flags.String(s.flag, s.initial, s.usage)
		if s.boolean {
			flags.Lookup(s.flag).NoOptDefVal = "true"
		}
	}
}

// loadOptions takes each setting from the first source that has it: flag, environment, file,
// initial value. The error is the first, and names the source that is to blame; the options are
// then those that could be read.
func loadOptions(cmd *cobra.Command, env environment) (options, error) {
	o := options{values: map[string]string{}}
	file, path, err := o.loadFile(cmd, env)
	for _, s := range settings {
		value, source := s.initial, "default of "+s.flag
		if flag := cmd.Flags().Lookup(s.flag); flag != nil && flag.Changed {
			value, source = flag.Value.String(), "flag --"+s.flag
		} else if v := env.lookup(s.env); v != "" {
			value, source = v, "environment variable "+s.env
		} else if v, ok := file[s.key]; ok {
			value, source = v.value, fmt.Sprintf("%s:%d: %s", path, v.line, s.key)
		}
		if wrong := s.set(&o, value); wrong != nil && err == nil {
			err = fmt.Errorf("%s: %w", source, wrong)
		}
		o.values[s.flag] = value
	}
	if err != nil {
		return o, err
	}
	if err := env.refuseUnknown(o.distribution != nil); err != nil {
		return o, err
	}
	if err := o.takeDistribution(); err != nil {
		return o, err
	}
	if o.server.Storage == "" && o.server.Distribution == nil {
		return o, errors.New("no storage directory: set --storage, SPARSE_REGISTRY_STORAGE or storage in the file, or --distribution-config")
	}
	if o.server.AnonymousPull && o.server.Htpasswd == "" {
		return o, errors.New("anonymous pull is for registries with users: set --htpasswd; with token authentication, the token server decides who may pull")
	}
	return o, nil
}
