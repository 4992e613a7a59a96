package vouching

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/signature"

	"github.com/sparsecopy/sparsecopy/copy/internal/trust"
	"github.com/sparsecopy/sparsecopy/copy/plan"
)

// Options are what a mirror says of itself, and by what it judges. They are fields of copy.Options.
type Options struct {
	VerifierID     string
	OriginPolicy   *signature.PolicyContext // nil for that of the copy
	PolicyURI      string
	PolicyDigest   digest.Digest
	BundleVerifier trust.BundleVerifier
}

// Validate returns what is wrong with the options of a copy that does or does not attach originals,
// and signs with a sigstore private key or without. The error is a *plan.OptionsError.
func (o Options) Validate(attaches, key bool) error {
	refused := func(reason string, options ...string) error {
		return &plan.OptionsError{Options: options, Reason: reason}
	}
	const both = "it needs AttachOriginal and SignBySigstorePrivateKeyFile"
	vouches := attaches && key
	switch {
	case !vouches && o.VerifierID != "":
		return refused(both, "VerifierID")
	case !vouches && o.OriginPolicy != nil:
		return refused(both, "OriginPolicy")
	case !vouches && o.PolicyURI != "":
		return refused(both, "PolicyURI")
	case !vouches && o.PolicyDigest != "":
		return refused(both, "PolicyDigest")
	case !attaches && o.BundleVerifier != nil:
		return refused("it needs AttachOriginal", "BundleVerifier")
	case !vouches:
		return nil
	case o.VerifierID == "":
		return refused("with both, the key vouches for lists that are stripped: VerifierID has to say who does, as a URI",
			"AttachOriginal", "SignBySigstorePrivateKeyFile")
	case !isURI(o.VerifierID):
		return refused(fmt.Sprintf("%q is no absolute URI, such as https://mirror.example/", o.VerifierID), "VerifierID")
	case o.PolicyURI != "" && !isURI(o.PolicyURI):
		return refused(fmt.Sprintf("%q is no absolute URI", o.PolicyURI), "PolicyURI")
	}
	if o.PolicyDigest != "" {
		if err := o.PolicyDigest.Validate(); err != nil {
			return refused(fmt.Sprintf("%q: %v", o.PolicyDigest, err), "PolicyDigest")
		}
	}
	return nil
}

// isURI reports whether s is an absolute URI that names something.
func isURI(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.IsAbs() && strings.Trim(s[len(u.Scheme)+1:], "/") != ""
}
