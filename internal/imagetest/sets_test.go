package imagetest

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// The digests of fixtures must not change: plans and lists in golden files name them.
func TestSetsAreStable(t *testing.T) {
	for name, c := range map[string]struct {
		f    *Fixture
		want string
	}{
		"Platforms":        {Platforms(16, 2, 1000), "sha256:65874fd28ab906ddad184f08ba5b518321ef4f76bdcd67da719238d19f316102"},
		"SharedBase":       {Platforms(4, 3, 100_000, SharedBase(), Docker()), "sha256:a21f9af5562e479ae43a2f53adaa40b8d6dc3e165c3eee54ce4185d445d768bc"},
		"WithAttestations": {WithAttestations(), "sha256:2813f9b0949afd39c73d249a662fe99ed3d8117962954c4cf601f2dcce539c55"},
		"Nested":           {Nested(), "sha256:a665193737b568413e4c7caa54958a5d6237d2388a65aedb28ad77a46df55018"},
		"EqualDigests":     {EqualDigests(), "sha256:559648d6ace883d5a095e4b49a2e2ebdc5331838a5ab979e49f640c077f100f4"},
		"DockerList":       {DockerList(), "sha256:97feea62073f17bdd7bc428c9257a4777e7bdc8cff65f39d23dfecfeebf1742f"},
	} {
		assert.Equal(t, c.want, c.f.Digest(Top).String(), name)
	}
}

// TestSignedListsAreThose holds what cosign signed against the fixture that names it.
func TestSignedListsAreThose(t *testing.T) {
	f := SignedLists()
	for _, form := range []SignedForm{SignedTags, SignedBundles} {
		reg := registrytest.NewHandler(registrytest.Options{})
		PushSigned(reg, "app", form)
		for tag, list := range map[string]string{"v1": Top, "v2": "v2", "nested": "nested"} {
			CheckRegistry(t, reg, "app", Want{Tag: tag, Digest: f.Digest(list), Fixture: f})
		}
	}
}
