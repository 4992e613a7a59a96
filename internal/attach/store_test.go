package attach

import (
	"errors"
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

func TestDocuments(t *testing.T) {
	image, done := digest.FromString("image"), artifact(t, "", "", "done")
	sbom, signed := artifact(t, sbomType, image, "sbom"), artifact(t, "", "", "signed", signature("a"))
	both, subject := artifact(t, sbomType, image, "both"), artifact(t, "", "", "subject")
	r := newRepository()
	for _, doc := range []endpoint.Document{done, sbom, signed, both, subject} {
		r.put(doc)
	}
	documents, err := Documents(t.Context(), []Attachment{
		referrerOf(image, sbom),
		taggedOf(image, digesttag.Signatures, signed), taggedOf(image, digesttag.Attestations, signed),
		referrerOf(sbom.Digest, both), taggedOf(image, digesttag.SBOM, both),
		taggedOf(sbom.Digest, digesttag.SBOM, subject), taggedOf(subject.Digest, digesttag.Signatures, done),
	}, []digest.Digest{done.Digest}, r.Manifest)
	require.NoError(t, err)
	assert.Equal(t, []Stored{{sbom, image, false}, {signed, image, true}, {both, sbom.Digest, false}, {subject, sbom.Digest, false}}, documents)
	assert.Len(t, r.asked, 4, "what is done is not read")

	r.fails["manifest "+string(sbom.Digest)] = errBroken
	_, err = Documents(t.Context(), []Attachment{referrerOf(image, sbom)}, nil, r.Manifest)
	assert.Equal(t, errBroken, err)
}

// TestStoreList: what a destination has lost is stored again, once.
func TestStoreList(t *testing.T) {
	child := digest.FromString("child")
	list := index(t, sbomType, "", child, digest.FromString("another"))
	lacks := &endpoint.RegistryError{
		Method: http.MethodPut, Status: 404, Errors: []endpoint.RegistryErrorDetail{{Code: "MANIFEST_BLOB_UNKNOWN", Detail: []byte(`"` + child + `"`)}},
	}
	unclear := &endpoint.RegistryError{Method: http.MethodPut, Status: 400, Errors: []endpoint.RegistryErrorDetail{{Code: "MANIFEST_INVALID"}}}
	denied := &endpoint.RegistryError{Method: http.MethodPut, Status: 403, Errors: []endpoint.RegistryErrorDetail{{Code: "DENIED"}}}
	for name, c := range map[string]struct {
		list  endpoint.Document
		puts  []error
		again []digest.Digest
		fails error // to store again
		want  error
	}{
		"stored":                {list, []error{nil}, nil, nil, nil},
		"a child is lost":       {list, []error{lacks, nil}, []digest.Digest{child}, nil, nil},
		"lost for good":         {list, []error{lacks, lacks}, []digest.Digest{child}, nil, lacks},
		"not stored again":      {list, []error{lacks}, []digest.Digest{child}, errBroken, errBroken},
		"unclear":               {list, []error{unclear, nil}, nil, nil, nil},
		"refused":               {list, []error{denied}, nil, nil, denied},
		"what cannot be parsed": {document(t, list.MediaType, "nothing"), []error{lacks}, nil, nil, lacks},
	} {
		t.Run(name, func(t *testing.T) {
			puts := 0
			var again []digest.Digest
			err := StoreList(c.list, func() error {
				require.Less(t, puts, len(c.puts))
				puts++
				return c.puts[puts-1]
			}, func(d digest.Digest) error {
				again = append(again, d)
				return c.fails
			})
			if c.want == nil {
				require.NoError(t, err)
			} else {
				assert.True(t, errors.Is(err, c.want), "%v", err)
			}
			assert.Len(t, c.puts, puts)
			assert.Equal(t, c.again, again)
		})
	}
}

func TestInOrder(t *testing.T) {
	needs := map[digest.Digest][]digest.Digest{"b": {"c", "absent"}, "c": {"d"}, "e": {"f"}, "f": {"e"}}
	got := InOrder([]digest.Digest{"a", "b", "c", "a", "d", "e", "f"}, func(d digest.Digest) []digest.Digest { return needs[d] })
	assert.Equal(t, []digest.Digest{"a", "d", "c", "b", "f", "e"}, got)
}
