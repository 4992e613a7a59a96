package copy

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/sparsesupport"
)

// asPut is l as a list that a destination may refuse.
func asPut(l *ListPlan) sparsesupport.List {
	put, leftOut := sparsesupport.List{Digest: l.Result}, map[digest.Digest]bool{}
	for _, d := range l.Absent {
		leftOut[d] = true
	}
	for _, ip := range l.Instances {
		d := ip.Digest
		if ip.Nested != nil {
			d = ip.Nested.Result
		}
		if ip.Entry != StripEntry {
			put.Add(d, ip.MediaType, leftOut[ip.Digest])
		}
	}
	return put
}

// digestsIn returns the digests that the detail of a registry's error consists of: a string, the value of a key "digest" or "Digest",
// or an array of these. Digests within a text for people do not count.
func digestsIn(detail json.RawMessage) []digest.Digest {
	var s string
	if json.Unmarshal(detail, &s) == nil {
		if d := digest.Digest(s); d.Validate() == nil {
			return []digest.Digest{d}
		}
		return nil
	}
	var o struct {
		Digest string `json:"digest"`
	}
	if json.Unmarshal(detail, &o) == nil {
		if d := digest.Digest(o.Digest); d.Validate() == nil {
			return []digest.Digest{d}
		}
		return nil
	}
	var a []json.RawMessage
	if json.Unmarshal(detail, &a) != nil {
		return nil
	}
	var all []digest.Digest
	for _, e := range a {
		var nested []json.RawMessage
		if json.Unmarshal(e, &nested) != nil { // one level is enough
			all = append(all, digestsIn(e)...)
		}
	}
	return all
}

// namesAll says whether a registry's answer names all of the given digests.
func namesAll(err error, digests []digest.Digest) bool {
	var registry *endpoint.RegistryError
	if !errors.As(err, &registry) {
		return false
	}
	named := map[digest.Digest]bool{}
	for _, e := range registry.Errors {
		for _, d := range digestsIn(e.Detail) {
			named[d] = true
		}
	}
	return !slices.ContainsFunc(digests, func(d digest.Digest) bool { return !named[d] })
}
