#!/usr/bin/env bash
# What:     ociserver without the referrers API says that it has it, and oras loses what it
#           attaches.
# Packages: cuelabs.dev/go/oci/ociregistry v0.0.0-20251212221603-3adeb8663819; oras.land/oras
#           v1.3.6; github.com/regclient/regclient v0.11.7 (regctl)
# Expected: with Options.DisableReferrersAPI no OCI-Subject header: a registry sends it to say that
#           it has processed the subject, and a client that does not see it has to write the list of
#           referrers to a tag (OCI distribution specification 1.1, "Pushing Manifests with
#           Subject").
# Seen:     the server answers the push of a referrer with OCI-Subject, and GET of referrers with
#           404. oras attach and regctl artifact put go by the header, write no tag, and end with
#           exit code 0; neither oras discover nor regctl artifact list finds anything afterwards.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool oras.land/oras/cmd/oras@v1.3.6
tool github.com/regclient/regclient/cmd/regctl@v0.11.7
program ociserver cuelabs.dev/go/oci/ociregistry@v0.0.0-20251212221603-3adeb8663819 <<-'GO'
	package main

	import (
		"fmt"
		"log"
		"net"
		"net/http"

		"cuelabs.dev/go/oci/ociregistry/ocimem"
		"cuelabs.dev/go/oci/ociregistry/ociserver"
	)

	func main() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(l.Addr())
		log.Fatal(http.Serve(l, ociserver.New(ocimem.New(), &ociserver.Options{DisableReferrersAPI: true})))
	}
GO
serve host ociserver

subject=$(image "$host/app" app)
digest=$(digest_of "$subject")
ref=$host/app@$digest
note=$(attach "$host/app" "$subject" application/vnd.example.note '')
get "$host/app" "$(digest_of "$note")" >"$work/note.json"
same "OCI-Subject in the answer to a referrer" "$(curl -fsS -o /dev/null -w '%header{oci-subject}' -X PUT \
	-H "Content-Type: $manifest" --data-binary "@$work/note.json" "http://$host/v2/app/manifests/note")" "$digest"
same "status of the referrers API" \
	"$(curl -sS -o /dev/null -w '%{http_code}' "http://$host/v2/app/referrers/$digest")" 404

echo note >"$work/note"
(cd "$work" && oras attach --plain-http --artifact-type application/vnd.example.oras "$ref" note >/dev/null)
regctl="regctl --host reg=$host,tls=disabled artifact"
$regctl put --artifact-type application/vnd.example.regctl --subject "$ref" -f "$work/note" >/dev/null
same "referrers tags" "$(curl -fsS "http://$host/v2/app/tags/list" | count "${digest/:/-}")" 0
same "referrers that oras finds" "$(oras discover --plain-http --format json "$ref" | count '"artifactType":')" 0
same "referrers that regctl finds" "$($regctl list --format body "$ref" | count '"artifactType":')" 0
seen "oras and regctl find nothing of what they have attached, without an error"
