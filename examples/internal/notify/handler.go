package notify

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"go.podman.io/image/v5/docker/reference"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/secretfile"
)

// Prefix is that of the paths that a Handler answers: Prefix + NAME, and for senders with Path
// Prefix + NAME + "/" + SECRET.
const Prefix = "/notify/"

// MaxBody is the longest body that is read, in bytes.
const MaxBody = 1 << 20

// maxReading is how many bodies of one sender are read at the same time. Others wait.
const maxReading = 16

// A Verdict is what became of a tag that a Queue was asked to look at.
type Verdict int

// The verdicts.
const (
	Unwanted Verdict = iota // the mirror does not have it among its sources
	Queued                  // it will be looked at
	Waiting                 // it was to be looked at already
	Full                    // there is no room for it
)

// A Queue is asked to look at what was pushed. Its methods return at once, and may be called
// concurrently.
type Queue interface {
	// Enqueue asks for a look at a tag. Who sends may send any name, any number of times.
	Enqueue(tag reference.NamedTagged) Verdict
	// Rescan asks for a look at everything, once, however often it is called before that is done:
	// what was pushed is not known.
	Rescan()
}

// An Outcome is what became of a request.
type Outcome string

// The outcomes.
const (
	Accepted  Outcome = "accepted"  // something will be looked at
	Ignored   Outcome = "ignored"   // nothing that the mirror has among its sources was pushed
	Rescanned Outcome = "rescanned" // everything will be looked at: the queue was full, or the document too large
	Malformed Outcome = "malformed" // it is no document of the sender's format
	Refused   Outcome = "refused"   // it has not the sender's secret, or nobody has this name
)

// Options say what a Handler works with.
type Options struct {
	Queue Queue
	Log   *slog.Logger
	// Observe, unless it is nil, is called for each request with the sender's name, "" if nobody
	// has it.
	Observe func(sender string, outcome Outcome)
}

// A Handler answers notifications. It is safe for concurrent use.
//
// Whoever has a sender's secret gets 202 at once, whatever it sends: registries hold back what
// comes next until they are told that a notification has arrived. Others get 401, and 413 where
// nobody can tell, since a body whose signature is to be verified is too large. Bodies are not
// waited for any longer than the server's ReadTimeout, so it must have one.
type Handler struct {
	senders map[string]*sender
	options Options
}

type sender struct {
	Sender
	key     []byte
	reading chan struct{} // has an element for each body that is read
}

// New reads the secrets of senders and returns their Handler. Without senders, notifications are
// off, and it answers 404. An error names the sender, and where it
// was set up.
func New(senders []Sender, options Options) (*Handler, error) {
	h := &Handler{senders: map[string]*sender{}, options: options}
	for _, s := range senders {
		secret, warning, err := s.secret()
		if err != nil {
			return nil, fmt.Errorf("%s: secret-file %s of %s: %w", s.At, s.SecretFile, s.Name, err)
		}
		if warning != "" {
			options.Log.Warn(warning, "sender", s.Name)
		}
		h.senders[s.Name] = &sender{s, secret, make(chan struct{}, maxReading)}
	}
	return h, nil
}

// LogPath returns the path of a request as it may be logged: without a secret that it may have,
// also where somebody has put something before Prefix, or has written the path wrong. So what is as
// long as a secret is left out.
func LogPath(full string) string {
	before, after, ok := strings.Cut(path.Clean(full), Prefix)
	if name, _, secret := strings.Cut(after, "/"); ok && secret {
		return withoutLong(before+Prefix+name) + "/…"
	}
	return withoutLong(full)
}

// withoutLong returns a path without parts that are as long as secrets.
func withoutLong(full string) string {
	parts := strings.Split(full, "/")
	for i, part := range parts {
		if len(part) >= secretfile.Min {
			parts[i] = "…"
		}
	}
	return strings.Join(parts, "/")
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if len(h.senders) == 0 {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "notifications are sent by POST", http.StatusMethodNotAllowed)
		return
	}
	name, token, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, Prefix), "/")
	s := h.senders[name]
	if s == nil {
		h.refuse(w, "")
		return
	}
	authentic := func(body []byte) bool { return s.Auth.authentic(r, token, body, s.key) }
	if s.Auth != Signature && !authentic(nil) {
		h.refuse(w, name)
		return
	}
	body, err := s.read(w, r)
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	switch {
	case tooLarge && s.Auth == Signature:
		h.observe(name, Refused)
		http.Error(w, fmt.Sprintf("more than %d bytes", MaxBody), http.StatusRequestEntityTooLarge)
		return
	case err != nil && !tooLarge: // the sender has gone, or takes too long
		http.Error(w, "the body was not received", http.StatusRequestTimeout)
		return
	case s.Auth == Signature && !authentic(body):
		h.refuse(w, name)
		return
	case tooLarge:
		h.observe(name, h.rescan(name, "a notification is too large to be read"))
	default:
		h.observe(name, h.take(s, document(r.Header.Get("Content-Type"), body)))
	}
	w.WriteHeader(http.StatusAccepted)
}

// read returns the body, or a *http.MaxBytesError if it has more than MaxBody bytes.
func (s *sender) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	select {
	case s.reading <- struct{}{}:
		defer func() { <-s.reading }()
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	return io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
}

// refuse says nothing about what is wrong: who is to know reads it in the documentation.
func (h *Handler) refuse(w http.ResponseWriter, sender string) {
	h.observe(sender, Refused)
	w.Header().Set("WWW-Authenticate", `Bearer realm="mirror"`)
	http.Error(w, "no sender of this name, or not its secret", http.StatusUnauthorized)
}

// take hands what was pushed to the queue.
func (h *Handler) take(s *sender, document []byte) Outcome {
	pushes, err := s.Format.Parse(document)
	if err != nil {
		h.options.Log.Warn("a notification is not understood", "sender", s.Name, "error", err)
		return Malformed
	}
	outcome := Ignored
	for _, push := range each(pushes) {
		for _, registry := range s.Registries {
			tag, err := named(registry, push)
			if err != nil {
				continue // a digest in place of a tag, or nothing that a registry can have
			}
			switch h.options.Queue.Enqueue(tag) {
			case Full:
				return h.rescan(s.Name, "too many pushes are waiting")
			case Queued:
				h.options.Log.Info("a push was notified", "sender", s.Name, "source", tag.String())
				outcome = Accepted
			case Waiting:
				outcome = Accepted
			case Unwanted:
				h.options.Log.Debug("a push was notified, and is not mirrored", "sender", s.Name, "source", tag.String())
			}
		}
	}
	return outcome
}

// each returns each push once. Of tags that are named after digests, the first of a repository
// stands for all: what they lead to is the same.
func each(pushes []Push) []Push {
	seen := map[Push]bool{}
	return slices.DeleteFunc(pushes, func(p Push) bool {
		if copy.IsDigestTag(p.Tag) {
			p.Tag = ""
		}
		before := seen[p]
		seen[p] = true
		return before
	})
}

// rescan has everything looked at, since it is not known what was pushed.
func (h *Handler) rescan(sender, why string) Outcome {
	h.options.Log.Warn(why+": everything is looked at", "sender", sender)
	h.options.Queue.Rescan()
	return Rescanned
}

func (h *Handler) observe(sender string, outcome Outcome) {
	if h.options.Observe != nil {
		h.options.Observe(sender, outcome)
	}
}

// document is the JSON of a body: of a form, which GitHub sends unless it is told otherwise, the
// field payload.
func document(contentType string, body []byte) []byte {
	if mediaType, _, _ := mime.ParseMediaType(contentType); mediaType != "application/x-www-form-urlencoded" {
		return body
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || !form.Has("payload") {
		return body // which is said to be no document
	}
	return []byte(form.Get("payload"))
}

// named is the full name of what was pushed to a registry.
func named(registry string, push Push) (reference.NamedTagged, error) {
	repository, err := reference.ParseNormalizedNamed(registry + "/" + push.Repository)
	if err != nil {
		return nil, err
	}
	if !reference.IsNameOnly(repository) {
		return nil, fmt.Errorf("%q is no repository", push.Repository)
	}
	return reference.WithTag(repository, push.Tag)
}
