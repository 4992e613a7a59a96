package manifest

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDeleteRuns holds both ways of deleting runs against each other, and against deleting one
// entry after the other.
func TestDeleteRuns(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 0))
		n := 1 + random.IntN(400)
		entries := make([]entry, n)
		for i := range entries {
			entries[i].raw = strconv.Itoa(i)
		}
		share := random.Float64()
		var edits []ListEdit
		for i := n - 1; i >= 0; i-- {
			if random.Float64() < share {
				edits = append(edits, ListEdit{ListOperation: ListOpDelete, DeleteIndex: i})
			}
		}
		want := slices.Clone(entries)
		for _, e := range edits {
			want = slices.Delete(want, e.DeleteIndex, e.DeleteIndex+1)
		}
		runs := removedRuns(edits)
		few := runs[:min(len(runs), manyRuns-1)]
		assert.Equal(t, want, deleteRuns(slices.Clone(entries), runs), "seed %d", seed)
		assert.Equal(t, want, deleteInOnePass(slices.Clone(entries), runs), "seed %d", seed)
		assert.Equal(t, deleteInOnePass(slices.Clone(entries), few), deleteRuns(slices.Clone(entries), few), "seed %d", seed)
	}
}

func TestDeletedRuns(t *testing.T) {
	deletes := func(indexes ...int) (edits []ListEdit) {
		for _, i := range indexes {
			edits = append(edits, ListEdit{ListOperation: ListOpDelete, DeleteIndex: i})
		}
		return edits
	}
	assert.Empty(t, removedRuns(nil))
	assert.Equal(t, []run{{0, 1}}, removedRuns(deletes(0)))
	assert.Equal(t, []run{{0, 3}}, removedRuns(deletes(2, 1, 0)))
	assert.Equal(t, []run{{7, 8}, {3, 6}, {0, 1}}, removedRuns(deletes(7, 5, 4, 3, 0)))
	assert.Empty(t, removedRuns([]ListEdit{{ListOperation: ListOpUpdate}, {ListOperation: ListOpAdd}}))
}

// TestSizeIsThatOfTheDocument counts what is written without writing it.
func TestSizeIsThatOfTheDocument(t *testing.T) {
	const entry = `{"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}`
	for _, doc := range []string{
		`{"manifests":[]}`, `{"manifests": [ ] }`, `{"manifests":[   ` + entry + ` , ` + entry + "\n\t]}", `{"manifests":[` + entry + `    ]}`,
	} {
		list, err := Parse([]byte(doc), "")
		require.NoError(t, err)
		for n := len(list.Instances()); n >= 0; n-- {
			c := list.(*OCI1Index).core
			c.edited = true
			b, err := c.Serialize()
			require.NoError(t, err)
			assert.Len(t, b, c.size(), doc)
			if n > 0 {
				require.NoError(t, list.EditInstances([]ListEdit{{ListOperation: ListOpDelete, DeleteIndex: n - 1}}))
			}
		}
	}
}
