package sparseregistry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// Options are the settings of Enforce. The zero value works: the policy is off, and nobody hears of
// refusals and of requests for children.
type Options struct {
	// Policy returns the policy that is in force in a repository; nil stands for off everywhere. It
	// is called once for each list, may be called concurrently, and may answer otherwise the next
	// time: a list is judged by one answer.
	Policy func(repository string) manifest.SparsePolicy

	// Storage is held by requests that use the registry's storage; nil for none.
	Storage *StorageLock

	// Children answers the requests of the policy's own, for children of lists, in the place of
	// next; nil stands for next. It must have what next has.
	Children http.Handler

	// AskFirst asks next whether the caller may push, by the PUT of an empty document, before a
	// manifest is read from a client. It is for a next that decides that itself: strangers could
	// have manifests kept until it denies them.
	AskFirst bool

	// Admit, if not nil, is called for every manifest that has arrived, before it is looked at: it
	// will take about weight bytes of memory until release is called, or at the most so many. Until
	// Admit returns, and while a client sends it, a manifest takes little, whatever its size.
	// Admit may wait, and be called concurrently. After an error the client is told to try again:
	// 503 with Retry-After.
	Admit func(ctx context.Context, weight int64) (release func(), err error)

	// Spool is the directory for files of manifests that arrive, which are gone when the request is
	// answered; "" stands for os.TempDir. On systems where open files cannot be removed, those of a
	// process that was killed stay.
	Spool string

	// CheckImage, if not nil, is asked about every manifest that is no list, with its media type as
	// the request states it, without parameters; "" for none. An error refuses it: 400
	// MANIFEST_INVALID. It may be called concurrently.
	CheckImage func(mediaType string, manifest []byte) error

	// Refused, if not nil, is called for every manifest that was not let through, before the answer
	// is sent. It may be called concurrently, and must not wait for other requests.
	Refused func(*http.Request, Refusal)

	// Stored, if not nil, is called for every manifest that next has taken (201), before the client
	// is answered and while nothing is deleted in the repository. It returns fields for the header
	// of the answer, or nil. After an error the client is answered 500, and the manifest stays.
	//
	// Deleted, if not nil, is called for every manifest and tag that next has deleted (202), before
	// the client is answered and while nothing is stored or deleted in the repository. After an
	// error the client is answered 500.
	//
	// Both may be called concurrently, and must not wait for other requests.
	Stored  func(*http.Request, Stored) (http.Header, error)
	Deleted func(*http.Request, Deletion) error

	// LookedUp, if not nil, is called for every request for a child, which is no client's, with the
	// status of the answer; 0 if there was none. It may be called concurrently.
	LookedUp func(status int)
}

// Enforce returns a handler that puts the policy in front of next, the handler of a registry whose
// API is at /v2/ and that accepts lists whose children are absent. next must not be served in any
// other way, and must take the repository from the request's URL.Path.
//
// What it changes, compared with next alone:
//
//   - A list whose children do not satisfy the policy is refused: 400 MANIFEST_BLOB_UNKNOWN, one
//     error for each missing child.
//   - With the policy on, a list that states a wrong size for a child that is there is refused: 400
//     MANIFEST_INVALID.
//   - A list of more than MaxEntries entries, a manifest of more than manifest.MaxSize bytes (413),
//     of more than MaxValues values or with a Content-Encoding (415), and one that two parsers can
//     read differently, is refused; so is an OCI image manifest with a subject that is not as the
//     format demands.
//   - A path under which another router could find a manifest, and this handler does not, is
//     refused.
//   - A DELETE in a repository waits for the manifests that are being stored in it, and they for
//     the DELETE.
//
// A child is there if next answers 200 to HEAD for its manifest, and missing if it answers 404.
// Requests for children carry the caller's Authorization. If next refuses the caller (401, 403) or
// asks for patience (429, 503), so does the handler; any other answer is a 502. A caller who may
// not even see the children gets what next answers to the PUT of an empty document, if that is a
// refusal, too: it says what the caller needs to push.
func Enforce(next http.Handler, options Options) http.Handler {
	e := &enforcer{Options: options, next: next, inquiries: make(chan struct{}, maxInquiries)}
	if e.Children == nil {
		e.Children = next
	}
	if e.Policy == nil {
		e.Policy = Policies{}.For
	}
	if e.Storage != nil {
		return e.Storage.hold(e)
	}
	return e
}

type enforcer struct {
	Options   // Children and Policy are never nil
	next      http.Handler
	locks     repositoryLocks
	inquiries chan struct{} // holds an element for every child that is being asked for
}

func (e *enforcer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t, err := parseContentPath(r.URL.Path)
	if err != nil {
		refuse(http.StatusBadRequest, codeNameInvalid, "%w", err).write(w)
		return
	}
	r = withDecodedPath(r)
	switch {
	case r.Method == http.MethodDelete && t.Kind != "":
		answer, refusal := e.delete(r, t)
		if refusal != nil {
			refusal.write(w)
			return
		}
		answer.replay(w)
	case t.Kind != Manifests:
		e.next.ServeHTTP(w, r)
	default:
		e.serveManifest(w, r, t)
	}
}

func (e *enforcer) serveManifest(w http.ResponseWriter, r *http.Request, t Path) {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		e.next.ServeHTTP(w, r)
	case http.MethodPut:
		if refusal := e.put(w, r, t); refusal != nil {
			if e.Refused != nil {
				e.Refused(r, Refusal{Repository: t.Repository, Reference: t.Reference, Status: refusal.status, Err: refusal.err})
			}
			refusal.write(w)
		}
	default: // might be another way to write
		notAllowed(r, "manifests", "GET, HEAD, PUT, DELETE, OPTIONS").write(w)
	}
}

// withDecodedPath makes next decide by the same path as this handler does.
func withDecodedPath(r *http.Request) *http.Request {
	if r.URL.RawPath == "" {
		return r
	}
	c := *r
	u := *r.URL
	u.RawPath = ""
	c.URL, c.RequestURI = &u, u.RequestURI()
	return &c
}

// delete passes a DELETE on while no manifest is being checked or stored in the repository. Clients
// can hold the lock for no longer than next needs: next gets no body to wait for, and the answer is
// sent when the lock is released.
func (e *enforcer) delete(r *http.Request, t Path) (*recorder, *refusal) {
	defer e.locks.exclusive(t.Repository)()
	answer := e.record(withBody(r, nil, ""))
	return answer, e.noteDeleted(r, t, answer)
}

// record is the answer of next to r.
func (e *enforcer) record(r *http.Request) *recorder {
	answer := newRecorder(math.MaxInt)
	e.next.ServeHTTP(answer, r)
	answer.finish()
	return answer
}

// put passes a manifest on, or says why not.
func (e *enforcer) put(w http.ResponseWriter, r *http.Request, t Path) *refusal {
	if err := checkReference(t.Reference); err != nil {
		return refuse(http.StatusBadRequest, codeDigestInvalid, "%w", err)
	}
	mediaType, refusal := contentType(r)
	if refusal != nil {
		return refusal
	}
	if e.AskFirst {
		if denied := e.denied(r, mediaType); denied != nil {
			denied.replay(w)
			return nil
		}
	}
	arrived, refusal := receive(w, r, e.Spool)
	if refusal != nil {
		return refusal
	}
	answer, refusal := e.putArrived(r, t, mediaType, arrived)
	if refusal == nil {
		answer.replay(w)
	}
	return refusal
}

// putArrived passes a manifest on that has arrived, or says why not, when there is memory for it.
// No client can keep that: nothing is read from one any more, and nothing written yet.
func (e *enforcer) putArrived(r *http.Request, t Path, mediaType string, arrived *arrival) (*recorder, *refusal) {
	defer arrived.close()
	if e.Admit != nil {
		release, err := e.Admit(r.Context(), arrived.weight())
		if err != nil {
			return nil, busy(err)
		}
		defer release()
	}
	body, err := arrived.bytes()
	if err != nil {
		return nil, refuse(http.StatusInternalServerError, codeUnknown, "%w", err)
	}
	doc, refusal := readDocument(t.Reference, mediaType, body)
	if refusal == nil && doc.list == nil {
		refusal = e.refuseImage(mediaType, body)
	}
	if refusal != nil {
		return nil, refusal
	}
	return e.store(r, t, doc)
}

// retryAfter is after how many seconds a client should try again for which there was no room.
const retryAfter = 5

func busy(err error) *refusal {
	refused := refuse(http.StatusServiceUnavailable, codeUnavailable, "the registry is busy with other manifests; try again: %w", err)
	refused.header = http.Header{"Retry-After": {strconv.Itoa(retryAfter)}}
	return refused
}

// RefuseBusy answers a request about manifests for which there was no memory, because of err, as
// Enforce answers one that stores a manifest: 503 with Retry-After.
func RefuseBusy(w http.ResponseWriter, err error) { busy(err).write(w) }

// refuseImage says why a manifest that is no list is not let through, if it is not.
func (e *enforcer) refuseImage(mediaType string, body []byte) *refusal {
	if e.CheckImage == nil {
		return nil
	}
	if err := e.CheckImage(mediaType, body); err != nil {
		return refuse(http.StatusBadRequest, codeManifestInvalid, "%w", err)
	}
	return nil
}

// store checks the children of doc, which r is to store, if it is a list, and passes it on, while
// nothing is deleted in the repository. As with delete, no client can hold the lock.
func (e *enforcer) store(r *http.Request, t Path, doc document) (*recorder, *refusal) {
	beginTurn(r)
	defer e.locks.shared(t.Repository)()
	if doc.list != nil {
		if refusal := e.checkChildren(r, t.Repository, doc.list); refusal != nil {
			return nil, e.orDenied(r, doc, refusal)
		}
	}
	answer := e.record(withBody(r, doc.body, doc.forwarded))
	return answer, e.noteStored(r, t, doc, answer)
}

// orDenied is refusal, unless next denies the caller the PUT itself. Then it is that answer: its
// challenge asks for what the PUT needs, and that of a request for a child only for what reading
// does.
func (e *enforcer) orDenied(r *http.Request, doc document, refusal *refusal) *refusal {
	if !denies(refusal.status) {
		return refusal
	}
	if answer := e.denied(r, doc.forwarded); answer != nil {
		return passThrough(answer, refusal.err)
	}
	return refusal
}

// denied is what next answers to a caller who may not push a manifest of a type, nil to one who
// may. No registry stores the empty document that it is asked to.
func (e *enforcer) denied(r *http.Request, mediaType string) *recorder {
	if answer := e.record(withBody(r, nil, mediaType)); denies(answer.status) {
		return answer
	}
	return nil
}

func denies(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusForbidden
}

// checkReference refuses what starts like a digest and is none: a registry could take it for a tag.
func checkReference(reference string) error {
	if !strings.Contains(reference, ":") {
		return nil
	}
	if err := digest.Digest(reference).Validate(); err != nil {
		return errors.New("reference " + strconv.Quote(clip(reference)) + ": " + err.Error())
	}
	return nil
}

// parseList reads a list, and refuses it if it is not what reference names, should that be a
// digest. Nothing is let through that a client could read differently, or that is not as the
// formats demand: what is stored is handed out to all of them.
func parseList(reference, mediaType string, body []byte) (manifest.List, *refusal) {
	if d := digest.Digest(reference); strings.Contains(reference, ":") && d.Algorithm().FromBytes(body) != d {
		return nil, refuse(http.StatusBadRequest, codeDigestInvalid, "the manifest does not have the digest %s", d)
	}
	list, err := manifest.Parse(body, mediaType)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, codeManifestInvalid, "%w", err)
	}
	for _, r := range list.Remarks() {
		if r.Kind != manifest.CaseVariant {
			return nil, refuse(http.StatusBadRequest, codeManifestInvalid, "%s", r)
		}
	}
	if n := len(list.Instances()); n > MaxEntries {
		return nil, refuse(http.StatusBadRequest, codeManifestInvalid, "the list has %d entries, more than %d", n, MaxEntries)
	}
	return list, nil
}

// withBody returns r with body, which has been read, as its body, and with mediaType as its
// Content-Type unless that is "".
func withBody(r *http.Request, body []byte, mediaType string) *http.Request {
	c := *r
	c.Body, c.ContentLength, c.TransferEncoding, c.Trailer = http.NoBody, int64(len(body)), nil, nil
	if len(body) > 0 {
		c.Body = io.NopCloser(bytes.NewReader(body))
	}
	c.Header = r.Header.Clone()
	c.Header.Set("Content-Length", strconv.Itoa(len(body)))
	c.Header.Del("Expect")
	if mediaType != "" {
		c.Header.Set("Content-Type", mediaType)
	}
	return &c
}
