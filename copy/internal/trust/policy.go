package trust

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/policy"
	"github.com/sparsecopy/sparsecopy/internal/turns"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// An answer is what a policy says of a list.
type answer int

const (
	notAsked        answer = iota
	acceptsAnything        // the list is accepted without any signature
	acceptsSigned          // it is accepted with its signatures only
	demandsMore            // signatures are accepted, and not enough for the policy
	rejectsAll             // no signature could change that
	refuses                // no signature is accepted
)

// askPolicy returns what the policy says of the list with all candidates together, as upstream asks
// it, and notes of each of them what each requirement that is in force says to it. The error is
// context.Cause, or one about requirements or temporary files.
func askPolicy(ctx context.Context, q Question, candidates []*candidate) (answer, error) {
	if q.Policy.Context == nil {
		refuseThose(candidates, NotAsked)
		return notAsked, nil
	}
	requirements, err := inForce(q.Policy.Context.Policy, q.Origin)
	if err != nil {
		return notAsked, err
	}
	without, err := q.ask(ctx, q.Policy, endpoint.NoSignatures())
	switch {
	case err != nil:
		return notAsked, err
	case without == nil:
		refuseThose(candidates, NothingDemanded)
		return acceptsAnything, nil
	}
	var blobs [][]byte
	accepted := false
	for _, c := range candidates {
		if c.blob == nil {
			continue
		}
		blobs = append(blobs, c.blob)
		if err := q.askEach(ctx, requirements, c); err != nil {
			return notAsked, err
		}
		accepted = accepted || c.Accepted
	}
	all, err := endpoint.SignaturesFromBlobs(ctx, blobs)
	if err != nil {
		return notAsked, err
	}
	why, err := q.ask(ctx, q.Policy, all)
	switch {
	case err != nil:
		return notAsked, err
	case why == nil:
		return acceptsSigned, nil
	case rejects(requirements):
		return rejectsAll, nil
	case accepted:
		return demandsMore, nil
	}
	return refuses, nil
}

// refuseThose refuses all candidates that are for policies.
func refuseThose(candidates []*candidate, r Reason) {
	for _, c := range candidates {
		if c.blob != nil {
			c.refuse(r, "")
		}
	}
}

// ask returns why a policy does not accept the list with the given signatures, nil if it does. The
// error is context.Cause.
func (q *Question) ask(ctx context.Context, judge policy.Judge, sigs endpoint.Signatures) (why, err error) {
	return judge.Ask(ctx, endpoint.Unparsed(q.Origin, q.List, func(context.Context) (endpoint.Signatures, error) { return sigs, nil }))
}

// askEach asks each requirement about a candidate alone: one that accepts it says who has made it.
func (q *Question) askEach(ctx context.Context, requirements []requirement, c *candidate) error {
	c.refuse(NoRequirement, "")
	alone, err := endpoint.SignaturesFromBlobs(ctx, [][]byte{c.blob})
	if err != nil {
		return err
	}
	for _, r := range requirements {
		if !r.reads(c.Format) {
			continue
		}
		why, err := q.askOne(ctx, r, alone)
		switch {
		case err != nil:
			return err
		case why == nil:
			c.Accepted, c.Signer = true, r.signer(c)
			c.refuse("", "")
			return nil
		}
		reason, problem := q.because(why, c)
		if c.Reason == NoRequirement || moreTelling(reason, c.Reason) {
			c.refuse(reason, problem)
		}
	}
	return nil
}

// askOne is ask for a policy of one requirement.
func (q *Question) askOne(ctx context.Context, r requirement, sigs endpoint.Signatures) (why, err error) {
	alone, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{r.PolicyRequirement}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, alone.Destroy()) }()
	return q.ask(ctx, policy.Judge{Turns: &turns.Turns[*signature.PolicyContext]{}, Context: alone}, sigs)
}

// because returns what a requirement's refusal of a single signature means. It looks at the digest
// and the identity only once the signature has been verified.
func (q *Question) because(why error, c *candidate) (Reason, string) {
	if _, ok := errors.AsType[signature.InvalidSignatureError](why); ok {
		return WrongKey, why.Error()
	}
	if _, ok := errors.AsType[signature.PolicyRequirementError](why); !ok {
		return NotJudged, why.Error()
	}
	if !manifest.HasDigest(q.List.Bytes, c.claims) {
		return OtherDigest, c.claims.String()
	}
	return WrongIdentity, c.Identity
}

// A requirement is one of those of a policy, with what it says of itself in policy.json
// (containers-policy.json(5)).
type requirement struct {
	signature.PolicyRequirement
	Type     string   `json:"type"`
	KeyPath  string   `json:"keyPath"`
	KeyPaths []string `json:"keyPaths"`
	KeyData  []byte   `json:"keyData"`
	KeyDatas [][]byte `json:"keyDatas"`
	Fulcio   *struct {
		OIDCIssuer   string `json:"oidcIssuer"`
		SubjectEmail string `json:"subjectEmail"`
	} `json:"fulcio"`
	PKI *struct {
		SubjectEmail    string `json:"subjectEmail"`
		SubjectHostname string `json:"subjectHostname"`
	} `json:"pki"`
}

// inForce returns the requirements that a policy has for a reference: those of the most specific
// scope (containers-policy.json(5)).
func inForce(p *signature.Policy, ref types.ImageReference) ([]requirement, error) {
	var out []requirement
	for _, r := range scoped(p, ref) {
		says := requirement{PolicyRequirement: r}
		content, err := json.Marshal(r)
		if err == nil {
			err = json.Unmarshal(content, &says)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the signature policy: %w", err)
		}
		out = append(out, says)
	}
	return out, nil
}

func scoped(p *signature.Policy, ref types.ImageReference) signature.PolicyRequirements {
	scopes, ok := p.Transports[ref.Transport().Name()]
	if !ok {
		return p.Default
	}
	names := append([]string{ref.PolicyConfigurationIdentity()}, ref.PolicyConfigurationNamespaces()...)
	for _, name := range append(names, "") {
		if requirements, ok := scopes[name]; ok {
			return requirements
		}
	}
	return p.Default
}

// rejects reports whether one of requirements rejects everything.
func rejects(requirements []requirement) bool {
	for _, r := range requirements {
		if r.Type == "reject" {
			return true
		}
	}
	return false
}

// reads reports whether a requirement looks at signatures of a format.
func (r *requirement) reads(f Format) bool {
	return r.Type == "signedBy" && f == SimpleSigning || r.Type == "sigstoreSigned" && f == SigstoreLayer
}

// signer says who has made a signature that the requirement accepts.
func (r *requirement) signer(c *candidate) string {
	if r.Fulcio != nil {
		return fmt.Sprintf("%s at %s", r.Fulcio.SubjectEmail, r.Fulcio.OIDCIssuer)
	}
	if r.PKI != nil {
		return "certificate of " + cmp.Or(r.PKI.SubjectEmail, r.PKI.SubjectHostname)
	}
	keys := r.KeyPaths
	if r.KeyPath != "" {
		keys = append(keys, r.KeyPath)
	}
	for _, data := range r.KeyDatas {
		keys = append(keys, inPolicy(data))
	}
	if len(r.KeyData) > 0 {
		keys = append(keys, inPolicy(r.KeyData))
	}
	text := "key " + strings.Join(keys, " or ")
	if c.key != "" {
		text = fmt.Sprintf("GPG key %s, of %s", c.key, strings.Join(keys, " or "))
	}
	return text
}

// inPolicy names a key that is in the policy itself.
func inPolicy(key []byte) string {
	return fmt.Sprintf("in the policy, sha256 %x", sha256.Sum256(key))
}
