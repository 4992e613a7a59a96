package registrytest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
)

// Error is one error of an answer, as the section "Error Codes" of the specification has it.
type Error struct {
	Code    string `json:"code,omitempty"`
	Message string `json:"message"`
	Detail  any    `json:"detail,omitempty"`
}

// Answer is what a script or a policy wants a request to be answered with. The zero Answer lets the
// registry answer.
type Answer struct {
	// Status, if not 0, is answered at once, with Errors in a JSON body, or with a page as proxies
	// send it if HTML is set.
	Status int
	Errors []Error
	HTML   bool
	// Header is added to an answer with Status.
	Header http.Header

	// Fault is what goes wrong. With Status it has no effect.
	Fault Fault
	// After is a number of bytes that Fault refers to.
	After int64

	// Ranges, if not 0, is how this request for a range is answered, whatever Options.Ranges says.
	// With Status it has no effect.
	Ranges RangeForm
}

// Fault is a way in which an exchange goes wrong.
type Fault int

const (
	FaultNone Fault = iota
	// FaultClose closes the connection (resets the stream, in HTTP/2) instead of reading the
	// request's body and answering.
	FaultClose
	// FaultLostAnswer does what the request wants, and then closes the connection instead of
	// answering.
	FaultLostAnswer
	// FaultStall answers nothing and reads no body until the client leaves or the registry is
	// closed. That a client of HTTP/1.1 has left is noticed only if its request had no body.
	FaultStall
	// FaultCutBody closes the connection when the answer is to have more than After bytes of body,
	// with these sent.
	FaultCutBody
	// FaultStallBody stalls at the same place.
	FaultStallBody
	// FaultCutUpload closes the connection when the body of the request has more than After bytes,
	// with these read.
	FaultCutUpload
	// FaultStallUpload stalls at the same place.
	FaultStallUpload
	// FaultCorrupt changes the byte at offset After of the answer's body.
	FaultCorrupt
	// FaultLength adds After, which may be negative, to the Content-Length of the answer. Bytes
	// beyond it are not sent; if some are lacking, the connection is closed after the last one.
	FaultLength
)

// Fail is an answer with a status and one error.
func Fail(status int, code, message string) Answer {
	return Answer{Status: status, Errors: []Error{{Code: code, Message: message}}}
}

// FailHTML is an answer with a status and a page, as proxies in front of registries send it.
func FailHTML(status int) Answer { return Answer{Status: status, HTML: true} }

// Close, LostAnswer and Stall are answers with the fault of the same name.
func Close() Answer      { return Answer{Fault: FaultClose} }
func LostAnswer() Answer { return Answer{Fault: FaultLostAnswer} }
func Stall() Answer      { return Answer{Fault: FaultStall} }

// CutBody, StallBody, CutUpload, StallUpload, Corrupt and WrongLength are answers with the fault of
// the same name.
func CutBody(after int64) Answer     { return Answer{Fault: FaultCutBody, After: after} }
func StallBody(after int64) Answer   { return Answer{Fault: FaultStallBody, After: after} }
func CutUpload(after int64) Answer   { return Answer{Fault: FaultCutUpload, After: after} }
func StallUpload(after int64) Answer { return Answer{Fault: FaultStallUpload, After: after} }
func Corrupt(at int64) Answer        { return Answer{Fault: FaultCorrupt, After: at} }
func WrongLength(delta int64) Answer { return Answer{Fault: FaultLength, After: delta} }

// Script decides what happens to request n; see Options.Script.
type Script = func(n int, req *http.Request) Answer

// OnNth plays a for request n only.
func OnNth(n int, a Answer) Script {
	return func(i int, _ *http.Request) Answer { return when(i == n, a) }
}

// EveryNth plays a for every n-th request.
func EveryNth(n int, a Answer) Script {
	return func(i int, _ *http.Request) Answer { return when(i%n == 0, a) }
}

// FirstN plays a for the first n requests.
func FirstN(n int, a Answer) Script {
	return func(i int, _ *http.Request) Answer { return when(i <= n, a) }
}

// Only asks script about requests that match, numbered from 1 among themselves, and leaves the
// others alone.
func Only(match func(*http.Request) bool, script Script) Script {
	var n atomic.Int64
	return func(_ int, req *http.Request) Answer {
		if !match(req) {
			return Answer{}
		}
		return script(int(n.Add(1)), req)
	}
}

// Matching matches requests with the method and of the kind, for Only; "" matches all.
func Matching(method string, kind Kind) func(*http.Request) bool {
	return func(req *http.Request) bool {
		return (method == "" || req.Method == method) && (kind == "" || parseRoute(req.URL.Path).kind == kind)
	}
}

func when(condition bool, a Answer) Answer {
	if condition {
		return a
	}
	return Answer{}
}

// play answers x: with serve if the answer is the zero Answer, and otherwise as it says.
func (a Answer) play(x *exchange, serve func()) {
	if a.Status != 0 {
		a.write(x)
		return
	}
	x.ranges = cmp.Or(a.Ranges, x.ranges)
	switch a.Fault {
	case FaultNone:
	case FaultClose:
		panic(http.ErrAbortHandler)
	case FaultLostAnswer:
		x.w = &lostWriter{header: http.Header{}}
		serve()
		panic(http.ErrAbortHandler)
	case FaultStall:
		x.hold(x.req.Context())
		panic(http.ErrAbortHandler)
	case FaultCutBody, FaultStallBody:
		x.w = &cutWriter{ResponseWriter: x.w, left: a.After, end: func() {
			_ = http.NewResponseController(x.w).Flush() // what was written is to arrive
			x.breakOff(a.Fault == FaultStallBody)
		}}
	case FaultCutUpload, FaultStallUpload:
		x.req.Body = &cutReader{ReadCloser: x.req.Body, left: a.After, end: func() {
			x.breakOff(a.Fault == FaultStallUpload)
		}}
	case FaultCorrupt:
		x.w = &corruptWriter{ResponseWriter: x.w, at: a.After}
	case FaultLength:
		x.w = &lengthWriter{ResponseWriter: x.w, delta: a.After}
	}
	serve()
}

// write answers with Status.
func (a Answer) write(x *exchange) {
	h := x.w.Header()
	for k, v := range a.Header {
		h[http.CanonicalHeaderKey(k)] = v
	}
	if a.HTML {
		h.Set("Content-Type", "text/html; charset=utf-8")
		x.w.WriteHeader(a.Status)
		_, _ = fmt.Fprintf(x.w, "<html><head><title>%d %[2]s</title></head><body><h1>%[2]s</h1></body></html>\n",
			a.Status, http.StatusText(a.Status))
		return
	}
	x.refuse(a.Status, a.Errors...)
}

// absent answers 404 in the form that the options want. e is what the specification has.
func (x *exchange) absent(e Error) {
	switch x.opts.AbsentCode {
	case "":
	case "-":
		e = Error{Message: "not found"}
	default:
		e.Code = x.opts.AbsentCode
	}
	Answer{Status: http.StatusNotFound, Errors: []Error{e}, HTML: x.opts.AbsentPage}.write(x)
}

// refuse answers with a status and errors.
func (x *exchange) refuse(status int, errs ...Error) {
	if errs == nil {
		errs = []Error{}
	}
	x.json(status, "application/json", map[string]any{"errors": errs})
}

// json answers with a document.
func (x *exchange) json(status int, mediaType string, doc any) {
	b, err := json.Marshal(doc)
	if err != nil {
		panic(fmt.Sprintf("registrytest: %v", err)) // a Detail that is no JSON
	}
	x.w.Header().Set("Content-Type", mediaType)
	x.w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	x.w.WriteHeader(status)
	_, _ = x.w.Write(b)
}

// breakOff closes the connection, or stalls first.
func (x *exchange) breakOff(stall bool) {
	if stall {
		x.hold(x.req.Context())
	}
	panic(http.ErrAbortHandler)
}

// lostWriter takes an answer that nobody gets.
type lostWriter struct{ header http.Header }

func (w *lostWriter) Header() http.Header         { return w.header }
func (w *lostWriter) WriteHeader(int)             {}
func (w *lostWriter) Write(p []byte) (int, error) { return len(p), nil }

// cutWriter calls end, which does not return, at the first byte that it does not pass on.
type cutWriter struct {
	http.ResponseWriter
	left int64
	end  func()
}

func (w *cutWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > w.left {
		if w.left > 0 {
			_, _ = w.ResponseWriter.Write(p[:w.left])
		}
		w.end()
	}
	w.left -= int64(len(p))
	return w.ResponseWriter.Write(p)
}

func (w *cutWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// cutReader calls end, which does not return, at the first byte that it does not pass on.
type cutReader struct {
	io.ReadCloser
	left int64
	end  func()
}

func (r *cutReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.left > 0 {
		n, err := r.ReadCloser.Read(p[:min(int64(len(p)), r.left)])
		r.left -= int64(n)
		return n, err
	}
	n, err := r.ReadCloser.Read(p[:1])
	if n > 0 {
		r.end()
	}
	return n, err
}

// corruptWriter changes one byte.
type corruptWriter struct {
	http.ResponseWriter
	at int64 // from the next byte on
}

func (w *corruptWriter) Write(p []byte) (int, error) {
	if w.at >= 0 && w.at < int64(len(p)) {
		damaged := append([]byte(nil), p...)
		damaged[w.at] ^= 0x01
		p = damaged
	}
	w.at -= int64(len(p))
	return w.ResponseWriter.Write(p)
}

// lengthWriter lies about the length of an answer that states one.
type lengthWriter struct {
	http.ResponseWriter
	delta int64
	known bool
	left  int64 // of the stated length, if known
}

func (w *lengthWriter) WriteHeader(status int) {
	length, err := strconv.ParseInt(w.Header().Get("Content-Length"), 10, 64)
	if err == nil {
		w.known, w.left = true, max(0, length+w.delta)
		w.Header().Set("Content-Length", strconv.FormatInt(w.left, 10))
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *lengthWriter) Write(p []byte) (int, error) {
	send := p
	if w.known {
		send = p[:min(int64(len(p)), w.left)]
		w.left -= int64(len(send))
	}
	if len(send) > 0 {
		if n, err := w.ResponseWriter.Write(send); err != nil {
			return n, err
		}
	}
	return len(p), nil
}
