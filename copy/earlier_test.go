package copy_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// left is what the copy of a report has left.
func left(r *copy.Report) *copy.Earlier {
	return &copy.Earlier{Source: r.SourceDigest, Destination: r.DestinationDigest, Wanted: r.Wanted, Verified: r.VerifiedAt}
}

// again copies once more, with what r says that a copy has left, and returns what it reports, and
// the requests to each side.
func (c *counted) again(t *testing.T, tag string, o copy.Options, r *copy.Report) (again *copy.Report, source, destination []string) {
	t.Helper()
	c.src.ResetLog()
	c.dst.ResetLog()
	o.Earlier, again = left(r), &copy.Report{}
	o.Report = again
	_, err := c.Copier(o).Image(t.Context(), c.Policy, c.dst.Ref("v1"), c.src.Ref(tag), c.Options(o))
	require.NoError(t, err)
	return again, requestsOf(c.src), requestsOf(c.dst)
}

// requestsOf are the requests to a registry: their methods, and what they are for.
func requestsOf(p copytest.RegistryPlace) []string {
	var all []string
	for _, rq := range p.Requests() {
		all = append(all, rq.Method+" "+rq.Path)
	}
	return all
}

// TestEarlierSettles: where nothing has changed, and nothing else is to be asked, two HEADs tell.
func TestEarlierSettles(t *testing.T) {
	for name, c := range map[string]struct {
		options copy.Options
		strict  bool
	}{
		"strip":          {twoPlatforms(copy.StripSparseManifestList), true},
		"keep":           {twoPlatforms(copy.KeepSparseManifestList), false},
		"auto, stripped": {twoPlatforms(copy.AutoSparseManifestList), true},
		"all":            {copy.Options{ImageListSelection: copy.CopyAllImages}, true},
		"single image":   {copy.Options{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			pair := newCounted(t, imagetest.Platforms(4, 2, 100), c.strict)
			first, _, _ := pair.copy(t, "v1", c.options)
			require.NotEmpty(t, first.Wanted)
			assert.WithinDuration(t, time.Now(), first.VerifiedAt, time.Minute)
			r, source, destination := pair.again(t, "v1", c.options, first)
			assert.Equal(t, []string{"HEAD /v2/app/manifests/v1"}, source)
			assert.Equal(t, []string{"HEAD /v2/app/manifests/v1"}, destination)
			assert.Equal(t, copy.CheckedEarlier, r.Checked)
			assert.Equal(t, left(first), left(r))
			assert.Nil(t, r.Plan)
			assert.False(t, r.Written)
		})
	}
}
