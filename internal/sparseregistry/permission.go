package sparseregistry

import (
	"errors"
	"net/http"

	"github.com/opencontainers/go-digest"
)

// A Permission is what a registry says to a caller that wants to read a repository.
type Permission struct {
	refused *refusal // nil if it may
}

// AskToRead asks registry, the handler of a registry with all that decides about access, whether
// the caller who sent r may pull from a repository. The repository need not exist. It makes one
// request, for a manifest that no repository has, with the caller's Authorization and r's context:
// the answers 200 and 404 mean that the caller may.
func AskToRead(registry http.Handler, r *http.Request, repository string) Permission {
	if !ValidName(repository) {
		return Permission{refuse(http.StatusBadRequest, codeNameInvalid, "%q is not the name of a repository", clip(repository))}
	}
	nothing := question{digest: digest.FromBytes(nil)}
	answer, err := ask(registry, r, http.MethodHead, repository, nothing)
	if err != nil {
		return Permission{refuse(http.StatusBadGateway, codeUnknown, "asking for access to the repository: %w", err)}
	}
	switch {
	case answer.status == http.StatusOK, answer.status == http.StatusNotFound:
		return Permission{}
	case concernsCaller(answer.status):
		return Permission{passThrough(answer, errors.New("access to the repository is refused"))}
	default:
		return Permission{refuse(http.StatusBadGateway, codeUnknown, "asking for access to the repository: the registry answered %d", answer.status)}
	}
}

// Granted reports whether the caller may read the repository.
func (p Permission) Granted() bool { return p.refused == nil }

// Refuse answers the caller that may not: as the registry does where that refuses (401 with its
// challenge, 403) or asks for patience (429, 503), with 400 where the repository's name is none,
// else with 502. It must not be called if the permission is granted.
func (p Permission) Refuse(w http.ResponseWriter) { p.refused.write(w) }
