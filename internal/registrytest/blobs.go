package registrytest

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
)

// copyBuffers are for bodies.
var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 128<<10); return &b }}

// copyBody is io.Copy with a shared buffer.
func copyBody(w io.Writer, r io.Reader) (int64, error) {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	// The plain interfaces keep io.CopyBuffer from finding methods that would not use the buffer.
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, *buf)
}

// blob serves the blobs of a repository.
func (x *exchange) blob() {
	d, err := digest.Parse(x.route.ref)
	if err != nil {
		x.refuse(http.StatusBadRequest, Error{Code: "DIGEST_INVALID", Message: err.Error(), Detail: x.route.ref})
		return
	}
	switch x.req.Method {
	case http.MethodGet, http.MethodHead:
		x.getBlob(d)
	case http.MethodDelete:
		if !x.store.deleteBlob(x.route.repo, d, x.n) {
			x.blobUnknown(d)
			return
		}
		x.w.WriteHeader(http.StatusAccepted)
	default:
		x.notAllowed()
	}
}

func (x *exchange) getBlob(d digest.Digest) {
	head := x.req.Method == http.MethodHead
	if head && x.opts.RefuseHEAD {
		x.notAllowed()
		return
	}
	c, ok := x.store.blob(x.route.repo, d)
	if !ok || !head && x.store.lost(x.route.repo, d) {
		x.blobUnknown(d)
		return
	}
	if base := x.secondURL(); x.opts.RedirectBlobs && base != "" && !head {
		x.w.Header().Set("Location", base+storagePrefix+x.route.repo+"/"+d.String()+"?signature="+secret())
		x.w.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	x.sendContent(c)
}

// storage serves what downloads are redirected to.
func (x *exchange) storage() {
	if x.req.Header.Get("Authorization") != "" {
		x.refuse(http.StatusBadRequest, Error{Code: "UNSUPPORTED", Message: "the URL is signed, and there is an Authorization header"})
		return
	}
	c, ok := x.store.blob(x.route.repo, digest.Digest(x.route.ref))
	if !ok || x.req.Method != http.MethodGet {
		x.blobUnknown(digest.Digest(x.route.ref))
		return
	}
	x.sendContent(c)
}

func (x *exchange) blobUnknown(d digest.Digest) {
	x.absent(Error{Code: "BLOB_UNKNOWN", Message: "blob unknown to registry", Detail: map[string]any{"digest": d}})
}

// sendContent answers GET and HEAD of a blob.
func (x *exchange) sendContent(c Content) {
	head := x.req.Method == http.MethodHead
	if c.at == nil && !head {
		x.refuse(http.StatusInternalServerError, Error{Code: "UNKNOWN", Message: "the content of this blob was not kept"})
		return
	}
	h := x.w.Header()
	h.Set("Docker-Content-Digest", c.Digest.String())
	h.Set("ETag", x.tag(c))
	part, status := c.Reader(), http.StatusOK
	if x.ranges != RangeIgnored {
		h.Set("Accept-Ranges", "bytes")
		if spec := x.req.Header.Get("Range"); spec != "" && !head && x.unchanged(h.Get("ETag")) {
			var err error
			if part, err = x.part(c, spec); err != nil {
				h.Set("Content-Range", "bytes */"+strconv.FormatInt(c.Size, 10))
				x.refuse(http.StatusRequestedRangeNotSatisfiable, Error{Code: "RANGE_INVALID", Message: err.Error()})
				return
			}
			status = http.StatusPartialContent
		}
	}
	h.Set("Content-Type", "application/octet-stream")
	if !head || !x.opts.NoLengthOfHEAD {
		h.Set("Content-Length", strconv.FormatInt(part.Size(), 10))
	}
	if !head && !x.opts.BlobHeaderFirst {
		x.wait(x.req.Context(), x.opts.BlobWait)
	}
	x.w.WriteHeader(status)
	if !head && x.opts.BlobHeaderFirst {
		_ = http.NewResponseController(x.w).Flush()
		x.wait(x.req.Context(), x.opts.BlobWait)
	}
	if !head {
		_, _ = copyBody(x.w, part)
	}
}

// tag is the ETag of an answer with c.
func (x *exchange) tag(c Content) string {
	switch x.ranges {
	case RangeMovingTag:
		return `"` + secret() + `"`
	case RangeWeakTag:
		return `W/"` + c.Digest.String() + `"`
	}
	return `"` + c.Digest.String() + `"`
}

// unchanged reports whether the request wants a range of what has this ETag.
func (x *exchange) unchanged(tag string) bool {
	wanted := x.req.Header.Get("If-Range")
	return wanted == "" || wanted == tag && !strings.HasPrefix(tag, "W/")
}

// part is the range of c that is sent, of which it writes the header.
func (x *exchange) part(c Content, spec string) (*io.SectionReader, error) {
	first, length, err := parseRange(spec, c.Size)
	if err != nil || x.ranges == RangeRefused {
		return nil, cmp.Or(err, errors.New("no ranges"))
	}
	sent, stated, size := first, first, strconv.FormatInt(c.Size, 10)
	switch x.ranges {
	case RangeFirst:
		sent, stated = 0, 0
	case RangeFalse:
		sent = 0
	case RangeCoded:
		x.w.Header().Set("Content-Encoding", "gzip")
	case RangeWithoutSize:
		size = "*"
	}
	x.w.Header().Set("Content-Range", "bytes "+strconv.FormatInt(stated, 10)+"-"+strconv.FormatInt(stated+length-1, 10)+"/"+size)
	return io.NewSectionReader(c.Reader(), sent, length), nil
}

// parseRange understands one range of bytes (RFC 9110, section 14.1.2) of something that has a
// size.
func parseRange(spec string, size int64) (first, length int64, err error) {
	from, to, ok := strings.Cut(strings.TrimPrefix(spec, "bytes="), "-")
	if !ok || !strings.HasPrefix(spec, "bytes=") || strings.Contains(spec, ",") {
		return 0, 0, errors.New("not a range of bytes: " + spec)
	}
	if from == "" { // the last bytes
		n, err := strconv.ParseInt(to, 10, 64)
		if err != nil || n <= 0 || size == 0 {
			return 0, 0, errors.New("range not satisfiable: " + spec)
		}
		n = min(n, size)
		return size - n, n, nil
	}
	first, err = strconv.ParseInt(from, 10, 64)
	if err != nil || first < 0 || first >= size {
		return 0, 0, errors.New("range not satisfiable: " + spec)
	}
	last := size - 1
	if to != "" {
		if last, err = strconv.ParseInt(to, 10, 64); err != nil || last < first {
			return 0, 0, errors.New("range not satisfiable: " + spec)
		}
		last = min(last, size-1)
	}
	return first, last - first + 1, nil
}
