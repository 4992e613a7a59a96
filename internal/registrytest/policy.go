package registrytest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// ListPolicy decides about a list that a client PUTs. The zero Answer accepts it. A policy may be
// called concurrently.
type ListPolicy func(ListPut) Answer

// ListPut is a PUT of a list that is otherwise correct.
type ListPut struct {
	Repo      string
	Ref       string // tag or digest
	MediaType string
	Body      []byte
	Children  []Child // in the order of the list
	Attempt   int     // how often this very document was PUT, from 1
}

// Child is an entry of a list.
type Child struct {
	imgspecv1.Descriptor
	Manifest bool // the repository has it as a manifest or list
	Blob     bool // the repository has a blob with this digest
}

// Missing returns the digests of the children that the repository does not have as manifests, each
// once, in the order of the list.
func (l ListPut) Missing() []digest.Digest {
	return l.missing(func(c Child) bool { return !c.Manifest })
}

// missing returns the digests of the children that is tells, each once, in the order of the list.
func (l ListPut) missing(is func(Child) bool) []digest.Digest {
	var all []digest.Digest
	seen := map[digest.Digest]bool{}
	for _, c := range l.Children {
		if is(c) && !seen[c.Digest] {
			seen[c.Digest] = true
			all = append(all, c.Digest)
		}
	}
	return all
}

// Row is a registry in the field and how it answers to lists whose children are missing.
type Row struct {
	Name   string
	Policy ListPolicy
	Sparse bool // it accepts lists whose children are missing
}

// Registries are the registries in the field whose answers are known. Those that are configured are
// here as they answer without configuration, Distribution3Listed with linux/amd64, QuaySparse and
// RequireArchitectures with amd64.
func Registries() []Row {
	return []Row{
		{"distribution 2.8", Distribution28, false},
		{"distribution 3", Distribution3, false},
		{"distribution 3, platforms: none", Accept, true},
		{"distribution 3, platforms: list", Distribution3Listed("linux/amd64"), true},
		{"Quay", Quay, false},
		{"Quay, sparse", QuaySparse("amd64"), true},
		{"Harbor", Harbor, false},
		{"zot", Zot, false},
		{"GitLab", GitLab, false},
		{"Gitea", Gitea, false},
		{"Nexus", Nexus, false},
		{"ECR", ECR, false},
		{"go-containerregistry", GoContainerRegistry, false},
		{"olareg", Olareg, false},
		{"Docker Hub", DockerHub, false},
		{"GHCR", Accept, true},
		{"sparse registry", RequireArchitectures("amd64"), true},
	}
}

// Unrelated are refusals that have nothing to do with missing children, each of every list.
func Unrelated() []Row {
	return []Row{
		{"denied", Denied, false},
		{"tag immutable", TagImmutable, false},
		{"tag immutable, Harbor", HarborTagImmutable, false},
		{"too large", TooLarge, false},
		{"500", ServerError, false},
		{"503", Unavailable, false},
		{"connection closed", ConnectionClosed, false},
	}
}

// Accept takes every list: distribution 3 with platforms: none, and GHCR.
func Accept(ListPut) Answer { return Answer{} }

// Distribution28 wants every child; one that is there as a blob only will do.
func Distribution28(l ListPut) Answer {
	return unknown(l.missing(func(c Child) bool { return !c.Manifest && !c.Blob }))
}

// Distribution3 wants every child as a manifest.
func Distribution3(l ListPut) Answer { return unknown(l.Missing()) }

// Distribution3Listed wants the children whose platforms ("os/arch" or "os/arch/variant") are
// listed. It closes the connection when an entry has no platform, because the server panics.
func Distribution3Listed(platforms ...string) ListPolicy {
	return func(l ListPut) Answer {
		for _, c := range l.Children {
			if c.Platform == nil {
				return Close()
			}
		}
		return unknown(l.missing(func(c Child) bool { return !c.Manifest && slices.Contains(platforms, platform(c)) }))
	}
}

// platform is os/arch, or os/arch/variant.
func platform(c Child) string {
	p := c.Platform.OS + "/" + c.Platform.Architecture
	if c.Platform.Variant != "" {
		p += "/" + c.Platform.Variant
	}
	return p
}

// Quay names the first missing child in a text.
func Quay(l ListPut) Answer { return quay(l.Missing()) }

// QuaySparse is Quay with sparse lists allowed and these architectures required.
func QuaySparse(required ...string) ListPolicy {
	return func(l ListPut) Answer { return quay(l.missing(requires(required))) }
}

func quay(missing []digest.Digest) Answer {
	if len(missing) == 0 {
		return Answer{}
	}
	return Answer{Status: http.StatusBadRequest, Errors: []Error{{
		Code: "MANIFEST_INVALID", Message: "manifest invalid",
		Detail: map[string]string{"message": "Could not find child manifest with digest " + missing[0].String()},
	}}}
}

// requires tells children that are missing although their architecture is required.
func requires(architectures []string) func(Child) bool {
	return func(c Child) bool {
		return !c.Manifest && c.Platform != nil && slices.Contains(architectures, c.Platform.Architecture)
	}
}

// Harbor answers as distribution does, but with 404 NOT_FOUND if the missing children are all there
// as blobs.
func Harbor(l ListPut) Answer {
	missing := l.Missing()
	nowhere := l.missing(func(c Child) bool { return !c.Manifest && !c.Blob })
	if len(missing) > 0 && len(nowhere) == 0 {
		return Fail(http.StatusNotFound, "NOT_FOUND", "artifact "+l.Repo+"@"+missing[0].String()+" not found")
	}
	return unknown(missing)
}

// Zot names no child, only the reference.
func Zot(l ListPut) Answer {
	if len(l.Missing()) == 0 {
		return Answer{}
	}
	return Answer{Status: http.StatusBadRequest, Errors: []Error{{
		Code: "MANIFEST_INVALID", Message: "manifest invalid", Detail: map[string]string{"reference": l.Ref},
	}}}
}

// GitLab answers as distribution does.
func GitLab(l ListPut) Answer { return unknown(l.Missing()) }

// Gitea answers 404, without a digest, and refuses lists in lists.
func Gitea(l ListPut) Answer {
	for _, c := range l.Children {
		if isList(c.MediaType) {
			return Fail(http.StatusBadRequest, "MANIFEST_INVALID", "manifest invalid")
		}
	}
	if len(l.Missing()) == 0 {
		return Answer{}
	}
	return Fail(http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", "")
}

// Nexus has a code of its own, and tells the first missing child twice.
func Nexus(l ListPut) Answer {
	missing := l.Missing()
	if len(missing) == 0 {
		return Answer{}
	}
	return nexus(append(missing[:1:1], missing...))
}

// NexusRace refuses a list the first time because of one child, although it is there: its commit
// was not seen yet. Otherwise it is Nexus.
func NexusRace(l ListPut) Answer {
	for _, c := range l.Children {
		if l.Attempt == 1 && c.Manifest {
			return nexus([]digest.Digest{c.Digest})
		}
	}
	return Nexus(l)
}

func nexus(missing []digest.Digest) Answer {
	a := Answer{Status: http.StatusBadRequest}
	for _, d := range missing {
		a.Errors = append(a.Errors, Error{Code: "BLOB_UNKNOWN", Message: "blob unknown to registry", Detail: d})
	}
	return a
}

// ECR names all missing children in a message, and has no detail.
func ECR(l ListPut) Answer {
	if len(l.Missing()) == 0 {
		return Answer{}
	}
	return Fail(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", fmt.Sprintf("Images with digests '[%s]' required for pushing image into repository "+
		"with name '%s' in the registry with id '123456789012' do not exist", joined(l.Missing()), l.Repo))
}

func joined(digests []digest.Digest) string {
	texts := make([]string, len(digests))
	for i, d := range digests {
		texts[i] = d.String()
	}
	return strings.Join(texts, ", ")
}

// GoContainerRegistry is go-containerregistry's registry, 0.22: it answers 404, and names the first
// missing child in a message. Entries that are no manifests by their media types it does not look
// at.
func GoContainerRegistry(l ListPut) Answer {
	missing := l.missing(func(c Child) bool { return !c.Manifest && (isList(c.MediaType) || isImage(c.MediaType)) })
	if len(missing) == 0 {
		return Answer{}
	}
	return Fail(http.StatusNotFound, "MANIFEST_UNKNOWN", fmt.Sprintf("Sub-manifest %q not found", missing[0]))
}

func isImage(mediaType string) bool {
	return mediaType == imgspecv1.MediaTypeImageManifest || mediaType == mediaTypeDockerManifest
}

// Olareg names the first missing child in a sentence that is the detail.
func Olareg(l ListPut) Answer {
	missing := l.Missing()
	if len(missing) == 0 {
		return Answer{}
	}
	return Answer{Status: http.StatusBadRequest, Errors: []Error{{
		Code: "MANIFEST_BLOB_UNKNOWN", Message: "manifest references a manifest or blob unknown to registry",
		Detail: "manifest entry " + missing[0].String() + " is not in the repository",
	}}}
}

// CueLabs is cue-labs' ocimem, 2026-07: a server error that names the position of the first missing
// child of an OCI index. Docker lists it does not look at.
func CueLabs(l ListPut) Answer {
	for i, c := range l.Children {
		if !c.Manifest && l.MediaType == imgspecv1.MediaTypeImageIndex {
			return Fail(http.StatusInternalServerError, "UNKNOWN", fmt.Sprintf("unknown error: invalid manifest: nothing found for manifests[%d]", i))
		}
	}
	return Answer{}
}

// DockerHub answers as distribution does, with a message of its own.
func DockerHub(l ListPut) Answer {
	a := unknown(l.Missing())
	for i := range a.Errors {
		a.Errors[i].Message = "manifest blob unknown"
	}
	return a
}

// RequireArchitectures answers as the rule of our own sparse registry has it: children of these
// architectures must be there, and so must those without a platform if any architecture is
// required.
func RequireArchitectures(required ...string) ListPolicy {
	return func(l ListPut) Answer {
		var a Answer
		arch := map[digest.Digest]string{}
		missing := l.missing(func(c Child) bool {
			known := c.Platform != nil && c.Platform.Architecture != ""
			if known {
				arch[c.Digest] = c.Platform.Architecture
			}
			return !c.Manifest && len(required) > 0 && (!known || slices.Contains(required, c.Platform.Architecture))
		})
		for i, d := range missing {
			message := fmt.Sprintf("Required architecture '%s' manifest not found", arch[d])
			if more := len(missing) - 1; i == 0 && more > 0 {
				message += fmt.Sprintf(" (and %d more)", more)
			}
			a.Status = http.StatusBadRequest
			a.Errors = append(a.Errors, Error{Code: "MANIFEST_BLOB_UNKNOWN", Message: message, Detail: map[string]any{
				"architecture": arch[d], "digest": d, "required_architectures": required,
			}})
		}
		return a
	}
}

// unknown refuses with one error for each missing child, and accepts if there are none.
func unknown(missing []digest.Digest) Answer {
	if len(missing) == 0 {
		return Answer{}
	}
	return Answer{Status: http.StatusBadRequest, Errors: unknownReferences(missing)}
}

// Denied refuses every list: 403.
func Denied(ListPut) Answer {
	return Fail(http.StatusForbidden, "DENIED", "requested access to the resource is denied")
}

// TagImmutable refuses every list as ECR refuses to move an immutable tag.
func TagImmutable(l ListPut) Answer {
	return Fail(http.StatusBadRequest, "TAG_INVALID", fmt.Sprintf("the image tag '%s' already exists in the '%s' repository "+
		"and cannot be overwritten because the tag is immutable", l.Ref, l.Repo))
}

// HarborTagImmutable refuses every list as Harbor refuses to move an immutable tag.
func HarborTagImmutable(l ListPut) Answer {
	return Fail(http.StatusPreconditionFailed, "PRECONDITION",
		fmt.Sprintf("failed to process request due to '%s:%s' configured as immutable", l.Repo, l.Ref))
}

// TooLarge refuses every list: 413, with the page of a proxy.
func TooLarge(ListPut) Answer { return FailHTML(http.StatusRequestEntityTooLarge) }

// ServerError refuses every list: 500.
func ServerError(ListPut) Answer {
	return Fail(http.StatusInternalServerError, "UNKNOWN", "unknown error")
}

// Unavailable refuses every list: 503.
func Unavailable(ListPut) Answer {
	return Fail(http.StatusServiceUnavailable, "UNAVAILABLE", "service unavailable")
}

// ConnectionClosed closes the connection instead of answering to a list.
func ConnectionClosed(ListPut) Answer { return Close() }
