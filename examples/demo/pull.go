package main

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	upstream "go.podman.io/image/v5/copy"
	upstreammanifest "go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports/alltransports"
)

// upstreamCopy copies as users of containers/image do: with upstream's package, not with ours.
func (d *demo) upstreamCopy(ctx context.Context, destination, source string, options upstream.Options) error {
	destRef, err := alltransports.ParseImageName(destination)
	if err != nil {
		return err
	}
	srcRef, err := alltransports.ParseImageName(source)
	if err != nil {
		return err
	}
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return err
	}
	options.PreserveDigests = true
	options.SourceCtx, options.DestinationCtx = cmp.Or(options.SourceCtx, d.system()), cmp.Or(options.DestinationCtx, d.system())
	_, err = upstream.Image(ctx, policy, destRef, srcRef, &options)
	return errors.Join(err, policy.Destroy())
}

// A pulled is an image in an OCI layout of its own.
type pulled struct {
	dir      string
	digest   digest.Digest
	manifest imgspecv1.Manifest
}

// pull pulls the image for a platform from the mirror into a new layout.
func (d *demo) pull(ctx context.Context, platform imgspecv1.Platform) (*pulled, error) {
	dir, err := os.MkdirTemp(d.dir, "pulled-")
	if err != nil {
		return nil, err
	}
	sys := d.system()
	sys.OSChoice, sys.ArchitectureChoice, sys.VariantChoice = platform.OS, platform.Architecture, platform.Variant
	if err := d.upstreamCopy(ctx, "oci:"+dir+":pulled", d.mirrorRef(), upstream.Options{SourceCtx: sys, RemoveSignatures: true}); err != nil {
		return nil, err
	}
	return openPulled(dir)
}

// openPulled reads the only image of a layout.
func openPulled(dir string) (*pulled, error) {
	var index imgspecv1.Index
	if err := readJSON(filepath.Join(dir, imgspecv1.ImageIndexFile), &index); err != nil {
		return nil, err
	}
	if len(index.Manifests) != 1 {
		return nil, fmt.Errorf("%s has %d images", dir, len(index.Manifests))
	}
	p := &pulled{dir: dir, digest: index.Manifests[0].Digest}
	return p, readJSON(p.blob(p.digest), &p.manifest)
}

func readJSON(file string, v any) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

func (p *pulled) blob(d digest.Digest) string {
	return filepath.Join(p.dir, "blobs", d.Algorithm().String(), d.Encoded())
}

// file returns a file of the image, as it is in the topmost layer that has it.
func (p *pulled) file(name string) (string, error) {
	for _, layer := range slices.Backward(p.manifest.Layers) {
		content, err := fileInLayer(p.blob(layer.Digest), name)
		if !errors.Is(err, os.ErrNotExist) {
			return content, err
		}
	}
	return "", fmt.Errorf("%s is in no layer", name)
}

func fileInLayer(layer, name string) (string, error) {
	f, err := os.Open(layer)
	if err != nil {
		return "", err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return "", err
	}
	archive := tar.NewReader(z)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			return "", fmt.Errorf("%s: %w", name, os.ErrNotExist)
		}
		if err != nil {
			return "", err
		}
		if header.Name == name {
			content, err := io.ReadAll(archive)
			return string(content), err
		}
	}
}

// mirroredList returns what clients get when they ask the mirror for the tag.
func (d *demo) mirroredList(ctx context.Context) (digest.Digest, upstreammanifest.List, error) {
	ref, err := alltransports.ParseImageName(d.mirrorRef())
	if err != nil {
		return "", nil, err
	}
	src, err := ref.NewImageSource(ctx, d.system())
	if err != nil {
		return "", nil, err
	}
	defer src.Close()
	b, mediaType, err := src.GetManifest(ctx, nil)
	if err != nil {
		return "", nil, err
	}
	list, err := upstreammanifest.ListFromBlob(b, mediaType)
	return digest.FromBytes(b), list, err
}
