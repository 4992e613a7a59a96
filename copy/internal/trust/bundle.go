package trust

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/manifest"
)

const (
	// SignaturePredicate is that of the statements by which cosign 3 signs images.
	SignaturePredicate = "https://sigstore.dev/cosign/sign/v1"
	// StatementPayload is the media type of statements in envelopes (in-toto attestation framework,
	// "Envelope layer specification").
	StatementPayload = "application/vnd.in-toto+json"
)

// statementTypes are the versions of statements (in-toto attestation framework, "Statement layer
// specification").
var statementTypes = []string{"https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"}

// subjectMembers are those that a subject may have (in-toto attestation framework,
// "ResourceDescriptor").
var subjectMembers = []string{"name", "uri", "digest", "content", "downloadLocation", "mediaType", "annotations"}

// bundled completes a candidate by what is in the bundle that is the only layer of image. It is
// refused already unless it says that it is a signature of list.
func bundled(c *candidate, list digest.Digest, image *manifest.Image, blobs map[digest.Digest][]byte) {
	if len(image.Layers) != 1 || !strings.HasPrefix(image.Layers[0].MediaType, bundleType) {
		c.refuse(Malformed, "its manifest has something else than one bundle")
		return
	}
	c.Layer, c.Format = image.Layers[0].Digest, SigstoreBundle
	content := blobs[c.Layer]
	if !manifest.HasDigest(content, c.Layer) {
		c.refuse(Malformed, "its bundle is not what its manifest names")
		return
	}
	s, err := statementIn(content)
	switch {
	case err != nil:
		c.refuse(Malformed, err.Error())
	case s.predicate != SignaturePredicate:
		c.Format = Attestation
		c.refuse(AttestationOnly, s.predicate)
	case !slices.Contains(s.subjects, list):
		c.claims = cmp.Or(slices.Concat(s.subjects, []digest.Digest{""})[0])
		c.refuse(OtherDigest, c.claims.String())
	default:
		c.claims, c.bundle = list, content
	}
}

// verifyBundles asks who has made the bundles that say that they sign the list, and reports whether
// any is verified. The error is context.Cause.
func verifyBundles(ctx context.Context, q Question, candidates []*candidate) (verified bool, err error) {
	for _, c := range candidates {
		if c.bundle == nil {
			continue
		}
		if q.Bundles == nil {
			c.refuse(NotAsked, "")
			continue
		}
		signer, err := q.Bundles.VerifyBundle(ctx, bytes.Clone(c.bundle), q.List.Digest)
		switch {
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case err != nil:
			c.refuse(BundleRefused, err.Error())
		case signer == "":
			c.refuse(BundleRefused, "the verifier does not say who has made it")
		default:
			c.Accepted, c.Signer, verified = true, signer, true
		}
	}
	return verified, nil
}

// A statement is what the signature in a bundle is about.
type statement struct {
	predicate string
	subjects  []digest.Digest
}

// statementIn returns the statement that a bundle has in its envelope. Nothing is verified. A
// verifier must not be able to read another statement in the same bytes: what is known to be
// optional may be absent, and whatever is unknown, occurs twice or has another name is refused.
func statementIn(bundle []byte) (statement, error) {
	var s statement
	outer, err := object("bundle", bundle, "mediaType", "verificationMaterial", "dsseEnvelope", "messageSignature")
	if err != nil {
		return s, err
	}
	if outer["dsseEnvelope"] == nil || outer["messageSignature"] != nil {
		return s, errors.New("its bundle has no envelope with a statement")
	}
	envelope, err := object("envelope", outer["dsseEnvelope"], "payload", "payloadType", "signatures")
	if err != nil {
		return s, err
	}
	payloadType, err := text("payload type", envelope["payloadType"])
	if err != nil || payloadType != StatementPayload {
		return s, fmt.Errorf("its envelope has no statement, but %q", payloadType)
	}
	encoded, err := text("payload", envelope["payload"])
	if err != nil {
		return s, err
	}
	payload, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return s, errors.New("the payload of its envelope is not encoded in base64")
	}
	return parseStatement(payload)
}

func parseStatement(payload []byte) (statement, error) {
	var s statement
	of, err := object("statement", payload, "_type", "subject", "predicateType", "predicate")
	if err != nil {
		return s, err
	}
	kind, err := text("type", of["_type"])
	if err != nil || !slices.Contains(statementTypes, kind) {
		return s, fmt.Errorf("its statement is of an unknown type %q", kind)
	}
	if s.predicate, err = text("predicate type", of["predicateType"]); err != nil {
		return s, err
	}
	var subjects []json.RawMessage
	if err := json.Unmarshal(of["subject"], &subjects); err != nil {
		return s, errors.New("the subjects of its statement are no list")
	}
	for _, subject := range subjects {
		has, err := object("subject", subject, subjectMembers...)
		if err != nil {
			return s, err
		}
		digests, err := object("digests of a subject", has["digest"])
		if err != nil {
			return s, err
		}
		for algorithm, value := range digests {
			encoded, err := text("digest", value)
			if err != nil {
				return s, err
			}
			s.subjects = append(s.subjects, digest.NewDigestFromEncoded(digest.Algorithm(algorithm), encoded))
		}
	}
	slices.Sort(s.subjects)
	return s, nil
}

// object returns the members of an object. None may occur twice, and if there are names, there are
// no others. what it is called in errors.
func object(what string, content []byte, names ...string) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(content))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return nil, fmt.Errorf("its %s is no object", what)
	}
	members := map[string]json.RawMessage{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("its %s is no JSON", what)
		}
		name := token.(string)
		if _, twice := members[name]; twice {
			return nil, fmt.Errorf("its %s has %q twice", what, name)
		}
		if len(names) > 0 && !slices.Contains(names, name) {
			return nil, fmt.Errorf("its %s has an unknown member %q", what, name)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, fmt.Errorf("its %s is no JSON", what)
		}
		members[name] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("its %s is no JSON", what)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("something follows its %s", what)
	}
	return members, nil
}

// text returns a string.
func text(what string, value json.RawMessage) (string, error) {
	var s *string
	if err := json.Unmarshal(value, &s); err != nil || s == nil {
		return "", fmt.Errorf("its %s is no text", what)
	}
	return *s, nil
}
