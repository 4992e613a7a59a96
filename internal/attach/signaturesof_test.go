package attach

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// garbage puts something into a repository, if there is one, that is no manifest.
func garbage(r *repository) endpoint.Document {
	doc := endpoint.NewDocument(digest.FromString("{}"), imgspecv1.MediaTypeImageManifest, []byte("{}"))
	if r != nil {
		r.put(doc)
	}
	return doc
}

func TestReadSignatures(t *testing.T) {
	list := digest.FromString("list")
	sig, att := digesttag.Name(list, digesttag.Signatures), digesttag.Name(list, digesttag.Attestations)
	bundle, another := artifact(t, bundleType, list, "a"), artifact(t, bundleType, list, "b")
	payloads, attestations := artifact(t, "", "", "payloads"), artifact(t, "", "", "attestations")
	for name, c := range map[string]struct {
		there     func(here, elsewhere *repository)
		found     []endpoint.Document
		elsewhere int    // of those found
		warns     string // the only warning, in part; "" for none
		unasked   string // in part
		left      string // the only signature that is left out, in part
	}{
		"nothing": {there: func(*repository, *repository) {}},
		"all kinds": {
			there: func(r, _ *repository) {
				r.put(payloads, sig)
				r.put(attestations, att)
				r.refer(list, bundle, bundleType)
				r.refer(list, another, "")
				r.refer(list, artifact(t, sbomType, list, "c"), sbomType)
				r.refer(list, artifact(t, sbomType, list, "d"), "")
			},
			found: []endpoint.Document{bundle, another, payloads, attestations},
		},
		"here and elsewhere": {
			there: func(r, elsewhere *repository) {
				r.refer(list, bundle, bundleType)
				elsewhere.refer(list, bundle, bundleType)
				elsewhere.refer(list, another, bundleType)
				elsewhere.put(payloads, sig)
			},
			found: []endpoint.Document{bundle, another, payloads}, elsewhere: 2,
		},
		"missing": {
			there: func(r, _ *repository) { r.list(list, bundle, bundleType) },
			warns: "is missing at the source",
		},
		"of something else": {
			there: func(r, _ *repository) {
				r.refer(list, artifact(t, bundleType, digest.FromString("other"), "a"), bundleType)
			},
			warns: "refers to something else",
		},
		"a list": {
			there: func(r, _ *repository) { r.put(index(t, "", ""), sig) },
			warns: "it is a list", left: "tag " + sig,
		},
		"a list of attestations": {
			there: func(r, _ *repository) { r.put(index(t, "", ""), att) },
			warns: "it is a list",
		},
		"a referrer that is a list": {
			there: func(r, _ *repository) { r.refer(list, index(t, bundleType, list), bundleType) },
			warns: "it is a list", left: bundleType,
		},
		"a referrer that nobody can read": {
			there: func(r, _ *repository) { r.list(list, garbage(r), bundleType) },
			warns: "is left out", left: garbage(nil).Digest.String(),
		},
		"one that does not say what it is": {
			there:   func(r, _ *repository) { r.list(list, garbage(r), "") },
			unasked: "referrer " + garbage(nil).Digest.String(),
		},
		"a tag's and a referrer": {
			there: func(r, _ *repository) {
				r.refer(list, bundle, bundleType)
				r.put(bundle, sig)
			},
			found: []endpoint.Document{bundle},
		},
		"no manifest": {
			there: func(r, _ *repository) {
				r.put(endpoint.Document{Digest: digest.FromString("{}"), MediaType: imgspecv1.MediaTypeImageManifest, Bytes: []byte("{}")}, att)
			},
			warns: "is left out",
		},
		"referrers not told": {
			there: func(r, _ *repository) {
				r.fails["referrers "+list.String()] = errors.New("broken")
				r.put(payloads, sig)
			},
			found: []endpoint.Document{payloads}, unasked: "its referrers: broken",
		},
		"tag not told": {
			there: func(r, _ *repository) {
				r.fails["tag "+att] = endpoint.ErrUnknown
				r.refer(list, bundle, bundleType)
			},
			found: []endpoint.Document{bundle}, unasked: att,
		},
	} {
		t.Run(name, func(t *testing.T) {
			here, elsewhere := newRepository(), newRepository()
			c.there(here, elsewhere)
			src := here.source()
			other := elsewhere.source()
			src.Elsewhere = &other.Place
			out, err := ReadSignatures(t.Context(), src, list)
			require.NoError(t, err)
			var found []endpoint.Document
			n := 0
			for _, s := range out.Found {
				found = append(found, s.Document)
				assert.Equal(t, list, s.Subject)
				assert.Equal(t, name == "a tag's and a referrer", s.Digest == bundle.Digest && s.Tag == sig)
				if s.Elsewhere {
					n++
				}
			}
			assert.ElementsMatch(t, c.found, found)
			assert.Equal(t, c.elsewhere, n)
			if c.left == "" {
				assert.Empty(t, out.Unasked.Found)
			} else if assert.Len(t, out.Unasked.Found, 1) {
				assert.Contains(t, out.Unasked.Found[0], c.left)
			}
			if c.unasked == "" {
				assert.Empty(t, out.Unasked.Unknown)
			} else {
				assert.Contains(t, out.Unasked.Unknown, c.unasked)
			}
			if c.warns == "" {
				assert.Empty(t, out.Warnings)
			} else if assert.Len(t, out.Warnings, 1) {
				assert.Contains(t, out.Warnings[0], c.warns)
			}
		})
	}
}

// TestReadSignaturesFails: what is listed and cannot be read is no signature less, and too much is
// too much.
func TestReadSignaturesFails(t *testing.T) {
	list := digest.FromString("list")
	bundle := artifact(t, bundleType, list, "a")
	r := newRepository()
	r.refer(list, bundle, bundleType)
	broken := errors.New("broken")
	r.fails["manifest "+bundle.Digest.String()] = broken
	_, err := ReadSignatures(t.Context(), r.source(), list)
	require.ErrorIs(t, err, broken)
	var failed *Error
	require.ErrorAs(t, err, &failed)

	r = newRepository()
	for i := range maxSignatures + 1 {
		r.refer(list, artifact(t, bundleType, list, fmt.Sprint(i)), bundleType)
	}
	var limit *LimitError
	_, err = ReadSignatures(t.Context(), r.source(), list)
	require.ErrorAs(t, err, &limit)

	r = newRepository()
	for i := range maxBytes>>22 + 1 {
		content := append(bytes.Clone(bundle.Bytes), bytes.Repeat([]byte{' '}, 4<<20-len(bundle.Bytes)-i)...)
		r.refer(list, endpoint.NewDocument(digest.FromBytes(content), "", content), bundleType)
	}
	_, err = ReadSignatures(t.Context(), r.source(), list)
	require.ErrorAs(t, err, &limit)
	assert.Equal(t, "bytes of manifests", limit.What)
}
