package signing

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/signature/signer"
	"go.podman.io/image/v5/signature/simplesigning"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/turns"
)

// Options say who signs, and what signatures say. They are fields of copy.Options.
type Options struct {
	Signers                          []*signer.Signer
	SignBy                           string
	SignPassphrase                   string
	SignBySigstorePrivateKeyFile     string
	SignSigstorePrivateKeyPassphrase []byte
	SignIdentity                     reference.Named
	AlwaysSign                       bool
	PreviousPublicKeyFiles           []string
}

// A Ring is what copies that sign share. The zero value works; it may be used concurrently and must
// not be copied. It keeps keys that it has read from files: to decrypt one takes as long as a copy.
type Ring struct {
	turn turns.Turn          // of who signs: a Signer serves one goroutine at a time
	said turns.Turns[string] // of who attaches what to the same digest of a repository

	mu    sync.Mutex
	files map[[sha256.Size]byte]*keyFile // by content and passphrase; guarded by mu
}

// Keys are what one copy signs with. Nil are none: the methods work. They are safe for concurrent
// use.
type Keys struct {
	ring     *Ring
	keys     []key
	sigstore *sigstoreKey // among them; nil if there is none
	identity reference.Named
	always   bool
	opened   chan struct{} // closed when err is valid
	err      error

	turns turns.Turns[digest.Digest] // of who signs what has that digest
	mu    sync.Mutex
	made  map[digest.Digest]endpoint.Signatures // guarded by mu
}

// A key signs, and recognizes what it has signed.
type key struct {
	open func() (*signer.Signer, error) // the same every time, and whoever waits for it meanwhile
	// hasSigned reports whether the key has made one of the signatures, for the given claim.
	hasSigned func(s Subject, c claim, among endpoint.Signatures) bool
	// close closes what open has returned; nil if that belongs to somebody else.
	close func() error
}

// Open returns the keys that o names, nil if there are none, for copies to a destination. They are
// opened in the background: see Ready. The caller must Close them. A *plan.OptionsError says that
// nothing can be signed for that destination.
func (r *Ring) Open(o Options, destination types.ImageReference) (*Keys, error) {
	var keys []key
	var sigstore *sigstoreKey
	for _, s := range o.Signers {
		keys = append(keys, key{
			open:      func() (*signer.Signer, error) { return s, nil },
			hasSigned: claimed,
		})
	}
	if o.SignBy != "" {
		keys = append(keys, gpgKey(o.SignBy, o.SignPassphrase))
	}
	if path := o.SignBySigstorePrivateKeyFile; path != "" {
		previous, err := publicKeys(o.PreviousPublicKeyFiles)
		if err != nil {
			return nil, err
		}
		sigstore = &sigstoreKey{r.file(path, o.SignSigstorePrivateKeyPassphrase), previous}
		keys = append(keys, key{open: sigstore.signer, hasSigned: sigstore.hasSigned})
	}
	if len(keys) == 0 {
		return nil, nil
	}
	identity, err := identityFor(o.SignIdentity, destination)
	if err != nil {
		return nil, err
	}
	k := &Keys{
		ring: r, keys: keys, sigstore: sigstore, identity: identity, always: o.AlwaysSign, opened: make(chan struct{}),
		made: map[digest.Digest]endpoint.Signatures{},
	}
	go func() {
		defer close(k.opened)
		for _, key := range k.keys {
			if _, k.err = key.open(); k.err != nil {
				return
			}
		}
	}()
	return k, nil
}

// identityFor returns the identity that signatures name: the one that is asked for, or that of the
// destination.
func identityFor(asked reference.Named, destination types.ImageReference) (reference.Named, error) {
	if asked == nil {
		if asked = destination.DockerReference(); asked == nil {
			return nil, &plan.OptionsError{Options: []string{"SignIdentity"}, Reason: fmt.Sprintf(
				"Cannot determine canonical Docker reference for destination %s: SignIdentity has to say what is signed",
				transports.ImageName(destination))}
		}
	}
	if reference.IsNameOnly(asked) {
		return nil, &plan.OptionsError{Options: []string{"SignIdentity"}, Reason: fmt.Sprintf(
			"Sign identity must be a fully specified reference %s: it has neither a tag nor a digest", asked)}
	}
	return asked, nil
}

// Ready waits until the keys have been opened, and returns why one cannot be. When ctx ends first,
// the error is context.Cause.
func (k *Keys) Ready(ctx context.Context) error {
	if k == nil {
		return nil
	}
	select {
	case <-k.opened:
		return k.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// lack reports whether one of the keys has to sign what has the digest d, which was at the
// destination before, with the given signatures.
func (k *Keys) lack(d digest.Digest, has endpoint.Signatures) bool {
	return k != nil && len(k.lacking(Subject{Document: endpoint.Document{Digest: d}}, has)) > 0
}

// lacking returns the keys that are not known to have made one of the given signatures of s, for
// its digest and the identity. Nothing else of s matters but New.
func (k *Keys) lacking(s Subject, has endpoint.Signatures) []key {
	if k.always {
		return k.keys
	}
	c := claim{s.Digest, k.identity.String()}
	return slices.DeleteFunc(slices.Clone(k.keys), func(key key) bool { return key.hasSigned(s, c, has) })
}

// Sign returns new signatures of s, which has the given ones, by each of the keys that is not known
// to have made one of those for the digest and the identity. What has been signed once is not
// signed again: later calls for the same digest return the same.
func (k *Keys) Sign(ctx context.Context, s Subject, has endpoint.Signatures) (endpoint.Signatures, error) {
	if k == nil {
		return endpoint.NoSignatures(), nil
	}
	done, err := k.turns.Take(ctx, s.Digest)
	if err != nil {
		return nil, err
	}
	defer done()
	if made := k.madeOf(s.Digest); made != nil {
		return made, nil
	}
	made, err := k.sign(ctx, s, has)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.made[s.Digest] = made
	return made, nil
}

// Made returns how many signatures Sign has returned for d.
func (k *Keys) Made(d digest.Digest) int {
	if made := k.madeOf(d); made != nil {
		return made.Len()
	}
	return 0
}

func (k *Keys) madeOf(d digest.Digest) endpoint.Signatures {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.made[d]
}

func (k *Keys) sign(ctx context.Context, s Subject, has endpoint.Signatures) (endpoint.Signatures, error) {
	made := endpoint.NoSignatures()
	lacking := k.lacking(s, has)
	if len(lacking) == 0 {
		return made, nil
	}
	h, err := s.hold(ctx)
	if err != nil {
		return nil, err
	}
	for _, key := range lacking {
		by, err := key.open()
		if err != nil {
			return nil, err
		}
		done, err := k.ring.turn.Take(ctx)
		if err != nil {
			return nil, err
		}
		one, err := h.sign(ctx, by, k.identity)
		done()
		if err != nil {
			return nil, err
		}
		made = made.With(one)
	}
	return made, nil
}

// attach reports whether there is a key whose signatures are sigstore attachments, as far as that
// is known before it has signed anything.
func (k *Keys) attach() bool { return k != nil && k.sigstore != nil }

// Lend returns all Signers for somebody else to sign with until done is called.
func (k *Keys) Lend(ctx context.Context) (signers []*signer.Signer, done func(), err error) {
	if k == nil {
		return nil, func() {}, nil
	}
	if err := k.Ready(ctx); err != nil {
		return nil, nil, err
	}
	for _, key := range k.keys {
		s, err := key.open()
		if err != nil {
			return nil, nil, err
		}
		signers = append(signers, s)
	}
	done, err = k.ring.turn.Take(ctx)
	return signers, done, err
}

// Close closes what Open has opened for these keys alone. It waits for that.
func (k *Keys) Close() error {
	if k == nil {
		return nil
	}
	<-k.opened
	var errs []error
	for _, key := range k.keys {
		if key.close != nil {
			errs = append(errs, key.close())
		}
	}
	return errors.Join(errs...)
}

// gpgKey is a key of the GPG installation.
func gpgKey(id, passphrase string) key {
	open := sync.OnceValues(func() (*signer.Signer, error) {
		options := []simplesigning.Option{simplesigning.WithKeyFingerprint(id)}
		if passphrase != "" {
			options = append(options, simplesigning.WithPassphrase(passphrase))
		}
		s, err := simplesigning.NewSigner(options...)
		if _, lacks := errors.AsType[signature.SigningNotSupportedError](err); lacks {
			err = fmt.Errorf("%w; to sign with a GPG key, build with cgo and the GPGME library, and without that tag", err)
		}
		return s, err
	})
	return key{
		open:      open,
		hasSigned: func(_ Subject, c claim, among endpoint.Signatures) bool { return gpgHasSigned(id, c, among) },
		close: func() error {
			if s, err := open(); err == nil {
				return s.Close()
			}
			return nil // Ready has said why
		},
	}
}
