package failure

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/sparsecopy/sparsecopy/copy/internal/signing"
	"github.com/sparsecopy/sparsecopy/copy/internal/transforming"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inspect"
	"github.com/sparsecopy/sparsecopy/internal/sparsesupport"
)

// Attaching returns the error of a copy for one of package attach, about the given side, which is
// called name.
func Attaching(side Side, name string, err error) error {
	switch e := err.(type) { //nolint:errorlint // it returns them as they are
	case *attach.Error:
		if e.Elsewhere {
			side = ReferrersSide
		}
		return New(e.Op, side, e.Object, e.Err)
	case *attach.LimitError:
		return New("reading attachments of", side, name, e)
	case *attach.MissingError:
		return &plan.MissingError{Missing: []plan.MissingInstance{{Digest: e.Child, Platform: "named by the attached list " + e.List.String()}}}
	}
	return err
}

// RefusedAttachment makes the cause of err an *attach.RefusedError if err says that the destination
// refuses one of planned. An *attach.SubjectError says more.
func RefusedAttachment(err error, planned []plan.AttachedPlan) error {
	var refusal *endpoint.RegistryError
	failed, ok := errors.AsType[*Error](err)
	_, lacks := errors.AsType[*attach.SubjectError](err)
	if lacks || !ok || failed.Side != DestinationSide || !errors.As(err, &refusal) || refusal.Method != http.MethodPut ||
		!slices.Contains(sparsesupport.Statuses, refusal.Status) {
		return err
	}
	for _, a := range planned {
		if a.Digest.String() == failed.Object {
			refused := &attach.RefusedError{Digest: a.Digest, ArtifactType: a.ArtifactType, Subject: a.Subject, Refusal: failed.Err}
			return New(failed.Op, failed.Side, failed.Object, refused)
		}
	}
	return err
}

// Signing returns the error of a copy for one of package signing.
func Signing(err error) error {
	failed, ok := errors.AsType[*signing.Error](err)
	if !ok {
		return err
	}
	if source, ok := errors.AsType[*Error](failed.Err); ok {
		return source
	}
	return New(failed.Op, DestinationSide, failed.Digest.String(), failed.Err)
}

// WritingBlob blames the side that failed: the source if its reader did, the destination otherwise.
func WritingBlob(b endpoint.Blob, err error) error {
	var source *Error
	if errors.As(err, &source) && source.Side != DestinationSide {
		return source
	}
	return New("writing blob", DestinationSide, b.Digest.String(), err)
}

// Transforming returns the error of a copy whose transformation of an image failed with err.
func Transforming(wanted plan.Transform, err error) error {
	if failed, ok := errors.AsType[*Error](err); ok { // reading a blob
		return failed
	}
	var failed *transforming.Error
	if !errors.As(err, &failed) {
		return New("transforming", SourceSide, wanted.Digest.String(), fmt.Errorf("%s: %w", wanted.Reason, err))
	}
	side := SourceSide
	if failed.AtDestination {
		side = DestinationSide
	}
	return New(failed.Op, side, failed.Object, failed.Err)
}

// Reading puts an error of package inspect into the words of a copy.
func Reading(err error) error {
	failed, ok := errors.AsType[*inspect.ReadError](err)
	if !ok {
		return err
	}
	side := DestinationSide
	if failed.AtSource {
		side = SourceSide
	}
	return New(failed.Op, side, failed.Object, failed.Err)
}

// Closing returns err with what went wrong when object was closed, at the given side; nil for
// nothing.
func Closing(err error, side Side, object string, closeErr error) error {
	if closeErr == nil {
		return err
	}
	closing := New("closing", side, object, closeErr)
	if err == nil {
		return closing
	}
	return endpoint.AlsoClosing(err, closing)
}
