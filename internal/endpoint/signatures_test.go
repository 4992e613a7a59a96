package endpoint_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// signed is a list at a registry that has signatures of both formats: sigstore's at the list and
// its instances, made by upstream's copy, and one in the simple signing format at the list.
type signed struct {
	fixture *imagetest.Fixture
	ref     types.ImageReference
	sys     *types.SystemContext
	repo    string // name of the repository, which the signatures are for
	key     string // path of the public key of the sigstore signatures
	gpgKey  []byte // public key of the other one
}

// What all tests share.
var (
	sharedDir      string
	sharedRegistry *registrytest.Registry
)

func TestMain(m *testing.M) {
	os.Exit(hermetictest.Main(func() int {
		var err error
		if sharedDir, err = os.MkdirTemp("", "endpoint-*"); err != nil {
			panic(err)
		}
		defer func() { _ = os.RemoveAll(sharedDir) }()
		sharedRegistry = registrytest.New(registrytest.Options{})
		defer sharedRegistry.Close()
		return m.Run()
	}))
}

// makeSigned signs once for all tests: making a key is slow by design.
var makeSigned = sync.OnceValues(func() (_ *signed, err error) {
	dir, reg := sharedDir, sharedRegistry
	s := &signed{fixture: imagetest.Platforms(2, 1, 100), key: filepath.Join(dir, "key.pub")}
	s.sys, err = systemContext(dir)
	if err != nil {
		return nil, err
	}
	s.fixture.PushTo(reg, "unsigned", "v1", imagetest.Top)
	privateKey, publicKey, err := imagetest.KeyPair("passphrase")
	if err != nil {
		return nil, err
	}
	private := filepath.Join(dir, "key")
	if err := errors.Join(os.WriteFile(private, privateKey, 0o600), os.WriteFile(s.key, publicKey, 0o600)); err != nil {
		return nil, err
	}
	s.repo = reg.Host() + "/signed"
	src, err := docker.ParseReference("//" + reg.Host() + "/unsigned:v1")
	if err != nil {
		return nil, err
	}
	s.ref, err = docker.ParseReference("//" + s.repo + ":v1")
	if err != nil {
		return nil, err
	}
	everything, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = everything.Destroy() }()
	_, err = copy.Image(context.Background(), everything, s.ref, src, &copy.Options{
		SourceCtx:                        s.sys,
		DestinationCtx:                   s.sys,
		ImageListSelection:               copy.CopyAllImages,
		SignBySigstorePrivateKeyFile:     private,
		SignSigstorePrivateKeyPassphrase: []byte("passphrase"),
	})
	if err != nil {
		return nil, err
	}
	return s, s.addSimple(dir)
})

// systemContext is the configuration of a user with lookaside storage and sigstore attachments,
// both below dir.
func systemContext(dir string) (*types.SystemContext, error) {
	sys, err := hermetictest.SystemIn(dir)
	sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	config := "default-docker:\n  use-sigstore-attachments: true\n  lookaside: file://" + filepath.Join(dir, "lookaside") + "\n"
	return sys, errors.Join(err, os.WriteFile(filepath.Join(sys.RegistriesDirPath, "default.yaml"), []byte(config), 0o600))
}

// addSimple puts a signature into the lookaside storage, in the formats that containers/image
// documents (containers-signature(5) and signature-protocols.md): built with the openpgp tag,
// upstream verifies but does not sign.
func (s *signed) addSimple(dir string) error {
	entity, err := openpgp.NewEntity("Signer", "", "signer@example.com", nil)
	if err != nil {
		return err
	}
	var public bytes.Buffer
	if err := entity.Serialize(&public); err != nil {
		return err
	}
	s.gpgKey = public.Bytes()
	payload, err := json.Marshal(map[string]any{
		"critical": map[string]any{
			"type":     "atomic container signature",
			"image":    map[string]string{"docker-manifest-digest": s.fixture.Digest(imagetest.Top).String()},
			"identity": map[string]string{"docker-reference": s.repo + ":v1"},
		},
		"optional": map[string]any{},
	})
	if err != nil {
		return err
	}
	var message bytes.Buffer
	w, err := openpgp.Sign(&message, entity, nil, nil)
	if err != nil {
		return err
	}
	_, err = w.Write(payload)
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	// Of the repository's name, the registry's host is no part of the path.
	path := strings.Replace(s.fixture.Digest(imagetest.Top).String(), ":", "=", 1)
	_, repo, _ := strings.Cut(s.repo, "/")
	path = filepath.Join(dir, "lookaside", repo+"@"+path)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(path, "signature-1"), message.Bytes(), 0o600)
}

func signedList(t *testing.T) *signed {
	s, err := makeSigned()
	require.NoError(t, err)
	return s
}

func (s *signed) document(name string) endpoint.Document {
	content, mediaType := s.fixture.Document(name)
	return endpoint.Document{Digest: s.fixture.Digest(name), MediaType: mediaType, Bytes: content}
}

// unparsed is doc at src with the signatures that src has for d.
func unparsed(src types.ImageSource, doc endpoint.Document, d *digest.Digest) types.UnparsedImage {
	return endpoint.Unparsed(src.Reference(), doc, func(ctx context.Context) (endpoint.Signatures, error) {
		return endpoint.ReadSignatures(ctx, src, d)
	})
}

func openSource(t *testing.T, ref types.ImageReference, sys *types.SystemContext) types.ImageSource {
	src, err := ref.NewImageSource(t.Context(), sys)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, src.Close()) })
	return src
}

func openDestination(t *testing.T, ref types.ImageReference, sys *types.SystemContext) types.ImageDestination {
	dest, err := ref.NewImageDestination(t.Context(), sys)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, dest.Close()) })
	return dest
}

// judge is the verdict of a policy with one requirement; nil if it accepts.
func judge(t *testing.T, image types.UnparsedImage, requirements ...signature.PolicyRequirement) error {
	policy, err := signature.NewPolicyContext(&signature.Policy{Default: requirements})
	require.NoError(t, err)
	defer func() { require.NoError(t, policy.Destroy()) }()
	allowed, err := policy.IsRunningImageAllowed(t.Context(), image)
	require.Equal(t, allowed, err == nil)
	return err
}

func (s *signed) signedBy(t *testing.T, key []byte) signature.PolicyRequirement {
	identity, err := signature.NewPRMExactRepository(s.repo)
	require.NoError(t, err)
	requirement, err := signature.NewPRSignedByKeyData(signature.SBKeyTypeGPGKeys, key, identity)
	require.NoError(t, err)
	return requirement
}

func (s *signed) sigstoreSigned(t *testing.T, repo string) signature.PolicyRequirement {
	identity, err := signature.NewPRMExactRepository(repo)
	require.NoError(t, err)
	requirement, err := signature.NewPRSigstoreSigned(
		signature.PRSigstoreSignedWithKeyPath(s.key), signature.PRSigstoreSignedWithSignedIdentity(identity))
	require.NoError(t, err)
	return requirement
}

func TestPoliciesJudgeUnparsed(t *testing.T) {
	s := signedList(t)
	src := openSource(t, s.ref, s.sys)
	list := s.document(imagetest.Top)
	child := s.document("amd64")
	image := unparsed(src, list, nil)
	instance := unparsed(src, child, &child.Digest)

	require.NoError(t, judge(t, image, signature.NewPRInsecureAcceptAnything()))
	require.NoError(t, judge(t, image, s.signedBy(t, s.gpgKey)))
	require.NoError(t, judge(t, image, s.sigstoreSigned(t, s.repo)))
	require.NoError(t, judge(t, image, s.sigstoreSigned(t, s.repo), s.signedBy(t, s.gpgKey)))
	require.NoError(t, judge(t, instance, s.sigstoreSigned(t, s.repo)))

	require.Error(t, judge(t, image, signature.NewPRReject()))
	require.Error(t, judge(t, image, s.sigstoreSigned(t, "example.com/other")))
	require.Error(t, judge(t, instance, s.signedBy(t, s.gpgKey)), "the instance has no such signature")
	require.Error(t, judge(t, unparsed(src, child, nil), s.sigstoreSigned(t, s.repo)), "signatures of the list, bytes of a child")

	changed := list
	changed.Bytes = append([]byte(" "), list.Bytes...)
	require.Error(t, judge(t, unparsed(src, changed, nil), s.sigstoreSigned(t, s.repo)), "the bytes that are held are judged")
}

func TestSignaturesOfEveryFormatAreCarried(t *testing.T) {
	s := signedList(t)
	src := openSource(t, s.ref, s.sys)
	names := []string{"amd64", "arm64", imagetest.Top}
	counts := map[string]int{"amd64": 1, "arm64": 1, imagetest.Top: 2}

	reg := registrytest.Start(t, registrytest.Options{})
	sys, err := systemContext(t.TempDir())
	require.NoError(t, err)
	s.fixture.PushTo(reg, "copy", "", imagetest.Top)
	toRegistry, err := docker.ParseReference("//" + reg.Host() + "/copy:v1")
	require.NoError(t, err)
	toDir, err := directory.NewReference(filepath.Join(t.TempDir(), "dir"))
	require.NoError(t, err)

	for _, ref := range []types.ImageReference{toRegistry, toDir} {
		t.Run(ref.Transport().Name(), func(t *testing.T) {
			dest := openDestination(t, ref, sys)
			for _, name := range names {
				doc := s.document(name)
				instance := &doc.Digest
				if name == imagetest.Top {
					instance = nil
				}
				require.NoError(t, dest.PutManifest(t.Context(), doc.Bytes, instance))
				sigs, err := endpoint.ReadSignatures(t.Context(), src, &doc.Digest)
				require.NoError(t, err)
				require.Equal(t, counts[name], sigs.Len(), name)
				attachable, others := sigs.Split()
				require.Len(t, attachable, 1, name)
				assert.NotEmpty(t, attachable[0].Layer.Annotations["dev.cosignproject.cosign/signature"])
				assert.Equal(t, digest.FromBytes(attachable[0].Payload), attachable[0].Layer.Digest)
				require.Equal(t, counts[name]-1, others.Len(), name)
				require.Len(t, others.Simple(), counts[name]-1, name)
				assert.Equal(t, others.Simple(), sigs.Simple(), name)
				again, err := endpoint.AttachedSignatures(t.Context(), attachable)
				require.NoError(t, err)
				assert.Equal(t, 1, again.Len(), name)
				assert.True(t, sigs.Contain(again), name)
				blobs, err := endpoint.SignatureBlobs(sigs)
				require.NoError(t, err)
				require.Len(t, blobs, counts[name], name)
				again, err = endpoint.SignaturesFromBlobs(t.Context(), blobs)
				require.NoError(t, err)
				assert.Equal(t, counts[name], again.Len(), name)
				assert.True(t, again.Contain(sigs), name)
				merged := others.With(sigs).With(sigs).With(nil)
				assert.Equal(t, counts[name], merged.Len(), "each once: %s", name)
				assert.True(t, merged.Contain(sigs), name)
				assert.Len(t, endpoint.NoSignatures().With(merged).With(sigs).Simple(), counts[name]-1, name)
				require.NoError(t, sigs.Put(t.Context(), dest, instance))
			}
			require.NoError(t, dest.Commit(t.Context(), nil))

			stored := openSource(t, ref, sys)
			for _, name := range names {
				doc := s.document(name)
				instance := &doc.Digest
				if name == imagetest.Top {
					instance = nil
				}
				sigs, err := endpoint.ReadSignatures(t.Context(), stored, instance)
				require.NoError(t, err)
				assert.Equal(t, counts[name], sigs.Len(), name)
				sent, err := endpoint.ReadSignatures(t.Context(), src, &doc.Digest)
				require.NoError(t, err)
				assert.True(t, sigs.Contain(sent), name)
				assert.True(t, sigs.Contain(endpoint.NoSignatures()))
				assert.False(t, endpoint.NoSignatures().Contain(sigs))
				assert.NoError(t, judge(t, unparsed(stored, doc, instance), s.sigstoreSigned(t, s.repo)))
			}
			assert.NoError(t, judge(t, unparsed(stored, s.document(imagetest.Top), nil), s.signedBy(t, s.gpgKey)))
		})
	}
}

func TestSignaturesAreNotDroppedSilently(t *testing.T) {
	s := signedList(t)
	src := openSource(t, s.ref, s.sys)
	both, err := endpoint.ReadSignatures(t.Context(), src, nil)
	require.NoError(t, err)

	t.Run("layouts have no place for them", func(t *testing.T) {
		ref, err := layout.NewReference(t.TempDir(), "v1")
		require.NoError(t, err)
		dest := openDestination(t, ref, s.sys)
		assert.Error(t, both.Put(t.Context(), dest, nil))
		assert.NoError(t, endpoint.NoSignatures().Put(t.Context(), dest, nil))
	})
	t.Run("destinations that are not upstream's", func(t *testing.T) {
		ref, err := directory.NewReference(filepath.Join(t.TempDir(), "dir"))
		require.NoError(t, err)
		dest := &publicDestination{ImageDestination: openDestination(t, ref, s.sys)}
		assert.ErrorContains(t, both.Put(t.Context(), dest, nil), `"dir"`)
		assert.Empty(t, dest.simple)

		// Without attachments, only the simple one is found.
		plain := *s.sys
		plain.RegistriesDirPath = t.TempDir()
		lookaside := "default-docker:\n  lookaside: file://" + filepath.Join(filepath.Dir(s.sys.RegistriesDirPath), "lookaside") + "\n"
		require.NoError(t, os.WriteFile(filepath.Join(plain.RegistriesDirPath, "default.yaml"), []byte(lookaside), 0o600))
		simple, err := endpoint.ReadSignatures(t.Context(), openSource(t, s.ref, &plain), nil)
		require.NoError(t, err)
		require.Equal(t, 1, simple.Len())
		require.NoError(t, simple.Put(t.Context(), dest, nil))
		assert.Len(t, dest.simple, 1)
	})
}

// publicDestination has the methods of types.ImageDestination only.
type publicDestination struct {
	types.ImageDestination
	simple [][]byte
}

func (d *publicDestination) PutSignatures(_ context.Context, sigs [][]byte, _ *digest.Digest) error {
	d.simple = append(d.simple, sigs...)
	return nil
}

func TestUnparsedFetchesWhenAskedAndOnce(t *testing.T) {
	s := signedList(t)
	src := openSource(t, s.ref, s.sys)
	broken := errors.New("broken")
	calls := 0
	image := endpoint.Unparsed(s.ref, s.document(imagetest.Top), func(ctx context.Context) (endpoint.Signatures, error) {
		calls++
		if calls == 1 {
			return nil, broken
		}
		return endpoint.ReadSignatures(ctx, src, nil)
	})
	assert.Equal(t, s.ref, image.Reference())
	content, mediaType, err := image.Manifest(t.Context())
	require.NoError(t, err)
	assert.Equal(t, s.document(imagetest.Top).Bytes, content)
	assert.Equal(t, s.document(imagetest.Top).MediaType, mediaType)
	assert.Zero(t, calls)

	_, err = image.Signatures(t.Context())
	assert.ErrorIs(t, err, broken)
	for range 2 {
		simple, err := image.Signatures(t.Context())
		require.NoError(t, err)
		assert.Len(t, simple, 1)
		require.NoError(t, judge(t, image, s.sigstoreSigned(t, s.repo)))
	}
	assert.Equal(t, 2, calls)
}

func TestLazyUnparsedReadsTheManifestWhenAskedAndOnce(t *testing.T) {
	s := signedList(t)
	broken := errors.New("broken")
	calls := 0
	image := endpoint.LazyUnparsed(s.ref, func(context.Context) (endpoint.Document, error) {
		calls++
		if calls == 1 {
			return endpoint.Document{}, broken
		}
		return s.document("amd64"), nil
	}, func(context.Context) (endpoint.Signatures, error) { return endpoint.NoSignatures(), nil })
	require.NoError(t, judge(t, image, signature.NewPRInsecureAcceptAnything()))
	assert.Zero(t, calls)

	_, _, err := image.Manifest(t.Context())
	assert.ErrorIs(t, err, broken)
	for range 2 {
		content, _, err := image.Manifest(t.Context())
		require.NoError(t, err)
		assert.Equal(t, s.document("amd64").Bytes, content)
	}
	assert.Equal(t, 2, calls)
}

func TestUnparsedRefusesForeignSignatures(t *testing.T) {
	s := signedList(t)
	image := endpoint.Unparsed(s.ref, s.document(imagetest.Top), func(context.Context) (endpoint.Signatures, error) {
		return foreignSignatures{}, nil
	})
	_, err := image.Signatures(t.Context())
	assert.ErrorContains(t, err, "foreignSignatures")
}

type foreignSignatures struct{}

func (foreignSignatures) Len() int { return 1 }

func (foreignSignatures) Split() ([]endpoint.AttachableSignature, endpoint.Signatures) {
	return nil, foreignSignatures{}
}

func (foreignSignatures) Simple() [][]byte { return nil }

func (foreignSignatures) With(endpoint.Signatures) endpoint.Signatures { return foreignSignatures{} }

func (foreignSignatures) Contain(endpoint.Signatures) bool { return false }

func (foreignSignatures) Put(context.Context, types.ImageDestination, *digest.Digest) error {
	return nil
}

func TestNoSignatures(t *testing.T) {
	assert.Zero(t, endpoint.NoSignatures().Len())
	ref, err := docker.ParseReference("//example.com/a:b")
	require.NoError(t, err)
	image := endpoint.Unparsed(ref, endpoint.Document{}, func(context.Context) (endpoint.Signatures, error) {
		return endpoint.NoSignatures(), nil
	})
	simple, err := image.Signatures(t.Context())
	require.NoError(t, err)
	assert.Empty(t, simple)
	require.NoError(t, judge(t, image, signature.NewPRInsecureAcceptAnything()))
}

func TestSignaturesFromBlobsOfOthers(t *testing.T) {
	for name, blob := range map[string]string{
		"no form": "{}", "another format": "\x00notation\n{}", "not what the name says": "\x00sigstore-json\nno JSON", "empty": "",
	} {
		_, err := endpoint.SignaturesFromBlobs(t.Context(), [][]byte{[]byte(blob)})
		assert.ErrorContains(t, err, "parsing signature", name)
	}
	none, err := endpoint.SignaturesFromBlobs(t.Context(), nil)
	require.NoError(t, err)
	assert.Zero(t, none.Len())
}
