package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"go.podman.io/image/v5/docker"
	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// toys is how many images the playground has.
const toys = 20

// toy is the repository of the i-th image, from 1.
func toy(i int) string { return fmt.Sprintf("apps/app%02d", i) }

// playground starts two registries, fills one of them, and runs a command beside them, or the
// user's shell. The command finds their names in SOURCE and MIRROR, mirror on its PATH if it is
// beside this program, and in PLAYGROUND a directory with a sync file that names all images.
// Everything ends with the command.
func playground(ctx context.Context, w io.Writer, command []string) error {
	dir, err := os.MkdirTemp("", "sparsecopy-playground-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	source, mirror := registrytest.New(registrytest.Options{}), registrytest.New(registrytest.Options{Strict: true})
	defer source.Close()
	defer mirror.Close()
	if err := fill(ctx, source, dir); err != nil {
		return fmt.Errorf("making images: %w", err)
	}
	conf := filepath.Join(dir, "registries.conf")
	for file, content := range map[string]string{
		conf:                              insecure(source.Host()) + insecure(mirror.Host()),
		filepath.Join(dir, "images.yaml"): syncFile(source.Host(), mirror.Host()),
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if len(command) == 0 {
		command = []string{shell()}
		fmt.Fprintf(w, "$SOURCE is %s and has %s:%s to %s:%s, of %d platforms each.\n", source.Host(), toy(1), tag, toy(toys), tag, len(allPlatforms))
		fmt.Fprintf(w, "$MIRROR is %s, empty, and refuses lists that name absent images.\n", mirror.Host())
		fmt.Fprintf(w, "$PLAYGROUND/images.yaml names all images for mirror sync. \"exit\" ends the playground.\n")
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, w, os.Stderr
	cmd.Env = append(os.Environ(),
		"SOURCE="+source.Host(), "MIRROR="+mirror.Host(), "PLAYGROUND="+dir, "CONTAINERS_REGISTRIES_CONF="+conf,
		"PATH="+filepath.Dir(self)+string(filepath.ListSeparator)+os.Getenv("PATH"))
	return cmd.Run()
}

// shell is the user's.
func shell() string {
	if s := os.Getenv("SHELL"); s != "" {
		return s
	}
	return "sh"
}

// insecure is what registries.conf says of a registry on plain HTTP.
func insecure(host string) string {
	return fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n\n", host)
}

// syncFile mirrors two platforms of all images.
func syncFile(source, mirror string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ndefaults:\n  destination: docker://%s/{repository}\n  platforms: [%s]\n  sparse: auto\nimages:\n",
		mirror, strings.Join(names(mirrored), ", "))
	for i := range toys {
		fmt.Fprintf(&b, "- source: docker://%s/%s:%s\n", source, toy(i+1), tag)
	}
	return b.String()
}

// fill makes the images and copies them to the registry.
func fill(ctx context.Context, to *registrytest.Registry, dir string) error {
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return err
	}
	defer func() { _ = policy.Destroy() }() // nothing can be done about it
	var jobs []copy.Job
	for i := range toys {
		layoutDir := filepath.Join(dir, "images", toy(i+1))
		if _, err := makeImage(layoutDir, tag, uint64(i)); err != nil {
			return err
		}
		from, err := ocilayout.ParseReference(layoutDir + ":" + tag)
		if err != nil {
			return err
		}
		destination, err := docker.ParseReference("//" + to.Host() + "/" + toy(i+1) + ":" + tag)
		if err != nil {
			return err
		}
		jobs = append(jobs, copy.Job{Source: from, Destination: destination})
	}
	sys, err := hermetictest.SystemIn(filepath.Join(dir, "none"))
	if err != nil {
		return err
	}
	sys.DockerInsecureSkipTLSVerify, sys.DockerAuthConfig = types.OptionalBoolTrue, &types.DockerAuthConfig{}
	for _, result := range copy.Images(ctx, policy, jobs, &copy.ImagesOptions{Options: &copy.Options{
		ImageListSelection: copy.CopyAllImages, SourceCtx: sys, DestinationCtx: sys,
	}}) {
		if result.Err != nil {
			return result.Err
		}
	}
	return nil
}
