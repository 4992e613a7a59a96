package transport

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// annotationImageName is where containerd, and with it docker save and BuildKit, has the whole name
// of an image; its org.opencontainers.image.ref.name is the tag alone.
const annotationImageName = "io.containerd.image.name"

func (e *indexEntry) imageName() string { return e.Annotations[annotationImageName] }

// readable reports whether an entry may be that of an image or list. Some writers state nothing.
func (e *indexEntry) readable() bool {
	switch e.MediaType {
	case "", imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex,
		manifest.MediaTypeDockerManifest, manifest.MediaTypeDockerList:
		return true
	}
	return false
}

// chosen returns the position of the entry that is meant by the image part of a source's reference:
// "" for the only one, @N, or a name, as the image-spec has it, else as containerd has it. Of
// several with the same name, it is the first. It returns -1 if there is none, and an error if
// these are different images that only have the same tag.
func (x *layoutIndex) chosen(image string) (int, error) {
	if image == "" {
		if len(x.entries) == 1 {
			return 0, nil
		}
		return -1, nil
	}
	if position, ok := strings.CutPrefix(image, "@"); ok {
		n, err := strconv.Atoi(position)
		if err != nil || n < 0 || n >= len(x.entries) {
			return -1, nil //nolint:nilerr // there is no such position
		}
		return n, nil
	}
	if called := x.positions(image, (*indexEntry).name); len(called) > 0 {
		return called[0], x.sameImage(image, called)
	}
	if called := x.positions(image, (*indexEntry).imageName); len(called) > 0 {
		return called[0], nil
	}
	return -1, nil
}

// positions are those of the readable entries that have a name.
func (x *layoutIndex) positions(wanted string, name func(*indexEntry) string) []int {
	var all []int
	for i := range x.entries {
		if e := &x.entries[i]; e.readable() && name(e) == wanted {
			all = append(all, i)
		}
	}
	return all
}

// sameImage returns an error if entries that are called tag have different names otherwise, and
// different content.
func (x *layoutIndex) sameImage(tag string, positions []int) error {
	first := x.entries[positions[0]]
	ambiguous := false
	var names []string
	for _, i := range positions {
		e := x.entries[i]
		name := e.imageName()
		if name == "" {
			continue
		}
		ambiguous = ambiguous || first.imageName() != "" && name != first.imageName() && e.Digest != first.Digest
		if name = strconv.Quote(name); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if !ambiguous {
		return nil
	}
	return fmt.Errorf("%q is the tag of several images, name one of %s", tag, strings.Join(names, ", "))
}
