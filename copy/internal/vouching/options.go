package vouching

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/internal/trust"
	"github.com/sparsecopy/sparsecopy/copy/plan"
)

// Options are what a mirror says of itself, and by what it judges. They are fields of copy.Options.
type Options struct {
	VerifierID     string
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
	vouches := attaches && key
	for _, f := range []struct {
		name  string
		set   bool
		needs string // "" if that is there
	}{
		{"VerifierID", o.VerifierID != "", unless(vouches, "AttachOriginal and SignBySigstorePrivateKeyFile")},
		{"PolicyURI", o.PolicyURI != "", unless(vouches, "AttachOriginal and SignBySigstorePrivateKeyFile")},
		{"PolicyDigest", o.PolicyDigest != "", unless(vouches, "AttachOriginal and SignBySigstorePrivateKeyFile")},
		{"BundleVerifier", o.BundleVerifier != nil, unless(attaches, "AttachOriginal")},
	} {
		if f.set && f.needs != "" {
			return refused("it needs "+f.needs, f.name)
		}
	}
	switch {
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

// unless returns needs, "" if that is there.
func unless(there bool, needs string) string {
	if there {
		return ""
	}
	return needs
}

// isURI reports whether s is an absolute URI that names something.
func isURI(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.IsAbs() && strings.Trim(s[len(u.Scheme)+1:], "/") != ""
}
