package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// The two modules of the checkout.
const (
	library  = "github.com/sparsecopy/sparsecopy"
	examples = library + "/examples"
)

// programs are the commands that are released, each a directory of examples.
var programs = []string{"mirror", "sparse-registry"}

// A program is a built command.
type program struct {
	name    string // without .exe
	content []byte
	info    *buildinfo.BuildInfo // what the go command has noted in it
}

// sumsFile has the checksums of all other files, as sha256sum writes and checks them.
const sumsFile = "SHA256SUMS"

// build makes an archive and an SBOM for each platform, and the checksums. What was in the
// directory of such files is removed before.
func (r release) build(ctx context.Context, platforms []platform) error {
	if err := r.clean(); err != nil {
		return err
	}
	others, err := r.contents(ctx)
	if err != nil {
		return err
	}
	var sums strings.Builder
	write := func(name string, content []byte) error {
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(content), name)
		fmt.Fprintf(r.out, "%10d  %s\n", len(content), name)
		return os.WriteFile(filepath.Join(r.dir, name), content, 0o644)
	}
	for _, p := range platforms {
		built, err := r.buildPrograms(ctx, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		if err := errors.Join(write(r.archiveName(p), r.archive(p, built, others)), write(r.name(p)+sbomSuffix, asJSON(r.sbom(r.name(p), built)))); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(r.dir, sumsFile), []byte(sums.String()), 0o644)
}

// clean makes the directory, and removes what was made there, of whatever version.
func (r release) clean() error {
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return err
	}
	made, err := filepath.Glob(filepath.Join(r.dir, "sparsecopy_*"))
	for _, name := range append(made, filepath.Join(r.dir, sumsFile)) {
		if removed := os.Remove(name); !errors.Is(removed, fs.ErrNotExist) {
			err = errors.Join(err, removed)
		}
	}
	return err
}

// name is how everything for a platform is called, but for suffixes.
func (r release) name(p platform) string {
	return strings.Join([]string{"sparsecopy", r.version, p.os, p.arch}, "_")
}

// archiveName is the name of the archive for a platform.
func (r release) archiveName(p platform) string {
	if p.os == "windows" {
		return r.name(p) + ".zip"
	}
	return r.name(p) + ".tar.gz"
}

// buildPrograms builds the programs for a platform. Of its environment, the go command keeps where
// its caches are and where modules come from.
func (r release) buildPrograms(ctx context.Context, p platform) ([]program, error) {
	dir, err := os.MkdirTemp("", "dist-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	names := make([]string, 0, len(programs))
	for _, name := range programs {
		names = append(names, path.Join(examples, name))
	}
	ldflags := "-s -w -X " + examples + "/internal/buildinfo.release=" + r.version
	if r.revision != "" {
		ldflags += " -X " + examples + "/internal/buildinfo.revision=" + r.revision
	}
	command := exec.CommandContext(ctx, "go", slices.Concat([]string{
		"build", "-trimpath", "-buildvcs=false", "-tags", "containers_image_openpgp", "-ldflags", ldflags, "-o", dir + string(filepath.Separator),
	}, names)...)
	command.Dir = filepath.Join(r.checkout, "examples")
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.os, "GOARCH="+p.arch,
		"GOFLAGS=", "GOEXPERIMENT=", "GODEBUG=", "GOFIPS140=off", "GOAMD64=v1", "GOARM64=v8.0")
	if output, err := command.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, output)
	}
	var built []program
	for _, name := range programs {
		content, err := os.ReadFile(filepath.Join(dir, p.executable(name)))
		if err != nil {
			return nil, err
		}
		b, err := r.inspect(name, p, content)
		if err != nil {
			return nil, err
		}
		built = append(built, b)
	}
	return built, nil
}

// executable is the name of a program's file.
func (p platform) executable(name string) string {
	if p.os == "windows" {
		return name + ".exe"
	}
	return name
}

// inspect reads what a program says of itself, without running it: it has to be the program, for
// that platform, static, of that version, and without the names of directories in it.
func (r release) inspect(name string, p platform, content []byte) (program, error) {
	info, err := buildinfo.Read(bytes.NewReader(content))
	if err != nil {
		return program{}, fmt.Errorf("%s: %w", name, err)
	}
	settings := map[string]string{"path": info.Path}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	for key, want := range map[string]string{
		"path": path.Join(examples, name), "GOOS": p.os, "GOARCH": p.arch, "CGO_ENABLED": "0", "-trimpath": "true",
	} {
		if settings[key] != want {
			return program{}, fmt.Errorf("%s was built with %s %q, not %q", name, key, settings[key], want)
		}
	}
	if !bytes.Contains(content, []byte(r.version)) {
		return program{}, fmt.Errorf("%s does not know that it is %s", name, r.version)
	}
	return program{name, content, info}, nil
}
