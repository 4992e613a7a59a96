package original

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestFormatsAreDocumented demands that the page about stripped lists names every type and
// annotation of artifacts, and every kind of signature.
func TestFormatsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/trusted-strip.md")
	require.NoError(t, err)
	for _, name := range []string{
		ArtifactType, DocumentType, SignatureArtifactType, PartType,
		ListAnnotation, ClaimAnnotation, KindAnnotation, MediaTypeAnnotation, TypeAnnotation,
		string(TagSignature), string(TagAttestation), string(Referrer), string(Lookaside),
	} {
		assert.Regexp(t, "[`\"]"+name+"[`\"]", string(page))
	}
}
