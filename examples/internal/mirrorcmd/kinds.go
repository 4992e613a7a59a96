package mirrorcmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// kinds are what transports of files read, in words.
var kinds = map[string]string{
	"oci": "a layout", "dir": "a directory with one image", "oci-archive": "an archive of a layout", "docker-archive": "an archive of docker save",
}

const dirManifest = "manifest.json" // what dir: reads first

// otherKindHint says what is at a place where a transport does not find its kind of files, and how
// that is written; "" for other transports, and where the transport is the right one.
func otherKindHint(transport, place string) string {
	if kinds[transport] == "" {
		return ""
	}
	switch found := transportOf(place); {
	case found == transport:
		return ""
	case found != "":
		return fmt.Sprintf("; %s is %s: write %s", place, kinds[found], written(found, place))
	case transport == "oci" && lacksFile(place, imgspecv1.ImageIndexFile):
		return "; " + place + " is no layout"
	case transport == "dir" && lacksFile(place, dirManifest):
		return "; " + place + " is no directory with an image"
	}
	return ""
}

// transportOf returns the transport that reads what is at place, "" if none does.
func transportOf(place string) string {
	for _, transport := range []string{"oci", "oci-archive", "docker-archive"} {
		if _, err := imagesIn(transport, place); err == nil {
			return transport
		}
	}
	if info, err := os.Stat(filepath.Join(place, dirManifest)); err == nil && info.Mode().IsRegular() {
		return "dir"
	}
	return ""
}

// written is what to type for the images at place.
func written(transport, place string) string {
	images, err := imagesIn(transport, place)
	if err != nil || len(images) == 0 {
		return transport + ":" + place
	}
	return strings.Join(choices(images, transport, place), " or ")
}

func lacksFile(directory, file string) bool {
	_, err := os.Stat(filepath.Join(directory, file))
	return errors.Is(err, fs.ErrNotExist)
}
