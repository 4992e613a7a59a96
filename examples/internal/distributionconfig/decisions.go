package distributionconfig

// honoured is the decision about what is done as the file says.
const honoured = ""

// decisions say what becomes of each section of the configuration, or of each of its keys: it is
// honoured, or refused with what to use instead. What is below a key shares its fate.
var decisions = map[string]string{
	"version":       honoured,
	"storage":       honoured, // see storageParts
	"auth":          honoured, // see authTypes
	"notifications": honoured,
	"redis":         honoured,
	"catalog":       honoured,
	"tags":          honoured,
	"validation":    honoured, // but for manifests.indexes
	"policy":        honoured,

	"http.addr":         "use --address",
	"http.net":          "use --address; it is TCP",
	"http.host":         "use --external-url",
	"http.prefix":       "let the proxy in front take the prefix away; clients do not know prefixes",
	"http.secret":       honoured,
	"http.relativeurls": "use --relative-urls",
	"http.draintimeout": "use --drain-timeout",
	"http.tls":          "use --tls-certificate and --tls-key",
	"http.headers":      "let the proxy in front add headers",
	"http.debug":        "use --metrics-address",
	"http.http2":        "HTTP/2 is on with TLS",
	"http.h2c":          "let the proxy in front speak HTTP/2",

	"log":        "it logs to standard error; use --log-level and --log-format",
	"loglevel":   "use --log-level",
	"health":     "ask /healthz, which looks at the storage",
	"middleware": "there is none, as it could serve what the policy has not seen; storage.redirect has redirects",
	"proxy":      "it is no pull-through cache: mirror with `mirror sync` (docs/sync.md)",

	"reporting":     "nothing is reported elsewhere; distribution 3 cannot, either",
	"compatibility": "manifests of schema 1 are not taken; by distribution 3, neither",
}

// storageParts are the sections of storage whose keys are known, with these: those that are no
// driver, and the driver of directories.
var storageParts = map[string][]string{
	"filesystem":  {"rootdirectory", "maxthreads"},
	"cache":       {"blobdescriptor", "layerinfo", "blobdescriptorsize"},
	"delete":      {"enabled"},
	"redirect":    {"disable"},
	"tag":         {"concurrencylimit"},
	"maintenance": {"uploadpurging", "readonly"},
}

// maintenanceParts are the sections of storage.maintenance, with their keys.
var maintenanceParts = map[string][]string{
	"uploadpurging": {"enabled", "age", "interval", "dryrun"},
	"readonly":      {"enabled"},
}

// authTypes are the sections of auth, with their keys.
var authTypes = map[string][]string{
	"none":     {},
	"htpasswd": {"realm", "path"},
	"token": {
		"realm", "issuer", "service", "rootcertbundle", "jwks", "autoredirect", "autoredirectpath", "signingalgorithms",
	},
}

// refusedDrivers are drivers of distribution that cannot be had, with what to use instead.
var refusedDrivers = map[string]string{
	"inmemory": "use a directory on a tmpfs; the driver loses tags",
}
