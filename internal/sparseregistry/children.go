package sparseregistry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// maxInquiries is how many children are asked for at the same time, those of all lists together. A
// registry may read all of a manifest to answer that it is there, and those of a small list can be
// large.
const maxInquiries = 8

// acceptChildren names all types that a child may have, in one line, because some registries read
// only the first.
var acceptChildren = strings.Join([]string{
	ociManifest, "application/vnd.oci.image.index.v1+json",
	manifest.MediaTypeDockerManifest, manifest.MediaTypeDockerList,
}, ", ")

// forwardedHeaders are those of the caller's headers that requests for children carry: its
// credentials, and what a registry behind a proxy needs to build its answers.
var forwardedHeaders = []string{
	"Authorization", "User-Agent", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto",
}

// A question is for a manifest, or for a blob that a list names in the place of one.
type question struct {
	digest digest.Digest
	blob   bool
}

// kind is what the path is about that the question is for.
func (q question) kind() Kind {
	if q.blob {
		return Blobs
	}
	return Manifests
}

func (q question) String() string {
	if q.blob {
		return "blob " + q.digest.String()
	}
	return "manifest " + q.digest.String()
}

func questionFor(in manifest.Instance) question { return question{in.Digest, in.IsBlob()} }

// A child is what the registry behind says about one.
type child struct {
	present bool
	size    int64 // in bytes, if present; -1 if it is not told
}

// checkChildren asks for every distinct child of list once, and refuses the list if the policy
// in force does.
func (e *enforcer) checkChildren(r *http.Request, repository string, list manifest.List) *refusal {
	policy := e.Policy(repository)
	children, refused := e.findChildren(r, repository, distinct(list))
	if refused != nil {
		return refused
	}
	// What is named as a manifest and as a blob has to be there as both.
	present := func(d digest.Digest) bool {
		asManifest, asked := children[question{d, false}]
		asBlob, askedAsBlob := children[question{d, true}]
		return (!asked || asManifest.present) && (!askedAsBlob || asBlob.present)
	}
	if err := policy.Check(list, present); err != nil {
		return &refusal{status: http.StatusBadRequest, code: codeBlobUnknown, err: err}
	}
	if policy.Enabled {
		return checkSizes(list, children)
	}
	return nil // with the policy off, sizes are the business of the registry behind
}

// distinct returns what to ask for to know of the children of list, in its order.
func distinct(list manifest.List) []question {
	var questions []question
	seen := map[question]bool{}
	for _, in := range list.Instances() {
		if q := questionFor(in); !seen[q] {
			seen[q] = true
			questions = append(questions, q)
		}
	}
	return questions
}

// checkSizes refuses a list that states a wrong size for a child that is there: no client could
// fetch it.
func checkSizes(list manifest.List, children map[question]child) *refusal {
	for _, in := range list.Instances() {
		q := questionFor(in)
		if c := children[q]; c.present && c.size >= 0 && c.size != in.Size {
			refused := refuse(http.StatusBadRequest, codeManifestInvalid,
				"manifests[%d]: size is %d, but %v has %d bytes", in.Index, in.Size, q, c.size)
			refused.detail = map[string]any{"digest": in.Digest, "size": in.Size, "actual_size": c.size}
			return refused
		}
	}
	return nil
}

// findChildren asks the registry behind the given questions. If it does not answer several of them,
// the refusal is about the first.
func (e *enforcer) findChildren(r *http.Request, repository string, questions []question) (map[question]child, *refusal) {
	found := make([]child, len(questions))
	refusals := make([]*refusal, len(questions))
	indexes := make(chan int)
	var wg sync.WaitGroup
	for range min(maxInquiries, len(questions)) {
		wg.Go(func() {
			for i := range indexes {
				found[i], refusals[i] = e.findChild(r, repository, questions[i])
			}
		})
	}
	for i := range questions {
		indexes <- i
	}
	close(indexes)
	wg.Wait()

	children := make(map[question]child, len(questions))
	for i, q := range questions {
		if refusals[i] != nil {
			return nil, refusals[i]
		}
		children[q] = found[i]
	}
	return children, nil
}

// findChild asks the registry behind one question. It needs the size, too, which a registry may
// leave out of its answer to HEAD; a blob is not read for that.
func (e *enforcer) findChild(r *http.Request, repository string, q question) (child, *refusal) {
	answer, err := e.lookUp(r, http.MethodHead, repository, q)
	if err != nil {
		return child{}, refuse(http.StatusBadGateway, codeUnknown, "asking for %v: %w", q, err)
	}
	switch answer.status {
	case http.StatusNotFound:
		return child{}, nil
	case http.StatusOK:
	case http.StatusTemporaryRedirect:
		if !q.blob { // blobs may be handed out elsewhere
			return child{}, refuse(http.StatusBadGateway, codeUnknown, "asking for %v: the registry answered %d", q, answer.status)
		}
		return child{present: true, size: -1}, nil
	default:
		err := fmt.Errorf("asking for %v: the registry answered %d", q, answer.status)
		if concernsCaller(answer.status) {
			return child{}, passThrough(answer, err)
		}
		return child{}, refuse(http.StatusBadGateway, codeUnknown, "%w", err)
	}
	if size, err := strconv.ParseInt(answer.sent.Get("Content-Length"), 10, 64); err == nil && size >= 0 {
		return child{present: true, size: size}, nil
	}
	if q.blob {
		return child{present: true, size: -1}, nil
	}
	answer, err = e.lookUp(r, http.MethodGet, repository, q)
	if err == nil && answer.status != http.StatusOK {
		err = fmt.Errorf("the registry answered %d to GET after 200 to HEAD", answer.status)
	}
	if err != nil {
		return child{}, refuse(http.StatusBadGateway, codeUnknown, "asking for the size of %v: %w", q, err)
	}
	return child{present: true, size: int64(answer.body.Len())}, nil
}

// lookUp is ask, when it is its turn, and says that it was done.
func (e *enforcer) lookUp(r *http.Request, method, repository string, q question) (*recorder, error) {
	select {
	case e.inquiries <- struct{}{}:
		defer func() { <-e.inquiries }()
	case <-r.Context().Done():
		return nil, context.Cause(r.Context())
	}
	answer, err := ask(e.Children, r, method, repository, q)
	if e.LookedUp != nil {
		status := 0
		if err == nil {
			status = answer.status
		}
		e.LookedUp(status)
	}
	return answer, err
}

// ask sends a request for a child to a registry. An answer that is no answer is an error:
// a panic, which net/http would turn into a closed connection, a body of more than manifest.MaxSize
// bytes, and anything after the client has gone.
func ask(registry http.Handler, r *http.Request, method, repository string, q question) (answer *recorder, err error) {
	if err := r.Context().Err(); err != nil {
		return nil, context.Cause(r.Context())
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the registry panicked: %v", p)
		}
	}()
	answer = newRecorder(manifest.MaxSize)
	registry.ServeHTTP(answer, childRequest(r, method, repository, q))
	answer.finish()
	if answer.overflow {
		return nil, errors.New("the answer is too large")
	}
	return answer, nil
}

// childRequest is a request for a child, on behalf of r and with its context, over the same
// connection as far as next can tell.
func childRequest(r *http.Request, method, repository string, q question) *http.Request {
	header := http.Header{"Accept": {acceptChildren}}
	for _, name := range forwardedHeaders {
		if values := r.Header.Values(name); len(values) > 0 {
			header[name] = values
		}
	}
	u := &url.URL{Path: "/v2/" + repository + "/" + string(q.kind()) + "/" + q.digest.String()}
	c := &http.Request{
		Method: method, URL: u, RequestURI: u.RequestURI(), Host: r.Host, RemoteAddr: r.RemoteAddr, TLS: r.TLS,
		Proto: r.Proto, ProtoMajor: r.ProtoMajor, ProtoMinor: r.ProtoMinor, Header: header, Body: http.NoBody,
	}
	return c.WithContext(r.Context())
}

// callersCodes are the codes of the answers that concern the caller.
var callersCodes = map[int]string{
	http.StatusUnauthorized:       codeUnauthorized,
	http.StatusForbidden:          codeDenied,
	http.StatusTooManyRequests:    codeTooMany,
	http.StatusServiceUnavailable: codeUnavailable,
}

// concernsCaller reports whether an answer with a status refuses access, or asks for patience.
func concernsCaller(status int) bool { return callersCodes[status] != "" }

// passThrough makes an answer that concerns the caller the answer to the caller: its challenge, and
// when to try again. The body is the registry's own if it sent one, which many do not in an answer
// to HEAD; else it says err.
func passThrough(answer *recorder, err error) *refusal {
	refused := &refusal{status: answer.status, code: callersCodes[answer.status], header: answer.sent.Clone(), err: err}
	refused.header.Del("Content-Length")
	if answer.body.Len() > 0 {
		refused.body = answer.body.Bytes()
	}
	return refused
}
