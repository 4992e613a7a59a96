package registry

import (
	"errors"
	"net/http"
	"net/url"
	"sync"
)

// A target is where a registry has led a request for a blob, for others for the same blob: an
// object store, or a content delivery network. Its URL is a secret, and good for some time only.
// The zero value is none.
type target struct {
	mu     sync.Mutex
	at     *url.URL // nil for none; guarded by mu
	served bool     // at has served more than the request that was led there; guarded by mu
	spent  int      // URLs that have not; guarded by mu
}

// mostSpent is how many URLs of a blob may serve one request only, before others are not kept.
const mostSpent = 2

// learn notes where resp comes from, a success, if a redirect has led there.
func (t *target) learn(resp *http.Response) {
	if resp.Request.Response == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.spent < mostSpent {
		t.at, t.served = resp.Request.URL, false
	}
}

// current is the URL, nil if there is none.
func (t *target) current() *url.URL {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.at
}

// serves notes that at has served a request.
func (t *target) serves(at *url.URL) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.served = t.served || t.at == at
}

// forget gives at up, unless there is another one by now.
func (t *target) forget(at *url.URL) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at != at {
		return
	}
	if !t.served {
		t.spent++
	}
	t.at = nil
}

// turnsAway reports whether err is the answer of a target that has ended. Most say 401 or 403 then,
// and some 400, 404 or 410.
func turnsAway(err error) bool {
	no, refused := errors.AsType[*refusal](err)
	if !refused || no.Status == http.StatusRequestedRangeNotSatisfiable {
		return false
	}
	transient, _ := isRetriable(no)
	return !transient
}
