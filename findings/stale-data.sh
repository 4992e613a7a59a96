#!/usr/bin/env bash
# What:     containers/image gives an entry of a list a new digest, and leaves it the old content.
# Packages: go.podman.io/image/v5 v5.42.1; github.com/google/go-containerregistry v0.22.1 (crane);
#           oras.land/oras v1.3.6; github.com/olareg/olareg v0.2.2
# Expected: an entry that is changed has the data of its new content, or none. data embeds the
#           content, and decoded has to be what digest and size say (OCI image specification 1.1.1,
#           descriptor.md).
# Seen:     UpdateInstances of a list changes digest, size and type of an entry, as a copy does that
#           compresses layers anew, and keeps its data. crane, which reads data in place of asking
#           the registry, then says that it has another digest than it wants, and can neither copy
#           nor filter the list. oras, which asks, copies it.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool github.com/google/go-containerregistry/cmd/crane@v0.22.1
tool oras.land/oras/cmd/oras@v1.3.6
registry_olareg v0.2.2
program update go.podman.io/image/v5@v5.42.1 <<-'GO'
	package main

	import (
		"fmt"
		"io"
		"log"
		"os"
		"strconv"

		"github.com/opencontainers/go-digest"
		"go.podman.io/image/v5/manifest"
	)

	// update DIGEST SIZE TYPE reads a list of one entry, gives that these, and prints the list.
	func main() {
		document, err := io.ReadAll(os.Stdin)
		if err != nil {
			log.Fatal(err)
		}
		list, err := manifest.ListFromBlob(document, manifest.GuessMIMEType(document))
		if err != nil {
			log.Fatal(err)
		}
		size, err := strconv.ParseInt(os.Args[2], 10, 64)
		if err != nil {
			log.Fatal(err)
		}
		if err := list.UpdateInstances([]manifest.ListUpdate{
			{Digest: digest.Digest(os.Args[1]), Size: size, MediaType: os.Args[3]},
		}); err != nil {
			log.Fatal(err)
		}
		document, err = list.Serialize()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s", document)
	}
GO
serve host olareg

before=$(image "$host/app" before)
after=$(image "$host/app" after)
content=$(get "$host/app" "$(digest_of "$before")" | base64 -w 0)
list="{\"schemaVersion\":2,\"mediaType\":\"$index\",\"manifests\":[{$before,\"data\":\"$content\",
	\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}}]}"
put "$host/app" before "$index" <<<"$list" >/dev/null
update "$(digest_of "$after")" "$(sed 's/.*"size"://' <<<"$after")" "$manifest" <<<"$list" |
	put "$host/app" after "$index" >/dev/null

same "that the changed entry has the old data" "$(get "$host/app" after | count "\"data\":\"$content\"")" 1
# worked COMMAND... prints whether a command works.
worked() { if "$@" >"$work/out" 2>&1; then echo yes; else echo no; fi; }

same "that crane copies the list as it was" "$(worked crane copy "$host/app:before" "$host/crane:before")" yes
same "that crane copies the list as changed" "$(worked crane copy "$host/app:after" "$host/crane:after")" no
same "what crane says" "$(count 'error verifying Digest' <"$work/out")" 1
same "that crane filters the list as changed" \
	"$(worked crane index filter --platform linux/amd64 -t "$host/app:filtered" "$host/app:after")" no
same "that oras copies the list as changed" \
	"$(worked oras cp --from-plain-http --to-plain-http "$host/app:after" "$host/oras:after")" yes
seen "an entry that containers/image changed keeps its old data, and crane cannot copy the list"
