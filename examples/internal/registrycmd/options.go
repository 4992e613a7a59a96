package registrycmd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

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
// initial value. An error names the source that is to blame.
func loadOptions(cmd *cobra.Command, lookup func(string) (string, bool)) (options, error) {
	o := options{values: map[string]string{}}
	file, path, err := loadFile(cmd, lookup)
	if err != nil {
		return o, err
	}
	for _, s := range settings {
		value, source := s.initial, "default of "+s.flag
		if flag := cmd.Flags().Lookup(s.flag); flag != nil && flag.Changed {
			value, source = flag.Value.String(), "flag --"+s.flag
		} else if v, ok := lookup(s.env); ok && v != "" {
			value, source = v, "environment variable "+s.env
		} else if v, ok := file[s.key]; ok {
			value, source = v.value, fmt.Sprintf("%s:%d: %s", path, v.line, s.key)
		}
		if err := s.set(&o, value); err != nil {
			return o, fmt.Errorf("%s: %w", source, err)
		}
		o.values[s.flag] = value
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

// A fileValue is a value as text, and where it is.
type fileValue struct {
	value string
	line  int
}

// loadFile reads the YAML file, if one is named. path is "" if none is.
func loadFile(cmd *cobra.Command, lookup func(string) (string, bool)) (values map[string]fileValue, path string, err error) {
	path = cmd.Flags().Lookup(configFlag).Value.String()
	if path == "" {
		path, _ = lookup(configEnv)
	}
	if path == "" {
		return nil, "", nil
	}
	values, err = readFile(path)
	return values, path, err
}

// readFile reads a YAML file with settings.
func readFile(path string) (map[string]fileValue, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("file of settings: %w", err)
	}
	values, err := parseFile(content)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	return values, nil
}

// parseFile reads a mapping whose values are scalars or, for some settings, sequences of scalars,
// which become text with commas. It refuses keys that are no settings, since a policy that was
// mistyped would not be in force. The YAML library's own refusal (Decoder.KnownFields) is for
// structs; here the table of settings says what there is.
func parseFile(content []byte) (map[string]fileValue, error) {
	root, err := parseDocument(content)
	if root == nil {
		return nil, err
	}
	var known []string
	several := map[string]bool{}
	for _, s := range settings {
		known = append(known, s.key)
		several[s.key] = s.several
	}
	fields, err := fieldsOf(root, known)
	if err != nil {
		return nil, err
	}
	values := map[string]fileValue{}
	for _, f := range fields {
		value, err := scalars(f.value)
		if err == nil && f.value.Kind == yaml.SequenceNode && !several[f.key] {
			err = errors.New("is a sequence, and takes one value")
		}
		if err != nil {
			return nil, fmt.Errorf("%d: %s: %w", f.value.Line, f.key, err)
		}
		values[f.key] = fileValue{value: strings.Join(value, ","), line: f.line}
	}
	return values, nil
}

// parseDocument reads one YAML document; nil stands for an empty one. An error begins with the line
// or a space.
func parseDocument(content []byte) (*yaml.Node, error) {
	var document yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf(" %w", err)
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, errors.New(" more than one document")
	}
	return document.Content[0], nil
}

// A field is a key of a mapping and its value.
type field struct {
	key   string
	line  int // of the key
	value *yaml.Node
}

// fieldsOf reads a mapping. It refuses keys that are not known, or repeated.
func fieldsOf(node *yaml.Node, known []string) ([]field, error) {
	if node.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%d: not a mapping of settings", node.Line)
	}
	var fields []field
	for i := 0; i < len(node.Content); i += 2 {
		f := field{node.Content[i].Value, node.Content[i].Line, node.Content[i+1]}
		switch {
		case !slices.Contains(known, f.key):
			return nil, fmt.Errorf("%d: unknown setting %q%s", f.line, f.key, meant(f.key, known))
		case slices.ContainsFunc(fields, func(other field) bool { return other.key == f.key }):
			return nil, fmt.Errorf("%d: %s is set twice", f.line, f.key)
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// meant says how to write a key that is not known: as the one that is it but for its spelling, such
// as the name of a flag or of a variable, or as one of those that there are.
func meant(key string, known []string) string {
	plain := func(s string) string {
		s = strings.ReplaceAll(strings.ToLower(s), "_", "-")
		return strings.TrimPrefix(strings.TrimPrefix(s, "--"), "sparse-registry-")
	}
	for _, k := range known {
		if plain(k) == plain(key) {
			return fmt.Sprintf(": write it as %s", k)
		}
	}
	return fmt.Sprintf(" (known: %s)", strings.Join(known, ", "))
}

// scalars reads a scalar, or a sequence of them.
func scalars(node *yaml.Node) ([]string, error) {
	switch {
	case node.Kind == yaml.ScalarNode && node.Tag == "!!null":
		return nil, errors.New("has no value")
	case node.Kind == yaml.ScalarNode:
		return []string{node.Value}, nil
	case node.Kind != yaml.SequenceNode:
		return nil, errors.New("must be a value or a sequence of values")
	}
	values := make([]string, len(node.Content))
	for i, element := range node.Content {
		if element.Kind != yaml.ScalarNode {
			return nil, errors.New("must be a sequence of plain values")
		}
		values[i] = element.Value
	}
	return values, nil
}

func setBool(to *bool, value string) error {
	b, err := strconv.ParseBool(value)
	if err != nil {
		return fmt.Errorf("%q is neither true nor false", value)
	}
	*to = b
	return nil
}

func setArchitectures(o *options, value string) error {
	o.server.Policies.Default.RequiredArchitectures = commaSeparated(value)
	return o.server.Policies.Default.Validate()
}

func setPlatforms(o *options, value string) error {
	o.server.Policies.Default.RequiredPlatforms = commaSeparated(value)
	return o.server.Policies.Default.Validate()
}

func commaSeparated(value string) []string {
	if strings.TrimSpace(value) == "" {
		return nil
	}
	names := strings.Split(value, ",")
	for i, name := range names {
		names[i] = strings.TrimSpace(name)
	}
	return names
}

func setPolicies(o *options, path string) (err error) {
	o.server.Policies.Rules = nil
	if path != "" {
		o.server.Policies.Rules, err = readRules(path)
	}
	return err
}

func setDelete(o *options, value string) error {
	if value == "" {
		return nil
	}
	o.allowDelete = new(bool)
	return setBool(o.allowDelete, value)
}

func setLayerURLs(o *options, value string) error {
	if _, err := regexp.Compile(value); err != nil {
		return err
	}
	o.server.AllowLayerURLs = value
	return nil
}
