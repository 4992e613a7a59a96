package sparseserver

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// tokens make and verify tokens. A token says who has it, a user or anybody, and until when; only
// who has the key can make one. It ends when the user's password changes, or the user goes.
type tokens struct {
	key []byte
}

// newTokens returns tokens whose key comes from the secret of the storage: what one server has
// issued is good at the next that uses the storage.
func newTokens(secret string) tokens {
	return tokens{mac([]byte(secret), "tokens of sparse-registry")}
}

// issue returns a token for a user, or for anybody: "".
func (t tokens) issue(user string, users *users, until time.Time) string {
	claim := encode([]byte(strconv.FormatInt(until.Unix(), 10) + ":" + user))
	return claim + "." + encode(t.sign(claim, user, users))
}

// sign binds a claim to the user's password.
func (t tokens) sign(claim, user string, users *users) []byte {
	return mac(t.key, claim+"."+string(users.hashes[user]))
}

// verify returns who has the token of a header Authorization: a user, or "" for anybody. ok is
// false if it has no token that is good now.
func (t tokens) verify(authorization string, users *users) (user string, ok bool) {
	scheme, token, _ := strings.Cut(authorization, " ")
	claim, signature, found := strings.Cut(token, ".")
	if !strings.EqualFold(scheme, "Bearer") || !found {
		return "", false
	}
	content, err := base64.RawURLEncoding.DecodeString(claim)
	if err != nil {
		return "", false
	}
	until, user, _ := strings.Cut(string(content), ":")
	if _, known := users.hashes[user]; !known && user != "" {
		return "", false
	}
	signed, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil || !hmac.Equal(signed, t.sign(claim, user, users)) {
		return "", false
	}
	seconds, err := strconv.ParseInt(until, 10, 64)
	return user, err == nil && clock.System.Now().Before(time.Unix(seconds, 0))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
