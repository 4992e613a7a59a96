package trust

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
)

// FuzzStatement holds the reader of bundles against one that takes what it gets, as verifiers may:
// what one reads, the other reads as well, or refuses.
func FuzzStatement(f *testing.F) {
	p := newPublisher(f)
	list := listOf(2)
	good := string(p.bundle(statementOf(list.Digest, SignaturePredicate)))
	statement := statementOf(list.Digest, SignaturePredicate)
	for _, seed := range []struct{ bundle, payload string }{
		{good, statement},
		{strings.Replace(good, `"dsseEnvelope":`, `"DSSEEnvelope":{},"dsseEnvelope":`, 1), strings.Replace(statement, `}}],`, `},"Digest":{"sha256":"a"}}],`, 1)},
		{strings.Replace(good, `"payload":`, `"Payload":"e30=","payload":`, 1), strings.Replace(statement, `"digest":{`, `"digest":{"SHA256":"a",`, 1)},
		{strings.ReplaceAll(good, "e", `\u0065`), strings.ReplaceAll(statement, "e", `\u0065`)},
		{strings.Replace(good, `"payload":`, `"payload":null,"payload":`, 1), strings.Replace(statement, `"subject":`, `"subject":null,"subject":`, 1)},
	} {
		f.Add([]byte(seed.bundle), []byte(seed.payload))
	}
	f.Fuzz(func(t *testing.T, bundle, payload []byte) {
		if strict, err := statementIn(bundle); err == nil {
			var b struct {
				DSSEEnvelope struct{ Payload []byte }
			}
			require.NoError(t, json.Unmarshal(bundle, &b))
			require.Equal(t, leniently(t, b.DSSEEnvelope.Payload), strict)
		}
		if strict, err := parseStatement(payload); err == nil {
			require.Equal(t, leniently(t, payload), strict)
		}
	})
}

// leniently reads a statement as encoding/json does: the last of what occurs twice, whatever its
// case.
func leniently(t *testing.T, payload []byte) statement {
	var s struct {
		PredicateType string
		Subject       []struct{ Digest map[string]string }
	}
	require.NoError(t, json.Unmarshal(payload, &s))
	read := statement{predicate: s.PredicateType}
	for _, subject := range s.Subject {
		for algorithm, encoded := range subject.Digest {
			read.subjects = append(read.subjects, digest.NewDigestFromEncoded(digest.Algorithm(algorithm), encoded))
		}
	}
	slices.Sort(read.subjects)
	return read
}
