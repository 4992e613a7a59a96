package audit

import (
	"cmp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/prose"
)

// A Level says how bad a finding is.
type Level string

const (
	Damage Level = "damage" // content that clients were told is stored is lost or altered: only a push brings it back
	Fault  Level = "fault"  // something is not as it should be, and no content is lost
	Note   Level = "note"   // worth knowing, and nothing is wrong
)

// A Kind says what was found.
type Kind string

// What can be found. Digest and Other say what they are of a Finding of each kind.
const (
	BlobAltered  Kind = "blob-altered"  // Digest's bytes have another digest
	ManifestLost Kind = "manifest-lost" // the repository has the manifest Digest, and the storage does not
	ContentLost  Kind = "content-lost"  // the manifest Digest names the config, layer or blob Other, which the repository does not have
	LinkDamaged  Kind = "link-damaged"  // the repository's link to Digest, or its tag, names no digest or another one

	BlobLost         Kind = "blob-lost"         // the repository has the blob Digest, the storage does not, and no manifest names it
	Unreadable       Kind = "unreadable"        // Digest, the link to it, or the tag's, could not be read, twice: nothing is known of it
	TagEmpty         Kind = "tag-empty"         // the tag is listed, and names nothing
	TagDangling      Kind = "tag-dangling"      // the tag names the manifest Digest, which the repository does not have
	ChildMissing     Kind = "child-missing"     // the list Digest lacks the child Other, which the policy in force requires
	PolicyRefuses    Kind = "policy-refuses"    // the list Digest lacks the child Other, which the proposed policy requires
	ReferrerUnlinked Kind = "referrer-unlinked" // the manifest Digest refers to Other, and is not among its referrers
	ReferrerStray    Kind = "referrer-stray"    // Digest is among the referrers of Other, and does not refer to it

	ManifestUnknown Kind = "manifest-unknown" // the manifest Digest cannot be read as a list or an image
	SizeUntrue      Kind = "size-untrue"      // the manifest Digest states a wrong size of Other
	Orphan          Kind = "orphan"           // no repository has the blob Digest
)

// level is how bad findings of each kind are.
var level = map[Kind]Level{
	BlobAltered: Damage, ManifestLost: Damage, ContentLost: Damage, LinkDamaged: Damage,
	BlobLost: Fault, Unreadable: Fault, TagEmpty: Fault, TagDangling: Fault, ChildMissing: Fault, PolicyRefuses: Fault,
	ReferrerUnlinked: Fault, ReferrerStray: Fault,
	ManifestUnknown: Note, SizeUntrue: Note, Orphan: Note,
}

// advice says what to do about findings of each kind.
var advice = map[Kind]string{
	BlobAltered: "delete its directory from the storage, and push again what names it: while it is there, " +
		"a push of the same content changes nothing",
	ManifestLost: "push it again",
	ContentLost:  "push the image again: clients send what is not there",
	LinkDamaged: "remove it and push again, or, of a tag, push it again or delete it: while it is there, " +
		"clients that ask are answered with an error",
	BlobLost:         "nothing that is stored needs it: gc removes the link",
	Unreadable:       "see why the storage does not hand it out, and check again",
	TagEmpty:         "push it again, or delete the tag: a push was cut off before it was answered",
	TagDangling:      "push it again, or delete the tag",
	ChildMissing:     "push the child, or allow it to be absent: a push of this list would be refused",
	PolicyRefuses:    "push the child before the policy is put in force, or clients cannot push this list again",
	ReferrerUnlinked: "check --rebuild-referrers writes the link",
	ReferrerStray:    "check --rebuild-referrers removes the link",
	ManifestUnknown:  "what it names was not looked for",
	SizeUntrue:       "clients may refuse it; it was pushed so",
	Orphan:           "gc removes it",
}

// A Finding is one thing that was found.
type Finding struct {
	Level      Level         `json:"level"`
	Kind       Kind          `json:"kind"`
	Repository string        `json:"repository,omitempty"` // "" where it is about the storage as a whole
	Tag        string        `json:"tag,omitempty"`        // present if and only if it is about a tag
	Digest     digest.Digest `json:"digest,omitempty"`     // as Kind says; "" for a tag that names nothing
	Other      digest.Digest `json:"other,omitempty"`      // as Kind says
	Problem    string        `json:"problem"`              // for people, with digests in full
	Advice     string        `json:"advice"`               // what to do, for people

	// Tags lead to the manifest Digest, by themselves or through lists, in order.
	Tags []string `json:"tags,omitempty"`
	// Repositories have Digest, in order, where the finding is about the storage as a whole.
	Repositories []string `json:"repositories,omitempty"`
	// Path is what is to be removed from the storage, from its root on, where that is the advice.
	Path string `json:"path,omitempty"`
	// Bytes is the size of an orphan.
	Bytes int64 `json:"bytes,omitempty"`
}

// newFinding is a finding of a kind, with the level and the advice that go with it.
func newFinding(kind Kind, repository string, of digest.Digest, problem string) Finding {
	return Finding{Level: level[kind], Kind: kind, Repository: repository, Digest: of, Problem: problem, Advice: advice[kind]}
}

// An identity tells whether two findings, at different times, are of the same thing.
type identity struct {
	kind       Kind
	repository string
	tag        string
	digest     digest.Digest
	other      digest.Digest
}

func (f Finding) identity() identity {
	return identity{f.Kind, f.Repository, f.Tag, f.Digest, f.Other}
}

// String is a line for people: what is wrong with what, and what to do.
func (f Finding) String() string {
	var b strings.Builder
	b.WriteString(string(f.Level) + ": ")
	switch {
	case f.Repository != "" && f.Tag != "":
		b.WriteString(f.Repository + ":" + f.Tag + ": ")
	case f.Repository != "":
		b.WriteString(f.Repository + "@" + f.Digest.String() + ": ")
	default:
		b.WriteString(f.Digest.String() + ": ")
	}
	b.WriteString(f.Problem)
	if len(f.Tags) > 0 {
		b.WriteString(" (" + some("tag", f.Tags) + ")")
	}
	if len(f.Repositories) > 0 {
		b.WriteString(" (in " + some("", f.Repositories) + ")")
	}
	if f.Path != "" {
		b.WriteString(" [" + f.Path + "]")
	}
	b.WriteString("; " + f.Advice)
	return b.String()
}

// shownNames is how many names a line for people has at most.
const shownNames = 5

// some writes the first names of a sorted slice, and how many more there are.
func some(noun string, names []string) string {
	if noun != "" {
		noun += " "
	}
	if more := len(names) - shownNames; more > 0 {
		return noun + strings.Join(names[:shownNames], ", ") + " and " + prose.Count(more, "more", "more")
	}
	return noun + strings.Join(names, ", ")
}

var levels = []Level{Damage, Fault, Note}

// sortFindings puts the worst first, and what is of one repository together.
func sortFindings(findings []Finding) {
	slices.SortFunc(findings, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(slices.Index(levels, a.Level), slices.Index(levels, b.Level)),
			strings.Compare(a.Repository, b.Repository), strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Tag, b.Tag),
			strings.Compare(string(a.Digest), string(b.Digest)), strings.Compare(string(a.Other), string(b.Other)),
		)
	})
}
