package syncfile

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/transform"
)

// signed are the copies of a file whose images are signed by the files with parameters.
func signed(t *testing.T, name string) []Copy {
	f, err := Parse(name, []byte(`
defaults: {destination: "docker://m.example/{repository}", sign-by-sigstore: params.yaml}
images:
- {source: docker://quay.io/a, tags: [v1, v2]}
- {source: docker://quay.io/b:1}
- {source: docker://quay.io/c:1, sign-by-sigstore: fulcio.yaml}
- {source: docker://quay.io/d:1, sign-by-sigstore: none}
`), parseRef)
	require.NoError(t, err)
	var copies []Copy
	for _, image := range f.Images {
		some, err := image.Copies(nil)
		require.NoError(t, err)
		copies = append(copies, some...)
	}
	require.Len(t, copies, 5)
	return copies
}

// TestSigners: a file with parameters is opened once, and only if it is needed.
func TestSigners(t *testing.T) {
	copies := signed(t, keysIn(t))
	without := append(copies[:3:3], copies[4])
	planned := copies[0].Image.Options.Signers
	require.Len(t, planned, 1, "so that plans show it")

	signers, err := OpenSigners(without, transform.People{}, time.Now())
	require.NoError(t, err)
	opened := copies[0].Image.Options.Signers
	require.Len(t, opened, 1)
	assert.NotSame(t, planned[0], opened[0])
	assert.Same(t, opened[0], copies[2].Image.Options.Signers[0])
	assert.Empty(t, copies[4].Image.Options.Signers)
	assert.NoError(t, signers.Close())
}

func TestSignersThatCannotBeOpened(t *testing.T) {
	name := keysIn(t)
	signers, err := OpenSigners(signed(t, name), transform.People{}, time.Now())
	require.ErrorContains(t, err, "the image in line 6: sign-by-sigstore "+filepath.Join(filepath.Dir(name), "fulcio.yaml")+": ")
	assert.NoError(t, signers.Close())
}

// TestCertificatesThatAreTooOld are warned of: Fulcio gives them for ten minutes.
func TestCertificatesThatAreTooOld(t *testing.T) {
	copies := signed(t, keysIn(t))
	signers := &Signers{since: time.Now()}
	soon, late := signers.since.Add(9*time.Minute), signers.since.Add(11*time.Minute)
	assert.Empty(t, signers.Warning(copies[3], soon))
	assert.Contains(t, signers.Warning(copies[3], late), "was given 11m0s ago")
	assert.Empty(t, signers.Warning(copies[0], late), "a key stays good")
	assert.Empty(t, signers.Warning(copies[4], late))
}
