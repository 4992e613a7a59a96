package registrytest

import (
	"bytes"
	"cmp"
	"crypto/rand"
	_ "crypto/sha256" // algorithms of digests
	_ "crypto/sha512"
	"fmt"
	"hash"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// upload is a blob that is on its way. Between requests it is in the store; the request that reads
// a body has it alone.
type upload struct {
	repo  string
	id    string
	state string // part of the URL that clients must send back; guarded by the store's mu
	busy  bool   // a request has it; guarded by the store's mu
	size  int64  // guarded by the store's mu while not busy
	algo  digest.Algorithm
	hash  hash.Hash
	keep  *bytes.Buffer // nil if the bytes are thrown away
}

// secret is a string that nobody can guess.
func secret() string { return rand.Text() }

// maxPrealloc bounds the memory that a stated length is believed for: to clear what nobody writes
// to takes time, and much of it with the race detector.
const maxPrealloc = 4 << 20

// upload serves the uploads of a repository.
func (x *exchange) upload() {
	if most := x.opts.MaxBody; most > 0 && x.req.ContentLength > most {
		FailHTML(http.StatusRequestEntityTooLarge).write(x)
		return
	}
	if x.route.ref == "" {
		if x.req.Method != http.MethodPost {
			x.notAllowed()
			return
		}
		x.startUpload()
		return
	}
	switch x.req.Method {
	case http.MethodGet, http.MethodHead:
		x.uploadStatus()
	case http.MethodPatch, http.MethodPut:
		x.continueUpload()
	case http.MethodDelete:
		x.cancelUpload()
	default:
		x.notAllowed()
	}
}

// startUpload serves POST: a mount, an upload in one request, or the start of one in several.
func (x *exchange) startUpload() {
	q := x.req.URL.Query()
	if mount := q.Get("mount"); mount != "" {
		d, err := digest.Parse(mount)
		if err != nil {
			x.digestInvalid(err.Error())
			return
		}
		if x.opts.PhantomMounts {
			x.blobCreated(d)
			return
		}
		if from := q.Get("from"); !x.opts.IgnoreMounts && from != "" && x.mayPull(from) &&
			x.store.mount(x.route.repo, from, d, x.n) {
			x.blobCreated(d)
			return
		}
	}
	u := &upload{repo: x.route.repo, id: secret(), state: secret(), algo: digest.Canonical}
	if given := q.Get("digest"); given != "" && !x.opts.NoMonolithicPost {
		d, err := digest.Parse(given)
		if err != nil {
			x.digestInvalid(err.Error())
			return
		}
		x.finishUpload(u, d)
		return
	}
	x.store.mu.Lock()
	x.store.uploads[u.id] = u
	x.store.mu.Unlock()
	x.w.Header().Set("Content-Length", "0")
	x.uploadHeaders(u, 0)
	x.w.WriteHeader(http.StatusAccepted)
}

// claim finds the upload that the URL names and gives it to this request alone. If it cannot, it
// has answered. The caller must release it.
func (x *exchange) claim() *upload {
	x.store.mu.Lock()
	u := x.store.uploads[x.route.ref]
	found := u != nil && u.repo == x.route.repo && u.state == x.req.URL.Query().Get("_state")
	free := found && !u.busy
	if free {
		u.busy = true
	}
	x.store.mu.Unlock()
	switch {
	case !found:
		x.refuse(http.StatusNotFound, Error{Code: "BLOB_UPLOAD_UNKNOWN", Message: "blob upload unknown to registry"})
		return nil
	case !free:
		x.refuse(http.StatusConflict, Error{Code: "BLOB_UPLOAD_INVALID", Message: "another request is at this upload"})
		return nil
	}
	return u
}

// release gives the upload back, or ends it.
func (x *exchange) release(u *upload, end bool) {
	x.store.mu.Lock()
	defer x.store.mu.Unlock()
	u.busy = false
	if end {
		delete(x.store.uploads, u.id)
	}
}

func (x *exchange) uploadStatus() {
	u := x.claim()
	if u == nil {
		return
	}
	size := u.size
	x.release(u, false)
	x.uploadHeaders(u, size)
	x.w.WriteHeader(http.StatusNoContent)
}

func (x *exchange) cancelUpload() {
	u := x.claim()
	if u == nil {
		return
	}
	x.release(u, true)
	x.w.WriteHeader(http.StatusNoContent)
}

// continueUpload serves PATCH, and PUT, which ends an upload.
func (x *exchange) continueUpload() {
	var d digest.Digest
	if x.req.Method == http.MethodPut {
		var err error
		if d, err = digest.Parse(x.req.URL.Query().Get("digest")); err != nil {
			x.digestInvalid(err.Error())
			return
		}
	}
	if x.opts.PatchOnly && x.req.Method == http.MethodPut && x.req.ContentLength != 0 {
		x.refuse(http.StatusNotFound, Error{Message: "not found"})
		return
	}
	u := x.claim()
	if u == nil {
		return
	}
	end := false
	defer func() { x.release(u, end) }()
	if !rangeContinues(x.req.Header.Get("Content-Range"), u.size, x.req.ContentLength) {
		x.uploadHeaders(u, u.size)
		x.refuse(http.StatusRequestedRangeNotSatisfiable, Error{Code: "RANGE_INVALID", Message: "chunk out of order"})
		return
	}
	if x.req.Method == http.MethodPut {
		end = x.finishUpload(u, d)
		return
	}
	if err := u.read(x.req, x.opts.DiscardBlobs); err != nil {
		x.refuse(http.StatusBadRequest, Error{Code: "BLOB_UPLOAD_INVALID", Message: err.Error()})
		return
	}
	if x.opts.MovingUploads {
		x.store.mu.Lock()
		u.state = secret()
		x.store.mu.Unlock()
	}
	x.w.Header().Set("Content-Length", "0")
	x.uploadHeaders(u, u.size)
	x.w.WriteHeader(http.StatusAccepted)
}

// rangeContinues reports whether a chunk with this Content-Range ("first-last"; "" for none) comes
// next in an upload of the given size, and has the length that the request states (-1 for none).
func rangeContinues(spec string, size, length int64) bool {
	if spec == "" {
		return true
	}
	from, to, _ := strings.Cut(strings.TrimPrefix(spec, "bytes "), "-")
	to, _, _ = strings.Cut(to, "/")
	first, err1 := strconv.ParseInt(from, 10, 64)
	last, err2 := strconv.ParseInt(to, 10, 64)
	return err1 == nil && err2 == nil && first == size && (length < 0 || last-first+1 == length)
}

// finishUpload reads the rest of the blob, checks it, stores it and answers. It reports whether the
// upload is over: not if the client broke off.
func (x *exchange) finishUpload(u *upload, d digest.Digest) bool {
	if u.size == 0 {
		u.algo, u.hash = d.Algorithm(), nil
	}
	if err := u.read(x.req, x.opts.DiscardBlobs); err != nil {
		x.refuse(http.StatusBadRequest, Error{Code: "BLOB_UPLOAD_INVALID", Message: err.Error()})
		return false
	}
	c, err := u.content(d)
	if err != nil {
		x.digestInvalid(err.Error())
		return true
	}
	x.store.putBlob(x.route.repo, c, x.n)
	x.blobCreated(d)
	return true
}

// read appends the request's body. If it breaks off, what came is appended.
func (u *upload) read(req *http.Request, discard bool) error {
	if u.hash == nil {
		u.hash = u.algo.Hash()
	}
	if u.keep == nil && !discard {
		u.keep = &bytes.Buffer{}
	}
	if u.keep != nil {
		u.keep.Grow(int(min(max(req.ContentLength, 0), maxPrealloc)))
	}
	_, err := copyBody(u, req.Body)
	return err
}

// Write appends p.
func (u *upload) Write(p []byte) (int, error) {
	u.hash.Write(p)
	if u.keep != nil {
		u.keep.Write(p)
	}
	u.size += int64(len(p))
	return len(p), nil
}

// content is what was uploaded, if d is its digest.
func (u *upload) content(d digest.Digest) (Content, error) {
	actual := digest.NewDigest(u.algo, u.hash)
	c := Content{Digest: d, Size: u.size}
	if u.keep != nil {
		c.at = bytes.NewReader(u.keep.Bytes())
		if d.Algorithm() != u.algo {
			actual = d.Algorithm().FromBytes(u.keep.Bytes())
		}
	}
	if actual != d {
		return c, fmt.Errorf("content has digest %s", actual)
	}
	return c, nil
}

func (x *exchange) digestInvalid(reason string) {
	x.refuse(http.StatusBadRequest, Error{
		Code: "DIGEST_INVALID", Message: "provided digest did not match uploaded content", Detail: map[string]string{"reason": reason},
	})
}

func (x *exchange) blobCreated(d digest.Digest) {
	if x.req.Method == http.MethodPut {
		x.wait(x.req.Context(), x.opts.CommitWait)
	}
	if x.opts.BareSuccess && x.req.Method == http.MethodPut {
		return
	}
	h := x.w.Header()
	h.Set("Location", x.location("/v2/"+x.route.repo+"/blobs/"+d.String()))
	h.Set("Docker-Content-Digest", d.String())
	status := http.StatusCreated
	if x.req.Method == http.MethodPut {
		status = cmp.Or(x.opts.UploadStatus, status)
	}
	if status != http.StatusNoContent {
		h.Set("Content-Length", "0")
	}
	x.w.WriteHeader(status)
}

// uploadHeaders says where the upload goes on, and how much of it is here. Nothing and one byte
// look the same ("0-0"), as in distribution.
func (x *exchange) uploadHeaders(u *upload, size int64) {
	path := "/v2/" + u.repo + "/blobs/uploads/" + u.id + "?_state=" + url.QueryEscape(u.state)
	h := x.w.Header()
	if base := x.secondURL(); x.opts.Location == LocationSecond && base != "" {
		h.Set("Location", base+path)
	} else {
		h.Set("Location", x.location(path))
	}
	h.Set("Docker-Upload-UUID", u.id)
	h.Set("Range", "0-"+strconv.FormatInt(max(size-1, 0), 10))
}

// location is a path of this server, in the form that the options want.
func (x *exchange) location(path string) string {
	if x.opts.Location == LocationRelative {
		return path
	}
	return x.baseURL() + path
}
