package main

import (
	"bytes"
	"cmp"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
)

// A tool copies the selected platforms of a list from one repository to another, or the image of
// linux/amd64.
type tool struct {
	name   string
	binary string // the program, if it is not called as the tool is
	module string // the library that it is; "" for a program of its own
	two    step
	one    step // the zero value if the tool makes lists only
}

// A step is something that a tool can do. SRC and DST in the command are references.
type step struct {
	command string
	do      func(context.Context, job) error
}

// A job is a copy. The references are host/repo:tag, without a scheme.
type job struct {
	src, dst         string
	srcHost, dstHost string
	bin, home        string // directories: of the tools, and of their configuration
}

// tools are in the order of the page, the library of this module last.
var tools = []tool{
	{
		name: "crane",
		two:  program("crane index filter SRC --platform linux/amd64 --platform linux/arm64 -t DST"),
		one:  program("crane copy --platform linux/amd64 SRC DST"),
	},
	{
		name: "regctl",
		two:  program("regctl index create DST --ref SRC --platform linux/amd64 --platform linux/arm64 --digest-tags --referrers"),
		one:  program("regctl image copy --platform linux/amd64 SRC DST"),
	},
	{
		name: "regsync",
		two:  step{"regsync once, with platforms: [linux/amd64, linux/arm64], digestTags and referrers", regsync},
	},
	{
		name: "oras",
		two:  program("oras copy -r --platform linux/amd64,linux/arm64 SRC DST"),
		one:  program("oras copy --platform linux/amd64 SRC DST"),
	},
	{
		name: "buildx",
		two:  program("buildx imagetools create --platform linux/amd64,linux/arm64 -t DST SRC"),
	},
	{
		name:   "containers/image",
		module: "go.podman.io/image/v5",
		two:    step{"copy.Image, CopySpecificImages, StripSparseManifestList", upstreamCopies(upstream.CopySpecificImages)},
		one:    step{"copy.Image, CopySystemImage", upstreamCopies(upstream.CopySystemImage)},
	},
	{
		name:   "podman",
		binary: "podman-manifest",
		module: "go.podman.io/common",
		two:    step{"podman manifest create L; podman manifest add L docker://SRC@DIGEST, of each entry for the two; podman manifest push --all L docker://DST", podman},
	},
	ours,
}

// ours is the library of this module.
var ours = tool{
	name:   "sparsecopy",
	module: "github.com/sparsecopy/sparsecopy",
	two: step{
		"mirror copy --platform linux/amd64,linux/arm64 --sparse strip --referrers all --digest-tags docker://SRC docker://DST",
		weCopy(copy.CopySpecificImages),
	},
	one: step{"copy.Image, CopySystemImage", weCopy(copy.CopySystemImage)},
}

// program is a step of a program of its own, whose name is the first word.
func program(command string) step {
	return step{command, func(ctx context.Context, j job) error { return j.run(ctx, command) }}
}

// run runs a command line, whose first word is a program in j.bin. The error is what it said last.
func (j job) run(ctx context.Context, line string) error {
	words := strings.Fields(strings.NewReplacer("SRC", j.src, "DST", j.dst).Replace(line))
	switch words[0] { // loopback without TLS
	case "regctl":
		words = append(words, "--host", "reg="+j.srcHost+",tls=disabled", "--host", "reg="+j.dstHost+",tls=disabled")
	case "oras":
		words = append(words, "--from-plain-http", "--to-plain-http", "--no-tty")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(j.bin, words[0]), words[1:]...)
	cmd.Env = []string{"HOME=" + j.home, "DOCKER_CONFIG=" + j.home, "PATH=" + os.Getenv("PATH")}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("exit status %d: %s", exit.ExitCode(), lastLine(said.String()))
	}
	return err
}

// regsync runs a synchronization of one image, which copies what is selected and keeps the list.
func regsync(ctx context.Context, j job) error {
	file := filepath.Join(j.home, "regsync.yaml")
	config := fmt.Sprintf("version: 1\ncreds:\n- {registry: %q, tls: disabled}\n- {registry: %q, tls: disabled}\n"+
		"sync:\n- {source: %q, target: %q, type: image, digestTags: true, referrers: true, platforms: [%s]}\n",
		j.srcHost, j.dstHost, j.src, j.dst, strings.Join(selected, ", "))
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return err
	}
	return j.run(ctx, "regsync once -c "+file)
}

// podman makes a list of all entries that are for a selected platform: Podman selects none itself.
func podman(ctx context.Context, j job) error {
	repo, tag, _ := strings.Cut(strings.TrimPrefix(j.src, j.srcHost+"/"), ":")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+j.srcHost+"/v2/"+repo+"/manifests/"+tag, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var list struct{ Manifests []entry }
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return err
	}
	var digests string
	for _, e := range list.Manifests {
		if slices.Contains(selected, e.Platform.OS+"/"+e.Platform.Architecture) {
			digests += " " + e.Digest.String()
		}
	}
	if digests == "" {
		return errors.New("there is nothing to add for the two platforms")
	}
	return j.run(ctx, "podman-manifest "+j.srcHost+"/"+repo+" DST"+digests)
}

// lastLine returns the last line that is not empty.
func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// upstreamCopies is what skopeo does for --multi-arch, with --strip-removed-platforms.
func upstreamCopies(selection upstream.ImageListSelection) func(context.Context, job) error {
	return withReferences(func(ctx context.Context, policy *signature.PolicyContext, dst, src types.ImageReference) error {
		options := &upstream.Options{SourceCtx: system(), DestinationCtx: system(), ImageListSelection: selection}
		if selection == upstream.CopySpecificImages {
			options.SparseManifestListAction = upstream.StripSparseManifestList
			for _, p := range selected {
				os, architecture, _ := strings.Cut(p, "/")
				options.InstancePlatforms = append(options.InstancePlatforms, upstream.InstancePlatformFilter{OS: os, Architecture: architecture})
			}
		}
		_, err := upstream.Image(ctx, policy, dst, src, options)
		return err
	})
}

func weCopy(selection copy.ImageListSelection) func(context.Context, job) error {
	return withReferences(func(ctx context.Context, policy *signature.PolicyContext, dst, src types.ImageReference) error {
		options := &copy.Options{SourceCtx: system(), DestinationCtx: system(), ImageListSelection: selection}
		if selection == copy.CopySpecificImages {
			options.SparseManifestListAction = copy.StripSparseManifestList
			options.Referrers, options.DigestTags = copy.AllReferrers, true
			for _, p := range selected {
				filter, err := copy.ParsePlatformFilter(p)
				if err != nil {
					return err
				}
				options.InstancePlatforms = append(options.InstancePlatforms, filter)
			}
		}
		_, err := copy.Image(ctx, policy, dst, src, options)
		return err
	})
}

// system is a context for linux/amd64, without TLS.
func system() *types.SystemContext {
	return &types.SystemContext{
		DockerInsecureSkipTLSVerify: types.OptionalBoolTrue, OSChoice: "linux", ArchitectureChoice: "amd64",
	}
}

// withReferences makes a step of a function of references, with a policy that accepts everything.
func withReferences(f func(ctx context.Context, policy *signature.PolicyContext, dst, src types.ImageReference) error) func(context.Context, job) error {
	return func(ctx context.Context, j job) (err error) {
		src, err := docker.ParseReference("//" + j.src)
		if err != nil {
			return err
		}
		dst, err := docker.ParseReference("//" + j.dst)
		if err != nil {
			return err
		}
		policy, err := signature.NewPolicyContext(&signature.Policy{
			Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
		})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, policy.Destroy()) }()
		return f(ctx, policy, dst, src)
	}
}

// version is that of the program, or of the library in it or in this program; "" for this module.
func (t tool) version(bin string) (string, error) {
	info, _ := debug.ReadBuildInfo()
	if t.module == "" || t.binary != "" {
		var err error
		if info, err = buildinfo.ReadFile(filepath.Join(bin, cmp.Or(t.binary, t.name))); err != nil {
			return "", err
		}
	}
	if t.module == "" {
		return info.Main.Version, nil
	}
	for _, dep := range info.Deps {
		if dep.Path == t.module && dep.Replace == nil {
			return dep.Version, nil
		}
	}
	return "", nil
}
