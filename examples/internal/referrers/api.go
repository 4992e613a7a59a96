package referrers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
)

// FiltersHeader is the field of an answer which says by what the list was filtered.
const FiltersHeader = "OCI-Filters-Applied"

// Options are for Handler. Failed is required.
type Options struct {
	// Failed is told why a list is not answered, of what the client is told less. It may be called
	// concurrently.
	Failed func(*http.Request, error)

	// Admit is asked for the memory of those who list what is large, if it is not nil. They have it
	// while they read, and not while the client takes the answer. After an error the client is told
	// to try again: 503 with Retry-After.
	Admit Admit

	// Spool is the directory for files of large answers, which are gone when the client has them;
	// "" stands for os.TempDir. On systems where open files cannot be removed, those of a process
	// that was killed stay. Where there can be no files, clients keep the memory meanwhile.
	Spool string
}

// Handler returns a handler that answers GET and HEAD of /v2/<name>/referrers/<digest>, and hands
// everything else to next, which also decides who may see what: whoever may pull from a repository
// may list its referrers.
//
// The answer is 200 with an index, also for a subject or a repository that is not there. Query
// parameters: artifactType, which is compared exactly; n, the largest number of entries, at most
// 1,000, which is the default; last, the digest behind which the page begins. A page has at most
// 4 MiB, but for a single entry that is larger, and a Link if others follow; it may have fewer
// entries than n, or none, and a Link nevertheless. If the storage fails, the client is answered
// 500: a list that lacks a signature would be taken for the whole.
func (l *Links) Handler(next http.Handler, o Options) http.Handler {
	if o.Admit == nil {
		o.Admit = func(context.Context, int64) (func(), error) { return func() {}, nil }
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, ok := sparseregistry.ParsePath(r.URL.Path)
		if !ok || asked.Kind != sparseregistry.Referrers || path.Clean(r.URL.Path) != r.URL.Path {
			next.ServeHTTP(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			refuse(w, errcode.ErrorCodeUnsupported.WithMessage("referrers can only be listed"))
			return
		}
		if may := sparseregistry.AskToRead(next, r, asked.Repository); !may.Granted() {
			may.Refuse(w)
			return
		}
		q, err := parseQuestion(asked.Repository, asked.Reference, r.URL.Query())
		if err != nil {
			refuse(w, err)
			return
		}
		if err := l.list(w, r, q, o); err != nil {
			o.Failed(r, fmt.Errorf("listing the referrers of %s: %w", q.subject, err))
			refuseList(w, err)
		}
	})
}

// list answers a question. After an error, nothing was answered.
func (l *Links) list(w http.ResponseWriter, r *http.Request, q question, o Options) error {
	s := &share{admit: o.Admit}
	defer s.giveBack()
	p, err := l.listPage(r.Context(), s, q)
	if err != nil {
		return err
	}
	if r.Method == http.MethodHead || !s.taken() {
		answer(w, r, q, p.last, p.size(), p.write)
		return nil
	}
	file, err := spool(o.Spool, p)
	if err != nil { // a disk that is full, or read-only: the client has to be quick
		answer(w, r, q, p.last, p.size(), p.write)
		return nil
	}
	defer file.close()
	last, size := p.last, p.size()
	s.giveBack()
	answer(w, r, q, last, size, file.copyTo)
	return nil
}

// refuseList answers who gets no list because of err.
func refuseList(w http.ResponseWriter, err error) {
	if busy := new(noShareError); errors.As(err, &busy) {
		sparseregistry.RefuseBusy(w, busy)
		return
	}
	refuse(w, errcode.ErrorCodeUnknown.WithMessage("the referrers cannot be listed: the log of the server says why"))
}

func parseQuestion(repository, reference string, query url.Values) (question, error) {
	// Many write application/spdx+json as it is, where a plus sign stands for a space. No type has
	// one.
	artifactType := strings.ReplaceAll(query.Get("artifactType"), " ", "+")
	q := question{repository: repository, artifactType: artifactType, limit: maxEntries}
	var err error
	if q.subject, err = digest.Parse(reference); err != nil {
		return question{}, errcode.ErrorCodeDigestInvalid.WithMessage(fmt.Sprintf("the subject %.100q is no digest: %v", reference, err))
	}
	if query.Has("n") {
		n, err := strconv.Atoi(query.Get("n"))
		if err != nil || n < 1 {
			return question{}, errcode.ErrorCodePaginationNumberInvalid.WithMessage(fmt.Sprintf("n is %.100q, and must be a number from 1", query.Get("n")))
		}
		q.limit = min(n, maxEntries)
	}
	if query.Has("last") {
		if q.after, err = digest.Parse(query.Get("last")); err != nil {
			return question{}, errcode.ErrorCodeDigestInvalid.WithMessage(fmt.Sprintf("last is %.100q, and must be a digest: %v", query.Get("last"), err))
		}
	}
	return q, nil
}

// answer answers a question with a page of size bytes, which write writes. The next one begins
// behind last, if that is not "".
func answer(w http.ResponseWriter, r *http.Request, q question, last digest.Digest, size int64, write func(io.Writer) error) {
	h := w.Header()
	if q.artifactType != "" {
		h.Set(FiltersHeader, "artifactType")
	}
	if last != "" {
		h.Set("Link", "<"+r.URL.Path+"?"+following(r.URL.Query(), last)+`>; rel="next"`)
	}
	h.Set("Content-Type", imgspecv1.MediaTypeImageIndex)
	h.Set("Content-Length", strconv.FormatInt(size, 10))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_ = write(w) // only the client can make it fail, by leaving
	}
}

// following is the query for the page behind last.
func following(query url.Values, last digest.Digest) string {
	query = url.Values{"artifactType": query["artifactType"], "n": query["n"]}
	query.Set("last", last.String())
	return query.Encode()
}

func refuse(w http.ResponseWriter, err error) {
	_ = errcode.ServeJSON(w, err) // only the client can make it fail, by leaving
}
