package transform

import (
	"cmp"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/signature"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/bundlejudge"
)

// The names of the settings about the original of a stripped list.
const (
	AttachOriginal            = "attach-original"
	VerifierID                = "verifier-id"
	OriginPolicy              = "origin-policy"
	PolicyURI                 = "policy-uri"
	PolicyDigest              = "policy-digest"
	OriginKey                 = "origin-key"
	OriginTrustedRoot         = "origin-trusted-root"
	OriginCertificateIdentity = "origin-certificate-identity"
	OriginCertificateIssuer   = "origin-certificate-issuer"
)

// An Original is what is set about the original of a stripped list: that it travels along, and what
// the mirror states about it.
type Original struct {
	Attach       bool
	VerifierID   string
	OriginPolicy string // path
	PolicyURI    string
	PolicyDigest string
	Origin       Origin
}

// An Origin says by whom sigstore bundles of the original must be made.
type Origin struct {
	Keys                []string // paths
	TrustedRoot         string   // path
	CertificateIdentity string
	CertificateIssuer   string
}

// given returns the first setting that is given, "" for none.
func (o *Origin) given() string {
	for _, s := range []struct {
		is   bool
		name string
	}{
		{len(o.Keys) > 0, OriginKey}, {o.TrustedRoot != "", OriginTrustedRoot},
		{o.CertificateIdentity != "", OriginCertificateIdentity}, {o.CertificateIssuer != "", OriginCertificateIssuer},
	} {
		if s.is {
			return s.name
		}
	}
	return ""
}

// original sets the options about the original.
func (s *Settings) original(o *copy.Options) error {
	own := &s.Original
	stated := cmp.Or(named(own.VerifierID, VerifierID), named(own.OriginPolicy, OriginPolicy), named(own.PolicyURI, PolicyURI), named(own.PolicyDigest, PolicyDigest))
	states := own.Attach && s.SignBySigstorePrivateKey != ""
	switch {
	case stated != "" && !states:
		return s.problemf(stated, "needs %s and %s: it is about what the mirror states of the original", s.name(AttachOriginal), s.name(SignBySigstorePrivateKey))
	case states && own.VerifierID == "":
		return s.problemf(VerifierID, "is needed: with %s, the key of %s states what was verified, and by whom", s.name(AttachOriginal), s.name(SignBySigstorePrivateKey))
	case own.Origin.given() != "" && !own.Attach:
		return s.problemf(own.Origin.given(), "needs %s", s.name(AttachOriginal))
	}
	judge, err := s.Bundles()
	if err != nil {
		return err
	}
	if o.OriginPolicy, err = s.originPolicy(); err != nil {
		return err
	}
	o.AttachOriginal, o.BundleVerifier = own.Attach, judge
	o.VerifierID, o.PolicyURI, o.PolicyDigest = own.VerifierID, own.PolicyURI, digest.Digest(own.PolicyDigest)
	return nil
}

// originPolicy returns the policy that judges the signatures of the original, nil if none is named.
// An error is a *Problem.
func (s *Settings) originPolicy() (*signature.PolicyContext, error) {
	if s.Original.OriginPolicy == "" {
		return nil, nil
	}
	read, err := signature.NewPolicyFromFile(s.Original.OriginPolicy)
	if err != nil {
		return nil, s.problemf(OriginPolicy, "cannot be used: %w", err)
	}
	judge, err := signature.NewPolicyContext(read)
	if err != nil {
		return nil, s.problemf(OriginPolicy, "cannot be used: %w", err)
	}
	return judge, nil
}

// named returns the name of a setting if it has a value.
func named(value, name string) string {
	if value == "" {
		return ""
	}
	return name
}

// Bundles returns who judges sigstore bundles of the original, nil if nothing says by whom they
// must be made. It reads the files that are named. An error is a *Problem.
func (s *Settings) Bundles() (copy.BundleVerifier, error) {
	o := &s.Original.Origin
	identified := cmp.Or(named(o.CertificateIdentity, OriginCertificateIdentity), named(o.CertificateIssuer, OriginCertificateIssuer))
	switch {
	case o.given() == "":
		return nil, nil
	case len(o.Keys) > 0 && identified != "":
		return nil, s.problemf(identified, "and %s exclude each other: a key has no certificate", s.name(OriginKey))
	case len(o.Keys) > 0:
		judge, err := bundlejudge.ByKeys(o.Keys, o.TrustedRoot)
		return s.judge(OriginKey, judge, err)
	case o.TrustedRoot == "":
		return nil, s.problemf(identified, "needs %s", s.name(OriginTrustedRoot))
	case o.CertificateIdentity == "" || o.CertificateIssuer == "":
		return nil, s.problemf(OriginTrustedRoot, "needs %s and %s, or %s: it says who gives certificates, and not whose are trusted",
			s.name(OriginCertificateIdentity), s.name(OriginCertificateIssuer), s.name(OriginKey))
	}
	judge, err := bundlejudge.ByRoot(o.TrustedRoot, bundlejudge.Identity{Name: o.CertificateIdentity, Issuer: o.CertificateIssuer})
	return s.judge(OriginTrustedRoot, judge, err)
}

// judge returns a judge that could be made, or why that could not be, by the setting that names
// whom it trusts.
func (s *Settings) judge(setting string, judge *bundlejudge.Judge, err error) (copy.BundleVerifier, error) {
	if err != nil {
		return nil, s.problemf(setting, "cannot be used: %w", err)
	}
	return judge, nil
}
