package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
	"go.podman.io/image/v5/signature/sigstore"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorcmd"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

const (
	sourceRepo = "upstream/hello"
	mirrorRepo = "mirror/hello"
	keptRepo   = "mirror/kept" // for the list that is not taken
	tag        = "1.0"

	publisherKey, publisherPublicKey, passphrase = "publisher.key", "publisher.pub", "secret"

	policyFile = "policy.json" // demands the publisher's signature
)

// stripFlags ask for a list that is stripped, with what proves whose it is.
var stripFlags = []string{"--sparse", "strip", "--attach-original"}

// mirrored are the platforms that the mirror wants.
var mirrored = allPlatforms[:2]

// A demo is one run.
type demo struct {
	*narrator
	dir         string // for everything that is written
	source, dst *registrytest.Registry
	image       *image
}

// run tells the whole story on w. The mirror is a registry with the given behaviour. An error says
// which claims did not hold, or why the story could not go on.
func run(ctx context.Context, w io.Writer, mirror registrytest.Options) (retErr error) {
	dir, err := os.MkdirTemp("", "sparsecopy-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d := &demo{narrator: &narrator{w: w}, dir: dir, source: registrytest.New(registrytest.Options{}), dst: registrytest.New(mirror)}
	defer d.source.Close()
	defer d.dst.Close()
	for _, part := range []func(context.Context) error{d.prepare, d.keep, d.strip, d.verify, d.again, d.attack} {
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
func (d *demo) keptRef() string   { return "docker://" + d.dst.Host() + "/" + keptRepo + ":" + tag }

// file is the path of a file in the demonstration's own directory.
func (d *demo) file(name string) string { return filepath.Join(d.dir, name) }

// prepare makes the image and puts it into the source registry.
func (d *demo) prepare(ctx context.Context) error {
	for _, name := range []string{"registries.d", "publishers.d", "certs"} {
		if err := os.Mkdir(d.file(name), 0o755); err != nil {
			return err
		}
	}
	keys, err := sigstore.GenerateKeyPair([]byte(passphrase))
	if err != nil {
		return err
	}
	for name, content := range map[string]string{
		"registries.conf": "", "auth.json": "{}",
		"registries.d/default.yaml": "default-docker:\n  lookaside: file://" + d.file("lookaside") + "\n", // none, instead of this machine's
		"publishers.d/default.yaml": "default-docker:\n  use-sigstore-attachments: true\n",
		publisherKey:                string(keys.PrivateKey), publisherPublicKey: string(keys.PublicKey), policyFile: d.policy(),
	} {
		if err := os.WriteFile(d.file(name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	if d.image, err = makeImage(d.file("image"), tag, 0); err != nil {
		return err
	}
	if err := d.publish(ctx); err != nil {
		return fmt.Errorf("pushing the image: %w", err)
	}
	d.say("Two registries run on loopback: %s is the source, %s the mirror.", d.source.Host(), d.dst.Host())
	d.say("The source has %s:%s: %d platforms, each with an attestation, %d kB in all, signed by its publisher.",
		sourceRepo, tag, len(d.image.images), d.image.bytes/1000)
	d.say("We mirror %s. The mirror's registry refuses lists that name absent images.", strings.Join(names(mirrored), " and "))
	return nil
}

// publish puts the image into the source registry, and signs it.
func (d *demo) publish(ctx context.Context) error {
	sys := d.system()
	sys.RegistriesDirPath = d.file("publishers.d")
	return d.upstreamCopy(ctx, d.sourceRef(), "oci:"+d.file("image")+":"+tag, upstream.Options{
		DestinationCtx: sys, ImageListSelection: upstream.CopyAllImages,
		SignBySigstorePrivateKeyFile: d.file(publisherKey), SignSigstorePrivateKeyPassphrase: []byte(passphrase),
	})
}

// keep shows that the mirror does not take a list that is kept as it is.
func (d *demo) keep(ctx context.Context) error {
	d.step("1. Keep the list as it is")
	status, _, stderr := d.mirror(ctx, d.keptRef(), "copy", append(platformFlags(), "--sparse", "keep")...)
	d.quote(shorten(stderr))
	absent := d.image.images[platformName(absentPlatform())]
	d.check(status == mirrorcmd.StatusFailed && strings.Contains(stderr, "MANIFEST_BLOB_UNKNOWN") && strings.Contains(stderr, absent.String()),
		"refused, and the registry's reason names what is absent, %s among it (exit status %d)", short(absent), status)
	_, there := d.dst.Resolve(keptRepo, tag)
	d.check(!there, "the tag was not made")
	return nil
}

// strip mirrors, with the digest known beforehand.
func (d *demo) strip(ctx context.Context) error {
	d.step("2. Strip what is not mirrored")
	flags := append(platformFlags(), stripFlags...)
	status, stdout, stderr := d.mirrorQuietly(ctx, d.mirrorRef(), "plan", append(flags, "--output", "json")...)
	if status != mirrorcmd.StatusDone {
		return errors.New(strings.TrimSpace(stderr))
	}
	var plan copy.Plan
	if err := json.Unmarshal([]byte(stdout), &plan); err != nil {
		return err
	}
	status, stdout, stderr = d.mirror(ctx, d.mirrorRef(), "copy", flags...)
	d.quote(stdout + stderr)
	d.check(status == mirrorcmd.StatusDone, "mirror succeeded")
	there, _ := d.dst.Resolve(mirrorRepo, tag)
	d.check(there == plan.Digest && there != d.image.list, "the list has the digest that mirror plan foretold")
	return nil
}

// verify looks at the mirror as a user does.
func (d *demo) verify(ctx context.Context) error {
	d.step("3. Pull from the mirror with upstream's containers/image")
	for _, p := range mirrored {
		d.verifyPull(ctx, p)
	}
	_, err := d.pull(ctx, absentPlatform())
	d.check(err != nil && strings.Contains(err.Error(), "no image found"), "%s cannot be pulled: it is not in the list", platformName(absentPlatform()))

	d.step("4. Look at the list in the mirror")
	got, list, err := d.mirroredList(ctx)
	if err != nil {
		d.checkNoError(err, "it can be read")
		return nil
	}
	there, _ := d.dst.Resolve(mirrorRepo, tag)
	d.check(got == there, "its bytes have its digest, %s", short(got))
	want := d.wanted()
	d.check(slices.Equal(list.Instances(), want), "it names %d images and their attestations, by the source's digests, and nothing else", len(mirrored))
	d.check(d.complete(want), "each of them is in the mirror")
	return nil
}

// wanted are the entries that the list in the mirror should have.
func (d *demo) wanted() []digest.Digest {
	var images, attestations []digest.Digest
	for _, name := range names(mirrored) {
		images, attestations = append(images, d.image.images[name]), append(attestations, d.image.attestations[name])
	}
	return append(images, attestations...)
}

// complete reports whether the mirror has all these manifests.
func (d *demo) complete(manifests []digest.Digest) bool {
	return !slices.ContainsFunc(manifests, func(m digest.Digest) bool {
		_, _, there := d.dst.Manifest(mirrorRepo, m.String())
		return !there
	})
}

// verifyPull pulls the image for a platform, and reads files out of it.
func (d *demo) verifyPull(ctx context.Context, p imgspecv1.Platform) {
	name := platformName(p)
	pulled, err := d.pull(ctx, p)
	if err != nil {
		d.checkNoError(err, "%s can be pulled", name)
		return
	}
	d.check(pulled.digest == d.image.images[name], "%s pulled: %s, as at the source", name, short(pulled.digest))
	hello, err := pulled.file("usr/bin/hello")
	if err == nil {
		d.quote("usr/bin/hello: " + lastLines(hello, 1))
	}
	release, releaseErr := pulled.file("etc/os-release")
	if err = errors.Join(err, releaseErr); err == nil && (hello != d.image.hello[name] || release != d.image.osRelease) {
		err = errors.New("they differ")
	}
	d.checkNoError(err, "its usr/bin/hello and etc/os-release, from two layers, are the files that we made")
}

// again mirrors once more.
func (d *demo) again(ctx context.Context) error {
	d.step("5. Mirror again")
	before, events := d.dst.Snapshot(mirrorRepo), len(d.dst.History(mirrorRepo))
	d.dst.ResetLog()
	status, stdout, stderr := d.mirrorQuietly(ctx, d.mirrorRef(), "copy", append(platformFlags(), stripFlags...)...)
	d.quote("…\n" + lastLines(stdout+stderr, 3))
	d.check(status == mirrorcmd.StatusDone && d.dst.Count(isWrite) == 0, "the mirror was asked (requests: %d), and not written to", d.dst.Count(nil))
	d.check(d.dst.Snapshot(mirrorRepo) == before && len(d.dst.History(mirrorRepo)) == events, "it holds what it held")
	return nil
}

// isWrite reports whether a request may change something.
func isWrite(r registrytest.Request) bool {
	return r.Method != http.MethodGet && r.Method != http.MethodHead
}

// mirror runs a command of mirror with the source and a destination, and prints the command line,
// but for the flags that run adds.
func (d *demo) mirror(ctx context.Context, destination, command string, flags ...string) (status int, stdout, stderr string) {
	d.say("  $ mirror %s %s \\\n      %s %s", command, strings.Join(flags, " "), d.sourceRef(), destination)
	return d.mirrorQuietly(ctx, destination, command, flags...)
}

// mirrorQuietly is mirror without the command line.
func (d *demo) mirrorQuietly(ctx context.Context, destination, command string, flags ...string) (status int, stdout, stderr string) {
	return d.run(ctx, command, slices.Concat(flags, []string{
		"--insecure-policy", "--src-tls-verify=false", "--src-no-creds", "--src-cert-dir", d.file("certs"), d.sourceRef(), destination,
	})...)
}

// run runs a command of mirror, with flags that make it independent of this machine's
// configuration.
func (d *demo) run(ctx context.Context, command string, args ...string) (status int, stdout, stderr string) {
	args = slices.Concat([]string{
		command, "--dest-tls-verify=false", "--dest-no-creds", "--dest-cert-dir", d.file("certs"),
		"--authfile", d.file("auth.json"), "--registries-conf", d.file("registries.conf"), "--registries.d", d.file("registries.d"),
	}, args)
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

// absentPlatform is one that is not mirrored.
func absentPlatform() imgspecv1.Platform { return allPlatforms[len(allPlatforms)-1] }

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

// lastLines returns the last n lines of a text.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// shorten cuts a long line of output for print.
func shorten(line string) string {
	const enough = 360
	line = strings.TrimSpace(line)
	if len(line) <= enough {
		return line
	}
	return line[:enough] + " …"
}
