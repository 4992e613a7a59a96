package sparseregistry

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// randomJSON is a value with others in it, of the given depth at the most.
func randomJSON(random *rand.Rand, depth int) any {
	kind := random.IntN(6)
	if depth == 0 {
		kind = random.IntN(3)
	}
	switch kind {
	case 0:
		return []string{"", `a "b", [c]`, `{"d":\`, `\\`, `,,{[`, "ü"}[random.IntN(6)]
	case 1:
		return random.IntN(1000)
	case 2:
		return nil
	case 3:
		object := map[string]any{}
		for range random.IntN(5) {
			object[[]string{"a", `b"`, `c,\"`, "{"}[random.IntN(4)]] = randomJSON(random, depth-1)
		}
		return object
	default:
		array := []any{}
		for range random.IntN(5) {
			array = append(array, randomJSON(random, depth-1))
		}
		return array
	}
}

// values counts as encoding/json reads them.
func values(v any) int {
	n := 1
	switch v := v.(type) {
	case map[string]any:
		for _, element := range v {
			n += values(element)
		}
	case []any:
		for _, element := range v {
			n += values(element)
		}
	}
	return n
}

// TestTheTallyIsThatOfEncodingJSON: however the document is cut into pieces.
func TestTheTallyIsThatOfEncodingJSON(t *testing.T) {
	const seed = 20261130
	random := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		v := map[string]any{"all": randomJSON(random, 4)}
		document, err := json.MarshalIndent(v, "", []string{"", " "}[random.IntN(2)])
		require.NoError(t, err)
		var whole, pieces tally
		_, _ = whole.Write(document)
		for rest := document; len(rest) > 0; {
			n := 1 + random.IntN(min(len(rest), 4))
			_, _ = pieces.Write(rest[:n])
			rest = rest[n:]
		}
		require.Equal(t, whole, pieces, "%s", document)
		require.Equal(t, values(v), 1+whole.values, "%s", document)
	}
}

// TestWeightGrowsWithTheContent: see weight.
func TestWeightGrowsWithTheContent(t *testing.T) {
	a := &arrival{}
	require.NoError(t, a.take(io.LimitReader(bytes.NewReader([]byte(`{"a":[1,2,3]}`)), 100), ""))
	assert.EqualValues(t, 13*weightPerByte+4*weightPerValue, a.weight())
}
