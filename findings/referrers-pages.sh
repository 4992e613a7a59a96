#!/usr/bin/env bash
# What:     go-containerregistry reads the first page of a list of referrers, and says nothing.
# Packages: github.com/google/go-containerregistry v0.22.1 (pkg/v1/remote); oras.land/oras v1.3.6;
#           github.com/regclient/regclient v0.11.7 (regctl); github.com/olareg/olareg v0.2.2
# Expected: all referrers. The OCI distribution specification 1.1 ("Listing Referrers") lets a
#           registry answer in pages, and has the next one in a Link header.
# Seen:     remote.Referrers gives 41 of 60 referrers, without an error; cosign looks for signatures
#           with it. olareg begins a page after 4 MiB, which 41 referrers with 100,000 bytes of
#           annotations fill. regctl lists 60, and so does oras.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool oras.land/oras/cmd/oras@v1.3.6
tool github.com/regclient/regclient/cmd/regctl@v0.11.7
registry_olareg v0.2.2
program referrers github.com/google/go-containerregistry@v0.22.1 <<-'GO'
	package main

	import (
		"fmt"
		"log"
		"os"

		"github.com/google/go-containerregistry/pkg/name"
		"github.com/google/go-containerregistry/pkg/v1/remote"
	)

	func main() {
		digest, err := name.NewDigest(os.Args[1])
		if err != nil {
			log.Fatal(err)
		}
		list, err := remote.Referrers(digest)
		if err != nil {
			log.Fatal(err)
		}
		m, err := list.IndexManifest()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(m.Manifests))
	}
GO
serve host olareg

subject=$(image "$host/app" app)
long=$(head -c 100000 /dev/zero | tr '\0' x)
for i in {1..60}; do
	attach "$host/app" "$subject" application/vnd.example.note "\"org.example.number\":\"$i\",\"org.example.text\":\"$long\"" >/dev/null
done
ref=$host/app@$(digest_of "$subject")

same "referrers that regctl lists" \
	"$(regctl --host "reg=$host,tls=disabled" artifact list --format body "$ref" | count '"artifactType":')" 60
same "referrers that oras lists" \
	"$(oras discover --plain-http --format json "$ref" | count '"artifactType":')" 60
same "referrers that go-containerregistry lists" "$(referrers "$ref")" 41
seen "remote.Referrers gives 41 of 60 referrers"
