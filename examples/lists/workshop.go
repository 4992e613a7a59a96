package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// source is a repository with images for tools to work on; it is no fixture itself.
const source = "source/app"

// A tool is a directory of testdata/lists/make, and the module that its go.mod pins.
type tool struct {
	name, module string
	begun        []string // repositories with what source has, for the tool to go on with
	key          string   // the file with a private key that make.sh leaves, without a passphrase; "" for none
}

// tools are in the order of their work: some use what earlier ones left.
var tools = []tool{
	{name: "buildkit", module: "github.com/moby/buildkit"},
	{name: "buildx", module: "github.com/docker/buildx"},
	{name: "soci", module: "github.com/awslabs/soci-snapshotter"},
	{name: "cosign", module: "github.com/sigstore/cosign/v3", begun: []string{"cosign-tags", "cosign-bundles"}, key: "cosign.key"},
	{name: "ggcr", module: "github.com/google/go-containerregistry"},
	{name: "helm", module: "helm.sh/helm/v4"},
	{name: "image", module: "go.podman.io/image/v5"},
	{name: "ko", module: "github.com/google/ko"},
	{name: "notation", module: "github.com/notaryproject/notation-go", begun: []string{"notation-api", "notation-tag"}},
}

// A workshop is where tools work: a registry that accepts everything, and a directory.
type workshop struct {
	out    io.Writer
	reg    *registrytest.Registry
	dir    string
	images *imagetest.Fixture
}

// makeLists runs the tools, all of them if none is named, and saves what each leaves. What the
// others left before stays, and is there for those that are run.
func makeLists(ctx context.Context, out io.Writer, named []string) (err error) {
	for _, name := range named {
		if !slices.ContainsFunc(tools, func(t tool) bool { return t.name == name }) {
			return fmt.Errorf("no tool is called %q", name)
		}
	}
	dir, err := os.MkdirTemp("", "lists-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	w := &workshop{out: out, reg: registrytest.New(registrytest.Options{}), dir: dir, images: sourceImages()}
	defer w.reg.Close()
	if _, err := loadAll(w.reg); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	w.push(source)
	for _, t := range tools {
		if len(named) > 0 && !slices.Contains(named, t.name) {
			continue
		}
		if err := w.work(ctx, t); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return nil
}

// sourceImages are the images that tools work on, and a list of them.
func sourceImages() *imagetest.Fixture {
	f := imagetest.New()
	f.Layer("base", imagetest.File("etc/motd", "hello\n"))
	for _, p := range allPlatforms {
		name := imagetest.PlatformName(p)
		f.Layer(name+".app", imagetest.File("bin/app", "for "+p+"\n"))
		f.Image(name, imagetest.Platform(p), imagetest.Layers("base", name+".app"))
	}
	f.List("list", imagetest.Entries("amd64", "arm64", "s390x"))
	return f
}

// push puts the source images into a repository, each with its name as the tag.
func (w *workshop) push(repo string) {
	for _, name := range []string{"list", "amd64", "arm64", "s390x"} {
		w.images.PushTo(w.reg, repo, name, name)
	}
}

// work makes the repositories of a tool anew: those whose names begin with the tool's. Then the
// tool judges them, there and in mirrors of them.
func (w *workshop) work(ctx context.Context, t tool) error {
	for _, repo := range w.reposOf(t) {
		for _, tag := range w.reg.Tags(repo) {
			w.reg.DeleteTag(repo, tag)
		}
		for _, d := range w.reg.Manifests(repo) {
			w.reg.DeleteManifest(repo, d)
		}
		for _, d := range w.reg.Blobs(repo) {
			w.reg.DeleteBlob(repo, d)
		}
	}
	for _, repo := range t.begun {
		w.push(repo)
	}
	if err := w.script(ctx, t, "make.sh", w.reg.Host(), ""); err != nil {
		return err
	}
	if err := w.script(ctx, t, "check.sh", w.reg.Host(), "source"); err != nil {
		return err
	}
	for _, repo := range w.reposOf(t) {
		dir := filepath.Join(layoutsDir(), repo)
		if err := imagetest.SaveRepository(w.reg, repo, dir); err != nil {
			return err
		}
		if err := t.note(filepath.Join(dir, "made.txt")); err != nil {
			return err
		}
	}
	for _, action := range []copy.SparseManifestListAction{copy.KeepSparseManifestList, copy.StripSparseManifestList} {
		if err := w.mirrored(ctx, t, action); err != nil {
			return fmt.Errorf("mirrored with %s: %w", action, err)
		}
		if t.key == "" {
			continue
		}
		if err := w.signed(ctx, t, action); err != nil {
			return fmt.Errorf("signed with %s: %w", action, err)
		}
	}
	return nil
}

// mirrored mirrors the repositories of a tool, and lets it judge the mirror.
func (w *workshop) mirrored(ctx context.Context, t tool, action copy.SparseManifestListAction) error {
	to := registrytest.New(registrytest.Options{})
	defer to.Close()
	for _, s := range selections {
		if !strings.HasPrefix(s.repo, t.name+"-") {
			continue
		}
		if _, err := s.mirror(ctx, action, w.reg, to); err != nil {
			return fmt.Errorf("%s:%s: %w", s.repo, s.tag, err)
		}
	}
	return w.script(ctx, t, "check.sh", to.Host(), action.String())
}

// signed mirrors the source's list, signs the mirror with the tool's key, and lets the tool judge
// the signatures.
func (w *workshop) signed(ctx context.Context, t tool, action copy.SparseManifestListAction) error {
	to := registrytest.New(registrytest.Options{})
	defer to.Close()
	attachments := filepath.Join(w.dir, t.name, "registries.d")
	if err := os.MkdirAll(attachments, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(attachments, "default.yaml"), []byte("default-docker:\n  use-sigstore-attachments: true\n"), 0o644); err != nil {
		return err
	}
	s := selection{repo: source, tag: "list"}
	options, err := s.options(action)
	if err != nil {
		return err
	}
	options.SignBySigstorePrivateKeyFile = filepath.Join(w.dir, t.name, t.key)
	options.SignSigstorePrivateKeyPassphrase = []byte{}
	options.SourceCtx.RegistriesDirPath = attachments
	if _, err := s.mirrorWith(ctx, options, w.reg, to); err != nil {
		return err
	}
	return w.script(ctx, t, "check.sh", to.Host(), "signed-"+action.String())
}

// reposOf returns the repositories of a tool.
func (w *workshop) reposOf(t tool) []string {
	return slices.DeleteFunc(w.reg.Repos(), func(repo string) bool {
		return !strings.HasPrefix(repo, t.name+"-") || len(w.reg.Manifests(repo)) == 0
	})
}

// script runs a script of a tool in the workshop's directory.
func (w *workshop) script(ctx context.Context, t tool, name, registry, state string) error {
	recipe, err := filepath.Abs(filepath.Join(recipesDir(), t.name))
	if err != nil {
		return err
	}
	programs, err := filepath.Abs(programsDir())
	if err != nil {
		return err
	}
	work := filepath.Join(w.dir, t.name)
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	fmt.Fprintf(w.out, "%s %s %s\n", t.name, name, state)
	cmd := exec.CommandContext(ctx, "sh", "-eux", filepath.Join(recipe, name))
	cmd.Dir = work
	// Go programs skip a proxy for loopback only: what leaves the machine ends at a closed port.
	cmd.Env = append(os.Environ(),
		"PATH="+programs+string(filepath.ListSeparator)+os.Getenv("PATH"),
		"HOME="+work, "DOCKER_CONFIG="+work,
		"HTTP_PROXY=http://127.0.0.1:9", "HTTPS_PROXY=http://127.0.0.1:9", "NO_PROXY=",
		"REGISTRY="+registry, "SOURCE="+w.reg.Host()+"/"+source, "RECIPE="+recipe, "STATE="+state,
		"LIST="+w.images.Digest("list").String(), "AMD64="+w.images.Digest("amd64").String(), "ARM64="+w.images.Digest("arm64").String(),
	)
	log := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, log)
	}
	return nil
}

// note writes what made a repository, and when.
func (t tool) note(path string) error {
	data, err := os.ReadFile(filepath.Join(recipesDir(), t.name, "go.mod"))
	if err != nil {
		return err
	}
	found := regexp.MustCompile(`(?m)^\s*(?:require )?` + regexp.QuoteMeta(t.module) + ` (v\S+)`).FindSubmatch(data)
	if found == nil {
		return fmt.Errorf("go.mod requires no %s", t.module)
	}
	text := fmt.Sprintf("%s %s, %s\n", t.module, found[1], clock.System.Now().UTC().Format(time.DateOnly))
	return os.WriteFile(path, []byte(text), 0o644)
}
