package foreign

import (
	"slices"
	"strings"

	"go.podman.io/image/v5/docker/reference"
)

// A one is an image that a file names by itself, and not by what is to be selected of a repository.
type one struct {
	from        *node
	source      string          // with its transport
	named       reference.Named // of the source, nil if it is in no registry
	destination string          // "" for that of all images
	platforms   []string        // empty for all
	attached    bool            // signatures and what else is attached to it is copied, too
}

// named is the name that a container runtime makes of a text: without a registry it is Docker
// Hub's, and without tag and digest it has the tag latest. If it is no name, n is lost, and nil is
// returned.
func (r *reader) named(n *node, text string) reference.Named {
	named, err := reference.ParseNormalizedNamed(strings.TrimPrefix(strings.TrimSpace(text), "docker://"))
	if err != nil {
		r.lost(n, "%q names no image: %v", text, err)
		return nil
	}
	return reference.TagNameOnly(named)
}

// oneOf is the image of a registry that n names.
func oneOf(n *node, named reference.Named) *one {
	return &one{from: n, named: named, source: "docker://" + named.String()}
}

// ifGoing is the image, or nil if there is no place for it to go to.
func (i *one) ifGoing() *one {
	if i.destination == "" {
		return nil
	}
	return i
}

// ones begins an element for each image; what is named more than once has one, where it is named
// first.
func (r *reader) ones(all []*one) {
	r.unpin(all)
	for _, i := range merged(all) {
		e := r.image(i.from)
		e.set("source", i.source)
		if i.destination == "" {
			r.byDefault().set("destination", r.to())
		} else {
			e.set("destination", i.destination)
		}
		if len(i.platforms) > 0 {
			e.set("platforms", i.platforms)
			e.set("single", "copy")
		}
		if i.attached {
			e.set("referrers", true)
			e.set("digest-tags", "cosign")
		}
	}
}

// unpin has those images copied by their digests alone whose tags others write, too: who names a
// tag and a digest asks registries for the digest.
func (r *reader) unpin(all []*one) {
	writers := map[string]*one{}
	claim := func(i *one, pinned bool) {
		tagged, hasTag := i.named.(reference.NamedTagged)
		canonical, hasDigest := i.named.(reference.Canonical)
		if i.destination != "" || !hasTag || hasDigest != pinned {
			return
		}
		tag := tagged.Name() + ":" + tagged.Tag()
		writer, taken := writers[tag]
		switch {
		case !taken:
			writers[tag] = i
		case writer.source != i.source:
			byDigest, err := reference.WithDigest(reference.TrimNamed(i.named), canonical.Digest())
			if err != nil {
				r.problem(i.from, "%v", err)
				return
			}
			i.named, i.source = byDigest, "docker://"+byDigest.String()
			r.note(i.from, "the tag %s is what line %d says; this image is copied by its digest alone", tagged.Tag(), writer.from.at())
		}
	}
	for _, pinned := range []bool{false, true} {
		for _, i := range all {
			claim(i, pinned)
		}
	}
}

// merged returns the images without those that were named before. It is for the platforms of all of
// them.
func merged(all []*one) []*one {
	var distinct []*one
	by := map[string]*one{}
	for _, i := range all {
		key := i.source + " " + i.destination
		known := by[key]
		if known == nil {
			by[key], distinct = i, append(distinct, i)
			continue
		}
		known.attached = known.attached || i.attached
		if len(known.platforms) == 0 || len(i.platforms) == 0 {
			known.platforms = nil
			continue
		}
		known.platforms = append(slices.Clip(known.platforms), i.platforms...)
	}
	for _, i := range distinct {
		i.platforms = unique(i.platforms)
	}
	return distinct
}

// unique returns the texts in their order, each once.
func unique(texts []string) []string {
	var distinct []string
	for _, text := range texts {
		if !slices.Contains(distinct, text) {
			distinct = append(distinct, text)
		}
	}
	return distinct
}
