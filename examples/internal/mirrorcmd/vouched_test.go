package mirrorcmd

import (
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"

	"github.com/sparsecopy/sparsecopy/copy"
)

func TestVouchedText(t *testing.T) {
	d := digest.FromString("a manifest")
	assert.Empty(t, vouchedText(nil))
	for want, v := range map[string]copy.VouchedReport{
		"not signed: it is not signed\n": {Code: "no-signature", Reason: "it is not signed"},
		"signed, without a summary: no bundles here\n": {
			Code: copy.BundlesRefused, Reason: "no bundles here", Judged: []digest.Digest{d},
		},
		"signed, after 2 signatures of the original had been verified\n": {Judged: []digest.Digest{d, d}},
		"signed, after 1 signature of the original had been verified: https://example.com/v1 " + shortDigest(d) + " (present)\n": {
			Judged: []digest.Digest{d}, Bundles: []copy.VouchedBundle{{PredicateType: "https://example.com/v1", Digest: d, Outcome: copy.Present}},
		},
	} {
		assert.Equal(t, want, vouchedText(&v))
	}
}
