#!/usr/bin/env bash
# What:     crane pull with a cache, again after a run that the registry has refused a layer.
# Packages: github.com/google/go-containerregistry v0.22.1 (crane);
#           github.com/olareg/olareg v0.2.2
# Expected: the next run gets the layer, as one without a cache does; what is no layer of the image
#           is not written as if it were.
# Seen:     crane makes the file in the cache before it asks for the layer, and leaves it empty if
#           the registry answers 429. From then on the layer is "found in cache". With --format
#           legacy, crane writes an image whose layer has no bytes, and ends with 0, each time; with
#           --format oci it fails, each time, with "but only wrote 23".
#           An image whose layer is a tar that is not compressed needs no refusal: the first run
#           fills the cache, and all others fail, because what is not compressed in the cache is
#           compressed when it is read.
# Run:      2026-11-30

source "$(dirname "$0")/lib.sh"
tool github.com/google/go-containerregistry/cmd/crane@v0.22.1
program refusing github.com/olareg/olareg@v0.2.2 <<-'GO'
	package main

	import (
		"fmt"
		"log"
		"net"
		"net/http"
		"os"

		"github.com/olareg/olareg"
		"github.com/olareg/olareg/config"
	)

	// refusing FILE is a registry that refuses the blob whose digest is in the file, if there is one.
	func main() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(l.Addr())
		registry := olareg.New(config.Config{Storage: config.ConfigStorage{StoreType: config.StoreMem}})
		mux := http.NewServeMux()
		mux.Handle("/", registry)
		mux.HandleFunc("GET /v2/image/blobs/{digest}", func(w http.ResponseWriter, r *http.Request) {
			if b, err := os.ReadFile(os.Args[1]); err == nil && string(b) == r.PathValue("digest") {
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			registry.ServeHTTP(w, r)
		})
		log.Fatal(http.Serve(l, mux))
	}
GO
serve host refusing "$work/refused"

mkdir "$work/root"
seq 5000 >"$work/root/file"
tar -C "$work/root" -cf "$work/layer.tar" file

# made TAG TYPE COMPRESS... stores an image, whose layer is the tar, at a tag, and notes the
# layer's digest in a file of the tag's name.
made() {
	local c l
	c=$(printf '{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["%s"]}}' \
		"$(digest <"$work/layer.tar")" | blob "$host/image" "$config")
	l=$("${@:3}" <"$work/layer.tar" | blob "$host/image" "$2")
	digest_of "$l" >"$work/$1"
	printf '{"schemaVersion":2,"mediaType":"%s","config":{%s},"layers":[{%s}]}' "$manifest" "$c" "$l" |
		put "$host/image" "$1" "$manifest" >/dev/null
}

# pull TAG FORMAT [OPTION...] pulls an image to a place of its own, and prints the exit status.
pull() {
	rm -rf "$work/pulled"
	crane pull --format "$2" "${@:3}" "$host/image:$1" "$work/pulled" >"$work/log" 2>&1 && echo 0 || echo $?
}

# written prints the size of the layer in the pulled legacy archive.
written() { tar -xOf "$work/pulled" --wildcards '*/layer.tar' | wc -c; }

made gzip "$layer" gzip -n
made plain "${layer%+gzip}" cat
size=$(wc -c <"$work/layer.tar")

same "legacy, without a cache" "$(pull gzip legacy) $(written)" "0 $size"
tr -d "\n" <"$work/gzip" >"$work/refused"
same "legacy, refused" "$(pull gzip legacy -c "$work/cache-legacy")" 1
same "oci, refused" "$(pull gzip oci -c "$work/cache-oci")" 1
rm "$work/refused"
for run in second third; do
	same "legacy, $run run" "$(pull gzip legacy -c "$work/cache-legacy") $(written)" "0 0"
	same "oci, $run run" "$(pull gzip oci -c "$work/cache-oci") $(count 'expected blob size [0-9]+, but only wrote 23$' <"$work/log")" "1 1"
done
same "oci, without a cache" "$(pull gzip oci)" 0

same "a plain layer, first run" "$(pull plain oci -c "$work/cache-plain")" 0
same "a plain layer, second run" "$(pull plain oci -c "$work/cache-plain") $(count 'but only wrote' <"$work/log")" "1 1"
seen "crane pulls an empty layer with exit status 0, or fails forever, once a registry has refused it with a cache"
