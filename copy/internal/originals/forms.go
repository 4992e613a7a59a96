package originals

import (
	"errors"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/original"
)

// A Form is what an artifact is stored as.
type Form string

const (
	artifact Form = "artifact" // as it is
	plain    Form = "plain"    // as a plain image
)

func formOf(isPlain bool) Form {
	if isPlain {
		return plain
	}
	return artifact
}

// Of returns a in the form. What is not ours has one form only.
func (f Form) Of(a original.Artifact) original.Artifact {
	if f == plain && isOurs(a) {
		return original.Plain(a)
	}
	return a
}

// isOurs reports whether a is told by its annotations where it is a plain image.
func isOurs(a original.Artifact) bool {
	d := a.Descriptor()
	return original.KindOf(d.ArtifactType, d.Annotations) != original.RoleNone
}

// Forms returns both forms, the one first that a destination is thought to take.
func Forms(dst endpoint.Destination) [2]Form {
	if m, ok := dst.(endpoint.FormMemory); ok && m.PlainOnly() {
		return [2]Form{plain, artifact}
	}
	return [2]Form{artifact, plain}
}

// remember lets the next copies begin with plain images, if that is what was taken of what was
// refused.
func (s *Store) remember(refusals map[digest.Digest]refusal) {
	m, ok := s.to.Destination.(endpoint.FormMemory)
	if !ok {
		return
	}
	for _, r := range refusals {
		if r.artifact != nil {
			m.NotePlainOnly()
			return
		}
	}
}

// A refusal is what a destination has answered to an artifact, by its form.
type refusal struct{ artifact, plain error }

func (r refusal) and(as Form, err error) refusal {
	if as == plain {
		r.plain = err
	} else {
		r.artifact = err
	}
	return r
}

// of is the error of an artifact that was refused in both forms.
func (r refusal) of(a original.Artifact) error {
	return &attach.OriginalRefusedError{
		Digest: a.Document.Digest, ArtifactType: a.Descriptor().ArtifactType, List: a.Subject(), Refusal: r.artifact, PlainRefusal: r.plain,
	}
}

// formStatuses are those of answers without a code that may be about what a manifest is.
var formStatuses = []int{http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity}

// RefusesForm reports whether err, the answer to the PUT of an artifact whose subject and blobs are
// there, may be about what it is: by its codes, as GitLab and Quay answer (MANIFEST_INVALID), and
// ECR (UNSUPPORTED), or by its status if there is no code.
func RefusesForm(err error) bool {
	answer, ok := errors.AsType[*endpoint.RegistryError](err)
	if !ok || !endpoint.RefusesPut(err) {
		return false
	}
	coded := slices.ContainsFunc(answer.Errors, func(e endpoint.RegistryErrorDetail) bool { return e.Code != "" })
	return endpoint.RefusesType(err) || !coded && slices.Contains(formStatuses, answer.Status)
}
