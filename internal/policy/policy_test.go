package policy

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/turns"
)

func TestMain(m *testing.M) { os.Exit(hermetictest.Main(m.Run)) }

func TestAsk(t *testing.T) {
	for name, c := range map[string]struct {
		requirement signature.PolicyRequirement
		why         string
	}{
		"allows":  {signature.NewPRInsecureAcceptAnything(), ""},
		"rejects": {signature.NewPRReject(), "rejected by policy"},
	} {
		t.Run(name, func(t *testing.T) {
			why, err := judge(t, c.requirement).Ask(t.Context(), someImage(t))
			require.NoError(t, err)
			if c.why == "" {
				assert.NoError(t, why)
			} else {
				assert.ErrorContains(t, why, c.why)
			}
		})
	}
	why, err := Judge{}.Ask(t.Context(), someImage(t))
	require.NoError(t, err)
	assert.EqualError(t, why, "no signature policy was given")
}

// TestAskWaitsForItsTurn: while somebody else asks the same policy, nobody does, and who waits can
// be called off.
func TestAskWaitsForItsTurn(t *testing.T) {
	j := judge(t, signature.NewPRInsecureAcceptAnything())
	done, err := j.Turns.Take(t.Context(), j.Context)
	require.NoError(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("called off")
	cancel(reason)
	for range 20 { // a turn that is free would be taken at times, all the same
		why, err := j.Ask(ctx, someImage(t))
		assert.NoError(t, why)
		require.ErrorIs(t, err, reason)
	}
	done()
	_, err = j.Ask(t.Context(), someImage(t))
	assert.NoError(t, err)
}

func judge(t *testing.T, requirement signature.PolicyRequirement) Judge {
	t.Helper()
	c, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{requirement}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Destroy()) })
	return Judge{Turns: &turns.Turns[*signature.PolicyContext]{}, Context: c}
}

// someImage is an image of which policies that look at nothing need nothing.
func someImage(t *testing.T) types.UnparsedImage {
	t.Helper()
	ref, err := directory.NewReference(t.TempDir())
	require.NoError(t, err)
	src, err := ref.NewImageSource(t.Context(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, src.Close()) })
	return image.UnparsedInstance(src, nil)
}
