# What the findings share. A finding sources this file; it is no program of its own.
#
# A finding gets a folder of its own, $work, which is gone when it ends, as are the registries that
# it started. Tools and registries are built from the versions that it names. All traffic but
# theirs stays on 127.0.0.1.

set -euo pipefail

name=$(basename "$0" .sh)
GOCACHE=$(go env GOCACHE) GOMODCACHE=$(go env GOMODCACHE)
work=$(mktemp -d)
pids=()
said=

# The tools find neither configuration nor credentials of the machine.
export GOCACHE GOMODCACHE HOME=$work DOCKER_CONFIG=$work XDG_CONFIG_HOME=$work CGO_ENABLED=0 GOWORK=off GOFLAGS=
export GOBIN=$work/bin PATH=$work/bin:$PATH

finish() {
	local status=$?
	if ((${#pids[@]})); then
		kill "${pids[@]}" 2>/dev/null || true
		wait "${pids[@]}" 2>/dev/null || true
	fi
	rm -rf "$work"
	if ((status != 0)) && [[ -z $said ]]; then
		echo "$name: a command failed with exit code $status that was not expected to" >&2
		exit 2
	fi
}
trap finish EXIT

index=application/vnd.oci.image.index.v1+json
manifest=application/vnd.oci.image.manifest.v1+json
config=application/vnd.oci.image.config.v1+json
layer=application/vnd.oci.image.layer.v1.tar+gzip
empty=application/vnd.oci.empty.v1+json

# tool PACKAGE@VERSION installs a Go program.
tool() {
	nice go install "$1" >"$work/log" 2>&1 || broken "$1 cannot be installed" "$(cat "$work/log")"
}

# program NAME MODULE@VERSION... builds a Go program, whose main.go is read from standard input.
program() {
	local dir=$work/src/$1 name=$1
	shift
	mkdir -p "$dir"
	cat >"$dir/main.go"
	(cd "$dir" && go mod init finding && go get "$@" && nice go build -mod=mod -o "$work/bin/$name" .) \
		>"$work/log" 2>&1 || broken "$name cannot be built" "$(cat "$work/log")"
}

# serve VARIABLE PROGRAM ARGUMENT... starts a program whose first line of output is its address,
# and puts that into the variable. From now on, what would leave the machine ends at a port where
# nobody listens: install everything before.
serve() {
	local -n address=$1
	export HTTP_PROXY=http://127.0.0.1:9 HTTPS_PROXY=http://127.0.0.1:9 NO_PROXY=127.0.0.1
	export http_proxy=$HTTP_PROXY https_proxy=$HTTPS_PROXY no_proxy=$NO_PROXY
	local pipe=$work/pipe.${#pids[@]}
	mkfifo "$pipe"
	"${@:2}" >"$pipe" 2>/dev/null &
	pids+=("$!")
	read -r address <"$pipe"
}

# registry_ggcr VERSION, and the others, build a registry of a module's own: one in memory, with
# nothing in it. Start it with serve.
registry_ggcr() {
	program ggcr "github.com/google/go-containerregistry@$1" <<-'GO'
		package main

		import (
			"fmt"
			"io"
			"log"
			"net"
			"net/http"

			"github.com/google/go-containerregistry/pkg/registry"
		)

		func main() {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				log.Fatal(err)
			}
			fmt.Println(l.Addr())
			quiet := registry.Logger(log.New(io.Discard, "", 0))
			log.Fatal(http.Serve(l, registry.New(quiet, registry.WithReferrersSupport(true))))
		}
	GO
}

registry_olareg() {
	program olareg "github.com/olareg/olareg@$1" <<-'GO'
		package main

		import (
			"fmt"
			"log"
			"net"
			"net/http"

			"github.com/olareg/olareg"
			"github.com/olareg/olareg/config"
		)

		func main() {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				log.Fatal(err)
			}
			fmt.Println(l.Addr())
			log.Fatal(http.Serve(l, olareg.New(config.Config{Storage: config.ConfigStorage{StoreType: config.StoreMem}})))
		}
	GO
}

# It wants all children of a list to be there, or those of which platforms it is told: serve host
# distribution none.
registry_distribution() {
	program distribution "github.com/distribution/distribution/v3@$1" <<-'GO'
		package main

		import (
			"context"
			"fmt"
			"log"
			"net"
			"net/http"
			"os"

			"github.com/distribution/distribution/v3/configuration"
			"github.com/distribution/distribution/v3/registry/handlers"
			_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
		)

		func main() {
			c := &configuration.Configuration{
				Storage: configuration.Storage{"inmemory": {}},
				Catalog: configuration.Catalog{MaxEntries: 1000},
				Tags:    configuration.Tags{MaxTags: 1000},
			}
			c.Validation.Manifests.Indexes.Platforms = "all"
			if len(os.Args) > 1 {
				c.Validation.Manifests.Indexes.Platforms = configuration.Platforms(os.Args[1])
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				log.Fatal(err)
			}
			fmt.Println(l.Addr())
			log.Fatal(http.Serve(l, handlers.NewApp(context.Background(), c)))
		}
	GO
}

# digest prints the digest of standard input.
digest() { sha256sum | sed 's/\(.*\)  -/sha256:\1/'; }

# blob HOST/REPOSITORY TYPE stores standard input as a blob, and prints the inside of a descriptor.
blob() {
	local file=$work/blob.$BASHPID location d
	cat >"$file"
	d=$(digest <"$file")
	location=$(curl -fsS -X POST -o /dev/null -w '%header{location}' "http://${1%%/*}/v2/${1#*/}/blobs/uploads/")
	case $location in
	/*) location=http://${1%%/*}$location ;;
	esac
	case $location in
	*\?*) location+="&digest=$d" ;;
	*) location+="?digest=$d" ;;
	esac
	curl -fsS -X PUT -H 'Content-Type: application/octet-stream' --data-binary "@$file" "$location"
	printf '"mediaType":"%s","digest":"%s","size":%d' "$2" "$d" "$(wc -c <"$file")"
}

# put HOST/REPOSITORY TAG TYPE stores standard input as a manifest, by its digest where the tag is
# empty, and prints the inside of a descriptor.
put() {
	local file=$work/manifest.$BASHPID d
	cat >"$file"
	d=$(digest <"$file")
	curl -fsS -X PUT -H "Content-Type: $3" --data-binary "@$file" \
		"http://${1%%/*}/v2/${1#*/}/manifests/${2:-$d}"
	printf '"mediaType":"%s","digest":"%s","size":%d' "$3" "$d" "$(wc -c <"$file")"
}

# image HOST/REPOSITORY LABEL [CONFIG [MANIFEST]] stores an image with a label, and prints the
# inside of its descriptor. CONFIG and MANIFEST are fields more for these documents, each with a
# comma behind it; CONFIG is linux/amd64 by default.
image() {
	local c l
	c=$(printf '{%s"rootfs":{"type":"layers","diff_ids":[]},"config":{"Labels":{"finding":"%s"}}}' \
		"${3:-\"os\":\"linux\",\"architecture\":\"amd64\",}" "$2" | blob "$1" "$config")
	l=$(printf '%s' "$2" | blob "$1" "$layer")
	printf '{"schemaVersion":2,"mediaType":"%s",%s"config":{%s},"layers":[{%s}]}' "$manifest" "${4-}" "$c" "$l" |
		put "$1" "" "$manifest"
}

# attach HOST/REPOSITORY DESCRIPTOR TYPE ANNOTATIONS stores a referrer of what the descriptor names,
# and prints the inside of its descriptor. ANNOTATIONS is the inside of an object.
attach() {
	local e
	e=$(printf '{}' | blob "$1" "$empty")
	printf '{"schemaVersion":2,"mediaType":"%s","artifactType":"%s","config":{%s},"layers":[{%s}],"subject":{%s},"annotations":{%s}}' \
		"$manifest" "$3" "$e" "$e" "$2" "$4" | put "$1" "" "$manifest"
}

# signing makes a key for sign, from which cosign signs without asking anybody.
signing() {
	export COSIGN_PASSWORD=
	(cd "$work" && cosign generate-key-pair) >"$work/log" 2>&1 || broken "cosign makes no key" "$(cat "$work/log")"
}

# sign REFERENCE signs with cosign's usual format, and leaves out the transparency log.
sign() {
	cosign sign --key "$work/cosign.key" --use-signing-config=false --tlog-upload=false -y "$1" >"$work/log" 2>&1 ||
		broken "cosign does not sign" "$(cat "$work/log")"
}

# count PATTERN prints how often an extended regular expression matches in standard input.
count() { { grep -oE "$1" || true; } | wc -l; }

# digest_of DESCRIPTOR prints the digest in the inside of a descriptor.
digest_of() { sed -E 's/.*"digest":"([^"]*)".*/\1/' <<<"$1"; }

# get HOST/REPOSITORY REFERENCE prints a manifest as it is stored.
get() {
	curl -fsS -H "Accept: $index, $manifest" "http://${1%%/*}/v2/${1#*/}/manifests/$2"
}

# choosers builds what is needed to ask containers/image and containerd, as a library each, which
# entry of a list they would choose.
choosers() {
	program choose go.podman.io/image/v5@v5.42.1 github.com/containerd/containerd/v2@v2.4.2 \
		github.com/containerd/platforms@v1.0.0-rc.5 <<-'GO'
		package main

		import (
			"bytes"
			"context"
			"fmt"
			"io"
			"log"
			"net/http"
			"os"
			"strings"

			"github.com/containerd/containerd/v2/core/content"
			"github.com/containerd/containerd/v2/core/images"
			"github.com/containerd/platforms"
			"github.com/opencontainers/go-digest"
			ocispec "github.com/opencontainers/image-spec/specs-go/v1"
			"go.podman.io/image/v5/manifest"
			"go.podman.io/image/v5/types"
		)

		// A repository gives contents by their digest. It notes which manifests were read.
		type repository struct {
			url  string
			read []digest.Digest
		}

		type reader struct{ *bytes.Reader }

		func (reader) Close() error { return nil }

		func (r *repository) ReaderAt(_ context.Context, d ocispec.Descriptor) (content.ReaderAt, error) {
			kind := "/manifests/"
			if strings.Contains(d.MediaType, ".config.") {
				kind = "/blobs/"
			} else {
				r.read = append(r.read, d.Digest)
			}
			b, err := get(r.url + kind + d.Digest.String())
			return reader{bytes.NewReader(b)}, err
		}

		func get(url string) ([]byte, error) {
			req, err := http.NewRequest(http.MethodGet, url, nil)
			if err != nil {
				return nil, err
			}
			req.Header.Set("Accept", ocispec.MediaTypeImageIndex+", "+ocispec.MediaTypeImageManifest)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return nil, err
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return nil, fmt.Errorf("%s: %s", url, resp.Status)
			}
			return io.ReadAll(resp.Body)
		}

		// choose LIBRARY REPOSITORY-URL TAG PLATFORM prints the digest of the entry that is chosen.
		func main() {
			r := &repository{url: os.Args[2]}
			list, err := get(r.url + "/manifests/" + os.Args[3])
			if err != nil {
				log.Fatal(err)
			}
			p, err := platforms.Parse(os.Args[4])
			if err != nil {
				log.Fatal(err)
			}
			if os.Args[1] == "containers" {
				l, err := manifest.ListFromBlob(list, ocispec.MediaTypeImageIndex)
				if err != nil {
					log.Fatal(err)
				}
				wanted := &types.SystemContext{OSChoice: p.OS, ArchitectureChoice: p.Architecture}
				if parts := strings.Split(os.Args[4], "/"); len(parts) == 3 {
					wanted.VariantChoice = parts[2]
				}
				d, err := l.ChooseInstance(wanted)
				if err != nil {
					log.Fatal(err)
				}
				fmt.Println(d)
				return
			}
			d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(list), Size: int64(len(list))}
			if _, err := images.Manifest(context.Background(), r, d, platforms.Only(p)); err != nil {
				log.Fatal(err)
			}
			// The manifest that is returned was read last.
			fmt.Println(r.read[len(r.read)-1])
		}
	GO
}

# choice WHO HOST/REPOSITORY:TAG PLATFORM prints which entry of a list a tool chooses, by the array
# names of names and descriptors: "none" if there is none.
choice() {
	local repository=${2%:*} tag=${2##*:} host=${2%%/*} d i
	case $1 in
	crane) d=$(crane digest --platform "$3" "$2" 2>/dev/null) || d= ;;
	oras) d=$(oras resolve --plain-http --platform "$3" "$2" 2>/dev/null) || d= ;;
	regctl) d=$(regctl --host "reg=$host,tls=disabled" manifest head --platform "$3" "$2" 2>/dev/null) || d= ;;
	*) d=$(choose "$1" "http://$host/v2/${repository#*/}" "$tag" "$3" 2>/dev/null) || d= ;;
	esac
	for ((i = 0; i < ${#names[@]}; i += 2)); do
		if [[ -n $d && ${names[i + 1]} == *"$d"* ]]; then
			echo "${names[i]}"
			return
		fi
	done
	echo "${d:-none}"
}

# broken WHAT [DETAIL] says that the finding could not be made at all.
broken() {
	echo "$name: $1${2:+: $2}" >&2
	said=yes
	exit 2
}

# same WHAT SEEN RECORDED fails if what was seen is not what was recorded.
same() {
	if [[ $2 != "$3" ]]; then
		echo "$name: changed: $1: it was \"$3\", and is \"$2\" now" >&2
		said=yes
		exit 1
	fi
}

# seen SENTENCE ends a finding whose behaviour is what was recorded.
seen() { echo "$name: $1"; }
