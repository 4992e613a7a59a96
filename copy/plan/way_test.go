package plan

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// TestInexpressible refuses what upstream's options cannot say, with the names of both options.
func TestInexpressible(t *testing.T) {
	a, b := digest.FromString("a"), digest.FromString("b")
	list := func(instances ...InstancePlan) *Plan {
		return &Plan{List: &ListPlan{Digest: "list", Instances: instances}}
	}
	reason := wayReason{"SignBy", "SignBy makes a new signature"}
	none, variants := &WayFacts{}, &WayFacts{Variants: []string{zstd}}
	nested := &ListPlan{}
	sparse := list(InstancePlan{Digest: a, Decision: Copy}, InstancePlan{Digest: b, Decision: Skip})
	sparse.Asked, sparse.List.Absent = AutoSparseManifestList, []digest.Digest{b}
	for name, c := range map[string]struct {
		facts  *WayFacts
		plan   *Plan
		reason wayReason
		want   []string // nil if it can be expressed
	}{
		"subset":                        {none, list(InstancePlan{Digest: a, Decision: Copy}, InstancePlan{Digest: b, Decision: Skip}), reason, nil},
		"one of two equal digests":      {none, list(InstancePlan{Digest: a, Decision: Copy}, InstancePlan{Digest: a, Decision: Skip}), reason, []string{"InstanceIndexes", "SignBy"}},
		"both of two equal digests":     {none, list(InstancePlan{Digest: a, Decision: Copy}, InstancePlan{Digest: a, Decision: Copy}), reason, nil},
		"nested list":                   {none, list(InstancePlan{Digest: a, Decision: Copy, Nested: nested}), reason, []string{"ImageListSelection", "SignBy"}},
		"nested list, not selected":     {none, list(InstancePlan{Digest: b, Decision: Copy}, InstancePlan{Digest: a, Decision: Skip, Nested: nested}), reason, nil},
		"nested list, not by an option": {none, list(InstancePlan{Digest: a, Decision: Copy, Nested: nested}), wayReason{text: "it is so"}, []string{"ImageListSelection"}},
		"auto":                          {none, sparse, reason, []string{"SparseManifestListAction", "SignBy"}},
		"variants of a subset":          {variants, list(InstancePlan{Digest: a, Decision: Copy}, InstancePlan{Digest: b, Decision: Skip}), wayReason{"EnsureCompressionVariantsExist", "adds"}, []string{"EnsureCompressionVariantsExist", "ImageListSelection"}},
		"variants of everything":        {variants, list(InstancePlan{Digest: a, Decision: Copy}), wayReason{"EnsureCompressionVariantsExist", "adds"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Way: c.facts}
			p, err := through(&in, c.plan, c.reason)
			if c.want == nil {
				require.NoError(t, err)
				assert.Equal(t, Upstream, p.Way)
				assert.Equal(t, c.reason.text, p.WayReason)
				assert.NotEqual(t, Upstream, c.plan.Way, "the plan that was given stays as it is")
				return
			}
			var invalid *OptionsError
			require.ErrorAs(t, err, &invalid)
			assert.Equal(t, c.want, invalid.Options)
		})
	}
}

// TestForcedListTypes: what is forced on images means the list of the same family.
func TestForcedListTypes(t *testing.T) {
	for forced, types := range map[string][2]string{
		imgspecv1.MediaTypeImageManifest: {imgspecv1.MediaTypeImageIndex, manifest.MediaTypeDockerList},
		manifest.MediaTypeDockerManifest: {manifest.MediaTypeDockerList, imgspecv1.MediaTypeImageIndex},
		manifest.MediaTypeDockerSchema1:  {manifest.MediaTypeDockerList, imgspecv1.MediaTypeImageIndex},
		imgspecv1.MediaTypeImageIndex:    {imgspecv1.MediaTypeImageIndex, manifest.MediaTypeDockerList},
	} {
		for _, mt := range types {
			top := Document{MediaType: mt, Bytes: []byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":1}]}`, mt, imgspecv1.MediaTypeImageManifest, digest.FromString("child")))}
			in := Input{Top: top, Choices: Choices{ImageListSelection: CopySpecificImages, ForceManifestMIMEType: forced}}
			in.Way = &WayFacts{NativeSource: true, NativeDestination: true}
			p, err := New(in)
			require.NoError(t, err)
			assert.Equal(t, Native, p.Way, p.WayReason)
			if mt == types[0] {
				assert.Empty(t, p.List.Transform)
			} else {
				assert.Contains(t, p.List.Transform, "ForceManifestMIMEType")
			}
		}
	}
}
