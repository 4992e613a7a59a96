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

// maxInquiries is how many children of a list are asked for at the same time.
const maxInquiries = 8

// acceptChildren names all types that a child may have, in one line, because some registries read
// only the first.
var acceptChildren = strings.Join([]string{
	"application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json",
	manifest.MediaTypeDockerManifest, manifest.MediaTypeDockerList,
}, ", ")

// forwardedHeaders are those of the caller's headers that requests for children carry: its
// credentials, and what a registry behind a proxy needs to build its answers.
var forwardedHeaders = []string{
	"Authorization", "User-Agent", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto",
}

// A child is what the registry behind says about one.
type child struct {
	present bool
	size    int64 // in bytes, if present
}

// checkChildren asks for every distinct child of list once, and refuses the list if the policy
// does.
func (e *enforcer) checkChildren(r *http.Request, repository string, list manifest.List) *refusal {
	children, refused := e.findChildren(r, repository, distinct(list))
	if refused != nil {
		return refused
	}
	if err := e.policy.Check(list, func(d digest.Digest) bool { return children[d].present }); err != nil {
		return &refusal{status: http.StatusBadRequest, code: codeBlobUnknown, err: err}
	}
	if e.policy.Enabled {
		return checkSizes(list, children)
	}
	return nil // with the policy off, sizes are the business of the registry behind
}

// distinct returns the distinct children of list, in its order.
func distinct(list manifest.List) []digest.Digest {
	var digests []digest.Digest
	seen := map[digest.Digest]bool{}
	for _, in := range list.Instances() {
		if !seen[in.Digest] {
			seen[in.Digest] = true
			digests = append(digests, in.Digest)
		}
	}
	return digests
}

// checkSizes refuses a list that states a wrong size for a child that is there: no client could
// fetch it.
func checkSizes(list manifest.List, children map[digest.Digest]child) *refusal {
	for _, in := range list.Instances() {
		if c := children[in.Digest]; c.present && c.size != in.Size {
			refused := refuse(http.StatusBadRequest, codeManifestInvalid,
				"manifests[%d]: size is %d, but manifest %s has %d bytes", in.Index, in.Size, in.Digest, c.size)
			refused.detail = map[string]any{"digest": in.Digest, "size": in.Size, "actual_size": c.size}
			return refused
		}
	}
	return nil
}

// findChildren asks the registry behind for the given manifests. If it does not tell for several of
// them, the refusal is about the first.
func (e *enforcer) findChildren(r *http.Request, repository string, digests []digest.Digest) (map[digest.Digest]child, *refusal) {
	found := make([]child, len(digests))
	refusals := make([]*refusal, len(digests))
	indexes := make(chan int)
	var wg sync.WaitGroup
	for range min(maxInquiries, len(digests)) {
		wg.Go(func() {
			for i := range indexes {
				found[i], refusals[i] = e.findChild(r, repository, digests[i])
			}
		})
	}
	for i := range digests {
		indexes <- i
	}
	close(indexes)
	wg.Wait()

	children := make(map[digest.Digest]child, len(digests))
	for i, d := range digests {
		if refusals[i] != nil {
			return nil, refusals[i]
		}
		children[d] = found[i]
	}
	return children, nil
}

// findChild asks the registry behind for one manifest. It needs the size, too, which a registry may
// leave out of its answer to HEAD.
func (e *enforcer) findChild(r *http.Request, repository string, d digest.Digest) (child, *refusal) {
	answer, err := e.ask(r, http.MethodHead, repository, d)
	if err != nil {
		return child{}, refuse(http.StatusBadGateway, codeUnknown, "asking for manifest %s: %w", d, err)
	}
	switch answer.status {
	case http.StatusNotFound:
		return child{}, nil
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests:
		return child{}, passThrough(answer, d)
	default:
		return child{}, refuse(http.StatusBadGateway, codeUnknown, "asking for manifest %s: the registry answered %d", d, answer.status)
	}
	if size, err := strconv.ParseInt(answer.sent.Get("Content-Length"), 10, 64); err == nil && size >= 0 {
		return child{present: true, size: size}, nil
	}
	answer, err = e.ask(r, http.MethodGet, repository, d)
	if err == nil && answer.status != http.StatusOK {
		err = fmt.Errorf("the registry answered %d to GET after 200 to HEAD", answer.status)
	}
	if err != nil {
		return child{}, refuse(http.StatusBadGateway, codeUnknown, "asking for the size of manifest %s: %w", d, err)
	}
	return child{present: true, size: int64(answer.body.Len())}, nil
}

// ask sends a request for a child to the registry behind. An answer that is no answer is an error:
// a panic, which net/http would turn into a closed connection, a body of more than manifest.MaxSize
// bytes, and anything after the client has gone.
func (e *enforcer) ask(r *http.Request, method, repository string, d digest.Digest) (answer *recorder, err error) {
	if err := r.Context().Err(); err != nil {
		return nil, context.Cause(r.Context())
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the registry panicked: %v", p)
		}
	}()
	answer = newRecorder(manifest.MaxSize)
	e.next.ServeHTTP(answer, childRequest(r, method, repository, d))
	answer.finish()
	if answer.overflow {
		return nil, errors.New("the answer is too large")
	}
	return answer, nil
}

// childRequest is a request for a child, on behalf of r and with its context, over the same
// connection as far as next can tell.
func childRequest(r *http.Request, method, repository string, d digest.Digest) *http.Request {
	header := http.Header{"Accept": {acceptChildren}}
	for _, name := range forwardedHeaders {
		if values := r.Header.Values(name); len(values) > 0 {
			header[name] = values
		}
	}
	u := &url.URL{Path: "/v2/" + repository + "/manifests/" + d.String()}
	c := &http.Request{
		Method: method, URL: u, RequestURI: u.RequestURI(), Host: r.Host, RemoteAddr: r.RemoteAddr, TLS: r.TLS,
		Proto: r.Proto, ProtoMajor: r.ProtoMajor, ProtoMinor: r.ProtoMinor, Header: header, Body: http.NoBody,
	}
	return c.WithContext(r.Context())
}

// passThrough makes an answer that refuses access to a child the answer to the caller: its
// challenge, and when to try again. The body is the registry's own if it sent one, which many do
// not in an answer to HEAD.
func passThrough(answer *recorder, d digest.Digest) *refusal {
	codes := map[int]string{
		http.StatusUnauthorized:    codeUnauthorized,
		http.StatusForbidden:       codeDenied,
		http.StatusTooManyRequests: codeTooMany,
	}
	refused := refuse(answer.status, codes[answer.status], "asking for manifest %s: the registry answered %d", d, answer.status)
	refused.header = answer.sent.Clone()
	refused.header.Del("Content-Length")
	if answer.body.Len() > 0 {
		refused.body = answer.body.Bytes()
	}
	return refused
}
