package difference

import (
	"cmp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/naming"
	"github.com/sparsecopy/sparsecopy/examples/internal/late"
)

// A Side is what was read at one side of an image.
type Side struct {
	Found    *copy.Inspection
	Attached []naming.Attached
}

// Entries compares what two references name, entry by entry: those with the same digest first, then
// those that are the same thing, such as the image for one platform. They come in the order of A,
// and then of B.
func Entries(a, b *copy.Inspection) []Entry {
	left, right := flatten(a), flatten(b)
	same := newMatching(len(left), len(right)).
		by(func(i int) string { return left[i].what + left[i].Digest.String() }, func(j int) string { return right[j].what + right[j].Digest.String() }).
		by(func(i int) string { return left[i].Digest.String() }, func(j int) string { return right[j].Digest.String() }).
		by(func(i int) string { return left[i].what }, func(j int) string { return right[j].what })
	var all []Entry
	for i, x := range left {
		e := Entry{What: x.what, State: OnlyA, A: x.Digest}
		if j := same.of[i]; j >= 0 {
			e.B = right[j].Digest
			e.State, e.Content = compared(x.InspectedEntry, right[j].InspectedEntry)
		}
		all = append(all, e)
	}
	for j, y := range right {
		if !same.taken[j] {
			all = append(all, Entry{What: y.what, State: OnlyB, B: y.Digest})
		}
	}
	return all
}

// A flat is an entry of a list, or of one that is nested in it.
type flat struct {
	*copy.InspectedEntry
	what string
}

// flatten returns the entries of all lists, or an entry that stands for a single image.
func flatten(found *copy.Inspection) []flat {
	if found.Image != nil {
		e := &copy.InspectedEntry{Digest: found.Digest, Platform: found.Image.Platform, Kind: found.Kind, ArtifactType: found.ArtifactType, Image: found.Image}
		return []flat{{e, label(e, nil)}}
	}
	return flattened("", found.Entries)
}

func flattened(above string, entries []copy.InspectedEntry) []flat {
	names := platforms(entries)
	var all []flat
	for i := range entries {
		e := &entries[i]
		what := above + label(e, names)
		all = append(all, flat{e, what})
		all = append(all, flattened(what+" > ", e.Entries)...)
	}
	return all
}

// platforms are the platforms of entries, by digest.
func platforms(entries []copy.InspectedEntry) map[digest.Digest]string {
	names := map[digest.Digest]string{}
	for _, e := range entries {
		names[e.Digest] = cmp.Or(names[e.Digest], e.Platform)
	}
	return names
}

// label says what an entry is, in the same way at both sides: without digests.
func label(e *copy.InspectedEntry, names map[digest.Digest]string) string {
	what := cmp.Or(e.Platform, "image")
	switch {
	case e.List:
		what = "list"
	case e.Relation.Follows():
		what = cmp.Or(e.Kind, "attestation")
		if of := names[cmp.Or(e.Subject, e.AttestationOf)]; of != "" {
			what += " of " + of
		}
	case e.Relation == copy.Replaces:
		what += ", " + e.Kind
	case e.Kind != "":
		what = e.Kind
	}
	if e.ArtifactType != "" {
		what += " (" + e.ArtifactType + ")"
	}
	return what
}

// compared says how two entries differ.
func compared(a, b *copy.InspectedEntry) (State, *Content) {
	switch {
	case a.Digest != b.Digest && (a.Image == nil || b.Image == nil):
		return Changed, nil
	case a.Digest != b.Digest:
		return Changed, content(a.Image, b.Image)
	case a.Missing && b.Missing:
		return Absent, nil
	case a.Missing:
		return AbsentA, nil
	case b.Missing:
		return AbsentB, nil
	}
	return Same, nil
}

func content(a, b *copy.InspectedImage) *Content {
	c := &Content{Config: Same}
	if a.Config.Digest != b.Config.Digest {
		c.Config = Changed
	}
	same := newMatching(len(a.Layers), len(b.Layers)).
		by(func(i int) string { return a.Layers[i].Digest.String() }, func(j int) string { return b.Layers[j].Digest.String() })
	for i, layer := range a.Layers {
		if same.of[i] >= 0 {
			c.Same++
		} else {
			c.OnlyA = append(c.OnlyA, Blob{layer.Digest, layer.Size})
		}
	}
	for j, layer := range b.Layers {
		if !same.taken[j] {
			c.OnlyB = append(c.OnlyB, Blob{layer.Digest, layer.Size})
		}
	}
	return c
}

// IsPartOf reports whether b is a single image that the list a names.
func IsPartOf(b, a *copy.Inspection) bool {
	return b.Image != nil && a.Image == nil && slices.ContainsFunc(flatten(a), func(f flat) bool { return f.Digest == b.Digest })
}

// Present are the manifests and lists below a list that are there.
func Present(found *copy.Inspection) []digest.Digest {
	var all []digest.Digest
	seen := map[digest.Digest]bool{found.Digest: true}
	for _, f := range flatten(found) {
		if !seen[f.Digest] && !f.Missing && (f.Image != nil || f.List) {
			seen[f.Digest] = true
			all = append(all, f.Digest)
		}
	}
	return all
}

// Attachments compares what is attached at both sides: what is the same, or at least the same kind
// of thing, attached to the same entry.
func Attachments(a, b Side) []Attachment {
	left, right := named(a), named(b)
	same := newMatching(len(left), len(right)).
		by(func(i int) string { return left[i].what + left[i].digest.String() }, func(j int) string { return right[j].what + right[j].digest.String() }).
		by(func(i int) string { return left[i].what }, func(j int) string { return right[j].what })
	var all []Attachment
	for i, x := range left {
		found := Attachment{What: x.what, State: OnlyA, A: x.digest}
		if j := same.of[i]; j >= 0 {
			found.State, found.B = Changed, right[j].digest
			if found.B == found.A {
				found.State = Same
			}
		}
		all = append(all, found)
	}
	for j, y := range right {
		if !same.taken[j] {
			all = append(all, Attachment{What: y.what, State: OnlyB, B: y.digest})
		}
	}
	slices.SortStableFunc(all, func(x, y Attachment) int { return strings.Compare(x.What, y.What) })
	return all
}

type attachment struct {
	what   string
	digest digest.Digest
}

// digestInTag is what a tag that is named after a digest begins with.
var digestInTag = late.Regexp(`^sha[0-9]+-[0-9a-f]+`)

// named says what each attachment of a side is, and of what, without digests.
func named(s Side) []attachment {
	subjects := map[digest.Digest]string{}
	for _, f := range flatten(s.Found) {
		subjects[f.Digest] = f.what
	}
	if s.Found.Image == nil {
		subjects[s.Found.Digest] = "list"
	}
	var all []attachment
	for _, a := range s.Attached { // each after what it is attached to
		what := cmp.Or(a.ArtifactType, "referrer")
		if a.Tag != "" {
			what = cmp.Or(digestInTag().ReplaceAllString(a.Tag, ""), "digest tag")
		}
		what += " of " + cmp.Or(subjects[a.Subject], a.Subject.String())
		if subjects[a.Digest] == "" {
			subjects[a.Digest] = what
		}
		all = append(all, attachment{what, a.Digest})
	}
	return all
}

// Tags compares what tags name at both sides, in the order of their names.
func Tags(a, b map[string]digest.Digest) []Image {
	var all []Image
	for tag, d := range a {
		i := Image{Tag: tag, State: OnlyA, A: d, B: b[tag]}
		switch {
		case i.B == d:
			i.State = Same
		case i.B != "":
			i.State = Changed
		}
		all = append(all, i)
	}
	for tag, d := range b {
		if _, both := a[tag]; !both {
			all = append(all, Image{Tag: tag, State: OnlyB, B: d})
		}
	}
	slices.SortFunc(all, func(x, y Image) int { return strings.Compare(x.Tag, y.Tag) })
	return all
}
