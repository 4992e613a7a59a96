package remembered

import (
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/containers/ocicrypt/config"
	"github.com/stretchr/testify/assert"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
)

// aRegistry is a destination that wants layers compressed.
var aRegistry = access.Transports["docker"]

// TestDescribe: a person can read what was done.
func TestDescribe(t *testing.T) {
	usual, unknowable := Describe(&upstream.Options{}, aRegistry)
	assert.Empty(t, unknowable)
	usual.Libraries = []string{"sparsecopy 1", "image 2"}
	assert.Equal(t, `{"layers":"compress","foreignLayers":"leave","libraries":["sparsecopy 1","image 2"]}`, usual.String())

	level := 0
	everything, unknowable := Describe(&upstream.Options{
		DestinationCtx:         &types.SystemContext{CompressionFormat: &compression.ZstdChunked, CompressionLevel: &level},
		ForceCompressionFormat: true, ForceManifestMIMEType: "application/example", DownloadForeignLayers: true,
		OciDecryptConfig: &config.DecryptConfig{},
		OciEncryptConfig: &config.EncryptConfig{Parameters: map[string][][]byte{"x509s": {[]byte("c")}, "pubkeys": {[]byte("b"), []byte("a"), []byte("b")}, "provider": nil}},
		OciEncryptLayers: &[]int{1, -1, 1},
	}, access.Transports["oci"])
	assert.Empty(t, unknowable)
	everything.Libraries = nil
	assert.Equal(t, `{"layers":"compress","compression":"zstd:chunked","level":0,"forced":true,"manifestType":"application/example",`+
		`"stores":["application/vnd.oci.image.manifest.v1+json","application/vnd.oci.image.index.v1+json"],"foreignLayers":"download","decrypted":true,`+
		`"encrypted":{"layers":[-1,1],"recipients":[`+
		`"pubkeys sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d",`+
		`"pubkeys sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",`+
		`"x509s sha256:2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6"]},"libraries":null}`, everything.String())
}

// TestEveryOptionThatMattersIsDescribed: no two of these are the same transformation.
func TestEveryOptionThatMattersIsDescribed(t *testing.T) {
	level := 3
	encrypting := func(layers []int, kind, key string) *upstream.Options {
		return &upstream.Options{
			OciEncryptLayers: &layers,
			OciEncryptConfig: &config.EncryptConfig{Parameters: map[string][][]byte{kind: {[]byte(key)}}},
		}
	}
	to := func(sys types.SystemContext) *upstream.Options { return &upstream.Options{DestinationCtx: &sys} }
	registry := []*upstream.Options{
		{},
		to(types.SystemContext{CompressionFormat: &compression.Gzip}),
		to(types.SystemContext{CompressionFormat: &compression.Zstd}),
		to(types.SystemContext{CompressionLevel: &level}),
		{ForceCompressionFormat: true},
		{ForceManifestMIMEType: "application/example"},
		{DownloadForeignLayers: true},
		{OciDecryptConfig: &config.DecryptConfig{}},
		encrypting(nil, "pubkeys", "a"), encrypting(nil, "pubkeys", "b"), encrypting([]int{0}, "pubkeys", "a"), encrypting(nil, "x509s", "a"),
	}
	var texts []string
	for _, o := range registry {
		described, unknowable := Describe(o, aRegistry)
		assert.Empty(t, unknowable)
		texts = append(texts, described.String())
	}
	for _, other := range []access.Traits{
		{}, {Layers: aRegistry.Layers}, {Foreign: true}, {Foreign: true, Layers: aRegistry.Layers, MediaTypes: []string{"application/example"}},
	} {
		described, _ := Describe(&upstream.Options{}, other)
		texts = append(texts, described.String())
	}
	assert.Len(t, slices.Compact(slices.Sorted(slices.Values(texts))), len(texts), "%s", texts)
}

// TestUnknowable: what is not for known keys is not remembered, and no secret is written.
func TestUnknowable(t *testing.T) {
	for _, kind := range []string{"attestation-agent", "pkcs11-yamls", "provider"} {
		described, unknowable := Describe(&upstream.Options{
			OciEncryptLayers: &[]int{},
			OciEncryptConfig: &config.EncryptConfig{Parameters: map[string][][]byte{"pubkeys": {[]byte("a")}, kind: {[]byte("key-id")}}},
		}, aRegistry)
		assert.Equal(t, "no public keys say for whom layers are encrypted by "+kind, unknowable)
		assert.NotContains(t, described.String(), "key-id")
	}
	keys := func(secret string) *config.DecryptConfig {
		return &config.DecryptConfig{Parameters: map[string][][]byte{"privkeys": {[]byte(secret)}, "privkeys-passwords": {[]byte(secret)}}}
	}
	one, _ := Describe(&upstream.Options{OciDecryptConfig: keys("secret")}, aRegistry)
	other, _ := Describe(&upstream.Options{OciDecryptConfig: keys("another")}, aRegistry)
	assert.Equal(t, one, other)
	nobody, _ := Describe(&upstream.Options{OciEncryptConfig: &config.EncryptConfig{Parameters: map[string][][]byte{"provider": {nil}}}}, aRegistry)
	assert.Nil(t, nobody.Encrypted, "no layer is encrypted without OciEncryptLayers")
	withoutKeys, unknowable := Describe(&upstream.Options{OciEncryptLayers: &[]int{}}, aRegistry)
	assert.Equal(t, &Encryption{}, withoutKeys.Encrypted)
	assert.Empty(t, unknowable)
}

// TestOptionsOfUpstream: whoever updates containers/image looks at options that are new there.
func TestOptionsOfUpstream(t *testing.T) {
	described := []string{
		"DestinationCtx", "ForceManifestMIMEType", "OciEncryptConfig", "OciEncryptLayers", "OciDecryptConfig", "DownloadForeignLayers",
		"ForceCompressionFormat",
	}
	without := []string{ // effect on what becomes of one image
		"RemoveSignatures", "RemoveListSignatures", "Signers", "SignBy", "SignPassphrase", "SignBySigstorePrivateKeyFile",
		"SignSigstorePrivateKeyPassphrase", "SignIdentity", // signatures are not part of it
		"ReportWriter", "ProgressInterval", "Progress", "ReportResolvedReference", // say what happens
		"SourceCtx", "ConcurrentBlobCopiesSemaphore", "MaxParallelDownloads", "DestinationTimestamp", // how, and when
		"ImageListSelection", "Instances", "InstancePlatforms", "SparseManifestListAction", "PreferGzipInstances", // which image
		"EnsureCompressionVariantsExist",                           // each variant is an image of its own
		"PreserveDigests", "OptimizeDestinationImageAlreadyExists", // whether it is transformed at all
		"digestOptions", // nobody can set it
	}
	var fields []string
	for field := range reflect.TypeFor[upstream.Options]().Fields() {
		fields = append(fields, field.Name)
	}
	assert.ElementsMatch(t, append(described, without...), fields)
}

func TestVersion(t *testing.T) {
	info := &debug.BuildInfo{
		Main: debug.Module{Path: "example.com/main", Version: "v1.2.3"},
		Deps: []*debug.Module{
			{Path: "example.com/a", Version: "v0.1.0"},
			{Path: "example.com/b", Version: "v0.2.0", Replace: &debug.Module{Path: "example.com/fork", Version: "v0.2.1"}},
			{Path: "example.com/c"},
		},
	}
	for module, want := range map[string]string{
		"example.com/main": "v1.2.3", "example.com/a": "v0.1.0", "example.com/b": "example.com/fork v0.2.1",
		"example.com/c": "unknown", "example.com/d": "unknown",
	} {
		assert.Equal(t, want, version(info, module), module)
	}
	assert.Equal(t, "unknown", version(nil, "example.com/a"))
	assert.Equal(t, []string{"github.com/sparsecopy/sparsecopy", "go.podman.io/image/v5"}, modules(libraries()))
}

// modules returns the first word of each line: a test binary does not know the versions.
func modules(lines []string) []string {
	var names []string
	for _, line := range lines {
		name, version, _ := strings.Cut(line, " ")
		if version != "" {
			names = append(names, name)
		}
	}
	return names
}
