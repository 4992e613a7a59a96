package copy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// signatureTypes are beginnings of the artifact types of signatures: bundles of sigstore's, which cosign 3 writes, in all their versions
// (sigstore's protobuf-specs, "Bundle"), cosign 2's under COSIGN_EXPERIMENTAL, and notation's (notaryproject, "OCI signatures").
var signatureTypes = []string{
	"application/vnd.dev.sigstore.bundle", "application/vnd.dev.cosign.artifact.sig.", "application/vnd.cncf.notary.",
}

func isSignatureType(artifactType string) bool {
	return slices.ContainsFunc(signatureTypes, func(t string) bool { return strings.HasPrefix(artifactType, t) })
}

// findListSignatures looks for signatures that are attached to lists which would be stripped. What was found by loadAttachments is not
// asked for again.
func (j *job) findListSignatures(ctx context.Context) error {
	lists := j.plan.Changing()
	if len(lists) == 0 || j.o.RemoveSignatures || j.o.RemoveListSignatures || j.from != "docker" && j.from != "oci" {
		return nil
	}
	src, err := endpoint.ReferrersAt(j.src)
	f := &listSignatureFinder{job: j, src: src, found: map[digest.Digest]ListSignatures{}}
	var questions []question
	for _, d := range lists {
		if err != nil {
			f.unknown(d, "what is attached to it", err)
			continue
		}
		f.attached(d)
		if j.o.Referrers == NoReferrers || len(j.o.ReferrerTypes) > 0 {
			questions = append(questions, question{subject: d})
		}
		if tag := digesttag.Name(d, digesttag.Signatures); tag != "" && !j.o.DigestTags {
			questions = append(questions, question{d, tag})
		}
	}
	if err := concurrently(ctx, j.budget, questions, f.ask); err != nil {
		return err
	}
	if err := concurrently(ctx, j.budget, f.untold, f.read); err != nil {
		return err
	}
	for _, s := range f.found {
		slices.Sort(s.Found)
	}
	j.in.ListSignatures = f.found
	return nil
}

// A listSignatureFinder collects the signatures of lists. No answer ends the copy: the plan decides what they mean.
type listSignatureFinder struct {
	*job
	src endpoint.ReferrerSource

	mu     sync.Mutex // guards what follows
	found  map[digest.Digest]ListSignatures
	untold []Attachment // referrers whose manifests have to say what they are
}

// attached notes the signatures of d among what is attached and known already.
func (f *listSignatureFinder) attached(d digest.Digest) {
	for _, a := range f.in.Attachments {
		switch {
		case a.Subject != d || a.Child:
		case a.Tag != "" && a.Tag == digesttag.Name(d, digesttag.Signatures):
			f.add(d, "tag "+a.Tag)
		case a.Tag == "" && isSignatureType(a.ArtifactType):
			f.add(d, referrerName(a.Digest, a.ArtifactType))
		}
	}
}

func referrerName(d digest.Digest, artifactType string) string {
	return fmt.Sprintf("referrer %s (%s)", d, artifactType)
}

func (f *listSignatureFinder) add(d digest.Digest, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.found[d]
	if !slices.Contains(s.Found, name) {
		s.Found = append(s.Found, name)
	}
	f.found[d] = s
}

func (f *listSignatureFinder) unknown(d digest.Digest, what string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.found[d]
	unanswered := isUnanswered(err)
	if s.Unknown == "" || unanswered && !s.Unanswered { // one is enough for a reader, the one that decides
		s.Unknown, s.Unanswered = fmt.Sprintf("%s: %v", what, err), unanswered
	}
	f.found[d] = s
}

// isUnanswered reports whether err says that a question was refused or not answered, unlike one that was not understood.
func isUnanswered(err error) bool {
	var answer *RegistryError
	if errors.As(err, &answer) {
		refusals := []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooManyRequests}
		return answer.TokenService || slices.Contains(refusals, answer.Status) || answer.Status >= http.StatusInternalServerError
	}
	var tried *url.Error
	var network net.Error
	return errors.As(err, &tried) || errors.As(err, &network)
}

// maxUntoldReferrers is how many referrers of one copy, that are listed without saying what they are, are read.
const maxUntoldReferrers = 200

func (f *listSignatureFinder) ask(ctx context.Context, q question) error {
	if q.tag != "" {
		switch _, err := f.src.Tagged(ctx, q.tag); {
		case err == nil:
			f.add(q.subject, "tag "+q.tag)
		case !errors.Is(err, endpoint.ErrNotFound):
			f.unknown(q.subject, "tag "+q.tag, err)
		}
		return nil
	}
	listed, err := endpoint.Listed(f.src.Referrers(ctx, q.subject, ""))
	if err != nil {
		f.unknown(q.subject, "its referrers", err)
		return nil
	}
	for _, r := range listed {
		if isSignatureType(r.ArtifactType) {
			f.add(q.subject, referrerName(r.Digest, r.ArtifactType))
		} else if endpoint.TellsNothing(r.ArtifactType) && !f.toRead(Attachment{Subject: q.subject, Digest: r.Digest, ArtifactType: r.ArtifactType}) {
			f.unknown(q.subject, "its referrers", fmt.Errorf("more than %d do not say what they are", maxUntoldReferrers))
		}
	}
	return nil
}

// toRead notes a referrer that has to be read, unless there are too many.
func (f *listSignatureFinder) toRead(a Attachment) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.untold) == maxUntoldReferrers {
		return false
	}
	f.untold = append(f.untold, a)
	return true
}

// read finds out by its manifest whether a referrer is a signature.
func (f *listSignatureFinder) read(ctx context.Context, a Attachment) error {
	doc, err := f.manifest(ctx, a.Digest)
	switch {
	case errors.Is(err, endpoint.ErrNotFound):
		return nil
	case err != nil:
		f.unknown(a.Subject, "referrer "+a.Digest.String(), err)
		return nil
	}
	says, err := describe(a, held(doc))
	if err != nil {
		f.unknown(a.Subject, "referrer "+a.Digest.String(), err)
	} else if says.Subject == a.Subject && isSignatureType(says.ArtifactType) {
		f.add(a.Subject, referrerName(a.Digest, says.ArtifactType))
	}
	return nil
}
