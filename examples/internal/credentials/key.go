package credentials

import (
	"errors"
	"fmt"
	"strings"

	"go.podman.io/image/v5/docker/reference"
)

// A Key is what credentials are for.
type Key struct {
	// Name is a registry, HOST[:PORT], or what begins the names of repositories of one,
	// HOST[:PORT]/NAMESPACE.
	Name string
	// Host is the registry.
	Host string
}

// dockerHub is the registry that Docker means where it names none.
const dockerHub = "docker.io"

// ParseKey parses HOST[:PORT][/NAMESPACE]. A scheme before it (https, http, docker) is taken, and
// so are the other names of Docker Hub, which is docker.io.
func ParseKey(text string) (Key, error) {
	name := text
	for _, scheme := range []string{"docker://", "https://", "http://"} {
		name = strings.TrimPrefix(name, scheme)
	}
	name = strings.TrimRight(name, "/")
	host, namespace, namespaced := strings.Cut(name, "/")
	switch host {
	case "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		if namespace == "v1" || namespace == "v2" { // as files of Docker have it
			namespaced = false
		}
		host = dockerHub
	}
	if host == "" {
		return Key{}, errors.New("write HOST or HOST/NAMESPACE, such as docker.io or registry.example:5000/team")
	}
	name = host
	if namespaced {
		name = host + "/" + namespace
	}
	probe := name
	if !namespaced {
		probe += "/any"
	}
	ref, err := reference.ParseNormalizedNamed(probe)
	switch {
	case err != nil:
		return Key{}, fmt.Errorf("%q: %w", text, err)
	case reference.Domain(ref) != host:
		return Key{}, fmt.Errorf("%q is not the host of a registry, as references have it: docker://%s would be docker://docker.io/%s; write docker.io, HOST.DOMAIN or HOST:PORT", text, name, name)
	case !reference.IsNameOnly(ref):
		return Key{}, fmt.Errorf("%q has a tag or a digest: credentials are for HOST or HOST/NAMESPACE", text)
	}
	return Key{Name: name, Host: host}, nil
}

// namespaced reports whether the key is for a part of its registry.
func (k Key) namespaced() bool { return k.Name != k.Host }

// hubServer is how Docker names Docker Hub in its files, and to programs.
const hubServer = "https://index.docker.io/v1/"

// server is how Docker names the registry in its files, and to programs.
func (k Key) server() string {
	if k.Host == dockerHub {
		return hubServer
	}
	return k.Host
}
