package naming

import (
	"context"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
)

// Digest returns the digest of the manifest or list that ref names. A registry is asked by one
// HEAD, which it does not count as a pull, and is believed; what it does not tell so is read and
// hashed. Anything else than a registry is read.
func (r *Registries) Digest(ctx context.Context, ref types.ImageReference, options *Options) (digest.Digest, error) {
	o := options.orDefault()
	at, side := place(ref, o.Side)
	d, err := r.digest(ctx, at, o.SystemContext)
	if err != nil {
		return "", failure.New("asking for the digest of", side, transports.ImageName(ref), err)
	}
	return d, nil
}

func (r *Registries) digest(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) (digest.Digest, error) {
	asked, _, err := access.NewSource(ref, sys, r.shared)
	switch {
	case err != nil:
		return "", err
	case asked == nil: // it is no registry, or one that is not spoken to directly
		return r.readDigest(ctx, ref, sys)
	}
	defer asked.Close() // nothing was written
	d, err := asked.Named(ctx)
	if err != nil || d != "" {
		return d, err
	}
	err = asked.Read(ctx)
	return asked.Top().Digest, err
}

func (r *Registries) readDigest(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) (digest.Digest, error) {
	src, _, err := access.OpenSource(ctx, ref, sys, r.shared)
	if err != nil {
		return "", err
	}
	defer src.Close() // nothing was written
	return src.Top().Digest, nil
}
