package manifest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

var (
	// ErrSchema1 is wrapped by the error of Parse and ParseImage for a Docker schema 1 manifest, by its declared media type or by
	// its schemaVersion.
	ErrSchema1 = errors.New("Docker schema 1 manifest")

	// ErrTooLarge is wrapped by the error of Parse and ParseImage for a document of more than MaxSize bytes.
	ErrTooLarge = errors.New("document too large")
)

// A ParseError says why a document was refused, and where.
type ParseError struct {
	// Path leads to the value that was refused, e.g. "manifests[3].platform.os"; "" stands for the document itself.
	Path string
	// Offset is the position of the byte that is to blame, from 0. For something that is absent it is where its object starts.
	Offset int
	// Reason is for people. It quotes at most a little of the document.
	Reason string
	// Err is ErrSchema1 or ErrTooLarge if the reason is one of these, else nil.
	Err error
}

func (e *ParseError) Error() string {
	where := "byte " + strconv.Itoa(e.Offset)
	if e.Path != "" {
		where = e.Path + " (" + where + ")"
	}
	return where + ": " + e.Reason
}

func (e *ParseError) Unwrap() error { return e.Err }

// An EditError says which of the edits given to EditInstances was refused, and why.
type EditError struct {
	Index  int      // position of the edit in what EditInstances was given
	Edit   ListEdit // the edit itself
	Reason string   // for people, e.g. "invalid delete index 7 (list has 5 instances)"
}

func (e *EditError) Error() string {
	return fmt.Sprintf("edit %d: %s", e.Index, e.Reason)
}

// formatPath writes a path as ParseError.Path has it. Keys that are no plain names are quoted.
func formatPath(path []step) string {
	var b strings.Builder
	for _, p := range path {
		switch {
		case p.index >= 0:
			b.WriteString("[" + strconv.Itoa(p.index) + "]")
		case !isName(p.key):
			b.WriteString("[" + quote(p.key) + "]")
		default:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(p.key)
		}
	}
	return b.String()
}

func isName(key string) bool {
	for _, c := range []byte(key) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !isDigit(c) && c != '_' && c != '-' {
			return false
		}
	}
	return key != "" && len(key) <= maxQuoted
}

// maxQuoted is how many bytes of a stranger's string an error repeats.
const maxQuoted = 80

// quote makes a stranger's string fit for an error.
func quote(s string) string {
	if len(s) <= maxQuoted {
		return strconv.Quote(s)
	}
	return strconv.Quote(s[:maxQuoted]) + "…"
}
