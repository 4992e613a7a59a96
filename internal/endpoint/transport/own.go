package transport

import (
	"reflect"
	"sync"

	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/types"
)

// Wrapped reports whether ref looks like a reference of docker:, oci:, oci-archive: or dir:, and is
// of another package, which wraps such references to do something of its own when they are opened.
// Then nothing may be done around its NewImageSource and NewImageDestination.
func Wrapped(ref types.ImageReference) bool {
	switch ref.Transport().Name() {
	case docker.Transport.Name():
		return reflect.TypeOf(ref) != dockerReference()
	case layout.Transport.Name(), archive.Transport.Name(), directory.Transport.Name():
		parsed, err := ref.Transport().ParseReference(ref.StringWithinTransport())
		return err != nil || reflect.TypeOf(parsed) != reflect.TypeOf(ref)
	}
	return false
}

// dockerReference returns the type of the references of docker:.
var dockerReference = sync.OnceValue(func() reflect.Type {
	ref, err := docker.ParseReference("//example.com/name:tag")
	if err != nil {
		panic(err)
	}
	return reflect.TypeOf(ref)
})

// own is the name of the transport that ref belongs to, "" if it is wrapped.
func own(ref types.ImageReference) string {
	if Wrapped(ref) {
		return ""
	}
	return ref.Transport().Name()
}
