package copy

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// A refusal is what a destination's answer to a list says about sparse lists.
type refusal int

const (
	// refusedOtherwise has nothing to do with absent children.
	refusedOtherwise refusal = iota
	// refusedSparse names absent children, and nothing else.
	refusedSparse
	// refusedLost names children that are supposed to be there.
	refusedLost
	// refusedUnclear may be about absent children: the answer does not name them.
	refusedUnclear
)

// Codes by which registries refuse a list with absent children. They, and never a status alone or a text for people, decide.
var (
	// sparseCodes say that something which the list names is not there.
	sparseCodes = []string{"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "ReferencedImagesNotFound", "NOT_FOUND"}
	// unclearCodes may say so.
	unclearCodes = []string{"MANIFEST_INVALID"}
	// refusalStatuses are those of such answers: others are about access, conflicts, sizes and the like, whatever their codes.
	refusalStatuses = []int{http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity}
)

// classifyRefusal says what err, the answer to the PUT of a list, is about. absent are the children that were deliberately left
// out. The second result are the children that the answer names and that should be there.
func classifyRefusal(err error, absent []digest.Digest) (refusal, []digest.Digest) {
	var registry *endpoint.RegistryError
	if !errors.As(err, &registry) || registry.TokenService || !slices.Contains(refusalStatuses, registry.Status) || len(registry.Errors) == 0 {
		return refusedOtherwise, nil
	}
	unclear := false
	var named, lost []digest.Digest
	for _, e := range registry.Errors {
		known := slices.Contains(sparseCodes, e.Code)
		if !known && !slices.Contains(unclearCodes, e.Code) {
			return refusedOtherwise, nil
		}
		digests := digestsIn(e.Detail)
		if !known || len(digests) == 0 {
			unclear = true
		}
		named = append(named, digests...)
	}
	leftOut := map[digest.Digest]bool{}
	for _, d := range absent {
		leftOut[d] = true
	}
	for _, d := range named {
		if !leftOut[d] {
			lost = append(lost, d)
		}
	}
	switch {
	case len(lost) > 0 && !unclear:
		return refusedLost, lost
	case unclear:
		return refusedUnclear, nil
	}
	return refusedSparse, nil
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
