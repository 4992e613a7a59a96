package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	upstream "go.podman.io/image/v5/copy"

	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorcmd"
)

// policy is a signature policy that demands the publisher's signature of what is at the source.
func (d *demo) policy() string {
	return fmt.Sprintf(`{"default":[{"type":"reject"}],"transports":{"docker":{%q:[{"type":"sigstoreSigned","keyPath":%q}]}}}`,
		d.source.Host()+"/"+sourceRepo, d.file(publisherPublicKey))
}

// attack changes the mirror as somebody could who may write to its registry, and lets a user
// notice, whom the source has nothing to tell any more.
func (d *demo) attack(ctx context.Context) error {
	d.step("6. Verify the mirror, with the source gone")
	d.source.Close()
	d.say("  $ mirror verify --origin %s --policy %s \\\n      %s", d.sourceRef(), policyFile, d.mirrorRef())
	status, stdout, stderr := d.verifyOrigin(ctx)
	d.quote("…\n" + lastLines(stdout+stderr, 6))
	d.check(status == mirrorcmd.StatusDone && strings.Contains(stdout, d.image.list.String()), "the publisher has signed what is there")

	d.step("7. Somebody gives the tag another image for %s", platformName(mirrored[1]))
	if err := d.tamper(ctx, mirrored[1]); err != nil {
		return err
	}
	pulled, err := d.pull(ctx, mirrored[1])
	d.check(err == nil && pulled.digest != d.image.images[platformName(mirrored[1])], "whoever pulls it notices nothing")
	status, stdout, stderr = d.verifyOrigin(ctx)
	d.quote(lastLines(stdout+stderr, 1))
	d.check(status == mirrorcmd.StatusFailed && strings.Contains(stderr, "names another image than its original"), "mirror verify does (exit status %d)", status)
	return nil
}

// verifyOrigin verifies the mirror by what is in it.
func (d *demo) verifyOrigin(ctx context.Context) (status int, stdout, stderr string) {
	return d.run(ctx, "verify", "--origin", d.sourceRef(), "--policy", d.file(policyFile), d.mirrorRef())
}

// tamper has the mirror's list name the image of another version for a platform, and attaches to it
// what proved the list before.
func (d *demo) tamper(ctx context.Context, p imgspecv1.Platform) error {
	other, err := makeImage(d.file("other"), "other", 1)
	if err != nil {
		return err
	}
	if err := d.upstreamCopy(ctx, "docker://"+d.dst.Host()+"/"+mirrorRepo+":other", "oci:"+d.file("other")+":other", upstream.Options{ImageListSelection: upstream.CopyAllImages}); err != nil {
		return err
	}
	name := platformName(p)
	was, mediaType, _ := d.dst.Manifest(mirrorRepo, tag)
	is := bytes.ReplaceAll(was, []byte(d.image.images[name]), []byte(other.images[name]))
	before, _ := d.dst.Resolve(mirrorRepo, tag)
	after := d.dst.PutManifest(mirrorRepo, tag, mediaType, is)
	moved := false
	for _, m := range d.dst.Manifests(mirrorRepo) {
		content, mediaType, _ := d.dst.Manifest(mirrorRepo, m.String())
		var artifact imgspecv1.Manifest
		if err := json.Unmarshal(content, &artifact); err != nil || artifact.Subject == nil || artifact.Subject.Digest != before {
			continue // a list, or attached to nothing, or to something else
		}
		content = bytes.Replace(content, []byte(before), []byte(after), 1)
		d.dst.PutManifest(mirrorRepo, digest.FromBytes(content).String(), mediaType, content)
		moved = true
	}
	if !moved {
		return errors.New("nothing is attached to the list in the mirror")
	}
	return nil
}
