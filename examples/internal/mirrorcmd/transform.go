package mirrorcmd

import (
	"fmt"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/transform"
)

// defineSigning defines the flags for new signatures.
func defineSigning(flags *pflag.FlagSet, s *transform.Settings) {
	s.Prefix = "--"
	flags.StringVar(&s.SignBy, transform.SignBy, "", "make simple signatures with the GPG key `ID`; needs a program built with GPG")
	flags.StringVar(&s.SignBySigstore, transform.SignBySigstore, "", "make sigstore signatures as the parameters in `FILE` say (containers-sigstore-signing-params.yaml(5))")
	flags.StringVar(&s.SignBySigstorePrivateKey, transform.SignBySigstorePrivateKey, "", "make sigstore signatures with the private key in `FILE`; its passphrase is read from standard input")
	flags.StringVar(&s.SignPassphraseFile, transform.SignPassphraseFile, "", "take the first line of `FILE` as the passphrase of the key that signs")
	flags.StringVar(&s.SignIdentity, transform.SignIdentity, "", "sign for `REFERENCE`, HOST/NAME:TAG, instead of DESTINATION")
	flags.BoolVar(&s.AlwaysSign, transform.AlwaysSign, false, "sign also what the key has signed for this reference already")
	flags.StringArrayVar(&s.PreviousPublicKeys, transform.PreviousPublicKey, nil,
		"public key, PEM in `FILE`, that the private key has replaced: what that has signed is not signed again; may be repeated")
}

// defineChanges defines the flags for images that change on the way.
func defineChanges(flags *pflag.FlagSet, s *transform.Settings) {
	s.Prefix = "--"
	flags.Var(&choice[string]{to: &s.CompressFormat, names: transform.Compressions, values: transform.Compressions}, transform.CompressFormat,
		"compress layers so; without it they stay as they are, where the destination takes them")
	flags.Var(level{&s.CompressLevel}, transform.CompressLevel, "compress layers at level `N`: 1 to 9 for gzip, 1 to 20 for zstd")
	flags.BoolVar(&s.ForceCompressFormat, transform.ForceCompressFormat, false, "reuse no layer at DESTINATION that is compressed in another way")
	flags.Var(&listValue[string]{to: &s.EncryptionKeys, parse: verbatim, typeName: "PROTOCOL:KEY"}, transform.EncryptionKey,
		"encrypt layers for `PROTOCOL:KEY`: jwe:FILE with a public key, pkcs7:FILE with a certificate, pgp:ADDRESS, pkcs11:FILE or provider:NAME; may be repeated")
	flags.Var(&listValue[int]{to: &s.EncryptLayers, parse: layer, typeName: "N"}, transform.EncryptLayer,
		"encrypt only the layer at position `N`, from 0, or from -1, the last, down; may be repeated")
	flags.Var(&listValue[string]{to: &s.DecryptionKeys, parse: verbatim, typeName: "KEY[:PASSPHRASE]"}, transform.DecryptionKey,
		"decrypt layers with `KEY[:PASSPHRASE]`, a file; file=FILE in the place of the passphrase has it; may be repeated")
	formats := []string{"oci", "v2s2", "v2s1"}
	types := make([]string, len(formats))
	for i, name := range formats {
		types[i] = transform.Formats[name]
	}
	flags.Var(&choice[string]{to: &s.Format, names: formats, values: types}, transform.Format, "convert manifests to this format; without it they stay as they are, where the destination takes them")
	flags.Var(newChoice(&s.ChangedSubjects, []string{"keep", "drop"}, []copy.ChangedSubjectAction{copy.KeepChangedSubjects, copy.DropChangedSubjects}), transform.ChangedSubjects,
		"what becomes of attestations, referrers and digest tags of an image that changes: keep them as they are, and name them, or leave them behind (drop)")
	flags.BoolVar(&s.AnnotateTransformed, transform.AnnotateTransformed, false, "say in the list what images that change were made of, and believe what it says where nothing is remembered")
}

func verbatim(s string) (string, error) { return s, nil }

func layer(s string) (int, error) {
	i, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("%q is no position: they count from 0, or from -1, the last, down", s)
	}
	return i, nil
}

// A level is a flag that is a number, and has none to begin with.
type level struct{ to **int }

func (l level) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil {
		return fmt.Errorf("%q is no number", s)
	}
	*l.to = &n
	return nil
}

func (l level) String() string {
	if l.to == nil || *l.to == nil {
		return ""
	}
	return strconv.Itoa(**l.to)
}

func (l level) Type() string { return "N" }

// people are those who run the program, who are asked where the prompts of passwords go.
func (e *environment) people(secrets *passwords) transform.People {
	return transform.People{In: e.stdin, Out: e.stderr, Ask: func(file string) (string, error) {
		return secrets.read("Passphrase of " + file + ": ")
	}}
}
