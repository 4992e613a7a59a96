package registrytest

import "strings"

// Kind says what a request is about.
type Kind string

const (
	KindPing      Kind = "ping"      // GET /v2/
	KindToken     Kind = "token"     // the token service
	KindManifest  Kind = "manifest"  // Ref is a tag or a digest
	KindBlob      Kind = "blob"      // Ref is a digest; also GET at the second server
	KindUpload    Kind = "upload"    // Ref is "" for the POST that starts an upload
	KindTags      Kind = "tags"      // the list of tags
	KindReferrers Kind = "referrers" // Ref is a digest
	KindOther     Kind = "other"     // anything else
)

const (
	tokenPath        = "/token"
	storagePrefix    = "/storage/" // of blobs at the second server
	capabilitiesPath = "/api/v1/registry/capabilities"
)

type route struct {
	kind      Kind
	repo, ref string
}

// parseRoute decides by the last two components of the path: "manifests", "blobs" and the like are
// legal components of the name of a repository.
func parseRoute(path string) route {
	if path == tokenPath {
		return route{kind: KindToken}
	}
	if path == "/v2/" || path == "/v2" {
		return route{kind: KindPing}
	}
	if rest, ok := strings.CutPrefix(path, storagePrefix); ok {
		repo, ref := cutLast(rest)
		return route{kind: KindBlob, repo: repo, ref: ref}
	}
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return route{kind: KindOther}
	}
	head, ref := cutLast(rest)
	repo, what := cutLast(head)
	switch {
	case repo == "" || !validName(repo):
	case what == "manifests":
		return route{KindManifest, repo, ref}
	case what == "blobs" && ref == "uploads":
		return route{kind: KindUpload, repo: repo}
	case what == "blobs":
		return route{KindBlob, repo, ref}
	case what == "uploads":
		if repo, ok = strings.CutSuffix(repo, "/blobs"); ok {
			return route{KindUpload, repo, ref}
		}
	case what == "tags" && ref == "list":
		return route{kind: KindTags, repo: repo}
	case what == "referrers":
		return route{KindReferrers, repo, ref}
	}
	return route{kind: KindOther}
}

// cutLast cuts off the last component of a path.
func cutLast(path string) (head, last string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}
