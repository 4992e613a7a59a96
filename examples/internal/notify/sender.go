package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"

	"github.com/sparsecopy/sparsecopy/examples/internal/late"
	"github.com/sparsecopy/sparsecopy/examples/internal/secretfile"
)

// An Auth is how a sender proves who it is.
type Auth string

// The ways. Each sender has one.
const (
	// Header: a field Authorization with the secret, which is a bearer token, the password of a
	// basic login, or all that is in the field.
	Header Auth = "header"
	// Path: the secret is the last part of the path, /notify/NAME/SECRET, for products that send
	// nothing else. Whoever logs paths must leave it out: see LogPath.
	Path Auth = "path"
	// Signature: a field X-Hub-Signature-256 with the HMAC of the body, by the secret, as GitHub
	// makes it.
	Signature Auth = "signature"
)

// A Sender is somebody who may notify, as the operator has set it up.
type Sender struct {
	At     string // where it was set up, FILE:LINE
	Name   string // in the path, /notify/NAME
	Format Format
	Auth   Auth
	// Registries are the names that sources have for the registry that sends: HOST or HOST:PORT,
	// at least one.
	Registries []string
	// SecretFile is the path of a file with the secret in its only line.
	SecretFile string
}

// secretSyntax is what can stand in a path and in a field of HTTP without being written in another
// way.
var secretSyntax = late.Regexp(`^[A-Za-z0-9._~+/=-]+$`)

// secret reads the sender's secret. warning says that others can read the file, "" if not.
func (s Sender) secret() (secret []byte, warning string, err error) {
	text, warning, err := secretfile.Read(s.SecretFile)
	if err != nil {
		return nil, "", err
	}
	if !secretSyntax().MatchString(text) || s.Auth == Path && strings.Contains(text, "/") {
		return nil, "", errors.New("the secret has characters that may change on the way; take letters, digits, - and _; " + secretfile.Advice)
	}
	return []byte(text), warning, nil
}

// authentic reports whether r has the secret. For Signature, body is all that r has for a body; the
// other ways do not look at it. How long it takes says nothing about the secret.
func (a Auth) authentic(r *http.Request, token string, body, secret []byte) bool {
	switch a {
	case Header:
		return equal(credential(r), secret)
	case Path:
		return equal(token, secret)
	case Signature:
		mac := hmac.New(sha256.New, secret)
		mac.Write(body)
		return hmac.Equal(signature(r), mac.Sum(nil))
	}
	return false
}

// equal compares in a time that depends on neither, their lengths included.
func equal(given string, secret []byte) bool {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256(secret)
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// credential is the secret that the field Authorization has. Harbor and distribution send what
// their operators have typed there, with a scheme or without.
func credential(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	field := r.Header.Get("Authorization")
	if scheme, token, ok := strings.Cut(field, " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	return field
}

// signature is the one that r has, nil if it has none, or none in hexadecimal digits.
func signature(r *http.Request) []byte {
	text, ok := strings.CutPrefix(r.Header.Get("X-Hub-Signature-256"), "sha256=")
	sum, err := hex.DecodeString(text)
	if !ok || err != nil {
		return nil
	}
	return sum
}
