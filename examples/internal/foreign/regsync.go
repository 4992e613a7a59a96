package foreign

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

var regsync = Format{
	Name:  "regsync",
	Title: "regsync's YAML",
	Keys: slices.Concat(
		[]Key{
			{"version", "version", "only 1 is known"},
			{"x-*", nothing, "what is anchored in it counts where an alias stands"},
		},
		regsyncRegistries,
		regsyncGlobals,
		regsyncSteps("defaults"),
		[]Key{
			{"sync[].source", "source", "`{{env \"X\"}}` becomes `${X}`; other templates are worked out, if they take nothing from files or the environment"},
			{"sync[].target", "destination", "as `source`; an image without a tag goes to `latest`, as regsync has it"},
			{"sync[].type", "source, tags", "`image` and `repository`; `registry` is lost: no registry is asked which repositories it has"},
			{"sync[].repos", "", "it is for the type registry, which has no counterpart"},
			{"sync[].tags.allow", "tags", "one `regexp`; a set of tags that selects nothing is an error, where regsync warns; 3.10 without quotes is no number"},
			{"sync[].tags.deny", "exclude-tags", "`regexp`"},
			{"sync[].tags.semverRange", "tags, prereleases", "`semver`, written out in full, with pre-releases; of more than three numbers, the first three count, and dates are no versions"},
			{"sync[].tagSets[].allow", "tags", "as `tags.allow`; all sets are one list, in which `all` is what must hold together"},
			{"sync[].tagSets[].deny", "exclude-tags", "as `tags.deny`; or `not`, where sets deny different tags"},
			{"sync[].tagSets[].semverRange", "tags, prereleases", "as `tags.semverRange`"},
			{"sync[].targetTag", "destination", "`{tag}` for `{{.Source.Tag}}`"},
			{"sync[].platform", "system", "the image for the platform, without the list; `native` for `local`"},
			{"sync[].platforms[]", "optional, sparse, single, attestations", "the list stays as it is; a platform without a variant takes images of every variant; an empty one is `platformless-entries: keep`"},
		},
		regsyncSteps("sync[]"),
	),
	read: readRegsync,
}

// regsyncRegistries are the keys of regsync's creds.
var regsyncRegistries = []Key{
	{"creds[].registry", "registries, registry", ""},
	{"creds[].tls", "registries, tls-verify", "`disabled` and `insecure` are `false`: HTTP only where HTTPS does not answer"},
	{"creds[].user", "mirror login", "credentials stay out of sync files"},
	{"creds[].pass", "mirror login", "credentials stay out of sync files"},
	{"creds[].token", "mirror login", "credentials stay out of sync files"},
	{"creds[].credHelper", "credHelpers", "in the file that mirror login writes"},
	{"creds[].credExpire", nothing, "helpers are asked when credentials are needed"},
	{"creds[].credHost", "", "credentials are those of the host that is asked"},
	{"creds[].hostname", "", "registries.conf says where a registry is: `location`"},
	{"creds[].regcert", "", "put it into a file, DIR/ca.crt, and write `cert-dir: DIR` for the registry"},
	{"creds[].clientCert", "", "put it into a file, DIR/client.cert, and write `cert-dir: DIR` for the registry"},
	{"creds[].clientKey", "", "put it into a file, DIR/client.key, and write `cert-dir: DIR` for the registry"},
	{"creds[].pathPrefix", "", "registries.conf says where a registry is: `location`"},
	{"creds[].mirrors", "", "registries.conf says which mirrors a registry has"},
	{"creds[].priority", "", "registries.conf says which mirrors a registry has, in their order"},
	{"creds[].repoAuth", nothing, "each repository has tokens of its own"},
	{"creds[].blobChunk", "", "uploads have the size that the registry asks for"},
	{"creds[].blobMax", "", "uploads have the size that the registry asks for"},
	{"creds[].reqPerSec", "", "requests are not counted by time; 429 is waited out, and `--requests-per-host` is how many are in flight"},
	{"creds[].reqConcurrent", "--requests-per-host", "for all registries"},
	{"creds[].apiOpts", "", "there are no such options"},
	{"creds[].api", "", "regsync does not read it any more"},
	{"creds[].scheme", "", "regsync does not read it any more: `tls: disabled` is for HTTP"},
}

// regsyncGlobals are the keys that stand in regsync's defaults alone.
var regsyncGlobals = []Key{
	{"defaults.parallel", "--jobs", "a flag of the run"},
	{"defaults.skipDockerConfig", "--authfile", "a flag of the run: with it, no other file is read"},
	{"defaults.cacheCount", nothing, "what was read is kept, in `--cache-dir`; only tags are asked for again"},
	{"defaults.cacheTime", nothing, "what was read is kept, in `--cache-dir`; only tags are asked for again"},
	{"defaults.blobLimit", nothing, "blobs are not held in memory"},
	{"defaults.userAgent", "", "requests say that they are mirror's"},
}

// regsyncSteps are the keys that each step of regsync has, and its defaults.
func regsyncSteps(at string) []Key {
	return []Key{
		{at + ".interval", "every", "with the jitter that `every` has by default"},
		{at + ".schedule", "cron", "`@every` becomes `every`"},
		{at + ".digestTags", "digest-tags", "`all`"},
		{at + ".referrers", "referrers", ""},
		{at + ".referrerFilters[].artifactType", "referrers", "a list of types"},
		{at + ".referrerFilters[].annotations", "", "annotations of referrers are not looked at: those of the filter's type are copied, or all"},
		{at + ".referrerSource", "referrers-source", "the source itself is asked, too"},
		{at + ".referrerTarget", "", "referrers go where the image goes"},
		{at + ".referrerSlow", nothing, "layouts are searched whole"},
		{at + ".fastCheck", nothing, "what is there is not read; only what belongs to it is asked for, in each run"},
		{at + ".fastCopy", nothing, "the name that `fastCheck` has in the documents"},
		{at + ".forceRecursive", "check-blobs", "what is there is not copied again, only what is lacking"},
		{at + ".includeExternal", "", "layers that are somewhere else stay there"},
		{at + ".ratelimit.min", "--min-remaining", "a flag of the run, for all registries"},
		{at + ".ratelimit.retry", "mirror serve", "the server comes back when the registry says; mirror sync ends with status 5"},
		{at + ".backup", "", "what a tag named before is not kept under another tag"},
		{at + ".mediaTypes", "", "manifests and lists of all types are copied"},
		{at + ".hooks", "", "no commands are run"},
	}
}

// A regsyncReader reads one of regsync's files.
type regsyncReader struct {
	*reader
	defaults *node
}

func readRegsync(r *reader) {
	top := r.document()
	s := &regsyncReader{reader: r, defaults: top.key("defaults")}
	if v := top.key("version"); v.text() != "" && v.text() != "0" && v.text() != "1" {
		s.problem(v, "version %q is unknown; regsync has version 1", v.value)
	}
	for _, n := range top.key("creds").elements() {
		s.access(n)
	}
	s.globals()
	for _, n := range top.key("sync").elements() {
		s.step(n)
	}
}

// access reads how a registry is reached.
func (s *regsyncReader) access(n *node) {
	host, ok := s.template(n, n.key("registry"), nil)
	if !ok {
		return
	}
	switch tls := n.key("tls"); strings.ToLower(tls.text()) {
	case "":
	case "enabled":
		s.registry(n, host).set("tls-verify", true)
	case "insecure", "disabled":
		s.registry(n, host).set("tls-verify", false)
	default:
		s.problem(tls, "write enabled, insecure or disabled, not %q", tls.value)
	}
	user, pass, token := n.key("user"), n.key("pass"), n.key("token")
	for _, secret := range []*node{user, pass, token} {
		if secret.text() != "" {
			s.login(secret, host)
			break
		}
	}
	if helper := n.key("credHelper"); helper.text() != "" {
		s.helper(helper, host, strings.TrimPrefix(helper.text(), "docker-credential-"))
	}
	s.runFlag(n.key("reqConcurrent"), "--requests-per-host")
}

// globals reads what concerns all images.
func (s *regsyncReader) globals() {
	d := s.defaults
	s.runFlag(d.key("parallel"), "--jobs")
	if skip := d.key("skipDockerConfig"); skip.text() == "true" {
		s.note(skip, "it is a flag of the run: --authfile FILE, beside which nothing is read")
	}
	s.rateLimit(d.key("ratelimit"))
	s.external(d)
}

// external notes that layers which are somewhere else are wanted, too.
func (s *regsyncReader) external(n *node) {
	if e := n.key("includeExternal"); s.isTrue(e) {
		s.lost(e, "layers that are somewhere else stay there")
	}
}

// rateLimit notes what a rate limit is here.
func (s *regsyncReader) rateLimit(n *node) {
	s.runFlag(n.key("min"), "--min-remaining")
	if retry := n.key("retry"); retry.text() != "" {
		s.note(retry, "mirror serve comes back when the registry says, and mirror sync ends with status 5")
	}
}

// of is the value of a key of a step, or, if it has none, that of the defaults.
func (s *regsyncReader) of(step *node, key string) *node {
	byDefault := s.defaults.key(key)
	if own := step.key(key); !own.isNull() {
		return own
	}
	return byDefault
}

// step reads what is to be copied.
func (s *regsyncReader) step(n *node) {
	kind := n.key("type")
	if kind.text() == "registry" {
		s.lost(n, "no registry is asked which repositories it has: write a step of type repository for each")
		return
	}
	if kind.text() != "image" && kind.text() != "repository" {
		s.problem(n, "type must be image, repository or registry, not %q", kind.text())
		return
	}
	data := map[string]string{"Type": kind.text()}
	source, ok := s.reference(n, n.key("source"), data, "Source")
	if !ok {
		return
	}
	referrers, hasReferrers := s.referrersSource(n, data)
	target, ok := s.reference(n, n.key("target"), data, "Target")
	if !ok {
		return
	}
	if kind.text() == "repository" && source.layout {
		s.lost(n, "a layout is not asked which tags it has: write a step of type image for each")
		return
	}
	image := s.image(n)
	if kind.text() == "image" {
		s.oneImage(image, n, source, target)
	} else {
		s.repository(image, n, source, target)
	}
	if hasReferrers {
		image.set("referrers-source", referrers)
	}
	s.attached(image, n, target)
	s.platforms(image, n)
	s.timing(image, n)
	if s.isTrue(s.of(n, "forceRecursive")) {
		image.set("check-blobs", true)
	}
	s.external(n)
	s.rateLimit(n.key("ratelimit"))
}

// oneImage writes where an image comes from and where it goes.
func (s *regsyncReader) oneImage(image *element, n *node, source, target regsyncReference) {
	for _, key := range []string{"tags", "tagSets", "targetTag"} {
		if ignored := n.key(key); !ignored.isNull() {
			ignored.takeAll()
			s.note(ignored, "it means nothing where type is image, in regsync either")
		}
	}
	image.set("source", source.orLatest().String())
	image.set("destination", target.orLatest().String())
}

// repository writes which tags of a repository are copied, and where they go.
func (s *regsyncReader) repository(image *element, n *node, source, target regsyncReference) {
	for at, ref := range map[string]regsyncReference{"source": source, "target": target} {
		if ref.version != "" {
			s.problem(n.key(at), "a repository has no tag and no digest, and regsync fails here, too")
		}
	}
	image.set("source", source.String())
	target.version = ":" + s.targetTag(n)
	image.set("destination", target.String())
	s.tags(image, n)
}

// targetTag is the tag that a tag of the source becomes.
func (s *regsyncReader) targetTag(n *node) string {
	text, ok := s.templateOf(n, n.key("targetTag"), map[string]any{"Source": map[string]any{"Tag": opaque("{tag}")}})
	if !ok || text == "" {
		return "{tag}"
	}
	return text
}

// referrersSource is the repository to look for what belongs to images in.
func (s *regsyncReader) referrersSource(step *node, data map[string]string) (from string, ok bool) {
	n := s.of(step, "referrerSource")
	if n.text() == "" || !s.isTrue(s.of(step, "referrers")) {
		return "", false
	}
	ref, ok := s.reference(n, n, data, "ReferrerSrc")
	if ok && ref.layout {
		s.lost(n, "referrers are looked for in repositories of registries")
		return "", false
	}
	ref.version = ""
	return ref.String(), ok
}

// attached writes what is copied of what belongs to the image.
func (s *regsyncReader) attached(image *element, step *node, target regsyncReference) {
	if s.isTrue(s.of(step, "digestTags")) {
		image.set("digest-tags", "all")
	}
	filters := s.of(step, "referrerFilters").elements()
	to := s.of(step, "referrerTarget")
	if !s.isTrue(s.of(step, "referrers")) {
		for _, f := range filters {
			f.takeAll()
			s.note(f, "it means nothing without referrers, in regsync either")
		}
		return
	}
	if text, ok := s.template(to, to, nil); ok && to.text() != "" && !target.isRepository(text) {
		s.lost(to, "referrers go where the image goes")
	}
	var types []string
	for _, f := range filters {
		if t := f.key("artifactType").text(); t != "" {
			types = append(types, t)
		}
	}
	if len(types) > 0 && len(types) == len(filters) {
		image.set("referrers", types)
	} else {
		image.set("referrers", true)
	}
}

// platforms writes which platforms are copied.
func (s *regsyncReader) platforms(image *element, step *node) {
	if one := step.key("platform"); one.text() != "" {
		if system, ok := s.platform(one); ok {
			image.set("system", system)
		}
		if several := step.key("platforms"); !several.isNull() {
			several.takeAll()
			s.note(several, "platform leaves no list to choose from")
		}
		return
	}
	elements := step.key("platforms").elements()
	if len(elements) == 0 {
		return
	}
	platforms, platformless, attestations := []string{}, "strip", "drop"
	for _, e := range elements {
		if e.text() == "" {
			platformless = "keep"
			continue
		}
		if p, ok := s.platform(e); ok {
			platforms = append(platforms, p)
			if p == "unknown/unknown" {
				attestations = "all"
			}
		}
	}
	if len(platforms) == 0 {
		s.lost(step.key("platforms"), "it leaves no platform to choose")
		return
	}
	image.set("optional", platforms)
	image.set("sparse", "keep")
	image.set("single", "copy")
	image.set("attestations", attestations)
	image.set("platformless-entries", platformless)
}

// timing writes when a server copies the image. A schedule comes before an interval, and both of a
// step before those of the defaults.
func (s *regsyncReader) timing(image *element, step *node) {
	interval, cron := step.key("interval"), step.key("schedule")
	byInterval, byCron := s.defaults.key("interval"), s.defaults.key("schedule")
	if interval.text() == "" && cron.text() == "" {
		interval, cron = byInterval, byCron
	}
	switch every, isEvery := strings.CutPrefix(cron.text(), "@every "); {
	case isEvery:
		s.every(image, cron, every)
	case cron.text() != "":
		image.set("cron", cron.text())
	case interval.text() != "":
		s.every(image, interval, interval.text())
	}
}

// every writes an interval.
func (s *regsyncReader) every(image *element, n *node, text string) {
	if _, err := time.ParseDuration(text); err != nil {
		s.problem(n, "%q is no duration, such as 90s, 30m or 24h", text)
		return
	}
	image.set("every", text)
}

// isTrue reports whether a key says so.
func (s *regsyncReader) isTrue(n *node) bool {
	value, _ := n.bool()
	return value
}

// A regsyncReference is one of regsync's, with its defaults worked in.
type regsyncReference struct {
	layout  bool   // name is the path of a layout
	name    string // of a repository, with its registry
	version string // ":TAG", "@DIGEST", both, or ""
}

func (r regsyncReference) String() string {
	if r.layout {
		return "oci:" + r.name + r.version
	}
	return "docker://" + r.name + r.version
}

// orLatest is the reference with a tag or digest.
func (r regsyncReference) orLatest() regsyncReference {
	if r.version == "" {
		r.version = ":latest"
	}
	return r
}

// isRepository reports whether a text names the same repository.
func (r regsyncReference) isRepository(text string) bool {
	other, err := parseRegsync(text)
	return err == nil && other.layout == r.layout && other.name == r.name
}

// reference reads a reference of a step, and adds it to what templates that come later see.
func (s *regsyncReader) reference(whole, n *node, data map[string]string, field string) (regsyncReference, bool) {
	text, ok := s.template(whole, n, data)
	if !ok {
		return regsyncReference{}, false
	}
	if strings.HasPrefix(text, "${") && !strings.Contains(text, "/") {
		s.lost(whole, "%s: %s does not say in the file which registry it is in", n.name, text)
		return regsyncReference{}, false
	}
	data[field] = text
	ref, err := parseRegsync(text)
	if err != nil {
		s.problem(n, "%v", err)
		return regsyncReference{}, false
	}
	if ref.layout {
		ref.name = s.path(ref.name)
	}
	return ref, true
}

// parseRegsync reads a reference as regsync does: a name without a registry is one of Docker Hub.
func parseRegsync(text string) (regsyncReference, error) {
	path, layout := strings.CutPrefix(text, "ocidir://")
	if scheme, _, found := strings.Cut(path, "://"); found {
		return regsyncReference{}, fmt.Errorf("%s:// is unknown, to regsync, too", scheme)
	}
	name, version := path, ""
	if i := strings.Index(name, "@"); i >= 0 {
		name, version = name[:i], name[i:]
	}
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		name, version = name[:i], name[i:]+version
	}
	if name == "" {
		return regsyncReference{}, fmt.Errorf("%q is no reference", text)
	}
	if layout {
		return regsyncReference{layout: true, name: name, version: version}, nil
	}
	return regsyncReference{name: onDockerHub(name), version: version}, nil
}

// onDockerHub completes a name that has no registry, as Docker does.
func onDockerHub(name string) string {
	host, rest, found := strings.Cut(name, "/")
	switch {
	case !found || !strings.ContainsAny(host, ".:$") && host != "localhost" && strings.ToLower(host) == host:
		host, rest = "docker.io", name
	case host == "index.docker.io" || host == "registry-1.docker.io":
		host = "docker.io"
	}
	if host == "docker.io" && !strings.Contains(rest, "/") {
		rest = "library/" + rest
	}
	return host + "/" + rest
}
