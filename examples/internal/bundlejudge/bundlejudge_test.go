package bundlejudge_test

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/bundlejudge"
	"github.com/sparsecopy/sparsecopy/examples/internal/bundlejudge/bundletest"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
)

func TestMain(m *testing.M) { os.Exit(hermetictest.Main(m.Run)) }

const (
	name   = "release@publisher.example"
	issuer = "https://issuer.example"
)

var (
	list    = []byte(`{"schemaVersion":2,"manifests":[]}`)
	subject = digest.FromBytes(list)
	other   = digest.FromString("another list")
)

// file writes a file of the test.
func file(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

func byKey(t testing.TB, keys ...*bundletest.Key) *bundlejudge.Judge {
	t.Helper()
	var files []string
	for _, k := range keys {
		files = append(files, file(t, k.Public(t)))
	}
	j, err := bundlejudge.ByKeys(files, "")
	require.NoError(t, err)
	return j
}

func signing(t testing.TB) []byte {
	t.Helper()
	return bundletest.Statement(t, bundlejudge.SignaturePredicate, subject)
}

func TestByKey(t *testing.T) {
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		t.Run(curve.Params().Name, func(t *testing.T) {
			key, former := bundletest.NewKey(t, curve), bundletest.NewKey(t, elliptic.P256())
			for what, content := range map[string][]byte{
				"statement":                   key.Signs(t, signing(t)),
				"statement about others, too": key.Signs(t, bundletest.Statement(t, bundlejudge.SignaturePredicate, other, subject)),
				"bytes":                       key.SignsBytes(t, list),
			} {
				signer, err := byKey(t, key).VerifyBundle(t.Context(), content, subject)
				require.NoError(t, err, what)
				assert.Regexp(t, "^key .*/file$", signer, what)
				_, err = byKey(t, former, key).VerifyBundle(t.Context(), content, subject)
				require.NoError(t, err, what)
				_, err = byKey(t, former).VerifyBundle(t.Context(), content, subject)
				assert.ErrorContains(t, err, "it is not signed with a key that is trusted", what)
			}
		})
	}
}

func TestByKeyRefuses(t *testing.T) {
	key := bundletest.NewKey(t, elliptic.P256())
	good := key.Signs(t, signing(t))
	for what, c := range map[string]struct {
		content []byte
		says    string
	}{
		"nothing":          {nil, "it is no sigstore bundle"},
		"no bundle":        {[]byte(`{"mediaType":"application/json"}`), "it is no sigstore bundle"},
		"another list":     {key.Signs(t, bundletest.Statement(t, bundlejudge.SignaturePredicate, other)), `it signs ["` + other.String() + `"], and not ` + subject.String()},
		"no list":          {key.Signs(t, bundletest.Statement(t, bundlejudge.SignaturePredicate)), "it signs [], and not"},
		"attestation":      {key.Signs(t, bundletest.Statement(t, "https://slsa.dev/provenance/v1", subject)), `it states "https://slsa.dev/provenance/v1" about the image, which is no signature`},
		"bytes of another": {key.SignsBytes(t, []byte("another list")), "it signs something with digest " + other.Encoded()},
		"no statement":     {key.Signs(t, []byte("text")), "it has no in-toto statement"},
		"certificate":      {bundletest.NewAuthority(t).Signs(t, name, issuer, signing(t)), "it is signed with a certificate, and keys are trusted"},
		"damaged":          {bytes.Replace(good, []byte(`"payload":"ey`), []byte(`"payload":"IH`), 1), "it has no in-toto statement"},
	} {
		t.Run(what, func(t *testing.T) {
			signer, err := byKey(t, key).VerifyBundle(t.Context(), c.content, subject)
			require.ErrorContains(t, err, c.says)
			assert.Empty(t, signer)
		})
	}
}

// TestSignatureIsOfTheStatement swaps the statement of a bundle for one that says what is wanted.
func TestSignatureIsOfTheStatement(t *testing.T) {
	key := bundletest.NewKey(t, elliptic.P256())
	about := key.Signs(t, bundletest.Statement(t, bundlejudge.SignaturePredicate, other))
	wanted := bundletest.NewKey(t, elliptic.P256()).Signs(t, signing(t))
	swapped := bytes.Replace(about, payload(t, about), payload(t, wanted), 1)

	_, err := byKey(t, key).VerifyBundle(t.Context(), swapped, subject)
	assert.ErrorContains(t, err, "it is not signed with a key that is trusted")
}

// payload is the statement of a bundle, as it is written there.
func payload(t *testing.T, bundle []byte) []byte {
	t.Helper()
	_, after, found := bytes.Cut(bundle, []byte(`"payload":"`))
	require.True(t, found)
	value, _, _ := bytes.Cut(after, []byte(`"`))
	return value
}

func TestByKeyInLog(t *testing.T) {
	key, authority := bundletest.NewKey(t, elliptic.P256()), bundletest.NewAuthority(t)
	for says, parts := range map[string]bundletest.Parts{
		"failed to verify log inclusion": {Log: true, Timestamps: true},
		"failed to verify timestamps":    {Timestamps: true},
	} {
		j, err := bundlejudge.ByKeys([]string{file(t, key.Public(t))}, file(t, authority.Root(t, parts)))
		require.NoError(t, err)
		_, err = j.VerifyBundle(t.Context(), key.Signs(t, signing(t)), subject)
		assert.ErrorContains(t, err, says)
	}
}

func TestByRoot(t *testing.T) {
	authority := bundletest.NewAuthority(t)
	who := bundlejudge.Identity{Name: name, Issuer: issuer}
	j, err := bundlejudge.ByRoot(file(t, authority.Root(t, bundletest.Parts{Log: true, Timestamps: true})), who)
	require.NoError(t, err)
	stamped, err := bundlejudge.ByRoot(file(t, authority.Root(t, bundletest.Parts{Timestamps: true})), who)
	require.NoError(t, err)

	good := authority.Signs(t, name, issuer, signing(t))
	for _, c := range []struct {
		judge   *bundlejudge.Judge
		content []byte
	}{{j, good}, {stamped, good}, {stamped, authority.SignsBytes(t, name, issuer, list)}} {
		signer, err := c.judge.VerifyBundle(t.Context(), c.content, subject)
		require.NoError(t, err)
		assert.Equal(t, "release@publisher.example (issuer https://issuer.example)", signer)
	}
	for says, content := range map[string][]byte{
		"it is signed by somebody@publisher.example (issuer https://issuer.example), and not by " + who.String():                                             authority.Signs(t, "somebody@publisher.example", issuer, signing(t)),
		"it is signed by release@publisher.example (issuer https://elsewhere.example), and not by release@publisher.example (issuer https://issuer.example)": authority.Signs(t, name, "https://elsewhere.example", signing(t)),
		"it does not hold by the trusted root: failed to verify log inclusion: not enough verified log entries from transparency log":                        bundletest.NewAuthority(t).Signs(t, name, issuer, signing(t)),
		"it is signed with a key, and certificates are trusted":                                                                                              bundletest.NewKey(t, elliptic.P256()).Signs(t, signing(t)),
		`it signs ["` + other.String() + `"], and not ` + subject.String():                                                                                   authority.Signs(t, name, issuer, bundletest.Statement(t, bundlejudge.SignaturePredicate, other)),
		"it does not hold by the trusted root: failed to verify log inclusion: not enough":                                                                   authority.SignsBytes(t, name, issuer, list),
	} {
		_, err := j.VerifyBundle(t.Context(), content, subject)
		assert.ErrorContains(t, err, says)
	}
	_, err = stamped.VerifyBundle(t.Context(), bundletest.NewAuthority(t).Signs(t, name, issuer, signing(t)), subject)
	require.ErrorContains(t, err, "it does not hold by the trusted root: failed to verify timestamps")
}

// TestRootDemands shows that a bundle needs what its root has.
func TestRootDemands(t *testing.T) {
	authority := bundletest.NewAuthority(t)
	who := bundlejudge.Identity{Name: name, Issuer: issuer}
	for says, parts := range map[string]bundletest.Parts{
		"signed certificate timestamp": {Log: true, Timestamps: true, CertificateLog: true},
		"failed to verify timestamps":  {Log: true}, // which gives no times
	} {
		j, err := bundlejudge.ByRoot(file(t, authority.Root(t, parts)), who)
		require.NoError(t, err)
		_, err = j.VerifyBundle(t.Context(), authority.Signs(t, name, issuer, signing(t)), subject)
		require.ErrorContains(t, err, says)
	}
	_, err := bundlejudge.ByRoot(file(t, authority.Root(t, bundletest.Parts{})), who)
	require.ErrorContains(t, err, "nothing can say when something was signed")
}

func TestTrust(t *testing.T) {
	key := bundletest.NewKey(t, elliptic.P256())
	root := file(t, bundletest.NewAuthority(t).Root(t, bundletest.Parts{Log: true}))
	public, text := file(t, key.Public(t)), file(t, []byte("text"))
	for what, c := range map[string]struct {
		make func() (*bundlejudge.Judge, error)
		says string
	}{
		"no key":      {func() (*bundlejudge.Judge, error) { return bundlejudge.ByKeys(nil, "") }, "no key"},
		"missing key": {func() (*bundlejudge.Judge, error) { return bundlejudge.ByKeys([]string{public, public + "2"}, "") }, "no such file"},
		"no PEM":      {func() (*bundlejudge.Judge, error) { return bundlejudge.ByKeys([]string{text}, "") }, "is no public key in PEM"},
		"no root":     {func() (*bundlejudge.Judge, error) { return bundlejudge.ByKeys([]string{public}, text) }, "is no trusted root of sigstore"},
		"no name": {func() (*bundlejudge.Judge, error) {
			return bundlejudge.ByRoot(root, bundlejudge.Identity{Issuer: issuer})
		}, "an identity needs a name and its issuer"},
		"no issuer": {func() (*bundlejudge.Judge, error) { return bundlejudge.ByRoot(root, bundlejudge.Identity{Name: name}) }, "an identity needs a name and its issuer"},
		"missing root": {func() (*bundlejudge.Judge, error) {
			return bundlejudge.ByRoot(root+"2", bundlejudge.Identity{Name: name, Issuer: issuer})
		}, "no such file"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := c.make()
			assert.ErrorContains(t, err, c.says)
		})
	}
}

func TestStopped(t *testing.T) {
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(enough)
	key := bundletest.NewKey(t, elliptic.P256())
	_, err := byKey(t, key).VerifyBundle(ctx, key.Signs(t, signing(t)), subject)
	require.ErrorIs(t, err, enough)
	_, err = byKey(t, key).VerifyBundle(t.Context(), key.Signs(t, signing(t)), "sha256:0")
	require.ErrorIs(t, err, digest.ErrDigestInvalidLength)
}

func FuzzVerifyBundle(f *testing.F) {
	key, authority := bundletest.NewKey(f, elliptic.P256()), bundletest.NewAuthority(f)
	for _, seed := range [][]byte{
		key.Signs(f, bundletest.Statement(f, bundlejudge.SignaturePredicate, other)), key.SignsBytes(f, []byte("another list")),
		authority.Signs(f, name, issuer, bundletest.Statement(f, bundlejudge.SignaturePredicate, other)),
		authority.SignsBytes(f, name, issuer, []byte("another list")), []byte("{}"), []byte("null"),
	} {
		f.Add(seed)
	}
	keys := byKey(f, key)
	certificates, err := bundlejudge.ByRoot(file(f, authority.Root(f, bundletest.Parts{Log: true, Timestamps: true})), bundlejudge.Identity{Name: name, Issuer: issuer})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, j := range []*bundlejudge.Judge{keys, certificates} {
			_, err := j.VerifyBundle(t.Context(), content, subject)
			require.Error(t, err, "nobody has signed it")
		}
	})
}
