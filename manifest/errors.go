package manifest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

var (
	// ErrSchema1 is wrapped by the error of Parse and ParseImage for a Docker schema 1 manifest, by
	// its declared media type or by its schemaVersion.
	ErrSchema1 = errors.New("Docker schema 1 manifest")

	// ErrTooLarge is wrapped by the error of Parse and ParseImage for a document of more than
	// MaxSize bytes.
	ErrTooLarge = errors.New("document too large")
)

// A ParseError says why a document was refused, and where.
type ParseError struct {
	// Path leads to the value that was refused, e.g. "manifests[3].platform.os"; "" stands for the
	// document itself.
	Path string
	// Offset is the position of the byte that is to blame, from 0. For something that is absent it
	// is where its object starts.
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

// A Remark is about something in a document that was let through although it is not right, or not
// as everybody writes it, because it takes nothing away from what the document says: registries
// hand such documents out, and other tools carry them as they are.
type Remark struct {
	Path   string // as in ParseError
	Offset int    // as in ParseError
	Reason string // for people, as in ParseError
	Kind   RemarkKind
}

// A RemarkKind says what is to be feared from what a Remark is about.
type RemarkKind int

const (
	// Irregular is what formats do not allow, and everybody reads alike.
	Irregular RemarkKind = iota + 1
	// CaseVariant is a key that differs from another one in case only, where neither has a meaning:
	// among annotations, or in what no specification names. That is allowed; who looks for one of
	// them may find the other.
	CaseVariant
	// Duplicate is a key that occurs twice there. Parsers read such a document differently: it can
	// be carried, and must not be written anew.
	Duplicate
)

func (r Remark) String() string {
	return (&ParseError{Path: r.Path, Offset: r.Offset, Reason: r.Reason}).Error()
}

// maxRemarks is how many remarks of each kind are made on one document.
const maxRemarks = 8

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
