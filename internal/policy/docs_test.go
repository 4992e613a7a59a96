package policy

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/signature"
)

// TestDocumentedPolicies demands that containers/image takes the policies, and the requirements of
// policies, on the page about stripped lists.
func TestDocumentedPolicies(t *testing.T) {
	page, err := os.ReadFile("../../docs/trusted-strip.md")
	require.NoError(t, err)
	policies := 0
	for _, block := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		text := block[1]
		switch {
		case strings.HasPrefix(text, `{"type"`):
			text = `{"default": [` + text + `]}`
		case !strings.Contains(text, `"default"`):
			continue // not a policy
		}
		policies++
		_, err := signature.NewPolicyFromBytes([]byte(text))
		assert.NoError(t, err, text)
	}
	assert.Equal(t, 2, policies)
}
