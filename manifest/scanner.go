package manifest

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// maxDepth is the number of objects and arrays that may be open at the same time in a document.
	maxDepth = 64

	// maxSafeSize is the largest integer that parsers which read numbers as float64 agree on (RFC
	// 8259, section 6).
	maxSafeSize = 1<<53 - 1
)

// A scanner reads JSON (RFC 8259) strictly and knows where it is. Nothing is copied: what it
// returns are substrings of src (except for strings with escapes).
//
// Its methods read one thing each, starting at pos, and leave pos behind it. They skip no white
// space before or after it.
type scanner struct {
	src  string
	pos  int
	path []step // to the value at pos

	keyStart, keyEnd int // where in src the key is, quotes included, when object calls member

	remarks []Remark // on what was let through

	platforms map[platformKey]*imgspecv1.Platform // that were read, but for those with features
}

// A step of a path leads to a member of an object or to an element of an array.
type step struct {
	key   string // of a member
	index int    // of an element; -1 for a member
}

// newScanner starts to read a whole document. It refuses what can be refused before the first
// value.
func newScanner(b []byte) (*scanner, error) {
	if len(b) > MaxSize {
		return nil, &ParseError{
			Offset: MaxSize,
			Reason: "document has " + strconv.Itoa(len(b)) + " bytes, more than " + strconv.Itoa(MaxSize),
			Err:    ErrTooLarge,
		}
	}
	s := &scanner{src: string(b)}
	if strings.HasPrefix(s.src, "\ufeff") {
		return nil, s.fail(0, "byte order mark")
	}
	if i := invalidUTF8(s.src); i >= 0 {
		return nil, s.fail(i, "invalid UTF-8")
	}
	return s, nil
}

// invalidUTF8 returns the offset of the first byte that is not part of valid UTF-8, or -1.
func invalidUTF8(s string) int {
	if utf8.ValidString(s) {
		return -1
	}
	for at := 0; ; {
		r, size := utf8.DecodeRuneInString(s[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
}

// document reads a document: one value, which read is called for, with nothing but white space
// around it.
func (s *scanner) document(read func() error) error {
	s.space()
	if err := read(); err != nil {
		return err
	}
	s.space()
	if s.pos < len(s.src) {
		return s.fail(s.pos, "data after the end of the document")
	}
	return nil
}

// object reads an object. For each of its members it calls member with the key, while pos is at the
// value, which member must read.
//
// known are the keys that have a meaning in this object. None of them may occur twice, and no key
// may differ from one in case only: encoding/json, unlike others, takes such keys for the known
// ones. Other keys like these are remarked on.
func (s *scanner) object(known []string, member func(key string) error) error {
	if err := s.enter('{', "an object"); err != nil {
		return err
	}
	s.space()
	if s.accept('}') {
		return nil
	}
	var keys keySet
	for {
		at := s.pos
		key, err := s.string("a key")
		if err != nil {
			return err
		}
		s.path = append(s.path, step{key: key, index: -1})
		if k := caseVariant(known, key); k != "" {
			return s.fail(at, inCaseOnly(k))
		}
		if like, again := keys.add(key); again && like != key {
			s.remark(at, inCaseOnly(like), CaseVariant)
		} else if again && contains(known, key) {
			return s.fail(at, duplicateKey)
		} else if again {
			s.remark(at, duplicateKey, Duplicate)
		}
		end := s.pos
		s.space()
		if !s.accept(':') {
			return s.unexpected("a colon")
		}
		s.space()
		s.keyStart, s.keyEnd = at, end
		if err := member(key); err != nil {
			return err
		}
		s.path = s.path[:len(s.path)-1]
		s.space()
		if s.accept('}') {
			return nil
		}
		if !s.accept(',') {
			return s.unexpected("a comma or the end of the object")
		}
		s.space()
	}
}

const duplicateKey = "duplicate key"

func inCaseOnly(key string) string { return "key differs from " + quote(key) + " in case only" }

// array reads an array. For each of its elements it calls element with the index, while pos is at
// the value, which element must read.
func (s *scanner) array(element func(i int) error) error {
	if err := s.enter('[', "an array"); err != nil {
		return err
	}
	s.space()
	if s.accept(']') {
		return nil
	}
	for i := 0; ; i++ {
		s.path = append(s.path, step{index: i})
		if err := element(i); err != nil {
			return err
		}
		s.path = s.path[:len(s.path)-1]
		s.space()
		if s.accept(']') {
			return nil
		}
		if !s.accept(',') {
			return s.unexpected("a comma or the end of the array")
		}
		s.space()
	}
}

// any reads a value of any kind and keeps nothing of it.
func (s *scanner) any() error {
	switch c := s.peek(); {
	case c == '{':
		return s.object(nil, func(string) error { return s.any() })
	case c == '[':
		return s.array(func(int) error { return s.any() })
	case c == '"':
		_, err := s.string("a string")
		return err
	case c == '-' || isDigit(c):
		_, err := s.number()
		return err
	}
	for _, literal := range []string{"null", "true", "false"} {
		if s.literal(literal) {
			return nil
		}
	}
	return s.unexpected("a value")
}

// optionalString reads a string, or null, which encoding/json and others take for a string that is
// not there.
func (s *scanner) optionalString() (string, error) {
	start := s.pos
	if s.null() {
		s.remark(start, "null for a string", Irregular)
		return "", nil
	}
	return s.string("a string")
}

// string reads a string and returns what it means. what names it in errors.
func (s *scanner) string(what string) (string, error) {
	start := s.pos
	if !s.accept('"') {
		return "", s.unexpected(what)
	}
	escaped := false
	for s.pos < len(s.src) {
		switch c := s.src[s.pos]; {
		case c == '"':
			s.pos++
			if !escaped {
				return s.src[start+1 : s.pos-1], nil
			}
			var decoded string
			if err := json.Unmarshal([]byte(s.src[start:s.pos]), &decoded); err != nil {
				return "", s.fail(start, err.Error())
			}
			return decoded, nil
		case c == '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return "", err
			}
		case c < ' ':
			return "", s.fail(s.pos, "control character in a string")
		default:
			s.pos++
		}
	}
	return "", s.unexpected("the end of the string")
}

// escape reads an escape sequence of a string. Halves of surrogate pairs are refused: parsers do
// not agree on what they mean.
func (s *scanner) escape() error {
	start := s.pos
	rest := s.src[start+1:]
	if rest == "" || rest[0] != 'u' {
		if rest == "" || !strings.Contains(`"\/bfnrt`, rest[:1]) {
			return s.fail(start, "invalid escape sequence")
		}
		s.pos += 2
		return nil
	}
	unit := s.hexEscape(start)
	switch {
	case unit < 0:
		return s.fail(start, "invalid escape sequence")
	case unit >= 0xdc00 && unit <= 0xdfff:
		return s.fail(start, "half of a surrogate pair")
	case unit >= 0xd800 && unit <= 0xdbff:
		if low := s.hexEscape(start + 6); low < 0xdc00 || low > 0xdfff {
			return s.fail(start, "half of a surrogate pair")
		}
		s.pos += 6
	}
	s.pos += 6
	return nil
}

// hexEscape returns the value of the \uXXXX at offset at, or -1 if there is none.
func (s *scanner) hexEscape(at int) int {
	if len(s.src) < at+6 || s.src[at] != '\\' || s.src[at+1] != 'u' {
		return -1
	}
	n := 0
	for _, c := range []byte(s.src[at+2 : at+6]) {
		switch {
		case isDigit(c):
			n = n<<4 | int(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | int(c-'a'+10)
		case c >= 'A' && c <= 'F':
			n = n<<4 | int(c-'A'+10)
		default:
			return -1
		}
	}
	return n
}

// number reads a number and returns its text.
func (s *scanner) number() (string, error) {
	start := s.pos
	s.accept('-')
	if !s.accept('0') && !s.digits() {
		return "", s.unexpected("a number")
	}
	if s.accept('.') && !s.digits() {
		return "", s.unexpected("a digit")
	}
	if s.accept('e') || s.accept('E') {
		if !s.accept('+') {
			s.accept('-')
		}
		if !s.digits() {
			return "", s.unexpected("a digit")
		}
	}
	return s.src[start:s.pos], nil
}

// size reads a number of bytes: an integer from 0 to maxSafeSize, written without fraction and
// exponent.
func (s *scanner) size() (int64, error) {
	start := s.pos
	text, err := s.number()
	if err != nil {
		return 0, err
	}
	if strings.HasPrefix(text, "-") {
		return 0, s.fail(start, "negative number "+quote(text))
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > maxSafeSize {
		return 0, s.fail(start, quote(text)+" is not an integer of at most "+strconv.Itoa(maxSafeSize))
	}
	return n, nil
}

// null reads null if it is there, and reports whether it was.
func (s *scanner) null() bool { return s.literal("null") }

func (s *scanner) literal(text string) bool {
	if !strings.HasPrefix(s.src[s.pos:], text) {
		return false
	}
	s.pos += len(text)
	return true
}

// enter reads an opening bracket.
func (s *scanner) enter(bracket byte, what string) error {
	if s.peek() != bracket {
		return s.unexpected(what)
	}
	// Every step of the path is an open object or array.
	if len(s.path) >= maxDepth {
		return s.fail(s.pos, "more than "+strconv.Itoa(maxDepth)+" levels of nesting")
	}
	s.pos++
	return nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.src) && isDigit(s.src[s.pos]) {
		s.pos++
	}
	return s.pos > start
}

func (s *scanner) space() {
	for s.pos < len(s.src) && isSpace(s.src[s.pos]) {
		s.pos++
	}
}

func (s *scanner) accept(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.pos++
	return true
}

// peek returns the byte at pos, or 0, which no JSON text contains, at the end.
func (s *scanner) peek() byte {
	if s.pos >= len(s.src) {
		return 0
	}
	return s.src[s.pos]
}

func (s *scanner) unexpected(want string) error {
	if s.pos >= len(s.src) {
		return s.fail(s.pos, "document ends where "+want+" is expected")
	}
	r, _ := utf8.DecodeRuneInString(s.src[s.pos:])
	return s.fail(s.pos, strconv.QuoteRune(r)+" where "+want+" is expected")
}

// fail returns an error about the value that the path leads to, with the offset of the byte that is
// to blame.
func (s *scanner) fail(offset int, reason string) *ParseError {
	return &ParseError{Path: formatPath(s.path), Offset: offset, Reason: reason}
}

// remark notes that something about the value that the path leads to was let through. Of each kind,
// the first ones are enough.
func (s *scanner) remark(offset int, reason string, kind RemarkKind) {
	n := 0
	for _, r := range s.remarks {
		if r.Kind == kind {
			n++
		}
	}
	if n < maxRemarks {
		s.remarks = append(s.remarks, Remark{Path: formatPath(s.path), Offset: offset, Reason: reason, Kind: kind})
	}
}

// A keySet holds the keys of one object. The first ones are compared one by one, which is faster
// while they are few.
type keySet struct {
	few  [32]string
	n    int               // number of keys in few
	many map[string]string // the others, by what they are in lower case
}

// add adds a key. It reports whether there was one like it already, the same or one that differs in
// case only, and returns that.
func (k *keySet) add(key string) (like string, again bool) {
	for _, other := range k.few[:k.n] {
		if strings.EqualFold(other, key) {
			return other, true
		}
	}
	if k.n < len(k.few) {
		k.few[k.n] = key
		k.n++
		return "", false
	}
	folded := strings.ToLower(key)
	if like, again = k.many[folded]; again {
		return like, true
	}
	if k.many == nil {
		k.many = map[string]string{}
	}
	k.many[folded] = key
	return "", false
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// whiteSpace is what isSpace reports to be white space.
const whiteSpace = " \t\n\r"

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func contains(keys []string, key string) bool {
	for _, k := range keys {
		if k == key {
			return true
		}
	}
	return false
}

// caseVariant returns the known key that key differs from in case only, or "".
func caseVariant(known []string, key string) string {
	if contains(known, key) {
		return ""
	}
	for _, k := range known {
		if strings.EqualFold(k, key) {
			return k
		}
	}
	return ""
}
