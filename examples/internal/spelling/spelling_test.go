package spelling

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNearest(t *testing.T) {
	known := []string{"platforms", "sparse", "source", "tags"}
	for text, want := range map[string]string{
		"platform": "platforms", "plattforms": "platforms", "surce": "source", "spares": "sparse", "asprse": "sparse", "tag": "tags", "tags": "tags",
		"": "", "nonsense": "", "x": "", strings.Repeat("tags", 30): "",
	} {
		assert.Equal(t, want, Nearest(text, known), text)
	}
	assert.Equal(t, "oci", Nearest("oic", []string{"atomic", "dir", "oci"}), "two letters are swapped")
	assert.Empty(t, Nearest("tags", nil))
}
