package mirrorcmd

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/Masterminds/semver/v3"
	"github.com/opencontainers/go-digest"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"
	"go.yaml.in/yaml/v3"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// A skopeoPlayground has a source for all registries that a file of Skopeo's names, and two
// destinations: what mirror copies from the file, and what Skopeo does.
type skopeoPlayground struct {
	*testing.T
	src, ours, theirs *registrytest.Registry
	file, conf        string
	flags             []string                           // of skopeo sync
	to                string                             // below the host of a destination
	images            map[digest.Digest][2]digest.Digest // of each list: for another system, and for this one
}

// skopeoFile is a file of Skopeo's, as skopeo-sync(1) describes it.
type skopeoFile map[string]struct {
	Images   map[string][]string
	ByRegexp map[string]string `yaml:"images-by-tag-regex"`
	BySemver map[string]string `yaml:"images-by-semver"`
}

// moreTags are in repositories of which not only single tags are wanted.
var moreTags = []string{
	"latest", "edge", "nightly-v2", "1.0", "1.27.9", "1.27.0-rc.1", "v1.8.0", "v1.8.2-alpine", "v2.50.1", "v2.54.0", "v2.55.0", "3.16.9", "3.17", "3.18.4",
	"3.18.4-alpine", "3",
}

func newSkopeoPlayground(t *testing.T, archive string) *skopeoPlayground {
	a, err := txtar.ParseFile(archive)
	require.NoError(t, err)
	start := func() *registrytest.Registry { return registrytest.Start(t, registrytest.Options{}) }
	p := &skopeoPlayground{T: t, src: start(), ours: start(), theirs: start(), images: map[digest.Digest][2]digest.Digest{}}
	for _, flag := range strings.Fields(string(a.Comment)) {
		if after, isTo := strings.CutPrefix(flag, "docker://mirror.example/"); isTo {
			p.to = after
		} else if flag != "--to" {
			p.flags = append(p.flags, strings.Replace(flag, "--skopeo-", "--", 1))
		}
	}
	dir := t.TempDir()
	p.file, p.conf = filepath.Join(dir, "sync.yml"), filepath.Join(dir, "registries.conf")
	p.fill(string(a.Files[0].Data))
	return p
}

// fill puts what the file names into the source, writes the file, with digests that are there, and
// sends whoever asks its registries to the source.
func (p *skopeoPlayground) fill(text string) {
	conf := ""
	file := p.parse(text)
	for _, host := range slices.Sorted(maps.Keys(file)) { // the order says what images have in them
		registry := file[host]
		conf += fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n", host, p.src.Host()+"/"+host)
		for _, name := range slices.Sorted(maps.Keys(registry.Images)) {
			versions := registry.Images[name]
			for _, version := range versions {
				if strings.HasPrefix(version, "sha256:") {
					text = strings.ReplaceAll(text, version, p.push(host, name, "").String())
				} else {
					p.push(host, name, version)
				}
			}
			if len(versions) == 0 {
				p.pushMore(host, name)
				p.sign(host, name, "latest")
			}
		}
		for _, patterns := range []map[string]string{registry.ByRegexp, registry.BySemver} {
			for _, name := range slices.Sorted(maps.Keys(patterns)) {
				p.pushMore(host, name)
			}
		}
	}
	require.NoError(p, os.WriteFile(p.conf, []byte(conf), 0o600))
	require.NoError(p, os.WriteFile(p.file, []byte(text), 0o600))
}

func (p *skopeoPlayground) parse(text string) skopeoFile {
	var file skopeoFile
	require.NoError(p, yaml.Unmarshal([]byte(text), &file))
	return file
}

func (p *skopeoPlayground) pushMore(host, name string) {
	for _, tag := range moreTags {
		p.push(host, name, tag)
	}
}

// push pushes a new list of two images, and returns its digest; to no tag if that is "".
func (p *skopeoPlayground) push(host, name, tag string) digest.Digest {
	named, err := reference.ParseNormalizedNamed(host + "/" + name)
	if err != nil {
		return "" // which nobody can push to
	}
	f := imagetest.New()
	f.Layer("layer", imagetest.File("number", fmt.Sprint(len(p.images))))
	f.Image("other", imagetest.Platform("linux/s390x"), imagetest.Layers("layer"))
	f.Image("native", imagetest.Platform("linux/"+runtime.GOARCH), imagetest.Layers("layer"))
	f.List(imagetest.Top, imagetest.Entries("other", "native"))
	f.PushTo(p.src, named.Name(), tag, imagetest.Top)
	p.images[f.Digest(imagetest.Top)] = [2]digest.Digest{f.Digest("other"), f.Digest("native")}
	return f.Digest(imagetest.Top)
}

// sign pushes a signature of a tag, as cosign does.
func (p *skopeoPlayground) sign(host, name, tag string) {
	named, err := reference.ParseNormalizedNamed(host + "/" + name)
	if err != nil {
		return // which nobody can push to
	}
	signed, _ := p.src.Resolve(named.Name(), tag)
	f := imagetest.New()
	f.Layer("layer", imagetest.File("signature of", signed.String()))
	f.Image("signature", imagetest.Layers("layer"))
	f.PushTo(p.src, named.Name(), "sha256-"+signed.Encoded()+".sig", "signature")
}

// naive is what skopeo-sync(1) says that is at the destination then, as arrived has it. It is a
// model of the documents, and not of the program.
func (p *skopeoPlayground) naive() string {
	text := mustRead(p.T, p.file)
	want := map[string]bool{}
	for host, registry := range p.parse(string(text)) {
		for name, versions := range registry.Images {
			p.add(want, host, name, func(tag string) bool { return len(versions) == 0 || slices.Contains(versions, tag) })
			for _, version := range versions {
				if strings.HasPrefix(version, "sha256:") {
					p.arrive(want, host, name, "", digest.Digest(version))
				}
			}
		}
		for name, expression := range registry.ByRegexp {
			p.add(want, host, name, regexp.MustCompile(expression).MatchString)
		}
		for name, versions := range registry.BySemver {
			constraint, err := semver.NewConstraint(versions)
			require.NoError(p, err)
			p.add(want, host, name, func(tag string) bool {
				v, err := semver.NewVersion(tag)
				return err == nil && constraint.Check(v)
			})
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(want)), "\n")
}

// add adds what the tags of a repository become that are wanted.
func (p *skopeoPlayground) add(to map[string]bool, host, name string, wanted func(tag string) bool) {
	named, err := reference.ParseNormalizedNamed(host + "/" + name)
	if err != nil {
		return // which nobody copies
	}
	for _, tag := range p.src.Tags(named.Name()) {
		if wanted(tag) {
			d, _ := p.src.Resolve(named.Name(), tag)
			p.arrive(to, host, name, tag, d)
		}
	}
}

// arrive adds what becomes of an image of the source, or of a list: all of it, or the image for
// this system.
func (p *skopeoPlayground) arrive(to map[string]bool, host, name, tag string, arrived digest.Digest) {
	repo := p.name(host, name)
	images, isList := p.images[arrived]
	switch {
	case isList && slices.Contains(p.flags, "--all"):
		to[repo+"@"+images[0].String()], to[repo+"@"+images[1].String()] = true, true
	case isList:
		arrived = images[1]
	}
	to[repo+"@"+arrived.String()] = true
	if tag != "" {
		to[repo+":"+tag+" "+arrived.String()] = true
	}
}

// name is the repository that a repository of the source becomes.
func (p *skopeoPlayground) name(host, name string) string {
	named, err := reference.ParseNormalizedNamed(host + "/" + name)
	require.NoError(p, err)
	if slices.Contains(p.flags, "--scoped") {
		return path.Join(p.to, named.Name())
	}
	return path.Join(p.to, path.Base(named.Name()))
}

// arrived is what is at a destination, with its digest: a line for each tag, and for each list and
// image.
func (p *skopeoPlayground) arrived(at *registrytest.Registry) string {
	var all []string
	for _, repo := range at.Repos() {
		for _, d := range at.Manifests(repo) {
			all = append(all, repo+"@"+d.String())
		}
		for _, tag := range at.Tags(repo) {
			d, _ := at.Resolve(repo, tag)
			all = append(all, repo+":"+tag+" "+d.String())
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// send sends whoever asks a registry by this proxy to the source.
func (p *skopeoPlayground) send() (proxy string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			http.Error(w, "no TLS here", http.StatusMethodNotAllowed)
			return
		}
		host := strings.Replace(r.Host, "registry-1.docker.io", "docker.io", 1)
		if rest, ok := strings.CutPrefix(r.URL.Path, "/v2/"); ok && rest != "" {
			r.URL.Path = "/v2/" + host + "/" + rest
		}
		p.src.ServeHTTP(w, r)
	}))
	p.Cleanup(server.Close)
	return server.URL
}

// copyBySkopeo copies with Skopeo.
func (p *skopeoPlayground) copyBySkopeo(program string) {
	args := append([]string{"--insecure-policy", "--registries-conf", p.conf, "sync", "--src", "yaml", "--dest", "docker", "--dest-tls-verify=false"}, p.flags...)
	cmd := exec.CommandContext(p.Context(), program, append(args, p.file, p.theirs.Host()+"/"+p.to)...)
	proxy := p.send()
	cmd.Env = append(os.Environ(), "HTTP_PROXY="+proxy, "HTTPS_PROXY="+proxy)
	out, err := cmd.CombinedOutput()
	require.NoError(p, err, "%s", out)
}

// thereAndBack makes the file what it is after mirror import and mirror export.
func (p *skopeoPlayground) thereAndBack() {
	sync := filepath.Join(filepath.Dir(p.file), "images.yaml")
	r := runAll(p.Context(), p.T, "", append([]string{"import", "skopeo", p.file, "--accept-lost", "-o", sync}, p.conversion()...)...)
	require.Equal(p, StatusDone, r.status, "%s", r.stderr)
	r = runAll(p.Context(), p.T, "", "export", "skopeo", sync, "-o", p.file)
	require.Equal(p, StatusDone, r.status, "%s", r.stderr)
	assert.Contains(p, r.stderr, "note: "+sync+": type skopeo sync --src yaml --dest docker "+strings.Join(append(slices.Clone(p.flags), "FILE"), " "))
}

// conversion are the flags with which mirror copies what Skopeo does.
func (p *skopeoPlayground) conversion() []string {
	args := []string{"--to", "docker://" + p.ours.Host() + "/" + p.to}
	for _, flag := range p.flags {
		args = append(args, strings.Replace(flag, "--", "--skopeo-", 1))
	}
	return args
}

// sync copies with mirror.
func (p *skopeoPlayground) sync() outcome {
	args := []string{"--state-dir", filepath.Join(filepath.Dir(p.file), "state"), "--registries-conf", p.conf, "--from", "skopeo", "--accept-lost", p.file}
	args = append([]string{"sync", "--insecure-policy", "--dest-tls-verify=false"}, args...)
	r := runAll(p.Context(), p.T, "", append(args, p.conversion()...)...)
	require.Equal(p, StatusDone, r.status, "%s%s", r.stdout, r.stderr)
	return r
}

// TestSkopeosFiles copies from each real file what skopeo-sync(1) says, and, if it is installed,
// what Skopeo itself does.
func TestSkopeosFiles(t *testing.T) {
	archives, err := filepath.Glob("../foreign/testdata/real/skopeo-*.txtar")
	require.NoError(t, err)
	require.Len(t, archives, 3)
	for _, archive := range archives {
		t.Run(filepath.Base(archive), func(t *testing.T) {
			p := newSkopeoPlayground(t, archive)
			r := p.sync()
			arrived := p.arrived(p.ours)
			assert.Equal(t, p.naive(), arrived, "%s", r.stdout)

			program := newSkopeo(t)
			if text := string(mustRead(t, p.file)); strings.Contains(text, "images-by-semver") && program.version.LessThan(firstWithRanges) {
				t.Skip("this Skopeo does not know images-by-semver")
			}
			p.copyBySkopeo(program.path)
			assert.Equal(t, p.arrived(p.theirs), arrived)

			p.thereAndBack()
			p.theirs = registrytest.Start(t, registrytest.Options{})
			p.copyBySkopeo(program.path)
			assert.Equal(t, p.arrived(p.theirs), arrived, "%s", mustRead(t, p.file))
		})
	}
}

// A skopeo is Skopeo as it is installed.
type skopeo struct {
	path    string
	version *semver.Version
}

// firstWithRanges is the first version that knows images-by-semver. Others say nothing about it.
var firstWithRanges = semver.MustParse("1.15.0")

// newSkopeo finds Skopeo. The test is skipped where there is none.
func newSkopeo(t *testing.T) skopeo {
	t.Helper()
	path, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("there is no Skopeo on this machine; its distribution has a package")
	}
	out, err := exec.CommandContext(t.Context(), path, "--version").Output()
	require.NoError(t, err)
	words := strings.Fields(string(out))
	require.GreaterOrEqual(t, len(words), 3, "%s", out)
	version, err := semver.NewVersion(words[2])
	require.NoError(t, err)
	return skopeo{path, version}
}
