package signing

import (
	"encoding/json"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/signature"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// A claim is what a signature says that it signs: a digest, and a docker reference.
type claim struct {
	digest   digest.Digest
	identity string
}

// claimOf reads the payload of a signature, which is the same in all formats (cosign's
// SIGNATURE_SPEC.md, containers-signature(5)). It is zero if there is none.
func claimOf(payload []byte) claim {
	var p struct {
		Critical struct {
			Image struct {
				Digest digest.Digest `json:"docker-manifest-digest"`
			} `json:"image"`
			Identity struct {
				Reference string `json:"docker-reference"`
			} `json:"identity"`
		} `json:"critical"`
	}
	if json.Unmarshal(payload, &p) != nil {
		return claim{}
	}
	return claim{p.Critical.Image.Digest, p.Critical.Identity.Reference}
}

// claimed reports whether there is a signature for c, whoever has made it, or whether that does not
// matter, because the subject is new: it is all that can be known of a Signer.
func claimed(s Subject, c claim, among endpoint.Signatures) bool {
	if s.New {
		return false
	}
	attachable, _ := among.Split()
	for _, sig := range attachable {
		if claimOf(sig.Payload) == c {
			return true
		}
	}
	for _, sig := range among.Simple() {
		said, err := signature.GetUntrustedSignatureInformationWithoutVerifying(sig)
		if err == nil && (claim{said.UntrustedDockerManifestDigest, said.UntrustedDockerReference}) == c {
			return true
		}
	}
	return false
}

// gpgHasSigned reports whether a key of the GPG installation has made a signature for c. Which key
// a name or an address stands for is not known here: then any that GPG knows will do.
func gpgHasSigned(id string, c claim, among endpoint.Signatures) bool {
	if len(among.Simple()) == 0 {
		return false
	}
	gpg, err := signature.NewGPGSigningMechanism()
	if err != nil {
		logrus.Debugf("Whether %s has signed %s is not known: %v", id, c.digest, err)
		return false
	}
	defer gpg.Close()
	return gpgAmong(gpg, id, c, among.Simple())
}

func gpgAmong(gpg signature.SigningMechanism, id string, c claim, among [][]byte) bool {
	for _, sig := range among {
		payload, by, err := gpg.Verify(sig)
		if err == nil && claimOf(payload) == c && (!isFingerprint(id) || strings.HasSuffix(by, strings.ToUpper(id))) {
			return true
		}
	}
	return false
}

// isFingerprint reports whether a GPG key is named by its fingerprint, or by the end of one.
func isFingerprint(id string) bool {
	return len(id) >= 16 && strings.Trim(strings.ToUpper(id), "0123456789ABCDEF") == ""
}
