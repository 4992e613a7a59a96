package plan

import (
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/manifest"
)

func TestPrepareInstanceCopies(t *testing.T) {
	// [amd64=A, arm/v7=B, arm64=B]
	equal := []string{"A", "B", "B"}
	for _, c := range []struct {
		name    string
		list    []string // one letter for each distinct digest; lower case is a nested list
		copied  []bool
		strip   bool
		copies  []string
		deletes []int
	}{
		{name: "the third entry of two with one digest", list: equal, copied: []bool{false, false, true}, strip: true, copies: []string{"B"}, deletes: []int{1, 0}},
		{name: "amd64, and arm64 of two with one digest", list: equal, copied: []bool{true, false, true}, strip: true, copies: []string{"A", "B"}, deletes: []int{1}},
		{name: "the second entry of two with one digest", list: equal, copied: []bool{true, true, false}, strip: true, copies: []string{"A", "B"}, deletes: []int{2}},
		{name: "both entries with one digest", list: equal, copied: []bool{false, true, true}, strip: true, copies: []string{"B"}, deletes: []int{0}},
		{name: "nothing is deleted under keep", list: equal, copied: []bool{false, false, true}, copies: []string{"B"}},
		{name: "nothing is copied under keep", list: equal, copied: []bool{false, false, false}},
		{name: "everything", list: equal, copied: []bool{true, true, true}, strip: true, copies: []string{"A", "B"}},
		{name: "first-seen order", list: []string{"C", "A", "B", "A", "C"}, copied: []bool{false, true, true, true, true}, strip: true, copies: []string{"A", "B", "C"}, deletes: []int{0}},
		{name: "adjacent entries, first and last", list: []string{"A", "B", "C", "D", "E"}, copied: []bool{false, false, true, false, false}, strip: true, copies: []string{"C"}, deletes: []int{4, 3, 1, 0}},
		{name: "a nested list is no image, and stays", list: []string{"a", "B", "a"}, copied: []bool{true, true, false}, strip: true, copies: []string{"B"}, deletes: []int{2}},
		{name: "a list without entries", strip: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := prepareInstanceCopies(lettered(c.list), c.copied, c.strip)
			require.NoError(t, err)
			var copies []digest.Digest
			for _, letter := range c.copies {
				copies = append(copies, digest.FromString(letter))
			}
			var deletes []manifest.ListEdit
			for _, i := range c.deletes {
				deletes = append(deletes, manifest.ListEdit{ListOperation: manifest.ListOpDelete, DeleteIndex: i})
			}
			assert.Equal(t, copies, got.copies)
			assert.Equal(t, deletes, got.deletes)
		})
	}
}

func TestPrepareInstanceCopiesLeavesNoEmptyList(t *testing.T) {
	_, err := prepareInstanceCopies(lettered([]string{"A", "B", "B"}), []bool{false, false, false}, true)
	var empty *EmptyError
	require.ErrorAs(t, err, &empty)
	assert.Equal(t, EmptyError{Entries: 3}, *empty)
}

// lettered makes an instance for each letter.
func lettered(letters []string) []manifest.Instance {
	instances := make([]manifest.Instance, len(letters))
	for i, letter := range letters {
		mediaType := imgspecv1.MediaTypeImageManifest
		if letter >= "a" {
			mediaType = imgspecv1.MediaTypeImageIndex
		}
		instances[i] = manifest.Instance{Index: i, Digest: digest.FromString(letter), MediaType: mediaType}
	}
	return instances
}
