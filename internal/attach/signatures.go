package attach

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// signatureTypes are beginnings of the artifact types of signatures: bundles of sigstore's, which
// cosign 3 writes, in all their versions (sigstore's protobuf-specs, "Bundle"), cosign 2's under
// COSIGN_EXPERIMENTAL, and notation's (notaryproject, "OCI signatures").
var signatureTypes = []string{
	"application/vnd.dev.sigstore.bundle", "application/vnd.dev.cosign.artifact.sig.", "application/vnd.cncf.notary.",
}

func isSignatureType(artifactType string) bool {
	return slices.ContainsFunc(signatureTypes, func(t string) bool { return strings.HasPrefix(artifactType, t) })
}

// isOriginal reports whether a referrer carries the original of a list that was stripped already:
// as long as that stays as it is, it is as good as signed.
func isOriginal(d imgspecv1.Descriptor) bool {
	return original.KindOf(d.ArtifactType, d.Annotations) == original.RoleOriginal
}

// maxUntoldReferrers is how many referrers of one copy, that are listed without saying what they
// are, are read.
const maxUntoldReferrers = 200

// Signatures are those that are attached to a list, as far as it is known.
type Signatures struct {
	// Found names them, by their tags or digests, sorted.
	Found []string
	// Unknown says what could not be asked, and why; "" if everything was.
	Unknown string
	// Unanswered is set if whoever would know was asked and did not let us in, or did not answer.
	// Only with Unknown.
	Unanswered bool
}

// UnknownSignatures are those of a list of which what could not be asked, for the reason that err
// says.
func UnknownSignatures(what string, err error) Signatures {
	return Signatures{Unknown: fmt.Sprintf("%s: %v", what, err), Unanswered: endpoint.IsUnanswered(err)}
}

// FindSignatures looks for signatures that are attached to lists. What Find has found for choices
// is not asked for again. Lists of which nothing is found, and everything could be asked, are
// absent. No answer is an error: an error says that ctx ended.
func FindSignatures(
	ctx context.Context, src Source, lists []digest.Digest, choices Choices, found []Attachment,
) (map[digest.Digest]Signatures, error) {
	f := signatureFinder{}
	var questions []Question
	for _, d := range lists {
		f.noteKnown(d, found)
		for _, elsewhere := range src.places() {
			if !choices.Referrers || len(choices.ReferrerTypes) > 0 {
				questions = append(questions, Question{Subject: d, Elsewhere: elsewhere})
			}
			if tag := digesttag.Name(d, digesttag.Signatures); tag != "" && !choices.DigestTags {
				questions = append(questions, Question{Subject: d, Tag: tag, Elsewhere: elsewhere})
			}
		}
	}
	var untold []Attachment // referrers whose manifests have to say what they are
	err := inflight.Ask(ctx, src.Budget, questions, src.ask, func(q Question, a answer, err error) error {
		untold = append(untold, f.noteAnswer(q, a, err, maxUntoldReferrers-len(untold))...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := inflight.Ask(ctx, src.Budget, untold, src.read, f.noteManifest); err != nil {
		return nil, err
	}
	for _, s := range f {
		slices.Sort(s.Found)
	}
	return f, nil
}

// A signatureFinder notes what it is told about lists.
type signatureFinder map[digest.Digest]Signatures

// noteKnown notes the signatures of d among what is attached and known already.
func (f signatureFinder) noteKnown(d digest.Digest, known []Attachment) {
	for _, a := range known {
		switch {
		case a.Subject != d || a.Child:
		case a.Tag != "" && a.Tag == digesttag.Name(d, digesttag.Signatures):
			f.add(d, "tag "+a.Tag)
		case a.Tag == "" && (isSignatureType(a.ArtifactType) || isOriginal(a.Descriptor)):
			f.add(d, referrerName(a.Descriptor))
		}
	}
}

// noteAnswer notes what a question has found. It returns referrers whose manifests have to say what
// they are, as many as may be read.
func (f signatureFinder) noteAnswer(q Question, a answer, err error, most int) (untold []Attachment) {
	what := "its referrers"
	if q.Tag != "" {
		what = "tag " + q.Tag
	}
	if err != nil {
		f.unknown(q.Subject, what, err)
	}
	for _, a := range a.attached {
		switch {
		case a.Tag != "":
			f.add(q.Subject, what)
		case isSignatureType(a.ArtifactType) || isOriginal(a.Descriptor):
			f.add(q.Subject, referrerName(a.Descriptor))
		case !endpoint.TellsNothing(a.ArtifactType):
		case len(untold) < most:
			untold = append(untold, a)
		default:
			f.unknown(q.Subject, what, fmt.Errorf("more than %d do not say what they are", maxUntoldReferrers))
		}
	}
	return untold
}

// noteManifest notes what the manifest of a referrer says that it is.
func (f signatureFinder) noteManifest(a Attachment, doc endpoint.Document, err error) error {
	if errors.Is(err, endpoint.ErrNotFound) {
		return nil
	}
	var says Attachment
	if err == nil {
		says, err = describe(a, doc)
	}
	if err != nil {
		f.unknown(a.Subject, "referrer "+a.Digest.String(), err)
	} else if says.Subject == a.Subject && (isSignatureType(says.ArtifactType) || isOriginal(says.Descriptor)) {
		f.add(a.Subject, referrerName(says.Descriptor))
	}
	return nil
}

func referrerName(d imgspecv1.Descriptor) string {
	if isOriginal(d) {
		return fmt.Sprintf("original attached by %s (strip the list that this one was stripped from, or copy this one as it is)", d.Digest)
	}
	return fmt.Sprintf("referrer %s (%s)", d.Digest, d.ArtifactType)
}

func (f signatureFinder) add(d digest.Digest, name string) {
	s := f[d]
	if !slices.Contains(s.Found, name) {
		s.Found = append(s.Found, name)
	}
	f[d] = s
}

// unknown notes that something could not be asked. One such thing is enough for a reader: the one
// that decides.
func (f signatureFinder) unknown(d digest.Digest, what string, err error) {
	s, u := f[d], UnknownSignatures(what, err)
	if s.Unknown == "" || u.Unanswered && !s.Unanswered {
		s.Unknown, s.Unanswered = u.Unknown, u.Unanswered
	}
	f[d] = s
}

// Carried are the signatures that travel as what digest tags name, by what they sign.
type Carried map[digest.Digest]map[string]bool

// CarriedBy returns the signatures that travel with attachments. held returns their manifests; one
// without has none.
func CarriedBy(attached []Attachment, held func(digest.Digest) (endpoint.Document, bool)) Carried {
	carried := Carried{}
	for _, a := range attached {
		if a.Tag == "" || a.Tag != digesttag.Name(a.Subject, digesttag.Signatures) {
			continue
		}
		doc, ok := held(a.Digest)
		if !ok {
			continue
		}
		carried[a.Subject] = map[string]bool{}
		if image, err := manifest.ParseImage(doc.Bytes, doc.Type()); err == nil {
			for _, layer := range image.Layers {
				carried[a.Subject][layerKey(layer.MediaType, layer.Digest, layer.Annotations)] = true
			}
		}
	}
	return carried
}

// All reports whether the signatures of d all travel as what its tag names.
func (c Carried) All(d digest.Digest, sigs endpoint.Signatures) bool {
	attachable, others := sigs.Split()
	return others.Len() == 0 && !slices.ContainsFunc(attachable, func(sig endpoint.AttachableSignature) bool {
		return !c[d][layerKey(sig.Layer.MediaType, sig.Layer.Digest, sig.Layer.Annotations)]
	})
}

// Without returns those of signatures that do not all travel as what the digest tag of what they
// sign names.
func (c Carried) Without(signatures map[digest.Digest]endpoint.Signatures) map[digest.Digest]endpoint.Signatures {
	if len(c) == 0 {
		return signatures
	}
	out := maps.Clone(signatures)
	maps.DeleteFunc(out, c.All)
	return out
}
