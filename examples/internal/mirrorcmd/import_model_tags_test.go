package mirrorcmd

import (
	"cmp"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// A tagModel is a naive model of what another tool copies of a file, written from its documents
// alone. It is for tools whose files choose among tags.
type tagModel struct {
	listed  []string          // the tags of each repository of the source
	copied  map[string]string // what REPO:TAG at the destination names
	sources map[string]bool   // the repositories that are read
}

// want notes that a tag of a repository is copied, and what it names.
func (m *tagModel) want(repo, tag, what string) { m.copied[repo+":"+tag] = what }

// modelOfDregsy takes, without a platform, the image for this machine.
func modelOfDregsy(t *testing.T, m *tagModel, content string) {
	var file struct {
		Tasks []struct {
			Mappings []struct {
				From, To, Platform string
				Tags               []string
			}
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(content), &file))
	for _, task := range file.Tasks {
		for _, mapping := range task.Mappings {
			if strings.HasPrefix(mapping.From, "regex:") {
				continue // which needs a list of repositories
			}
			m.sources[mapping.From] = true
			to := cmp.Or(mapping.To, mapping.From)
			if replace, is := strings.CutPrefix(to, "regex:"); is {
				from, with, _ := strings.Cut(replace, ",")
				to = strings.Replace(mapping.From, from, with, 1)
			}
			what := map[string]string{"": runtime.GOARCH, "all": imagetest.Top, "linux/arm64/v8": "arm64"}[mapping.Platform]
			for _, tag := range m.dregsyTags(t, mapping.Tags) {
				m.want(to, tag, what)
			}
			for _, tag := range mapping.Tags {
				if name, _, pinned := strings.Cut(tag, "@"); pinned {
					m.want(to, name, "arm64")
				} else if strings.HasPrefix(tag, "sha256:") {
					m.copied[to+"@"] = "amd64"
				}
			}
		}
	}
}

// dregsyTags are the tags that a list takes: those of each element, but for what is not to be kept.
func (m *tagModel) dregsyTags(t *testing.T, list []string) []string {
	taken := map[string]bool{}
	newest := 0
	var keep []func(string) bool
	for _, element := range list {
		kind, rest, special := strings.Cut(element, ":")
		rest = strings.TrimSpace(rest)
		switch {
		case strings.Contains(element, "sha256:"):
		case kind == "keep" && strings.HasPrefix(rest, "latest "):
			newest, _ = strconv.Atoi(strings.TrimPrefix(rest, "latest "))
		case kind == "keep":
			keep = append(keep, wholly(rest))
		case !special:
			taken[element] = true
		default:
			takes := wholly(rest)
			if kind == "semver" {
				takes = within(t, rest)
			}
			for _, tag := range m.listed {
				if takes(tag) {
					taken[tag] = true
				}
			}
		}
	}
	var versions, others []string
	for tag := range taken {
		switch {
		case slices.ContainsFunc(keep, func(keeps func(string) bool) bool { return !keeps(tag) }):
		case dregsyVersion.MatchString(tag):
			versions = append(versions, tag)
		default:
			others = append(others, tag)
		}
	}
	slices.SortFunc(versions, compareVersions)
	if newest > 0 && len(versions) > newest {
		versions = versions[len(versions)-newest:]
	}
	return append(versions, others...)
}

// wholly is an expression for whole tags, behind a ! for the others.
func wholly(expression string) func(string) bool {
	expression, inverted := strings.CutPrefix(expression, "!")
	r := regexp.MustCompile("^(?:" + expression + ")$")
	return func(tag string) bool { return r.MatchString(tag) != inverted }
}

var dregsyVersion = regexp.MustCompile(`^v?(\d+)\.(\d+)\.(\d+)(?:-(.+))?$`)

// within is a range of the form ">=A <B".
func within(t *testing.T, text string) func(string) bool {
	t.Helper()
	from, before, ok := strings.Cut(strings.TrimPrefix(text, ">="), " <")
	require.True(t, ok, text)
	return func(tag string) bool {
		return dregsyVersion.MatchString(tag) && compareVersions(tag, from) >= 0 && compareVersions(tag, before) < 0
	}
}

func compareVersions(a, b string) int {
	one, other := dregsyVersion.FindStringSubmatch(a), dregsyVersion.FindStringSubmatch(b)
	for i := 1; i <= 3; i++ {
		x, _ := strconv.Atoi(one[i])
		y, _ := strconv.Atoi(other[i])
		if x != y {
			return cmp.Compare(x, y)
		}
	}
	if (one[4] == "") != (other[4] == "") {
		return cmp.Compare(len(other[4]), len(one[4]))
	}
	return cmp.Compare(one[4], other[4])
}

// modelOfImageSyncer copies lists whole.
func modelOfImageSyncer(t *testing.T, m *tagModel, content string) {
	var file map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(content), &file))
	if images, ok := file["images"].(map[string]any); ok {
		file = images
	}
	form := regexp.MustCompile(`^[^/]+/([^:@]+)(?::(.*))?$`)
	for source, to := range file {
		source, _, pinned := strings.Cut(source, "@")
		from := form.FindStringSubmatch(source)
		m.sources[from[1]] = true
		var tags []string
		switch {
		case pinned:
		case from[2] == "":
			tags = m.listed
		case strings.HasPrefix(from[2], "/"):
			for _, tag := range m.listed {
				if regexp.MustCompile(strings.Trim(from[2], "/")).MatchString(tag) {
					tags = append(tags, tag)
				}
			}
		default:
			tags = strings.Split(from[2], ",")
		}
		all, several := to.([]any)
		if !several {
			all = []any{to}
		}
		for _, one := range all {
			target := form.FindStringSubmatch(os.ExpandEnv(one.(string)))
			if pinned {
				m.copied[target[1]+"@"] = imagetest.Top
			}
			for i, tag := range tags {
				if target[2] != "" {
					tag = strings.Split(target[2], ",")[i]
				}
				m.want(target[1], tag, imagetest.Top)
			}
		}
	}
}

// modelTags are what there is to choose from.
var modelTags = []string{
	"latest", "1.11.3", "1.11.40-rc", "1.12.0", "x1.11.3", "1.0.0", "1.5.0", "1.5.0-rc1", "1.98.0", "1.99.0", "0.9.0", "bionic", "focal", "jammy", "3.12.1", "3.15.0",
	"1.13.1-erlang-24.2-alpine-3.15.0", "2019-latest", "1.31.0", "1.31.1-glibc", "1.31.2-musl", "1.31.3", "1.31.9-musl", "1.30.0-glibc", "glibc", "stable-musl",
	"v1.0", "v2.0", "v1.1", "v1", "v2", "v25.3.2", "12.8.1-base-ubi9", "v1.17.8-ubuntu20.04", "4.2.3-1-ubuntu22.04", "7", "alpha",
}

// TestTagsAreWhatModelsSay runs files in the shape of real ones, and compares what arrives with
// what naive models of the tools say.
func TestTagsAreWhatModelsSay(t *testing.T) {
	t.Setenv("NAMESPACE", "team")
	for format, model := range map[string]func(*testing.T, *tagModel, string){"dregsy": modelOfDregsy, "image-syncer": modelOfImageSyncer} {
		for _, n := range []string{"1", "2", "3"} {
			t.Run(format+"-"+n, func(t *testing.T) {
				archive, err := txtar.ParseFile(filepath.Join("..", "foreign", "testdata", "real", format+"-"+n+".txtar"))
				require.NoError(t, err)
				f := small()
				s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
				content := strings.NewReplacer(
					"hub.example", s.src.Host(), "mcr.example", s.src.Host(), "quay.example", s.src.Host(), "nv.example", s.src.Host(), "harbor.example:32080", s.src.Host(),
					"mirror.example:5000", s.dst.Host(), "mirror.example", s.dst.Host(), "127.0.0.1:5000", s.dst.Host(), "123456789012.dkr.ecr.us-east-1.amazonaws.com", s.dst.Host(),
				).Replace(string(archive.Files[0].Data))
				for prefix, name := range map[string]string{"1d8a": "amd64", "ff4a": "arm64", "14b2": imagetest.Top} {
					content = regexp.MustCompile("sha256:"+prefix+"[0-9a-f]{60}").ReplaceAllString(content, f.Digest(name).String())
				}
				require.NoError(t, os.WriteFile(s.file, []byte(content), 0o600))

				m := &tagModel{listed: modelTags, copied: map[string]string{}, sources: map[string]bool{}}
				model(t, m, content)
				for repo := range m.sources {
					for _, tag := range modelTags {
						f.PushTo(s.src, repo, tag, imagetest.Top)
					}
				}
				r := s.sync("--from", format, "--accept-lost")
				require.Equal(t, StatusDone, r.status, "%s%s", r.stdout, r.stderr)
				assert.Equal(t, m.copied, whatIsCopied(s.dst, f))
			})
		}
	}
}

// whatIsCopied is what each tag of a registry names, and what has no tag, and is in no list.
func whatIsCopied(r *registrytest.Registry, f *imagetest.Fixture) map[string]string {
	copied := map[string]string{}
	for _, repo := range r.Repos() {
		named := map[string]bool{}
		for _, tag := range r.Tags(repo) {
			d, _ := r.Resolve(repo, tag)
			copied[repo+":"+tag], named[f.Name(d)] = f.Name(d), true
		}
		for _, name := range []string{imagetest.Top, "amd64", "arm64"} {
			if _, _, there := r.Manifest(repo, f.Digest(name).String()); there && !named[name] && !named[imagetest.Top] {
				copied[repo+"@"] = name
				break // which has the others in it, if it is the list
			}
		}
	}
	return copied
}
