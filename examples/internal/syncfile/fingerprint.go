package syncfile

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"go.yaml.in/yaml/v3"
)

// manners are keys that say how and when images are copied, and nothing about what their
// destinations are to have.
var manners = []string{"parallel", "check", "check-blobs", keyEvery, keyCron, keyJitter}

// fingerprint returns the digest of what keys say that changes what destinations are to have: all
// but the images' names, how tags are chosen, and manners. It is the same wherever a key stands,
// and however it is written.
func fingerprint(keys map[string]*yaml.Node) digest.Digest {
	return digestOf(keys, func(key string) bool {
		return slices.Contains(imageKeys, key) || slices.Contains(choosing, key) || slices.Contains(manners, key) || key == "destination"
	})
}

// whole returns the digest of all that keys say, but for when.
func whole(keys map[string]*yaml.Node) digest.Digest {
	return digestOf(keys, func(key string) bool { return key == keyEvery || key == keyCron || key == keyJitter })
}

// digestOf returns the digest of what keys say that are not left out.
func digestOf(keys map[string]*yaml.Node, leftOut func(key string) bool) digest.Digest {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if !leftOut(key) {
			b.WriteString(strconv.Quote(key) + ": ")
			canonical(&b, keys[key])
			b.WriteString("\n")
		}
	}
	return digest.FromString(b.String())
}

// canonical writes what a node says.
func canonical(b *strings.Builder, node *yaml.Node) {
	node = resolve(node)
	if node.Kind == yaml.ScalarNode {
		b.WriteString(strconv.Quote(node.Value))
		return
	}
	b.WriteString("[")
	for _, n := range node.Content {
		canonical(b, n)
		b.WriteString(" ")
	}
	b.WriteString("]")
}
