package transport

import (
	"context"

	"go.podman.io/image/v5/types"
)

func openArchive(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) (end, error) {
	dest, err := ref.NewImageDestination(ctx, sys)
	if err != nil {
		return nil, err
	}
	return &plainEnd{dest: dest}, nil
}
