package attach

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// TestChildrenOfACache: blobs that an attached list names are not taken for manifests.
func TestChildrenOfACache(t *testing.T) {
	f := imagetest.Cache(1, 100)
	list, mediaType := f.Document(imagetest.Top)
	_, err := childrenOf(endpoint.NewDocument(f.Digest(imagetest.Top), mediaType, list))
	require.ErrorIs(t, err, errBlobs)

	f = imagetest.Platforms(2, 1, 100)
	list, mediaType = f.Document(imagetest.Top)
	children, err := childrenOf(endpoint.NewDocument(f.Digest(imagetest.Top), mediaType, list))
	require.NoError(t, err)
	assert.Len(t, children, 2)
}
