package transports

import (
	"archive/tar"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage/pkg/reexec"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

func TestMain(m *testing.M) {
	if reexec.Init() { // containers-storage: extracts layers in a process of its own, which is this program once more
		return
	}
	os.Exit(hermetictest.Main(m.Run))
}

// A place is one end of a copy. Each destination is made twice, once for each package.
type place struct {
	ref types.ImageReference
	// content describes what is there; nil for sources.
	content func() []string
}

// A kind makes places of its kind, in an empty directory.
type kind func(t *testing.T, dir string) place

// An outcome is how a copy ended.
type outcome struct {
	err      error
	copied   []byte
	resolved types.ImageReference
	before   []string // what was at the destination
	content  []string // what is there now
}

// A both is a copy that is made by both packages.
type both struct {
	src     kind
	dst     kind
	options copy.Options // those that upstream has, too
	sys     func(*types.SystemContext)
	want    string // what the errors contain; "" for success
	ours    string // what our error contains, where this package has words of its own; "" for those of upstream's error
	unsure  bool   // whether it works depends on the machine, so that want says nothing
}

// run makes the copies and returns what both came to.
func (b both) run(t *testing.T) outcome {
	t.Helper()
	sys, policy := newSystem(t), acceptAnything(t)
	if b.sys != nil {
		b.sys(sys)
	}
	o := b.options
	o.SourceCtx, o.DestinationCtx = sys, sys
	once := func(image func(dest, src types.ImageReference, resolved *types.ImageReference) ([]byte, error)) outcome {
		src, dst := b.src(t, t.TempDir()), b.dst(t, t.TempDir())
		out := outcome{resolved: src.ref, before: dst.content()} // resolved is anything but nil
		out.copied, out.err = image(dst.ref, src.ref, &out.resolved)
		out.content = dst.content()
		return out
	}
	theirs := once(func(dest, src types.ImageReference, resolved *types.ImageReference) ([]byte, error) {
		u := upstreamOptions(t, o)
		u.ReportResolvedReference = resolved
		return upstream.Image(t.Context(), policy, dest, src, u)
	})
	ours := once(func(dest, src types.ImageReference, resolved *types.ImageReference) ([]byte, error) {
		o := o
		o.ReportResolvedReference = resolved
		return copy.Image(t.Context(), policy, dest, src, &o)
	})
	b.compare(t, theirs, ours)
	return ours
}

func (b both) compare(t *testing.T, theirs, ours outcome) {
	t.Helper()
	switch {
	case b.unsure:
	case b.want == "":
		require.NoError(t, theirs.err, "upstream")
	default:
		require.ErrorContains(t, theirs.err, b.want, "upstream")
	}
	if theirs.err == nil {
		require.NoError(t, ours.err)
		assert.Equal(t, string(theirs.copied), string(ours.copied))
		assert.Equal(t, theirs.resolved == nil, ours.resolved == nil, "resolved: upstream's %v, ours %v", theirs.resolved, ours.resolved)
		assert.Equal(t, theirs.content, ours.content)
		return
	}
	require.Error(t, ours.err, "upstream: %v", theirs.err)
	assert.Contains(t, masked(ours.err), cmp.Or(b.ours, cause(theirs.err)))
	assert.Nil(t, ours.copied)
	if len(ours.before) > 0 {
		assert.Subset(t, ours.content, ours.before, "what was there stays")
	}
}

// cause is what upstream's error is about, without what upstream was doing.
func cause(err error) string {
	text := masked(err)
	for _, doing := range []string{"initializing source ", "initializing destination ", "determining manifest MIME type for "} {
		if strings.HasPrefix(text, doing) {
			_, text, _ = strings.Cut(text, ": ")
		}
	}
	return text
}

// masked is an error's text without the names of directories of tests, which are others for each
// copy.
func masked(err error) string {
	words := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == ' ' || r == '"' })
	for i, w := range words {
		if at := strings.Index(w, os.TempDir()); at >= 0 {
			words[i] = w[:at] + "FILE" + strings.Repeat(":", len(w)-len(strings.TrimRight(w, ":")))
		}
	}
	return strings.Join(words, " ")
}

// upstreamOptions translates options by the names of the fields.
func upstreamOptions(t *testing.T, o copy.Options) *upstream.Options {
	t.Helper()
	var u upstream.Options
	from, to := reflect.ValueOf(o), reflect.ValueOf(&u).Elem()
	for field := range to.Type().Fields() {
		if !field.IsExported() {
			continue
		}
		switch value := from.FieldByName(field.Name); field.Name {
		case "InstancePlatforms":
			for _, f := range o.InstancePlatforms {
				u.InstancePlatforms = append(u.InstancePlatforms, upstream.InstancePlatformFilter{OS: f.OS, Architecture: f.Architecture})
			}
		case "SparseManifestListAction":
			u.SparseManifestListAction = upstream.SparseManifestListAction(o.SparseManifestListAction)
		default:
			to.FieldByName(field.Name).Set(value)
		}
	}
	return &u
}

// acceptAnything is a policy.
func acceptAnything(t *testing.T) *signature.PolicyContext {
	t.Helper()
	policy, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, policy.Destroy()) })
	return policy
}

// newSystem is configuration that has nothing to do with the machine's.
func newSystem(t *testing.T) *types.SystemContext {
	t.Helper()
	sys, _ := hermetictest.System(t)
	sys.ArchitectureChoice, sys.OSChoice = "amd64", "linux"
	return sys
}

// fixtures are what is copied: a list of two images, in both formats.
var fixtures = map[string]*imagetest.Fixture{"OCI": twoPlatforms(), "Docker": twoPlatforms(imagetest.Docker())}

func twoPlatforms(options ...imagetest.Option) *imagetest.Fixture {
	f := imagetest.New()
	f.Layer("base", imagetest.File("etc/motd", "hello\n"))
	for _, arch := range []string{"amd64", "arm64"} {
		f.Layer("of "+arch, imagetest.File("arch", arch))
		f.Image(arch, append(options, imagetest.Platform("linux/"+arch), imagetest.Layers("base", "of "+arch))...)
	}
	f.List(imagetest.Top, append(options, imagetest.Entries("amd64", "arm64"))...)
	return f
}

// layoutOf is a layout with a document of a fixture.
func layoutOf(f *imagetest.Fixture, name string) kind {
	return func(t *testing.T, dir string) place {
		require.NoError(t, f.WriteLayout(dir, "v1", name))
		ref, err := layout.NewReference(dir, "v1")
		require.NoError(t, err)
		return place{ref: ref}
	}
}

// emptyLayout and emptyDirectory are destinations.
func emptyLayout(t *testing.T, dir string) place {
	ref, err := layout.NewReference(filepath.Join(dir, "layout"), "v1")
	require.NoError(t, err)
	return place{ref, func() []string { return files(t, filepath.Join(dir, "layout")) }}
}

func emptyDirectory(t *testing.T, dir string) place {
	ref, err := directory.NewReference(filepath.Join(dir, "dir"))
	require.NoError(t, err)
	return place{ref, func() []string { return files(t, filepath.Join(dir, "dir")) }}
}

// parsed is a place that the text of a reference names, in which DIR stands for a directory.
func parsed(transport types.ImageTransport, text string) kind {
	return func(t *testing.T, dir string) place {
		ref, err := transport.ParseReference(strings.ReplaceAll(text, "DIR", dir))
		require.NoError(t, err)
		return place{ref, func() []string { return files(t, dir) }}
	}
}

// files describes the files below a directory. An archive is described by what is in it.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if filepath.Ext(name) == ".tar" {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			for _, line := range members(f) {
				lines = append(lines, name+": "+line)
			}
			return nil
		}
		content, err := os.ReadFile(path)
		lines = append(lines, fmt.Sprintf("%s %x", name, sha256.Sum256(content)))
		return err
	})
	if !errors.Is(err, fs.ErrNotExist) {
		require.NoError(t, err)
	}
	slices.Sort(lines)
	return lines
}

// members describes what is in a tar archive, and how that ends.
func members(r io.Reader) []string {
	var lines []string
	for archive := tar.NewReader(r); ; {
		header, err := archive.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				lines = append(lines, err.Error())
			}
			return lines
		}
		content, err := io.ReadAll(archive)
		lines = append(lines, fmt.Sprintf("%s %c %s %x %v", header.Name, header.Typeflag, header.Linkname, sha256.Sum256(content), err))
	}
}
