package sparseregistry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// maxHeld is how many bytes of a manifest that arrives are held in memory. One that has more is in
// a file until all of it is there, so that clients who take their time hold little.
const maxHeld = 64 << 10

// MaxValues is how many JSON values a manifest may have: what they take in memory has nothing to do
// with how long they are.
const MaxValues = 100_000

// An arrival is a manifest that has arrived.
type arrival struct {
	held []byte   // all of it, unless there is a file
	file *os.File // nil for none
	size int64
	tally
}

// receive takes in the manifest that r sends, of at most manifest.MaxSize bytes. Files are made in
// dir; "" stands for the usual place. Whoever calls it closes what comes back.
func receive(w http.ResponseWriter, r *http.Request, dir string) (*arrival, *refusal) {
	for _, encoding := range r.Header.Values("Content-Encoding") {
		if encoding != "" && !strings.EqualFold(encoding, "identity") {
			return nil, refuse(http.StatusUnsupportedMediaType, codeUnsupported, "manifests with Content-Encoding %q are not supported", clip(encoding))
		}
	}
	tooLarge := refuse(http.StatusRequestEntityTooLarge, codeManifestInvalid, "manifest is larger than %d bytes", manifest.MaxSize)
	if r.ContentLength > manifest.MaxSize {
		return nil, tooLarge
	}
	a := &arrival{}
	err := a.take(http.MaxBytesReader(w, r.Body, manifest.MaxSize), dir)
	var beyond *http.MaxBytesError
	var broken *keepingError
	var refused *refusal
	switch {
	case err == nil && a.values <= MaxValues:
		return a, nil
	case err == nil:
		refused = refuse(http.StatusBadRequest, codeManifestInvalid, "the manifest has more than %d JSON values", MaxValues)
	case errors.As(err, &beyond):
		refused = tooLarge
	case errors.As(err, &broken):
		refused = refuse(http.StatusInternalServerError, codeUnknown, "%w", err)
	default:
		refused = refuse(http.StatusBadRequest, codeManifestInvalid, "reading the manifest: %w", err)
	}
	a.close()
	return nil, refused
}

// A keepingError says that a manifest could not be kept while it arrived.
type keepingError struct{ error }

func (e *keepingError) Unwrap() error { return e.error }

func keeping(err error) error {
	if err == nil {
		return nil
	}
	return &keepingError{fmt.Errorf("keeping the manifest until it is read: %w", err)}
}

// take reads all of body.
func (a *arrival) take(body io.Reader, dir string) (err error) {
	counted := io.TeeReader(body, &a.tally)
	if a.held, err = io.ReadAll(io.LimitReader(counted, maxHeld)); err != nil {
		return err
	}
	a.size = int64(len(a.held))
	if a.size < maxHeld {
		return nil
	}
	if a.file, err = os.CreateTemp(dir, "manifest-*.tmp"); err != nil {
		return keeping(err)
	}
	_ = os.Remove(a.file.Name()) // where a file that is open can go; else close does it
	if _, err := a.file.Write(a.held); err != nil {
		return keeping(err)
	}
	a.held = nil
	n, err := io.Copy(keeper{a.file}, counted)
	a.size += n
	return err
}

// A keeper says which errors of a copy are those of the file.
type keeper struct{ file *os.File }

func (k keeper) Write(p []byte) (int, error) {
	n, err := k.file.Write(p)
	return n, keeping(err)
}

// bytes reads the manifest into memory, if it is not there.
func (a *arrival) bytes() ([]byte, error) {
	if a.file == nil {
		return a.held, nil
	}
	body := make([]byte, a.size)
	_, err := a.file.ReadAt(body, 0)
	return body, keeping(err)
}

func (a *arrival) close() {
	if a.file != nil {
		_ = a.file.Close() // read, or in vain
		_ = os.Remove(a.file.Name())
	}
}

// What a manifest takes until it is stored, as measured: it is there several times, as it is and
// as what several parsers make of it.
const (
	weightPerByte  = 6
	weightPerValue = 300
)

// weight is about how many bytes of memory the manifest takes at the most until it is stored.
func (a *arrival) weight() int64 { return weightPerByte*a.size + weightPerValue*int64(a.values) }

// A tally counts the values of a JSON document that is written to it, keys of objects and the
// document itself not included. It does not look at whether it is one.
type tally struct {
	values  int
	opened  bool // an array or object, of which nothing has come
	quoted  bool // within a string
	escaped bool // after a backslash in one
}

// Write counts. It never fails.
func (t *tally) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		switch {
		case t.escaped:
			t.escaped = false
			p = p[1:]
		case t.quoted:
			p = t.string(p)
		default:
			p = t.structure(p)
		}
	}
	return n, nil
}

// string goes on after what of p is within the string.
func (t *tally) string(p []byte) []byte {
	end := bytes.IndexAny(p, "\"\\")
	if end < 0 {
		return nil
	}
	t.quoted, t.escaped = p[end] != '"', p[end] == '\\'
	return p[end+1:]
}

// structure goes on after what of p is before the next string.
func (t *tally) structure(p []byte) []byte {
	for i, c := range p {
		switch c {
		case ' ', '\t', '\r', '\n':
		case '}', ']':
			t.opened = false
		case ',':
			t.values++
		default:
			t.begin(c)
		}
		if t.quoted {
			return p[i+1:]
		}
	}
	return nil
}

// begin notes that a value, or the rest of one, begins with c.
func (t *tally) begin(c byte) {
	if t.opened {
		t.values++ // the first of its array or object: all others have a comma before them
	}
	t.opened = c == '{' || c == '['
	t.quoted = c == '"'
}
