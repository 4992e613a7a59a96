// Package digesttag has the names of tags that stand for a digest, under which cosign files
// signatures and attestations, and other tools what else belongs to an image.
package digesttag

import (
	"regexp"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Suffixes of the tags of cosign (its documentation, "Registry details").
const (
	Signatures   = ".sig"
	Attestations = ".att"
	SBOM         = ".sbom"
)

// Originals is the suffix of the tag that lists what carries the original of a stripped list, where
// referrers cannot be listed.
const Originals = ".original"

// longest is how many characters a tag may have (OCI distribution specification v1.1, "Pulling
// manifests").
const longest = 128

// Name returns the tag that is named after a digest, with a suffix, "" if it would be longer than
// tags are.
func Name(d digest.Digest, suffix string) string {
	tag := strings.Replace(d.String(), ":", "-", 1) + suffix
	if len(tag) > longest {
		return ""
	}
	return tag
}

// form is how tags begin that stand for a digest.
var form = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^sha(256|384|512)-[0-9a-fA-F]{8,}`) })

// Is reports whether a tag is named after a digest, whoever has named it.
func Is(tag string) bool { return form().MatchString(tag) }

// whole is how tags begin that have a whole digest in their names, or as much of it as there is in
// a tag of the referrers tag schema.
var whole = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^sha(256|384|512)-[0-9a-f]{64,}`) })

// Stem returns what a tag has before its suffix, the digest that it is named after: what Name
// returns for that and no suffix, or, of a long digest, what the referrers tag schema makes of it.
// It is "" for a tag that is not named after a whole digest.
func Stem(tag string) string { return whole().FindString(tag) }
