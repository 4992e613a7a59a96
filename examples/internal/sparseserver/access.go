package sparseserver

import (
	"log/slog"
	"net/http"
	"os"
	"sync"

	"github.com/distribution/distribution/v3/registry/api/errcode"
)

// realm is what clients show when they ask for a password.
const realm = "sparse-registry"

// Why a request is denied that says nothing of who sent it, or nothing true.
const (
	noCredentials    = "no_credentials"
	wrongCredentials = "wrong_credentials"
)

// An access lets in the users of an htpasswd file, which it reads again when that changes. A file
// that readUsers refuses changes nothing: those who could get in still can.
type access struct {
	log *slog.Logger

	mu      sync.Mutex
	current *users      // nil lets everybody in; guarded by mu
	refused os.FileInfo // of the file that was last refused, nil for none; guarded by mu
	gone    bool        // the file could not be looked at the last time; guarded by mu
}

// set has these users let in; nil lets everybody in.
func (a *access) set(read *users) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.put(read)
}

// put is set for those who hold mu.
func (a *access) put(read *users) {
	a.current, a.refused, a.gone = read, nil, false
	if read == nil {
		return
	}
	if exposed := read.exposed(); exposed != "" {
		a.log.Warn("htpasswd file: "+exposed, "file", read.path, "mode", read.file.Mode())
	}
}

// users returns those who are let in, by the file as it is now; nil is everybody.
func (a *access) users() *users {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current == nil {
		return nil
	}
	path := a.current.path
	info, err := os.Stat(path)
	if err != nil {
		if !a.gone { // it may be about to be replaced, or the server will not start again
			a.log.Warn("htpasswd file is gone: the users stay those of before", "error", err)
		}
		a.gone = true
		return a.current
	}
	a.gone = false
	if sameFile(info, a.current.file) || (a.refused != nil && sameFile(info, a.refused)) {
		return a.current
	}
	read, err := readUsers(path)
	if err != nil {
		a.refused = info
		a.log.Error("htpasswd file is not taken: the users stay those of before", "error", err)
		return a.current
	}
	a.put(read)
	a.log.Info("htpasswd file has been read again", "file", path, "users", len(read.hashes))
	return a.current
}

// require answers 401 to whoever is no user.
func (a *access) require(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		users := a.users()
		if users == nil {
			next.ServeHTTP(w, r)
			return
		}
		switch name, password, given := r.BasicAuth(); {
		case !given:
			noteReason(r, noCredentials)
			askForPassword(w)
		case !users.know(name, password):
			noteReason(r, wrongCredentials)
			askForPassword(w)
		default:
			noteUser(r, name)
			next.ServeHTTP(w, r)
		}
	})
}

// askForPassword answers 401.
func askForPassword(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Basic realm="`+realm+`"`)
	_ = errcode.ServeJSON(w, errcode.ErrorCodeUnauthorized) // only the client can make it fail, by leaving
}
