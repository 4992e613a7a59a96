package mirrorcmd

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// A modelled is an image that a naive model of another tool, written from its documents alone, says
// is copied.
type modelled struct {
	host, repo, ref string   // of the source; ref is ":tag" or "@digest"
	to              string   // REPO:TAG or REPO@DIGEST at the destination
	platforms       []string // empty for all
	attached        bool     // its signature is copied, too
}

// models are naive models of what the tools copy of a file. Upstream, repositories have
// upstreamTags beside those that the model names.
var models = map[string]func(t *testing.T, content string) []modelled{
	"hauler": modelOfHauler, "kubernetes": modelOfKubernetes, "list": modelOfList, "oc-mirror": modelOfOCMirror, "zarf": modelOfZarf, "zot": modelOfZot,
}

// upstreamTags are what there is to choose from.
var upstreamTags = []string{
	"3.9.1", "4.0.0", "4.1", "14.2.0-rc.1", "4.0.0-arm64", "4-latest", "latest-4", "v1.2.0", "v1.3.0-debug", "v10.0", "prod-1", "stage-2-debug", "edge",
}

// small has a list of three images, as little as can be told apart: the files name hundreds.
func small() *imagetest.Fixture {
	f := imagetest.New()
	for _, name := range []string{"amd64", "arm64", "s390x"} {
		f.Image(name, imagetest.Platform("linux/"+name))
	}
	f.List(imagetest.Top, imagetest.Entries("amd64", "arm64", "s390x"))
	return f
}

// nameOf splits the name of an image as container runtimes do.
func nameOf(text string) (host, repo, ref string) {
	name, digest, pinned := strings.Cut(text, "@")
	tag := "latest"
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		name, tag = name[:i], name[i+1:]
	} else if pinned {
		tag = ""
	}
	switch first, rest, more := strings.Cut(name, "/"); {
	case !more:
		host, repo = "docker.io", "library/"+name
	case strings.ContainsAny(first, ".:"):
		host, repo = first, rest
	default:
		host, repo = "docker.io", name
	}
	if tag == "" {
		return host, repo, "@" + digest
	}
	return host, repo, ":" + tag
}

// imageOf is an image that keeps its repository and tag.
func imageOf(text string, platforms ...string) modelled {
	host, repo, ref := nameOf(text)
	return modelled{host: host, repo: repo, ref: ref, to: repo + ref, platforms: platforms}
}

func modelOfList(_ *testing.T, content string) []modelled {
	var all []modelled
	for line := range strings.SplitSeq(content, "\n") {
		words := strings.Fields(strings.Split(line, "#")[0])
		if len(words) == 0 {
			continue
		}
		image := imageOf(strings.TrimPrefix(words[0], "docker://"))
		image.to = image.host + "/" + image.to
		if len(words) == 3 {
			_, image.to, _ = strings.Cut(strings.TrimPrefix(words[2], "docker://"), "/")
			if !strings.Contains(image.to, ":") {
				image.to = strings.Replace(image.to, "{name}", filepath.Base(image.repo), 1) + image.ref
			}
		}
		all = append(all, image)
	}
	return all
}

func modelOfOCMirror(t *testing.T, content string) []modelled {
	var file struct {
		Mirror struct {
			AdditionalImages []struct {
				Name       string
				TargetRepo string `yaml:"targetRepo"`
				TargetTag  string `yaml:"targetTag"`
				Platforms  []struct{ OS, Architecture string }
			} `yaml:"additionalImages"`
			BlockedImages []struct{ Name string } `yaml:"blockedImages"`
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(content), &file))
	var all []modelled
	for _, a := range file.Mirror.AdditionalImages {
		name, blocked := strings.TrimPrefix(a.Name, "docker://"), false
		for _, b := range file.Mirror.BlockedImages {
			blocked = blocked || regexp.MustCompile(b.Name).MatchString(name)
		}
		if blocked {
			continue
		}
		image := imageOf(name)
		if a.TargetRepo != "" {
			image.to = a.TargetRepo + ":" + a.TargetTag
		}
		for _, p := range a.Platforms {
			image.platforms = append(image.platforms, p.OS+"/"+p.Architecture)
		}
		all = append(all, image)
	}
	return all
}

func modelOfHauler(t *testing.T, content string) []modelled {
	var all []modelled
	for document := range strings.SplitSeq(content, "---\n") {
		var file struct {
			Kind     string
			Metadata struct{ Annotations map[string]string }
			Spec     struct {
				Images []struct {
					Name, Platform, Rewrite string
					ExcludeExtras           bool `yaml:"exclude-extras"`
				}
			}
		}
		require.NoError(t, yaml.Unmarshal([]byte(document), &file))
		annotations := file.Metadata.Annotations
		for _, i := range file.Spec.Images {
			if registry := annotations["hauler.dev/registry"]; registry != "" && !strings.Contains(strings.Split(i.Name, "/")[0], ".") {
				i.Name = registry + "/" + i.Name
			}
			image := imageOf(i.Name)
			for _, platform := range []string{i.Platform, annotations["hauler.dev/platform"]} {
				if platform != "" && image.platforms == nil {
					image.platforms = []string{platform}
				}
			}
			if i.Rewrite != "" {
				image.to = strings.TrimPrefix(i.Rewrite, "/")
				if !strings.Contains(image.to, ":") {
					image.to += image.ref
				}
			}
			image.attached = !i.ExcludeExtras && annotations["hauler.dev/exclude-extras"] != "true"
			all = append(all, image)
		}
	}
	return all
}

func modelOfZarf(t *testing.T, content string) []modelled {
	var file struct {
		Metadata   struct{ Architecture string }
		Components []struct {
			Images []string
			Only   struct{ Cluster struct{ Architecture string } }
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(content), &file))
	byName := map[string]modelled{}
	for _, c := range file.Components {
		architecture := file.Metadata.Architecture
		if c.Only.Cluster.Architecture != "" {
			architecture = c.Only.Cluster.Architecture
		}
		for _, i := range c.Images {
			if i = strings.ReplaceAll(i, "###ZARF_PKG_ARCH###", architecture); strings.Contains(i, "###") {
				continue // which zarf asks for
			}
			image := imageOf(i)
			image.platforms = byName[image.to].platforms
			if architecture != "" {
				image.platforms = append(image.platforms, "linux/"+architecture)
			}
			byName[image.to] = image
		}
	}
	return slices.Collect(maps.Values(byName))
}

func modelOfZot(t *testing.T, content string) []modelled {
	var file struct {
		Extensions struct {
			Sync struct {
				Registries []struct {
					URLs                 []string `yaml:"urls"`
					PollInterval         string   `yaml:"pollInterval"`
					SyncLegacyCosignTags *bool    `yaml:"syncLegacyCosignTags"`
					Platforms            []string
					Content              []struct {
						Prefix, Destination string
						StripPrefix         bool `yaml:"stripPrefix"`
						Platforms           []string
						Tags                struct {
							Regex, ExcludeRegex string
							Semver              bool
						}
					}
				}
			}
		}
	}
	content = strings.ReplaceAll(content, "excludeRegex", "excluderegex") // as the struct has it
	require.NoError(t, yaml.Unmarshal([]byte(content), &file))
	semver := regexp.MustCompile(`^v?\d+(\.\d+){0,2}(-[\dA-Za-z-]+(\.[\dA-Za-z-]+)*)?$`)
	var all []modelled
	for _, r := range file.Extensions.Sync.Registries {
		taken := map[string]bool{}
		for _, c := range r.Content {
			repo := strings.Trim(c.Prefix, "/")
			if r.PollInterval == "" || strings.Contains(repo, "*") || taken[repo] {
				continue
			}
			taken[repo] = true
			for _, tag := range upstreamTags {
				if !regexp.MustCompile(c.Tags.Regex).MatchString(tag) || c.Tags.Semver && !semver.MatchString(tag) ||
					c.Tags.ExcludeRegex != "" && regexp.MustCompile(c.Tags.ExcludeRegex).MatchString(tag) {
					continue
				}
				_, host, _ := strings.Cut(r.URLs[0], "://")
				to := strings.Trim(c.Destination, "/") + "/" + repo
				if c.StripPrefix {
					to = c.Destination
				}
				image := modelled{host: host, repo: repo, ref: ":" + tag, to: strings.Trim(to, "/") + ":" + tag, attached: r.SyncLegacyCosignTags == nil}
				for _, p := range append(slices.Clone(c.Platforms), r.Platforms...) {
					if p != "" && (c.Platforms == nil || slices.Contains(c.Platforms, p)) {
						image.platforms = append(image.platforms, "linux/"+strings.TrimPrefix(p, "linux/"))
					}
				}
				all = append(all, image)
			}
		}
	}
	return all
}

// modelOfKubernetes takes what stands behind image: or reference: in each line, but for objects
// that no document knows, states, and variables.
func modelOfKubernetes(_ *testing.T, content string) []modelled {
	image := regexp.MustCompile(`\b(?:image|reference)"?: *(?:&\w+ )?"?([^"\s,}*]+)"?`)
	unknown := regexp.MustCompile(`(?m)^kind: (?:Database|ConfigMap|CustomResourceDefinition)$`)
	byName := map[string]modelled{}
	for document := range strings.SplitSeq(content, "---\n") {
		if unknown.MatchString(document) {
			continue
		}
		for line := range strings.SplitSeq(document, "\n") {
			for _, found := range image.FindAllStringSubmatch(line, -1) {
				if !strings.Contains(line, `"status"`) && !strings.ContainsAny(found[1], "$({") {
					i := imageOf(found[1])
					byName[i.to] = i
				}
			}
		}
	}
	return slices.Collect(maps.Values(byName))
}

// TestImportsAreWhatModelsSay runs the files in the shape of real ones against registries, and
// compares what arrives with what naive models of the tools say.
func TestImportsAreWhatModelsSay(t *testing.T) {
	f := small()
	top := f.Digest(imagetest.Top)
	archives, err := filepath.Glob(filepath.Join("..", "foreign", "testdata", "real", "*.txtar"))
	require.NoError(t, err)
	for _, name := range archives {
		format := filepath.Base(name)[:strings.LastIndex(filepath.Base(name), "-")]
		model := models[format]
		if model == nil {
			continue // it is held against the tool
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			require.NoError(t, err)
			s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
			port := s.dst.Host()[strings.LastIndex(s.dst.Host(), ":")+1:]
			// No TLS here; zot is the destination; and the digest is one that there is.
			content := strings.NewReplacer(
				"tlsVerify: true", "tlsVerify: false", `"tlsVerify": true`, `"tlsVerify": false`, "/home/user/certs", t.TempDir(),
				`"port": "8080"`, `"port": "`+port+`"`, `port: "5000"`, `port: "`+port+`"`, "docker://registry.example/", "docker://"+s.dst.Host()+"/", "=> registry.example/", "=> "+s.dst.Host()+"/",
			).Replace(string(archive.Files[0].Data))
			content = regexp.MustCompile(`sha256:50d8[0-9a-f]{60}`).ReplaceAllString(content, top.String())
			require.NoError(t, os.WriteFile(s.file, []byte(content), 0o600))
			flags := strings.Fields(regexp.MustCompile(`docker://(mirror|registry)\.example(:5000/mirror)?`).ReplaceAllString(string(archive.Comment), "docker://"+s.dst.Host()))

			want := model(t, content)
			conf := filepath.Join(t.TempDir(), "registries.conf")
			require.NoError(t, os.WriteFile(conf, []byte(upstream(s, f, want)), 0o600))
			r := s.sync(append(flags, "--from", format, "--accept-lost", "--registries-conf", conf)...)
			require.Equal(t, StatusDone, r.status, "%s%s", r.stdout, r.stderr)

			var names []string
			for _, i := range want {
				names = append(names, i.arrived(t, s.dst, f)...)
			}
			slices.Sort(names)
			assert.Equal(t, slices.Compact(names), everything(s.dst, f))
		})
	}
}

// upstream puts what a model names, and more, into the source, and returns a registries.conf by
// which all names are read there.
func upstream(s *syncTest, f *imagetest.Fixture, want []modelled) string {
	conf := fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", s.dst.Host())
	hosts := map[string]bool{}
	for _, i := range want {
		at := strings.ReplaceAll(i.host, ":", "-")
		if !hosts[i.host] {
			hosts[i.host] = true
			conf += fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n", i.host, s.src.Host()+"/"+at)
		}
		tags := append(slices.Clone(upstreamTags), strings.TrimPrefix(strings.Split(i.ref, "@")[0], ":"), signatureTag(f))
		for _, tag := range tags {
			switch tag {
			case "":
			case signatureTag(f):
				f.PushTo(s.src, at+"/"+i.repo, tag, "s390x")
			default:
				f.PushTo(s.src, at+"/"+i.repo, tag, imagetest.Top)
			}
		}
	}
	return conf
}

func signatureTag(f *imagetest.Fixture) string {
	return strings.ReplaceAll(f.Digest(imagetest.Top).String(), ":", "-") + ".sig"
}

// arrived demands that the image has arrived for its platforms, and returns the names that it has.
func (i modelled) arrived(t *testing.T, dst *registrytest.Registry, f *imagetest.Fixture) []string {
	t.Helper()
	repo := i.to[:strings.IndexAny(i.to, ":@")]
	for _, platform := range []string{"amd64", "arm64", "s390x"} {
		_, _, there := dst.Manifest(repo, f.Digest(platform).String())
		wanted := len(i.platforms) == 0 || slices.Contains(i.platforms, "linux/"+platform) || platform == "s390x" && i.attached
		assert.Equal(t, wanted, there, "%s for %s", i.to, platform)
	}
	names := []string{i.to}
	if i.attached {
		names = append(names, repo+":"+signatureTag(f))
	}
	return names
}

// everything is what has a tag in a registry, and the lists that have none.
func everything(r *registrytest.Registry, f *imagetest.Fixture) []string {
	var names []string
	for _, repo := range r.Repos() {
		top, tagged := f.Digest(imagetest.Top), false
		for _, tag := range r.Tags(repo) {
			d, _ := r.Resolve(repo, tag)
			tagged = tagged || d == top
			names = append(names, repo+":"+tag)
		}
		if _, _, there := r.Manifest(repo, top.String()); there && !tagged {
			names = append(names, repo+"@"+top.String())
		}
	}
	slices.Sort(names)
	return names
}

// TestImportOfManifests reads what Helm may print from standard input, and copies what it names.
func TestImportOfManifests(t *testing.T) {
	f := imagetest.Platforms(1, 1, 100)
	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
	f.PushTo(s.src, "team/app", "1.0", imagetest.Top)
	f.PushTo(s.src, "team/cache", "2.0", imagetest.Top)
	manifest := strings.ReplaceAll("---\n# Source: app/deployment.yaml\nkind: Deployment\nspec: {template: {spec: {containers: [{image: 'SRC/team/app:1.0'}]}}}\n"+
		"---\nkind: Cache\nspec: {server: {image: 'SRC/team/cache:2.0'}}\n", "SRC", s.src.Host())
	flags := []string{"--to", "docker://" + s.dst.Host()}
	r := runAll(t.Context(), t, manifest, append([]string{"import", "kubernetes", "-"}, flags...)...)
	assert.Equal(t, StatusDone, r.status)
	assert.Contains(t, r.stdout, "/team/app:1.0\n")
	assert.NotContains(t, r.stdout, "cache")
	assert.Equal(t, "note: -:7: spec.server.image: this may be an image: if it is, --kubernetes-image-path Cache=.spec.server.image\n", r.stderr)

	flags = append(flags, "--kubernetes-image-path", "Cache=.spec.server.image")
	runAll(t.Context(), t, manifest, append([]string{"sync", "-", "--from", "kubernetes", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", "--state-dir", s.state}, flags...)...).done(t)
	assert.Equal(t, []string{"team/app", "team/cache"}, s.dst.Repos())
}
