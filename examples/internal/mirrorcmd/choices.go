package mirrorcmd

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/transports/alltransports"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/bundle"
	"github.com/sparsecopy/sparsecopy/examples/internal/spelling"
)

const (
	maxChoices    = 10       // how many images an error lists
	maxChoice     = 200      // how many bytes the name of one may have there
	maxChoiceFile = 32 << 20 // how many bytes are read of the file that names images
)

// choicesHint lists the images of a layout, an archive or a bundle as what to type, if err is about
// a reference to one that is not there, or that does not say which of several is meant; "" for
// other errors.
func choicesHint(err error) string {
	transport, place, name := inFile(readReference(err))
	images, listErr := imagesIn(transport, place)
	switch {
	case listErr != nil:
		return otherKindHint(transport, place)
	case isThere(images, transport, name): // err says what is wrong
		return ""
	case len(images) == 0:
		return "; there is no image"
	}
	hint := "; write one of "
	if name != "" {
		hint = "; there: "
		if near := spelling.Nearest(name, slices.Concat(images...)); near != "" {
			hint = fmt.Sprintf("; did you mean %s:%s:%s? There: ", transport, place, near)
		}
	}
	listed := strings.Join(choices(images, transport, place), ", ")
	hint += listed
	if more := len(images) - maxChoices; more > 0 {
		hint += fmt.Sprintf(" and %d more", more)
	}
	if strings.Contains(listed, unpacked) {
		hint += "; DIRECTORY is where you unpack the archive: only a name finds an image in it"
	}
	return hint
}

// unpacked begins references to images of an archive that is unpacked.
const unpacked = "oci:DIRECTORY:"

// choices are references to the first images at place: by the first name that can be typed and no
// image before has, or by position if there is none. References to archives have no positions.
func choices(images [][]string, transport, place string) []string {
	var all []string
	start := transport + ":" + place + ":"
	positions := start
	if transport == "oci-archive" {
		positions = unpacked
	}
	for i, names := range images[:min(len(images), maxChoices)] {
		choice := fmt.Sprintf("%s@%d", positions, i)
		for _, name := range names {
			if !slices.ContainsFunc(images[:i], func(before []string) bool { return slices.Contains(before, name) }) && canBeTyped(start, name) {
				choice = start + name
				break
			}
		}
		all = append(all, choice)
	}
	return all
}

func canBeTyped(start, name string) bool {
	_, err := alltransports.ParseImageName(start + name)
	return err == nil && len(name) <= maxChoice
}

// isThere reports whether a name, or a position after @, is that of one of the images; no name is
// that of the only one, but in bundles.
func isThere(images [][]string, transport, name string) bool {
	if name == "" {
		return len(images) == 1 && transport != "bundle"
	}
	if position, ok := strings.CutPrefix(name, "@"); ok {
		i, err := strconv.Atoi(position)
		return err == nil && i < len(images)
	}
	return slices.ContainsFunc(images, func(names []string) bool { return slices.Contains(names, name) })
}

// normalized is the full name of an image of a registry, as docker-archive and bundle have them.
func normalized(name string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name // it is empty, or a position
	}
	return reference.TagNameOnly(named).String()
}

// readReference returns the reference that could not be opened to be read, "" if err is about
// something else. A destination was to be read only if err says that it lacks an image.
func readReference(err error) string {
	if failed, ok := errors.AsType[*endError](err); ok {
		return failed.what
	}
	failed, ok := errors.AsType[*copy.Error](err)
	if !ok || failed.Side != copy.SourceSide && !lacksImage(err) {
		return ""
	}
	return failed.Object
}

func lacksImage(err error) bool {
	_, inLayout := errors.AsType[layout.ImageNotFoundError](err)
	_, inArchive := errors.AsType[archive.ImageNotFoundError](err)
	return inLayout || inArchive || errors.Is(err, layout.ErrMoreThanOneImage)
}

// inFile takes a reference such as oci:DIRECTORY:NAME apart. The names of images of registries are
// full.
func inFile(text string) (transport, place, name string) {
	transport, text, _ = strings.Cut(text, ":")
	volume := len(filepath.VolumeName(text)) // a drive letter has a colon, too
	place, name, _ = strings.Cut(text[volume:], ":")
	if transport == "docker-archive" || transport == "bundle" {
		name = normalized(name)
	}
	return transport, text[:volume] + place, name
}

// imagesIn returns the names of each image in a layout, an archive or a bundle. For other
// transports, it fails.
func imagesIn(transport, place string) ([][]string, error) {
	switch transport {
	case "oci":
		f, err := openFile(filepath.Join(place, imgspecv1.ImageIndexFile))
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }() // it was only read
		return namesInIndex(f)
	case "oci-archive":
		return namesInArchive(place, imgspecv1.ImageIndexFile, namesInIndex)
	case "docker-archive":
		return namesInArchive(place, "manifest.json", namesInSaved)
	case "bundle":
		record, err := bundle.ReadRecord(place)
		if err != nil {
			return nil, err
		}
		names := make([][]string, len(record.Images))
		for i, image := range record.Images {
			names[i] = []string{image.Name}
		}
		return names, nil
	}
	return nil, fmt.Errorf("%q has no names in files", transport)
}

// openFile opens a file, but not a pipe, which would be waited for.
func openFile(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	return os.Open(path)
}

// namesInArchive reads the names in a file of a tar archive, compressed or not.
func namesInArchive(place, file string, names func(io.Reader) ([][]string, error)) ([][]string, error) {
	f, err := openFile(place)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	content, _, err := compression.AutoDecompress(f)
	if err != nil {
		return nil, err
	}
	defer func() { _ = content.Close() }()
	for files := tar.NewReader(content); ; {
		header, err := files.Next()
		switch {
		case err != nil: // io.EOF, if the file is not there
			return nil, err
		case path.Clean(header.Name) == file:
			return names(files)
		}
	}
}

// annotationImageName is where containerd has the whole name of an image, in the index of a layout.
const annotationImageName = "io.containerd.image.name"

// namesInIndex reads the names in the index.json of a layout or an archive of one. Those that
// containerd gives come first: several images may have the same tag then.
func namesInIndex(r io.Reader) ([][]string, error) {
	var index imgspecv1.Index
	if err := json.NewDecoder(io.LimitReader(r, maxChoiceFile)).Decode(&index); err != nil {
		return nil, err
	}
	names := make([][]string, len(index.Manifests))
	for i, m := range index.Manifests {
		for _, key := range []string{annotationImageName, imgspecv1.AnnotationRefName} {
			if name := m.Annotations[key]; name != "" {
				names[i] = append(names[i], name)
			}
		}
	}
	return names, nil
}

// namesInSaved reads the names in the manifest.json that docker save writes.
func namesInSaved(r io.Reader) ([][]string, error) {
	var images []struct{ RepoTags []string }
	if err := json.NewDecoder(io.LimitReader(r, maxChoiceFile)).Decode(&images); err != nil {
		return nil, err
	}
	names := make([][]string, len(images))
	for i, image := range images {
		for _, tag := range image.RepoTags {
			names[i] = append(names[i], normalized(tag))
		}
	}
	return names, nil
}
