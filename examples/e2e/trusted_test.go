package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// publisher is the reference under which everybody knows the list that cosign has signed.
const publisher = "docker://" + imagetest.SignedRepository + ":v1"

// wanting writes a policy that wants signatures by a key of testdata/signed, and returns its path.
func wanting(t *testing.T, key string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.json")
	require.NoError(t, os.WriteFile(path, fmt.Appendf(nil,
		`{"default":[{"type":"sigstoreSigned","keyPath":%q,"signedIdentity":{"type":"matchRepository"}}]}`, imagetest.SignedFile(key)), 0o600))
	return path
}

// TestStrippedListIsVerifiedWithoutItsSource mirrors two platforms of a list that cosign has signed
// to a registry that wants every child, and asks the mirror alone whether it can be trusted.
func TestStrippedListIsVerifiedWithoutItsSource(t *testing.T) {
	source, dst := registrytest.Start(t, registrytest.Options{}), newPlace(t, off, announced)
	imagetest.PushSigned(source, repo, imagetest.SignedTags, imagetest.SignedBundles)
	attach := []string{"--platform", "linux/amd64,linux/arm64", "--sparse", "strip", "--attach-original"}
	mirror(t, "copy", append(attach, "docker://"+source.Host()+"/"+repo+":v1", dst.ref("v1"))...).done()
	mirror(t, "copy", append(attach, "docker://"+source.Host()+"/"+repo+":nested", dst.ref("nested"))...).done()
	source.Close()

	verify := func(tag string, args ...string) outcome {
		return mirrorAs(t, append([]string{"verify", "--dest-tls-verify=false", dst.ref(tag)}, args...)...)
	}
	right, wrong := wanting(t, "cosign.pub"), wanting(t, "other.pub")
	for tag, removed := range map[string]string{"v1": "6 of 8 entries removed", "nested": "1 of 3 entries removed, 1 of lists in it"} {
		at := strings.Replace(publisher, ":v1", ":"+tag, 1)
		for _, said := range [][]string{
			{"--policy", right},
			{"--insecure-policy", "--origin-key", imagetest.SignedFile("cosign.pub")},
			{"--policy", right, "--origin-key", imagetest.SignedFile("cosign.pub")},
		} {
			r := verify(tag, append([]string{"--origin", at}, said...)...).done()
			assert.Contains(t, r.stdout, "proven: what its publisher has signed, with "+removed)
		}
	}

	verify("v1", "--origin", publisher, "--policy", wrong).failed("no signature of the original is by a key or certificate that the policy accepts")
	verify("v1", "--origin", "docker://registry.example/team/other:v1", "--policy", right).failed("as something else than the origin")
	verify("v1", "--origin", publisher, "--insecure-policy").failed("the policy demands no signature: nothing is proven")
}
