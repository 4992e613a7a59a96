// Package transform has the settings of mirror for images that change on the way: new signatures,
// compression, encryption and the format of manifests, which mean what Skopeo's flags of the same
// names mean; and what becomes of the original of a list that is stripped. They are flags of mirror
// copy, and keys of the file of mirror sync.
package transform

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	encconfig "github.com/containers/ocicrypt/config"
	enchelpers "github.com/containers/ocicrypt/helpers"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/cli"
	"go.podman.io/image/v5/pkg/cli/sigstore"
	"go.podman.io/image/v5/pkg/cli/sigstore/params"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/signature/signer"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// The names of the settings.
const (
	SignBy                   = "sign-by"
	SignBySigstore           = "sign-by-sigstore"
	SignBySigstorePrivateKey = "sign-by-sigstore-private-key"
	SignPassphraseFile       = "sign-passphrase-file"
	SignIdentity             = "sign-identity"
	CompressFormat           = "dest-compress-format"
	CompressLevel            = "dest-compress-level"
	ForceCompressFormat      = "dest-force-compress-format"
	EncryptionKey            = "encryption-key"
	EncryptLayer             = "encrypt-layer"
	DecryptionKey            = "decryption-key"
	Format                   = "format"
	ChangedSubjects          = "changed-subjects"
	AlwaysSign               = "always-sign"
	PreviousPublicKey        = "previous-public-key"
	AnnotateTransformed      = "annotate-transformed"
)

// Formats are the values of Format, and the media types that they stand for.
var Formats = map[string]string{
	"oci": imgspecv1.MediaTypeImageManifest, "v2s2": manifest.MediaTypeDockerManifest, "v2s1": manifest.MediaTypeDockerSchema1Signed,
}

// Subjects are the values of ChangedSubjects.
var Subjects = map[string]copy.ChangedSubjectAction{"keep": copy.KeepChangedSubjects, "drop": copy.DropChangedSubjects}

// Compressions are the values of CompressFormat.
var Compressions = []string{compression.Gzip.Name(), compression.Zstd.Name(), compression.ZstdChunked.Name()}

// Settings are the values of the settings; what is empty is not asked for.
type Settings struct {
	// Prefix is what stands before the name of a setting in errors: "--" for flags.
	Prefix string

	SignBy                   string // ID of a GPG key
	SignBySigstore           string // path of a file as in containers-sigstore-signing-params.yaml(5)
	SignBySigstorePrivateKey string // path
	SignPassphraseFile       string // path
	SignIdentity             string // a reference with a tag or digest
	AlwaysSign               bool
	PreviousPublicKeys       []string // paths, of the public halves of keys that signed before

	CompressFormat      string
	CompressLevel       *int
	ForceCompressFormat bool

	EncryptionKeys []string // PROTOCOL:KEY
	EncryptLayers  []int
	DecryptionKeys []string // KEY[:PASSPHRASE]

	Format string // a media type

	ChangedSubjects     copy.ChangedSubjectAction
	AnnotateTransformed bool

	Original Original
}

// A Problem is a setting that cannot work.
type Problem struct {
	Setting string
	err     error
}

func (p *Problem) Error() string { return p.err.Error() }
func (p *Problem) Unwrap() error { return p.err }

func (s *Settings) problemf(setting, format string, args ...any) error {
	return &Problem{setting, fmt.Errorf("%s "+format, append([]any{s.name(setting)}, args...)...)}
}

// name is what a setting is called in errors.
func (s *Settings) name(setting string) string { return s.Prefix + setting }

// Apply sets the options that a plan depends on, but for the destination's context. It reads public
// keys and keys to decrypt with, and opens none to sign with: what SignBySigstore stands for is a
// signer that makes no signature. An error is a *Problem.
func (s *Settings) Apply(o *copy.Options) error {
	for _, step := range []func(*copy.Options) error{s.signing, s.original, s.compression, s.encryption} {
		if err := step(o); err != nil {
			return err
		}
	}
	o.ForceManifestMIMEType, o.ChangedSubjects, o.AnnotateTransformed = s.Format, s.ChangedSubjects, s.AnnotateTransformed
	return nil
}

func (s *Settings) signing(o *copy.Options) error {
	switch {
	case s.SignPassphraseFile != "" && s.SignBy != "" && s.SignBySigstorePrivateKey != "":
		return s.problemf(SignPassphraseFile, "has the passphrase of one key: give %s or %s, not both", s.name(SignBy), s.name(SignBySigstorePrivateKey))
	case s.SignPassphraseFile != "" && s.SignBy == "" && s.SignBySigstorePrivateKey == "":
		return s.problemf(SignPassphraseFile, "needs %s or %s", s.name(SignBy), s.name(SignBySigstorePrivateKey))
	case s.SignIdentity != "" && !s.Signs():
		return s.problemf(SignIdentity, "needs %s, %s or %s", s.name(SignBy), s.name(SignBySigstore), s.name(SignBySigstorePrivateKey))
	case len(s.PreviousPublicKeys) > 0 && s.SignBySigstorePrivateKey == "":
		return s.problemf(PreviousPublicKey, "needs %s", s.name(SignBySigstorePrivateKey))
	case s.AlwaysSign && !s.Signs():
		return s.problemf(AlwaysSign, "needs %s, %s or %s", s.name(SignBy), s.name(SignBySigstore), s.name(SignBySigstorePrivateKey))
	}
	if s.SignBy != "" {
		if err := gpgSigns(); err != nil {
			return s.problemf(SignBy, "%w", err)
		}
	}
	if s.SignBySigstore != "" {
		if err := s.checkParameters(); err != nil {
			return err
		}
		o.Signers = []*signer.Signer{new(signer.Signer)}
	}
	for setting, path := range map[string]string{SignBySigstorePrivateKey: s.SignBySigstorePrivateKey, SignPassphraseFile: s.SignPassphraseFile} {
		if err := readable(path); err != nil {
			return s.problemf(setting, "names a file that cannot be read: %w", err)
		}
	}
	for _, path := range s.PreviousPublicKeys {
		if err := readable(path); err != nil {
			return s.problemf(PreviousPublicKey, "names a file that cannot be read: %w", err)
		}
	}
	if s.SignIdentity != "" {
		named, err := reference.ParseNamed(s.SignIdentity)
		if err == nil && reference.IsNameOnly(named) {
			err = errors.New("it has neither a tag nor a digest")
		}
		if err != nil {
			return s.problemf(SignIdentity, "%q is no identity: %w; write HOST/NAME:TAG", s.SignIdentity, err)
		}
		o.SignIdentity = named
	}
	o.SignBy, o.SignBySigstorePrivateKeyFile, o.AlwaysSign = s.SignBy, s.SignBySigstorePrivateKey, s.AlwaysSign
	o.PreviousPublicKeyFiles = s.PreviousPublicKeys
	return nil
}

// checkParameters reads the file that SignBySigstore names, and sees that those can be read that it
// names.
func (s *Settings) checkParameters() error {
	p, err := params.ParseFile(s.SignBySigstore)
	if err != nil {
		return s.problemf(SignBySigstore, "names no file with parameters for signing: %w", err)
	}
	if p.PrivateKeyFile == "" && p.Fulcio == nil {
		return s.problemf(SignBySigstore, "%s has neither privateKeyFile nor fulcio, so that there is nothing to sign with", s.SignBySigstore)
	}
	for _, path := range []string{p.PrivateKeyFile, p.PrivateKeyPassphraseFile} {
		if err := readable(path); err != nil {
			return s.problemf(SignBySigstore, "%s names a file that cannot be read: %w", s.SignBySigstore, err)
		}
	}
	return nil
}

// Certified reports whether the file that SignBySigstore names says that a certificate of Fulcio
// signs, which does so for some minutes only.
func (s *Settings) Certified() bool {
	if s.SignBySigstore == "" {
		return false
	}
	p, err := params.ParseFile(s.SignBySigstore)
	return err == nil && p.Fulcio != nil
}

// CheckUnattended refuses keys whose passphrases people would be asked for. Apply has accepted the
// settings. The error is a *Problem.
func (s *Settings) CheckUnattended() error {
	if s.SignBySigstorePrivateKey != "" && s.SignPassphraseFile == "" {
		return s.problemf(SignBySigstorePrivateKey, "has a passphrase, and nobody is asked for it; %s names a file that has it", s.name(SignPassphraseFile))
	}
	if s.SignBySigstore == "" {
		return nil
	}
	if p, err := params.ParseFile(s.SignBySigstore); err == nil && p.PrivateKeyFile != "" && p.PrivateKeyPassphraseFile == "" {
		return s.problemf(SignBySigstore, "%s has a key with a passphrase, and nobody is asked for it; privateKeyPassphraseFile names a file that has it", s.SignBySigstore)
	}
	return nil
}

// Signs reports whether new signatures are asked for.
func (s *Settings) Signs() bool {
	return s.SignBy != "" || s.SignBySigstore != "" || s.SignBySigstorePrivateKey != ""
}

// CheckDestination refuses to sign where the destination has no name that could be signed.
func (s *Settings) CheckDestination(ref types.ImageReference) error {
	if !s.Signs() || s.SignIdentity != "" || ref.DockerReference() != nil {
		return nil
	}
	return s.problemf(SignIdentity, "is needed: the destination, %s, has no name of a repository that could be signed", transports.ImageName(ref))
}

// gpgSigns returns why this program cannot sign with GPG, nil if it can.
func gpgSigns() error {
	mechanism, err := signature.NewGPGSigningMechanism()
	if err != nil {
		return err
	}
	defer mechanism.Close()
	if mechanism.SupportsSigning() != nil {
		return errors.New("cannot sign: this program was built without GPG. " +
			"Build it with CGO_ENABLED=1, the headers of GPGME, and without the tag containers_image_openpgp")
	}
	return nil
}

func readable(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a directory", path)
	}
	return nil
}

// People are those who are asked for passphrases, and to log in where an OpenID Connect issuer
// wants that.
type People struct {
	Ask func(keyFile string) (passphrase string, err error)
	In  io.Reader
	Out io.Writer
}

// Unlock sets the passphrases in options that Apply has set.
func (s *Settings) Unlock(o *copy.Options, people People) error {
	passphrase, err := cli.ReadPassphraseFile(s.SignPassphraseFile) // "" for no file
	if err == nil && s.SignPassphraseFile == "" && s.SignBySigstorePrivateKey != "" {
		passphrase, err = people.Ask(s.SignBySigstorePrivateKey)
	}
	if err != nil {
		return fmt.Errorf("passphrase for signing: %w; %s names a file that has it", err, s.name(SignPassphraseFile))
	}
	if s.SignBy != "" {
		o.SignPassphrase = passphrase
	}
	if s.SignBySigstorePrivateKey != "" {
		o.SignSigstorePrivateKeyPassphrase = []byte(passphrase)
	}
	return nil
}

// OpenSigner returns the signer that SignBySigstore stands for, nil if it is empty. It may ask for
// a certificate over the network. The caller must close it.
func (s *Settings) OpenSigner(people People) (*signer.Signer, error) {
	if s.SignBySigstore == "" {
		return nil, nil
	}
	opened, err := sigstore.NewSignerFromParameterFile(s.SignBySigstore, &sigstore.Options{
		PrivateKeyPassphrasePrompt: people.Ask, Stdin: people.In, Stdout: people.Out,
	})
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", s.name(SignBySigstore), s.SignBySigstore, err)
	}
	return opened, nil
}

// levels are the least and the greatest level of a compression.
var levels = map[string][2]int{"": {1, 9}, compression.Gzip.Name(): {1, 9}, compression.Zstd.Name(): {1, 20}, compression.ZstdChunked.Name(): {1, 20}}

func (s *Settings) compression(o *copy.Options) error {
	if s.CompressFormat == "" && s.ForceCompressFormat {
		return s.problemf(ForceCompressFormat, "needs %s", s.name(CompressFormat))
	}
	if bounds := levels[s.CompressFormat]; s.CompressLevel != nil && (*s.CompressLevel < bounds[0] || *s.CompressLevel > bounds[1]) {
		return s.problemf(CompressLevel, "is from %d to %d for %s, not %d", bounds[0], bounds[1], cmp.Or(s.CompressFormat, compression.Gzip.Name()), *s.CompressLevel)
	}
	o.ForceCompressionFormat = s.ForceCompressFormat
	return nil
}

// Context returns the context of the destination with the compression that is asked for: sys itself
// if none is.
func (s *Settings) Context(sys *types.SystemContext) *types.SystemContext {
	if s.CompressFormat == "" && s.CompressLevel == nil {
		return sys
	}
	compressing := *sys
	compressing.CompressionLevel = s.CompressLevel
	if algorithm, err := compression.AlgorithmByName(s.CompressFormat); err == nil {
		compressing.CompressionFormat = &algorithm
	}
	return &compressing
}

// protocols are those of keys to encrypt with.
var protocols = []string{"jwe", "pgp", "pkcs7", "pkcs11", "provider"}

func (s *Settings) encryption(o *copy.Options) error {
	switch {
	case len(s.EncryptionKeys) > 0 && len(s.DecryptionKeys) > 0:
		return s.problemf(DecryptionKey, "and %s exclude each other: copy twice", s.name(EncryptionKey))
	case len(s.EncryptLayers) > 0 && len(s.EncryptionKeys) == 0:
		return s.problemf(EncryptLayer, "needs %s", s.name(EncryptionKey))
	}
	if len(s.EncryptionKeys) > 0 {
		all, err := s.keys(EncryptionKey, s.EncryptionKeys, encrypting)
		if err != nil {
			return err
		}
		o.OciEncryptConfig, o.OciEncryptLayers = all.EncryptConfig, &s.EncryptLayers
	}
	if len(s.DecryptionKeys) > 0 {
		all, err := s.keys(DecryptionKey, s.DecryptionKeys, decrypting)
		if err != nil {
			return err
		}
		o.OciDecryptConfig = all.DecryptConfig
	}
	return nil
}

// keys reads keys one by one: ocicrypt passes over some that it can do nothing with, and nothing
// must be copied in the clear for that. Errors do not repeat what may hold a passphrase.
func (s *Settings) keys(setting string, keys []string, read func(string) (encconfig.CryptoConfig, error)) (encconfig.CryptoConfig, error) {
	var all []encconfig.CryptoConfig
	for i, key := range keys {
		config, err := read(key)
		if err != nil {
			return encconfig.CryptoConfig{}, s.problemf(setting, "(number %d): %w", i+1, err)
		}
		all = append(all, config)
	}
	return encconfig.CombineCryptoConfigs(all), nil
}

func encrypting(key string) (encconfig.CryptoConfig, error) {
	protocol, _, found := strings.Cut(key, ":")
	if !found || !slices.Contains(protocols, protocol) {
		return encconfig.CryptoConfig{}, fmt.Errorf("%q begins with no protocol: write jwe:FILE with a public key, pkcs7:FILE with a certificate, pgp:ADDRESS, pkcs11:FILE or provider:NAME", key)
	}
	config, err := enchelpers.CreateCryptoConfig([]string{key}, nil)
	if err == nil && (config.EncryptConfig == nil || len(config.EncryptConfig.Parameters) == 0) {
		err = fmt.Errorf("nothing can be encrypted for %s; pgp: needs GnuPG on this machine", key)
	}
	return config, err
}

func decrypting(key string) (encconfig.CryptoConfig, error) {
	config, err := enchelpers.CreateCryptoConfig(nil, []string{key})
	if err == nil && (config.DecryptConfig == nil || len(config.DecryptConfig.Parameters) == 0) {
		file, _, _ := strings.Cut(key, ":")
		err = fmt.Errorf("%s has no private key (PKCS #8 or #1, JWK, or a ring of GnuPG) and no certificate", file)
	}
	return config, err
}
