package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// An outcome is what a tool left at a destination.
type outcome struct {
	err     error
	tree    string   // what the tag names, and what that names, by name; "" for no tag
	arrived []string // names of all that is there and is no list, sorted
	beside  []string // those of them that the tag does not lead to, sorted
	list    string   // what became of the list
}

// there describes what arrived, in a few words.
func (o outcome) there() string {
	if o.tree == "" {
		return "nothing"
	}
	if len(o.beside) == 0 {
		return o.tree
	}
	return o.tree + ", beside it " + strings.Join(o.beside, ", ")
}

// lacks returns what of want did not arrive.
func (o outcome) lacks(want []string) []string {
	return slices.DeleteFunc(slices.Clone(want), func(name string) bool { return slices.Contains(o.arrived, name) })
}

// beyond returns what arrived and is not of want.
func (o outcome) beyond(want []string) []string {
	return slices.DeleteFunc(slices.Clone(o.arrived), func(name string) bool { return slices.Contains(want, name) })
}

// A visitor looks at a repository.
type visitor struct {
	e       example
	reg     *registrytest.Registry
	repo    string
	reached map[digest.Digest]bool
	found   map[string]bool // names of what was reached, is there and is no list
}

// look says what is at the tag of a repository, and beside it, after a copy that ended with err.
func look(e example, reg *registrytest.Registry, repo string, err error) outcome {
	o := outcome{err: err}
	top, ok := reg.Resolve(repo, tag)
	if !ok {
		return o
	}
	v := visitor{e, reg, repo, map[digest.Digest]bool{}, map[string]bool{}}
	o.tree = v.tree(top, "")
	for _, d := range reg.Manifests(repo) {
		b, mediaType, _ := reg.Manifest(repo, d.String())
		if !v.reached[d] && !(manifest.Document{MediaType: mediaType, Bytes: b}).IsList() {
			o.beside = append(o.beside, v.name(d))
		}
	}
	slices.Sort(o.beside)
	o.arrived = append(slices.Sorted(maps.Keys(v.found)), o.beside...)
	slices.Sort(o.arrived)
	b, _, _ := reg.Manifest(repo, tag)
	source, _ := e.Document(imagetest.Top)
	o.list = compare(source, b)
	return o
}

// name is what the example calls d. What it does not have is new.
func (v visitor) name(d digest.Digest) string {
	if name := v.e.Name(d); name != d.String() {
		return name
	}
	return "another manifest"
}

// tree is the name of what has the digest d, followed by note, or what it lists, in brackets.
func (v visitor) tree(d digest.Digest, note string) string {
	b, mediaType, isManifest := v.reg.Manifest(v.repo, d.String())
	_, isBlob := v.reg.Blob(v.repo, d)
	if !isManifest && !isBlob {
		return v.name(d) + note + " (absent)"
	}
	v.reached[d] = true
	if !isManifest || !(manifest.Document{MediaType: mediaType, Bytes: b}).IsList() {
		v.found[v.name(d)+note] = true
		return v.name(d) + note
	}
	var list struct{ Manifests []entry }
	if err := json.Unmarshal(b, &list); err != nil {
		return err.Error()
	}
	var entries []string
	for _, entry := range list.Manifests {
		note := ""
		if v.e.repeated == v.name(entry.Digest) {
			note = " as " + entry.Platform.OS + "/" + entry.Platform.Architecture
		}
		entries = append(entries, v.tree(entry.Digest, note))
	}
	return "[" + strings.Join(entries, ", ") + "]"
}

// An entry is what two entries of a list are told apart by.
type entry struct {
	Digest   digest.Digest
	Platform struct{ OS, Architecture, Variant string }
}

// compare says what a tool did to a list.
func compare(source, b []byte) string {
	if bytes.Equal(source, b) {
		return "unchanged"
	}
	before, entriesBefore, ok := members(source)
	after, entriesAfter, okAfter := members(b)
	if !ok || !okAfter {
		return "no list any more"
	}
	var changes []string
	for _, key := range slices.Sorted(maps.Keys(before)) {
		if value, ok := after[key]; !ok {
			changes = append(changes, "`"+key+"` is gone")
		} else if key != "manifests" && !same(before[key], value) {
			changes = append(changes, "`"+key+"` changed")
		}
	}
	for _, key := range slices.Sorted(maps.Keys(after)) {
		if _, ok := before[key]; !ok {
			changes = append(changes, "`"+key+"` is new")
		}
	}
	raw := true
	ofEntries := map[string]bool{}
	var kept []int
	for _, entry := range entriesAfter {
		i := sourceOf(entry, entriesBefore)
		if i < 0 {
			ofEntries["an entry is new"] = true
			continue
		}
		kept = append(kept, i)
		raw = raw && bytes.Equal(entriesBefore[i], entry)
		was, _, _ := members(entriesBefore[i])
		is, _, _ := members(entry)
		for key, value := range was {
			if _, ok := is[key]; !ok {
				ofEntries["entries lose `"+key+"`"] = true
			} else if !same(value, is[key]) {
				ofEntries["entries have another `"+key+"`"] = true
			}
		}
		for key := range is {
			if _, ok := was[key]; !ok {
				ofEntries["entries gain `"+key+"`"] = true
			}
		}
	}
	changes = append(changes, slices.Sorted(maps.Keys(ofEntries))...)
	switch {
	case bytes.Equal(b, stripped(source, kept)):
		return "byte for byte, less entries"
	case len(changes) > 0:
		return strings.Join(changes, ", ")
	case raw:
		return "entries byte for byte, the rest is written anew"
	}
	return "written anew, with the same content"
}

// sourceOf returns the position of the entry from which a tool made another, -1 if there is none.
func sourceOf(made json.RawMessage, entries []json.RawMessage) int {
	if i := slices.IndexFunc(entries, func(e json.RawMessage) bool { return keyOf(e) == keyOf(made) }); i >= 0 {
		return i
	}
	return slices.IndexFunc(entries, func(e json.RawMessage) bool { return keyOf(e).Digest == keyOf(made).Digest })
}

func keyOf(raw json.RawMessage) (e entry) {
	if json.Unmarshal(raw, &e) != nil {
		return entry{}
	}
	return e
}

// stripped is source with no other entries than those at the positions kept.
func stripped(source []byte, kept []int) []byte {
	list, err := manifest.Parse(source, "")
	if err != nil {
		return nil
	}
	var edits []manifest.ListEdit
	for i := range slices.Backward(list.Instances()) {
		if !slices.Contains(kept, i) {
			edits = append(edits, manifest.ListEdit{ListOperation: manifest.ListOpDelete, DeleteIndex: i})
		}
	}
	if list.EditInstances(edits) != nil {
		return nil
	}
	b, err := list.Serialize()
	if err != nil {
		return nil
	}
	return b
}

// members returns the members of an object, and the elements of its member manifests.
func members(b []byte) (all map[string]json.RawMessage, manifests []json.RawMessage, ok bool) {
	if json.Unmarshal(b, &all) != nil {
		return nil, nil, false
	}
	if m, has := all["manifests"]; has && json.Unmarshal(m, &manifests) != nil {
		return nil, nil, false
	}
	return all, manifests, true
}

// same reports whether two values mean the same.
func same(a, b json.RawMessage) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	return fmt.Sprint(x) == fmt.Sprint(y)
}
