package plan

import (
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAutoOfWhatWasStripped: the stripped list stays where it is, unless the registry is known to
// take the whole one by now.
func TestAutoOfWhatWasStripped(t *testing.T) {
	amd64, arm64 := digest.FromString("amd64"), digest.FromString("arm64")
	in := Input{
		Top:     Document{Bytes: listOf(entryOf(amd64, ""), entryOf(arm64, ""))},
		Choices: Choices{ImageListSelection: CopySpecificImages, SparseManifestListAction: AutoSparseManifestList, Instances: []digest.Digest{amd64}},
	}
	fresh, err := New(in)
	require.NoError(t, err)
	require.NotNil(t, fresh.IfRefused)
	for name, c := range map[string]struct {
		support SparseSupport
		reason  string
		strip   bool
	}{
		"nothing is known": {SparseSupport{}, "the destination names the stripped list already", true},
		"it takes none":    {SparseSupport{Known: true, Basis: "it says so"}, "the destination names the stripped list already", true},
		"it takes them":    {SparseSupport{Known: true, Accepts: true, Basis: "it says so"}, "the destination takes sparse lists: it says so", false},
	} {
		t.Run(name, func(t *testing.T) {
			in.DestinationTop, in.Sparse = fresh.IfRefused.Digest, c.support
			plan, err := New(in)
			require.NoError(t, err)
			assert.Equal(t, c.strip, plan.Strips())
			assert.Equal(t, c.reason, plan.ActionReason)
		})
	}
}
