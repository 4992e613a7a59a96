package foreign

import (
	"cmp"
	"net"
	"net/url"
	"slices"
	"strings"

	"go.podman.io/image/v5/docker/reference"
)

var zot = Format{
	Name:    "zot",
	Title:   "zot's configuration",
	TakesTo: true,
	Keys: []Key{
		{"extensions.sync.enable", "source", "`false`: nothing is copied"},
		{"extensions.sync.credentialsFile", "mirror login", "credentials stay out of sync files"},
		{"extensions.sync.enableStreaming", "", "nothing is copied only when somebody pulls it"},
		{"extensions.sync.downloadDir", "", "nothing is stored on the way"},
		{"extensions.sync.registries[].urls[]", "source", "the first. The others are mirrors of it: `registries.conf` names mirrors. `http://` is `tls-verify: false`, too"},
		{"extensions.sync.registries[].pollInterval", "every", "`mirror serve` looks at it, `mirror sync` copies at once. Without one, zot copies nothing unless it is asked for"},
		{"extensions.sync.registries[].onDemand", "", "nothing is copied only when somebody pulls it"},
		{"extensions.sync.registries[].tlsVerify", "registries, tls-verify", ""},
		{"extensions.sync.registries[].certDir", "registries, cert-dir", ""},
		{"extensions.sync.registries[].maxRetries", "--retry-times", "a flag of the run, of which whole images are tried again; requests are in any case"},
		{"extensions.sync.registries[].retryDelay", "", "how long to wait is learnt from the registry"},
		{"extensions.sync.registries[].maxRetryDelay", "", "how long to wait is learnt from the registry"},
		{"extensions.sync.registries[].syncTimeout", "", "copies have no time limit"},
		{"extensions.sync.registries[].responseHeaderTimeout", "--answer-timeout", "a flag of the run, for all registries"},
		{"extensions.sync.registries[].downloadRate", "--bytes-per-second", "a flag of the run, for each registry, also one that is written to"},
		{"extensions.sync.registries[].onlySigned", "", "policy.json says what must be signed, and by whom"},
		{"extensions.sync.registries[].syncLegacyCosignTags", "digest-tags", "`cosign`, unless it is false. Referrers are always copied"},
		{"extensions.sync.registries[].credentialHelper", "credHelpers", "in the file that mirror login writes"},
		{"extensions.sync.registries[].oauth2CredentialHelper", "", "`credHelpers` in a file for `--authfile` names helpers"},
		{"extensions.sync.registries[].preserveDigest", "preserve-digests", "without it, images stay as they are where the destination takes them"},
		{"extensions.sync.registries[].platforms[]", "platforms, single", "lists are kept; an architecture alone is that of Linux, and one without a name stands for entries without platform"},
		{"extensions.sync.registries[].architectures[]", "platforms, single", "the same, as older versions have it"},
		{"extensions.sync.registries[].content[].prefix", "source", "patterns need the registry's catalog, which is not read: write the repositories"},
		{"extensions.sync.registries[].content[].platforms[]", "platforms, single", "in place of those of the registry"},
		{"extensions.sync.registries[].content[].tags.regex", "tags", "with `.*` where the expression is not anchored; one that matches nothing is an error"},
		{"extensions.sync.registries[].content[].tags.excludeRegex", "exclude-tags", "with `.*` where the expression is not anchored"},
		{"extensions.sync.registries[].content[].tags.semver", "tags", "a regular expression for versions; beside `regex`, both in `all`"},
		{"extensions.sync.registries[].content[].destination", "destination", ""},
		{"extensions.sync.registries[].content[].stripPrefix", "destination", ""},
		{"http.address", "destination", "unless `--to` says where images go"},
		{"http.port", "destination", "unless `--to` says where images go"},
		{"http.tls", "destination", "without it, `tls-verify` is false for the destination"},
		{"http.*", nothing, "a note names it"},
		{"extensions.*", nothing, "a note names it"},
		{"*", nothing, "a note names it"},
	},
	read: readZot,
}

// A zotRegistry is what a configuration says about all that is copied from a registry.
type zotRegistry struct {
	host      string
	every     string           // "" if it is never looked at by itself
	platforms zotPlatforms     // for content that has none of its own
	settings  map[string]any   // of each image
	content   map[string]*node // by repository
}

func readZot(r *reader) {
	top := r.document()
	if top == nil {
		return
	}
	top.fold()
	sync := top.key("extensions").key("sync")
	if enabled, set := sync.key("enable").bool(); set && !enabled {
		r.lost(sync, "it is switched off")
		sync = nil
	}
	r.zotItself(top.key("http"))
	r.lostIfOn(sync.key("enableStreaming"))
	credentials := sync.key("credentialsFile")
	for _, n := range sync.key("registries").elements() {
		r.zotRegistry(n, credentials)
	}
	r.besideMirroring(top, "http", "extensions")
	r.besideMirroring(top.key("http"), "address", "port", "tls")
	top.key("http").key("tls").takeAll()
	r.besideMirroring(top.key("extensions"), "sync")
}

// besideMirroring notes the sections of n that are not about mirroring: all but some.
func (r *reader) besideMirroring(n *node, but ...string) {
	for _, section := range n.entries() {
		if !slices.Contains(but, section.name) {
			r.note(section, "it is not about mirroring, and is passed over")
			section.takeAll()
		}
	}
}

// zotItself has images go to the registry that has this configuration, if the options do not say
// where.
func (r *reader) zotItself(http *node) {
	if r.options.To != "" {
		return
	}
	address, host := http.key("address"), "127.0.0.1"
	if ip := net.ParseIP(address.text()); address.text() != "" && !ip.IsUnspecified() {
		host = address.text()
	} else {
		r.note(http, "images go to %s, where zot is on its own machine; --to says another place", host)
	}
	if port := http.key("port").text(); port != "" {
		host = net.JoinHostPort(host, port)
	}
	r.options.To = "docker://" + host + "/{repository}"
	if http.key("tls").isNull() {
		r.registry(http, host).set("tls-verify", false)
	}
}

func (r *reader) zotRegistry(n, credentials *node) {
	urls := n.key("urls").elements()
	if len(urls) == 0 {
		r.lost(n, "it has no URL")
		return
	}
	at, err := url.Parse(urls[0].text())
	if err != nil || at.Host == "" {
		r.lost(n, "%q is no URL of a registry", urls[0].text())
		return
	}
	for _, other := range urls[1:] {
		r.lost(other, "it is a mirror of the first: registries.conf names mirrors")
	}
	z := &zotRegistry{host: at.Host, settings: map[string]any{"referrers": true}, content: map[string]*node{}}
	if z.host == "registry-1.docker.io" || z.host == "index.docker.io" {
		z.host = "docker.io"
	}
	r.zotSettings(n, z)
	before := len(r.images)
	for _, c := range n.key("content").elements() {
		r.zotContent(c, z)
	}
	verify, dir := n.key("tlsVerify"), n.key("certDir")
	if len(r.images) == before {
		return
	}
	if credentials.text() != "" {
		r.login(credentials, z.host)
	}
	if at.User != nil {
		r.login(urls[0], z.host)
	}
	r.zotAccess(n, z.host, at.Scheme, verify, dir)
}

// zotAccess says how the registry of n is reached.
func (r *reader) zotAccess(n *node, host, scheme string, tlsVerify, certDir *node) {
	verify, set := tlsVerify.bool()
	switch {
	case scheme == "http":
		r.registry(n, host).set("tls-verify", false)
	case set:
		r.registry(n, host).set("tls-verify", verify)
	}
	if dir := certDir.text(); dir != "" {
		r.registry(n, host).set("cert-dir", r.path(dir))
	}
}

// zotSettings reads what is said about all images of a registry. What is on is lost where it is no
// setting of ours, and what is off is not.
func (r *reader) zotSettings(n *node, z *zotRegistry) {
	r.lostIfOn(n.key("onDemand"))
	r.lostIfOn(n.key("onlySigned"))
	if keep, _ := n.key("preserveDigest").bool(); keep {
		z.settings["preserve-digests"] = true
	}
	if tags, set := n.key("syncLegacyCosignTags").bool(); tags || !set {
		z.settings["digest-tags"] = "cosign"
	}
	if helper := n.key("credentialHelper").text(); helper != "" {
		r.helper(n.key("credentialHelper"), z.host, cmp.Or(zotHelpers[helper], helper))
	}
	r.runFlag(n.key("maxRetries"), "--retry-times")
	r.runFlag(n.key("responseHeaderTimeout"), "--answer-timeout")
	if rate := n.key("downloadRate"); rate.text() != "" {
		r.note(rate, "it is a flag of the run, in bytes: --bytes-per-second")
	}
	z.every = n.key("pollInterval").text()
	z.platforms = zotPlatformsOf(n.key("platforms"), n.key("architectures"))
}

// zotHelpers are the names of credential helpers, by those that zot has for them.
var zotHelpers = map[string]string{"ecr": "ecr-login"}

// lostIfOn notes that something is lost, unless it is switched off.
func (r *reader) lostIfOn(n *node) {
	if on, _ := n.bool(); on {
		r.lost(n, "%s", r.format.row(n.names()).Why)
	}
}

// zotPlatforms are those that are copied, and whether entries without one are.
type zotPlatforms struct {
	names        []string
	platformless bool
}

// zotPlatformsOf reads lists of platforms. An architecture alone is one of Linux.
func zotPlatformsOf(lists ...*node) zotPlatforms {
	var p zotPlatforms
	for _, list := range lists {
		for _, e := range list.elements() {
			switch text := e.text(); {
			case text == "":
				p.platformless = true
			case strings.Contains(text, "/"):
				p.names = append(p.names, text)
			default:
				p.names = append(p.names, "linux/"+text)
			}
		}
	}
	return p
}

// zotContent reads what is said about a repository.
func (r *reader) zotContent(n *node, z *zotRegistry) {
	prefix := n.key("prefix")
	repository := strings.Trim(prefix.text(), "/")
	source, err := reference.ParseNormalizedNamed(z.host + "/" + repository)
	switch {
	case strings.ContainsAny(repository, "*?[{\\"):
		r.lost(n, "a pattern needs the registry's catalog, which is not read: write the repositories")
		return
	case err != nil || !reference.IsNameOnly(source):
		r.lost(n, "%q is no repository", repository)
		return
	case z.content[repository] != nil:
		r.lost(n, "zot takes what line %d says of this repository", z.content[repository].line)
		return
	case z.every == "" || z.every == "0":
		r.lost(n, "without pollInterval, zot copies nothing before somebody pulls it")
		return
	}
	z.content[repository] = n
	tags, to := r.zotTags(n.key("tags")), r.toRepository(n, zotDestination(n, repository), "")
	if tags == nil || to == "" {
		return
	}
	e := r.image(n)
	e.set("source", "docker://"+source.Name())
	for key, value := range tags {
		e.set(key, value)
	}
	for key, value := range z.settings {
		e.set(key, value)
	}
	e.set("every", z.every)
	e.set("destination", to)
	p := z.platforms
	if own := n.key("platforms"); own != nil {
		p = zotPlatformsOf(own)
	}
	if len(p.names) > 0 {
		e.set("platforms", p.names)
		e.set("single", "copy")
	}
	if len(p.names) > 0 && p.platformless {
		e.set("platformless-entries", "keep")
	}
}

// zotDestination is the repository that another one is stored in.
func zotDestination(n *node, repository string) string {
	below := strings.Trim(n.key("destination").text(), "/")
	if strip, _ := n.key("stripPrefix").bool(); strip {
		return below
	}
	return strings.Trim(below+"/"+repository, "/")
}

// version matches the tags that are semantic versions, which may lack numbers and have a v.
const version = `v?[0-9]+(\.[0-9]+){0,2}(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?`

// zotTags are the keys that select tags, nil if none is selected.
func (r *reader) zotTags(n *node) map[string]any {
	regex, excluded := n.key("regex"), n.key("excludeRegex")
	versions, _ := n.key("semver").bool()
	if regex != nil && regex.text() == "" {
		r.lost(regex, "zot selects no tag by an empty expression")
		return nil
	}
	var all []any
	if regex != nil {
		all = append(all, regexpOf(r.anchored(regex)))
	}
	if versions {
		all = append(all, regexpOf(version))
	}
	selected := map[string]any{}
	switch len(all) {
	case 0:
		selected["tags"] = []any{"*"}
	case 1:
		selected["tags"] = all
	default:
		selected["tags"] = []any{map[string]any{"all": all}}
	}
	if excluded.text() != "" {
		selected["exclude-tags"] = []any{regexpOf(r.anchored(excluded))}
	}
	return selected
}

func regexpOf(expression string) map[string]string { return map[string]string{"regexp": expression} }

// anchored is a regular expression that matches whole tags.
func (r *reader) anchored(n *node) string {
	whole, err := anchored(n.text())
	if err != nil {
		r.problem(n, "%v", err)
	}
	return whole
}
