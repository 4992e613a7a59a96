package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// knownArchitectures are the names that a required architecture may have: Go's values of GOARCH,
// which image-spec v1.1 ("OCI Image Index", property architecture) refers to, with those that Go
// has reserved.
var knownArchitectures = []string{
	"386", "amd64", "amd64p32", "arm", "arm64", "arm64be", "armbe", "loong64", "mips", "mips64", "mips64le", "mips64p32",
	"mips64p32le", "mipsle", "ppc", "ppc64", "ppc64le", "riscv", "riscv64", "s390", "s390x", "sparc", "sparc64", "wasm",
}

// A SparsePolicy is what a registry demands of the children of a list that it is asked to store.
// The zero value demands that every child exists.
//
// Only direct children count: a nested list is one child, and what it names is nobody's concern
// here. The subject of a list is no child. An architecture or platform that is required but that a
// list does not name is no reason to refuse the list. An entry that names a blob in the place of a
// manifest (Instance.IsBlob), as those of a build cache do, has that blob for a child.
type SparsePolicy struct {
	// Enabled allows children to be absent. While it is false, the other fields mean nothing.
	Enabled bool

	// RequiredArchitectures are the architectures whose children must exist. They are compared
	// exactly with an entry's platform.architecture and with nothing else: "arm" stands for all
	// variants, "amd64" for all operating systems. If there are none, and no required platforms,
	// every child is optional.
	RequiredArchitectures []string

	// RequiredPlatforms are platforms whose children must exist besides, as "os/architecture" or
	// "os/architecture/variant". All parts are compared exactly. Without a variant, one stands for
	// all variants, and for entries that state none. With a variant, it stands for entries that
	// state this variant, and for those that state none and may therefore be it: without a variant,
	// amd64 means v1 and arm64 means v8, and any other architecture may mean any of its variants.
	// An entry that states an architecture and no operating system may be for any. The version and
	// the features of an operating system do not count.
	RequiredPlatforms []string

	// OptionalWithoutPlatform makes children optional whose entry states no architecture. By
	// default they must exist as soon as any architecture or platform is required, because nobody
	// can tell what they are.
	OptionalWithoutPlatform bool
}

// Validate refuses required architectures and platforms that no list would name, because a typing
// error would make every child optional: names that are unknown, or not in lower case, or repeated.
// The other methods work with policies that Validate refuses, too.
func (p SparsePolicy) Validate() error {
	for i, a := range p.RequiredArchitectures {
		lower := strings.ToLower(a)
		switch {
		case slices.Contains(p.RequiredArchitectures[:i], a):
			return fmt.Errorf("required architecture %s is named twice", quote(a))
		case slices.Contains(knownArchitectures, a):
		case slices.Contains(knownArchitectures, lower):
			return fmt.Errorf("required architecture %s must be in lower case: %q", quote(a), lower)
		case strings.Contains(a, "/"):
			return fmt.Errorf("required architecture %s has a slash: required platforms have, such as \"linux/arm/v7\"", quote(a))
		default:
			return fmt.Errorf("unknown required architecture %s (known: %s)", quote(a), strings.Join(knownArchitectures, ", "))
		}
	}
	return p.validatePlatforms()
}

// RequiresWithoutPlatform reports whether the child of an entry that states no architecture must
// exist.
func (p SparsePolicy) RequiresWithoutPlatform() bool {
	requiresSome := len(p.RequiredArchitectures)+len(p.RequiredPlatforms) > 0
	return !p.Enabled || requiresSome && !p.OptionalWithoutPlatform
}

// Requires reports whether the child of an entry must exist.
func (p SparsePolicy) Requires(in Instance) bool {
	switch {
	case !p.Enabled:
		return true
	case architecture(in) == "":
		return p.RequiresWithoutPlatform()
	default:
		return slices.Contains(p.RequiredArchitectures, architecture(in)) || p.requiredPlatformOf(in) != ""
	}
}

// Check returns nil if a registry with this policy accepts list, else a *MissingChildrenError that
// names every child which must exist and does not. It calls present once for each distinct child
// that must exist, in the order of the list, to learn whether it does.
func (p SparsePolicy) Check(list List, present func(digest.Digest) bool) error {
	var missing []MissingChild
	asked := map[digest.Digest]bool{}
	for _, in := range list.Instances() {
		if asked[in.Digest] || !p.Requires(in) {
			continue
		}
		asked[in.Digest] = true
		if !present(in.Digest) {
			missing = append(missing, p.missing(in))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return &MissingChildrenError{Policy: p, Missing: missing}
}

func (p SparsePolicy) missing(in Instance) MissingChild {
	m := MissingChild{Index: in.Index, Digest: in.Digest, Architecture: architecture(in), Platform: in.Platform, Blob: in.IsBlob()}
	if p.Enabled && m.Architecture != "" && !slices.Contains(p.RequiredArchitectures, m.Architecture) {
		m.RequiredPlatform = p.requiredPlatformOf(in)
	}
	return m
}

// architecture is what in states as its architecture: "" without a platform, too.
func architecture(in Instance) string {
	if in.Platform == nil {
		return ""
	}
	return in.Platform.Architecture
}

// A MissingChild is a child that must exist and does not.
type MissingChild struct {
	Index        int                 // of the first entry for whose sake it must exist
	Digest       digest.Digest       // of the child; no two MissingChild of an error have the same
	Architecture string              // as that entry states it; "" if it does not
	Platform     *imgspecv1.Platform // as that entry states it; nil if it does not
	Blob         bool                // by that entry, the child is no manifest but a blob

	// RequiredPlatform is that of the policy for whose sake the child must exist. It is "" if that
	// is for another reason: the architecture, no architecture, or a policy that is off.
	RequiredPlatform string
}

// A MissingChildrenError says which children a registry misses under its policy.
type MissingChildrenError struct {
	Policy  SparsePolicy   // that was applied
	Missing []MissingChild // in the order of the list; never empty
}

// Error is the message of the first missing child and the number of the others. See Message.
func (e *MissingChildrenError) Error() string { return e.Message(0) }

// Message is for people: it says what Missing[i] is. That of the first child also says how many
// more are missing, because many clients show the first of several errors only. It quotes at most a
// little of the list.
func (e *MissingChildrenError) Message(i int) string {
	message := e.message(e.Missing[i])
	if more := len(e.Missing) - 1; i == 0 && more > 0 {
		message += fmt.Sprintf(" (and %d more)", more)
	}
	return message
}

func (e *MissingChildrenError) message(m MissingChild) string {
	switch {
	case m.RequiredPlatform != "":
		message := fmt.Sprintf("Required platform %s manifest not found", singleQuote(m.RequiredPlatform))
		if stated := platformName(m.Platform); stated != m.RequiredPlatform {
			message += fmt.Sprintf(" (for %s, as the list says)", singleQuote(stated))
		}
		return message
	case e.Policy.Enabled && m.Architecture != "":
		return fmt.Sprintf("Required architecture %s manifest not found", singleQuote(m.Architecture))
	case e.Policy.Enabled && m.Blob:
		return fmt.Sprintf("Required blob %s without platform not found", m.Digest)
	case e.Policy.Enabled:
		return fmt.Sprintf("Required manifest %s without platform not found", m.Digest)
	case m.Architecture != "":
		return fmt.Sprintf("Manifest %s for platform %s not found", m.Digest, singleQuote(platformName(m.Platform)))
	case m.Blob:
		return fmt.Sprintf("Blob %s not found", m.Digest)
	default:
		return fmt.Sprintf("Manifest %s without platform not found", m.Digest)
	}
}

// Architectures are the distinct architectures of the missing children, in the order of the list. A
// child whose entry states none counts as "".
func (e *MissingChildrenError) Architectures() []string {
	var names []string
	for _, m := range e.Missing {
		if !slices.Contains(names, m.Architecture) {
			names = append(names, m.Architecture)
		}
	}
	return names
}

// PlatformName is what the entry states as its platform, as os/architecture/variant without what it
// does not state; "" if it states nothing of it.
func (m MissingChild) PlatformName() string {
	if m.Platform == nil {
		return ""
	}
	return platformName(m.Platform)
}

// platformName writes p as os/architecture/variant, without what p does not state.
func platformName(p *imgspecv1.Platform) string {
	parts := slices.DeleteFunc([]string{p.OS, p.Architecture, p.Variant}, func(s string) bool { return s == "" })
	return strings.Join(parts, "/")
}

// singleQuote is quote with the quotation marks that registries put into their messages.
func singleQuote(s string) string {
	if len(s) > maxQuoted {
		s = s[:maxQuoted] + "…"
	}
	quoted := strconv.Quote(s)
	return "'" + quoted[1:len(quoted)-1] + "'"
}
