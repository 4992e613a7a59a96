// Ggcr writes images with go-containerregistry as two tools do that are made of it, and were
// not to be had as modules:
//
//	ggcr apko TO        a list as apko 0.30 publishes it
//	ggcr imgpkg TO      a bundle, its image and their locations, as imgpkg 0.46 copies them
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ggcr:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: ggcr apko|imgpkg TO")
	}
	to, err := name.NewTag(args[1])
	if err != nil {
		return err
	}
	switch args[0] {
	case "apko":
		return apko(to)
	case "imgpkg":
		return imgpkg(to)
	}
	return fmt.Errorf("%q is neither apko nor imgpkg", args[0])
}

// apko writes an OCI index, annotated with the time, of OCI images in the order of their
// architectures. The platforms are those of Alpine's architectures aarch64, armv7 and x86_64.
func apko(to name.Tag) error {
	created := time.Unix(0, 0).UTC()
	annotations := map[string]string{"org.opencontainers.image.created": created.Format(time.RFC3339)}
	index := mutate.IndexMediaType(mutate.Annotations(empty.Index, annotations).(v1.ImageIndex), types.OCIImageIndex)
	for _, platform := range []v1.Platform{
		{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm", Variant: "v7"}, {OS: "linux", Architecture: "arm64"},
	} {
		layer, err := layerOf(types.OCILayer, "etc/apk/arch", platform.String()+"\n")
		if err != nil {
			return err
		}
		base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
		img, err := mutate.Append(base, mutate.Addendum{Layer: layer, History: v1.History{
			Author: "apko", CreatedBy: "apko", Comment: "This is an apko single-layer image", Created: v1.Time{Time: created},
		}})
		if err != nil {
			return err
		}
		img = mutate.Annotations(img, annotations).(v1.Image)
		config, err := img.ConfigFile()
		if err != nil {
			return err
		}
		config = config.DeepCopy()
		config.Author, config.OS = "github.com/chainguard-dev/apko", platform.OS
		config.Architecture, config.Variant = platform.Architecture, platform.Variant
		config.Created = v1.Time{Time: created}
		config.Config.Labels = annotations
		if img, err = mutate.ConfigFile(img, config); err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &platform}})
	}
	return remote.WriteIndex(to, index)
}

// imgpkg writes a bundle of one image. All are in one repository, where tags say what they are: of
// each image, the tag sha256-<hex>.imgpkg keeps it; and the image at the tag
// sha256-<hex>.image-locations.imgpkg says where those of the bundle are.
func imgpkg(to name.Tag) error {
	app, err := fileImage("app.txt", "hello\n", nil)
	if err != nil {
		return err
	}
	appRef, err := writeTagged(to.Repository, app)
	if err != nil {
		return err
	}
	lock := "---\napiVersion: imgpkg.carvel.dev/v1alpha1\nimages:\n- image: registry.example/app@" + appRef.DigestStr() + "\nkind: ImagesLock\n"
	bundle, err := fileImage(".imgpkg/images.yml", lock, map[string]string{"dev.carvel.imgpkg.bundle": "true"})
	if err != nil {
		return err
	}
	bundleRef, err := writeTagged(to.Repository, bundle)
	if err != nil {
		return err
	}
	if err := remote.Write(to, bundle); err != nil {
		return err
	}
	locations := "---\napiVersion: imgpkg.carvel.dev/v1alpha1\nimages:\n- image: registry.example/app@" + appRef.DigestStr() +
		"\n  isBundle: false\nkind: ImageLocations\n"
	where, err := fileImage("image-locations.yml", locations, nil)
	if err != nil {
		return err
	}
	return remote.Write(tagOf(bundleRef, ".image-locations.imgpkg"), where)
}

// writeTagged writes an image with the tag that keeps it.
func writeTagged(repo name.Repository, img v1.Image) (name.Digest, error) {
	d, err := img.Digest()
	if err != nil {
		return name.Digest{}, err
	}
	ref := repo.Digest(d.String())
	return ref, remote.Write(tagOf(ref, ".imgpkg"), img)
}

func tagOf(ref name.Digest, suffix string) name.Tag {
	return ref.Context().Tag(strings.ReplaceAll(ref.DigestStr(), ":", "-") + suffix)
}

// fileImage is an image of one layer with one file, in Docker's types, and without a platform.
func fileImage(path, text string, labels map[string]string) (v1.Image, error) {
	layer, err := layerOf(types.DockerLayer, path, text)
	if err != nil {
		return nil, err
	}
	img, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer: layer, History: v1.History{Author: "imgpkg", CreatedBy: "imgpkg"},
	})
	if err != nil || labels == nil {
		return img, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Config.Labels = labels
	return mutate.ConfigFile(img, config)
}

func layerOf(mediaType types.MediaType, path, text string) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(text))})
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(mediaType))
}
