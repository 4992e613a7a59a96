package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorcmd"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

const (
	sourceRepo = "upstream/hello"
	mirrorRepo = "mirror/hello"
	tag        = "1.0"
)

// mirrored are the platforms that the mirror wants.
var mirrored = allPlatforms[:2]

// A demo is one run.
type demo struct {
	*narrator
	dir         string // for everything that is written
	source, dst *registrytest.Registry
	image       *image
}

// run tells the whole story on w. The mirror is a registry with the given behaviour. An error says which claims did not hold, or why
// the story could not go on.
func run(ctx context.Context, w io.Writer, mirror registrytest.Options) (retErr error) {
	dir, err := os.MkdirTemp("", "sparsecopy-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d := &demo{narrator: &narrator{w: w}, dir: dir, source: registrytest.New(registrytest.Options{}), dst: registrytest.New(mirror)}
	defer d.source.Close()
	defer d.dst.Close()
	for _, part := range []func(context.Context) error{d.prepare, d.keep, d.strip, d.verify, d.again} {
		if err := part(ctx); err != nil {
			return err
		}
		if len(d.failed) > 0 { // what follows builds on it
			return d.verdict()
		}
	}
	d.step("All %d checks passed.", d.held)
	return nil
}

func (d *demo) sourceRef() string {
	return "docker://" + d.source.Host() + "/" + sourceRepo + ":" + tag
}
func (d *demo) mirrorRef() string { return "docker://" + d.dst.Host() + "/" + mirrorRepo + ":" + tag }

// file is the path of a file in the demonstration's own directory.
func (d *demo) file(name string) string { return filepath.Join(d.dir, name) }

// prepare makes the image and puts it into the source registry.
func (d *demo) prepare(ctx context.Context) error {
	for _, name := range []string{"registries.d", "certs"} {
		if err := os.Mkdir(d.file(name), 0o755); err != nil {
			return err
		}
	}
	for name, content := range map[string]string{"registries.conf": "", "auth.json": "{}"} {
		if err := os.WriteFile(d.file(name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	var err error
	if d.image, err = makeImage(d.file("image"), tag); err != nil {
		return err
	}
	if err := d.upstreamCopy(ctx, d.sourceRef(), "oci:"+d.file("image")+":"+tag, d.system(), upstream.CopyAllImages); err != nil {
		return fmt.Errorf("pushing the image: %w", err)
	}
	d.say("Two registries run on loopback: %s is the source, %s the mirror.", d.source.Host(), d.dst.Host())
	d.say("The source has %s:%s: %d platforms, each with an attestation, %d kB in all.",
		sourceRepo, tag, len(d.image.images), d.image.bytes/1000)
	d.say("We want %s. The mirror refuses lists that name absent images.", strings.Join(names(mirrored), " and "))
	return nil
}

// keep shows that the mirror does not take a list that is kept as it is.
func (d *demo) keep(ctx context.Context) error {
	d.step("1. Keep the list as it is")
	status, _, stderr := d.mirror(ctx, "copy", append(platformFlags(), "--sparse", "keep")...)
	d.quote(shorten(stderr))
	d.check(status == mirrorcmd.StatusFailed && strings.Contains(stderr, "MANIFEST_BLOB_UNKNOWN"),
		"the mirror refused the list, and mirror says why (exit status %d)", status)
	absent := d.image.images[platformName(allPlatforms[len(allPlatforms)-1])]
	d.check(strings.Contains(stderr, absent.String()), "the reason names an image that is absent: %s", short(absent))
	_, there := d.dst.Resolve(mirrorRepo, tag)
	d.check(!there, "the tag was not made")
	return nil
}

// strip mirrors, with the digest known beforehand.
func (d *demo) strip(ctx context.Context) error {
	d.step("2. Strip what is not mirrored")
	status, stdout, stderr := d.mirrorQuietly(ctx, "plan", append(platformFlags(), "--sparse", "strip", "--output", "json")...)
	var plan copy.Plan
	if status == mirrorcmd.StatusDone {
		if err := json.Unmarshal([]byte(stdout), &plan); err != nil {
			return err
		}
	}
	d.check(plan.Digest != "", "mirror plan foretells the list's digest: %s%s", short(plan.Digest), stderr)
	status, stdout, stderr = d.mirror(ctx, "copy", append(platformFlags(), "--sparse", "strip")...)
	d.quote(stdout + stderr)
	d.check(status == mirrorcmd.StatusDone, "mirror succeeded")
	there, _ := d.dst.Resolve(mirrorRepo, tag)
	d.check(there == plan.Digest && there != d.image.list, "the tag names the list that was foretold")
	return nil
}

// verify looks at the mirror as a user does.
func (d *demo) verify(ctx context.Context) error {
	d.step("3. Pull from the mirror with upstream's containers/image")
	for _, p := range mirrored {
		d.verifyPull(ctx, p)
	}
	stripped := allPlatforms[len(allPlatforms)-1]
	_, err := d.pull(ctx, stripped)
	d.check(err != nil && strings.Contains(err.Error(), "no image found"), "%s cannot be pulled: it is not in the list", platformName(stripped))

	d.step("4. Look at the list in the mirror")
	got, list, err := d.mirroredList(ctx)
	if err != nil {
		d.checkNoError(err, "the list can be read")
		return nil
	}
	there, _ := d.dst.Resolve(mirrorRepo, tag)
	d.check(got == there, "its bytes have its digest: %s", short(got))
	var want []digest.Digest
	for _, name := range names(mirrored) {
		want = append(want, d.image.images[name])
	}
	for _, name := range names(mirrored) {
		want = append(want, d.image.attestations[name])
	}
	d.check(slices.Equal(list.Instances(), want), "it names the %d images and their %d attestations, with the digests of the source, and nothing else",
		len(mirrored), len(mirrored))
	whole := !slices.ContainsFunc(want, func(child digest.Digest) bool {
		_, _, ok := d.dst.Manifest(mirrorRepo, child.String())
		return !ok
	})
	d.check(whole, "each of them is in the mirror")
	return nil
}

// verifyPull pulls the image for a platform, and reads files out of it.
func (d *demo) verifyPull(ctx context.Context, p imgspecv1.Platform) {
	name := platformName(p)
	pulled, err := d.pull(ctx, p)
	if err != nil {
		d.checkNoError(err, "%s can be pulled", name)
		return
	}
	d.check(pulled.digest == d.image.images[name], "%s pulled: %s, the digest of the source", name, short(pulled.digest))
	hello, err := pulled.file("usr/bin/hello")
	d.quote("usr/bin/hello: " + lastLine(hello))
	d.check(err == nil && hello == d.image.hello[name], "its usr/bin/hello is the one that went into the source")
	release, err := pulled.file("etc/os-release")
	d.check(err == nil && release == d.image.osRelease, "so is its etc/os-release, from the layer that the platforms share")
}

// again mirrors once more.
func (d *demo) again(ctx context.Context) error {
	d.step("5. Mirror again")
	before, tagged := d.dst.Snapshot(mirrorRepo), len(d.dst.History(mirrorRepo))
	d.dst.ResetLog()
	status, stdout, stderr := d.mirrorQuietly(ctx, "copy", append(platformFlags(), "--sparse", "strip", "--output", "json")...)
	if status != mirrorcmd.StatusDone {
		d.quote(stderr)
	}
	var report copy.Report
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		return err
	}
	writes := d.dst.Count(func(r registrytest.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead })
	d.check(status == mirrorcmd.StatusDone && !report.Written && writes == 0,
		"nothing was written: %d requests to the mirror, all of them questions", d.dst.Count(nil))
	d.check(d.dst.Snapshot(mirrorRepo) == before && len(d.dst.History(mirrorRepo)) == tagged, "the mirror is what it was")
	return nil
}

// mirror runs the command mirror and prints the command line.
func (d *demo) mirror(ctx context.Context, command string, flags ...string) (status int, stdout, stderr string) {
	d.say("  $ mirror %s %s \\\n      %s %s", command, strings.Join(flags, " "), d.sourceRef(), d.mirrorRef())
	return d.mirrorQuietly(ctx, command, flags...)
}

// mirrorQuietly runs the command mirror, with flags that make it independent of this machine's configuration.
func (d *demo) mirrorQuietly(ctx context.Context, command string, flags ...string) (status int, stdout, stderr string) {
	args := slices.Concat([]string{command}, flags, []string{
		"--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", "--src-no-creds", "--dest-no-creds",
		"--authfile", d.file("auth.json"), "--registries-conf", d.file("registries.conf"), "--registries.d", d.file("registries.d"),
		"--src-cert-dir", d.file("certs"), "--dest-cert-dir", d.file("certs"),
		d.sourceRef(), d.mirrorRef(),
	})
	var out, err bytes.Buffer
	status = mirrorcmd.Run(ctx, args, strings.NewReader(""), &out, &err)
	return status, out.String(), err.String()
}

// system is the same configuration for upstream's code.
func (d *demo) system() *types.SystemContext {
	return &types.SystemContext{
		DockerInsecureSkipTLSVerify: types.OptionalBoolTrue,
		DockerAuthConfig:            &types.DockerAuthConfig{},
		AuthFilePath:                d.file("auth.json"),
		SystemRegistriesConfPath:    d.file("registries.conf"),
		SystemRegistriesConfDirPath: d.file("registries.conf.d"),
		UserShortNameAliasConfPath:  d.file("short-names.conf"),
		RegistriesDirPath:           d.file("registries.d"),
		DockerCertPath:              d.file("certs"),
		BlobInfoCacheDir:            d.dir,
		BigFilesTemporaryDir:        d.dir,
	}
}

func platformFlags() []string {
	var flags []string
	for _, name := range names(mirrored) {
		flags = append(flags, "--platform", name)
	}
	return flags
}

func names(platforms []imgspecv1.Platform) []string {
	out := make([]string, len(platforms))
	for i, p := range platforms {
		out[i] = platformName(p)
	}
	return out
}

// short is enough of a digest to recognise it.
func short(d digest.Digest) string {
	const enough = len("sha256:") + 12
	return string(d[:min(enough, len(d))])
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// shorten cuts a long line of output for print.
func shorten(line string) string {
	const enough = 480
	line = strings.TrimSpace(line)
	if len(line) <= enough {
		return line
	}
	return line[:enough] + " …"
}
