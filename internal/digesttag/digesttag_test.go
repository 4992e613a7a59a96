package digesttag

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
)

func TestNames(t *testing.T) {
	d := digest.FromString("x")
	assert.Equal(t, "sha256-"+d.Encoded()+".sig", Name(d, Signatures))
	long := strings.Repeat("x", longest-len(Name(d, "")))
	assert.Len(t, Name(d, long), longest)
	assert.Empty(t, Name(d, long+"x"))
	assert.Empty(t, Name(digest.SHA512.FromString("x"), Signatures))

	for tag, want := range map[string]bool{
		Name(d, SBOM): true, Name(d, ""): true, Name(d, ".anything"): true, "sha384-0123ABCD": true,
		"sha256-0123": false, "v1": false, "v1-sha256-" + d.Encoded(): false, "sha1-" + strings.Repeat("0", 40): false,
	} {
		assert.Equal(t, want, Is(tag), tag)
	}

	hex := d.Encoded()
	for tag, want := range map[string]string{
		Name(d, ""): Name(d, ""), Name(d, SBOM): Name(d, ""), Name(d, ".image-locations.imgpkg"): Name(d, ""), Name(d, "-x"): Name(d, ""),
		"sha256-" + hex + "00": "sha256-" + hex + "00", // of another digest, which is none
		"sha512-" + hex + ".x": "sha512-" + hex,
		"sha256-" + hex[1:]:    "", "x" + Name(d, ""): "", "v1": "", strings.ToUpper(Name(d, "")): "",
	} {
		assert.Equal(t, want, Stem(tag), tag)
	}
}
