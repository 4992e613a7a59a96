package mirrorcmd

import (
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/pflag"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/transform"
)

// defineAttachOriginal defines the flag by which the original of a list that is stripped travels
// along.
func defineAttachOriginal(flags *pflag.FlagSet, s *transform.Settings) {
	flags.BoolVar(&s.Original.Attach, transform.AttachOriginal, false,
		"if the list is stripped, keep it as it was, and its signatures, beside it: then anyone can verify, without SOURCE, that its publisher has signed what remains (mirror verify --origin)")
}

// defineStatement defines the flags about what a copy that signs states of the original.
func defineStatement(flags *pflag.FlagSet, s *transform.Settings) {
	o := &s.Original
	flags.StringVar(&o.VerifierID, transform.VerifierID, "",
		"with --attach-original and --sign-by-sigstore-private-key, which need it: a `URI` that names this mirror, as who has verified that the publisher has signed what is stripped")
	flags.StringVar(&o.OriginPolicy, transform.OriginPolicy, "",
		"signature policy in `FILE` that judges the list for that statement, instead of the copy's, which judges each image, too: for publishers who sign lists only")
	flags.StringVar(&o.PolicyURI, transform.PolicyURI, "", "`URI` of the signature policy, for those who read what the mirror states")
	flags.StringVar(&o.PolicyDigest, transform.PolicyDigest, "", "`DIGEST` of what is at that URI, instead of the policy's own")
	defineOrigin(flags, &o.Origin)
}

// originFlags are those of defineOrigin.
var originFlags = []string{transform.OriginKey, transform.OriginTrustedRoot, transform.OriginCertificateIdentity, transform.OriginCertificateIssuer}

// defineOrigin defines the flags that say by whom sigstore bundles must be made.
func defineOrigin(flags *pflag.FlagSet, o *transform.Origin) {
	flags.StringArrayVar(&o.Keys, transform.OriginKey, nil,
		"the publisher's public key, PEM in `FILE`, for signatures that are sigstore bundles (cosign 3), which signature policies cannot judge; may be repeated")
	flags.StringVar(&o.TrustedRoot, transform.OriginTrustedRoot, "",
		"trusted root of sigstore in `FILE` (trusted_root.json), for bundles that are signed with certificates; with --origin-key, for the proof that they are in its log")
	flags.StringVar(&o.CertificateIdentity, transform.OriginCertificateIdentity, "", "who must have signed with a certificate: `NAME`, an address or the URL of a workflow")
	flags.StringVar(&o.CertificateIssuer, transform.OriginCertificateIssuer, "", "who must have identified them: `URL` of the OpenID Connect issuer")
}

// checkOriginal refuses flags about the original that would have no effect on a copy.
func (s *selection) checkOriginal() error {
	s.options.AttachOriginal = s.changes.Original.Attach
	if s.options.AttachOriginal && s.options.SparseManifestListAction == copy.KeepSparseManifestList {
		return misusef("--%s needs --sparse strip or auto: a list that is kept is the original", transform.AttachOriginal)
	}
	if given := changed(s.flags, originFlags); len(given) > 0 && s.changes.SignBySigstorePrivateKey == "" {
		return misusef("%s %s --%s: a copy judges bundles only before its key signs", dashed(given), needs(given), transform.SignBySigstorePrivateKey)
	}
	return nil
}

// originalRows writes the rows about what travelled along with a list that was stripped; there need
// not be any.
func originalRows(table io.Writer, o *copy.OriginalReport) {
	if o == nil || o.Reason != "" { // which a warning says
		return
	}
	row := func(what string, d digest.Digest, form copy.OriginalForm, outcome copy.Outcome) {
		result := string(outcome)
		if form == copy.PlainForm {
			result += " as a plain image"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t-\t-\n", what, shortDigest(d), result)
	}
	row("original of "+shortDigest(o.List), o.Digest, o.Form, o.Outcome)
	for _, s := range o.Signatures {
		row(fmt.Sprintf("signature of it (%s)", s.Kind), s.Digest, s.Form, s.Outcome)
	}
}

// notVouched says what is lacking of what the key could have said.
func notVouched(v *copy.VouchedReport) string {
	if len(v.Judged) > 0 {
		return "signed, without a summary"
	}
	return "not signed"
}

// vouchedText says what the key has signed of a list that was stripped, or why nothing; "" if there
// is no key.
func vouchedText(v *copy.VouchedReport) string {
	switch {
	case v == nil:
		return ""
	case v.Reason != "":
		return fmt.Sprintf("%s: %s\n", notVouched(v), oneLine(v.Reason))
	}
	text := fmt.Sprintf("signed, after %s of the original had been verified", counted(len(v.Judged), "signature"))
	var stated []string
	for _, b := range v.Bundles {
		stated = append(stated, fmt.Sprintf("%s %s (%s)", b.PredicateType, shortDigest(b.Digest), b.Outcome))
	}
	if len(stated) > 0 {
		text += ": " + strings.Join(stated, ", ")
	}
	return text + "\n"
}
