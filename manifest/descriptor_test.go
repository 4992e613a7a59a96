package manifest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestValidate holds the quick way against the one of go-digest.
func TestValidate(t *testing.T) {
	hex := strings.Repeat("0123456789abcdef", 8)
	for _, d := range []string{
		"sha256:" + hex[:64], "sha256:" + hex[:63], "sha256:" + hex[:65], "sha256:" + hex[:63] + "g", "sha256:g" + hex[:63],
		"sha256:" + hex[:63] + "F", "sha256:" + hex[:30] + "../" + hex[:31], "sha256:" + hex[:63] + "\n", "sha256:", "", ":", hex[:64],
		"sha512:" + hex, "sha512:" + hex[:64], "sha384:" + hex[:96], "sha384:" + hex[:64], "md5:" + hex[:32], "sha-256:" + hex[:64],
		"SHA256:" + hex[:64], "sha256:" + hex[:32] + ":" + hex[:31],
	} {
		assert.Equal(t, digest.Digest(d).Validate(), validate(digest.Digest(d)), d)
	}
}

// TestPlatformsAreShared is about entries that say the same, and about those that nearly do.
func TestPlatformsAreShared(t *testing.T) {
	for _, c := range []struct {
		first, second string
		shared        bool
	}{
		{`{"os":"linux","architecture":"arm","variant":"v7","os.version":"1"}`, `{"variant":"v7","os.version":"1","architecture":"arm","os":"linux","x":1}`, true},
		{`{}`, `{}`, true},
		{`{"os":"linux"}`, `{"architecture":"linux"}`, false},
		{`{"os":"linux"}`, `{"variant":"linux"}`, false},
		{`{"os":"linux"}`, `{"os.version":"linux"}`, false},
		{`{"os":"linux"}`, `{"os":"linux","os.features":["f"]}`, false},
		{`{"os":"linux"}`, `{"os":"linux","os.features":[]}`, false},
		{`{"os":"linux","os.features":["f"]}`, `{"os":"linux","os.features":["f"]}`, false},
	} {
		entry := `{"digest":"` + digest.FromString("x").String() + `","size":1,"platform":%s}`
		list, err := Parse(fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[`+entry+`,`+entry+`]}`, c.first, c.second), "")
		require.NoError(t, err)
		is := list.Instances()
		assert.Equal(t, c.shared, is[0].Platform == is[1].Platform, "%s %s", c.first, c.second)
		for i, text := range []string{c.first, c.second} {
			alone, err := readPlatform((&scanner{src: text}))
			require.NoError(t, err)
			assert.Equal(t, alone, is[i].Platform)
		}
	}
}

// TestNoPlatform tells an absent platform from an empty one.
func TestNoPlatform(t *testing.T) {
	p, err := readPlatform((&scanner{src: `null`}))
	require.NoError(t, err)
	assert.Nil(t, p)
	p, err = readPlatform((&scanner{src: `{}`}))
	require.NoError(t, err)
	assert.Equal(t, &imgspecv1.Platform{}, p)
}
