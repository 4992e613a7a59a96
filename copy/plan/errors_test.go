package plan

import (
	"errors"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
)

func TestEmptyErrorMessages(t *testing.T) {
	for want, err := range map[string]*EmptyError{
		"nothing left to copy: the only selected instance is missing at the source": {Entries: 3, Missing: 1},
		"nothing left to copy: all 2 selected instances are missing at the source":  {Entries: 3, Missing: 2},
		"nothing to copy: the list is empty":                                        {},
		"nothing left to copy: none of the list's 1 entries is selected":            {Entries: 1},
		"nothing left to copy: all 3 selected instances are missing at the source":  {Missing: 3},
	} {
		assert.EqualError(t, err, want)
	}
}

func TestSparseRefusedErrorMessages(t *testing.T) {
	refusal, stripped := errors.New("no"), errors.New("no again")
	a, b := digest.FromString("a"), digest.FromString("b")
	start := "the destination refuses the sparse list " + a.String() + ": no"
	for want, err := range map[string]*SparseRefusedError{
		start: {List: a, Refusal: refusal},
		start + " (which may be because it is sparse: 1 child is absent)":     {List: a, Refusal: refusal, Unclear: true, Absent: []digest.Digest{b}},
		start + " (which may be because it is sparse: 2 children are absent)": {List: a, Refusal: refusal, Unclear: true, Absent: []digest.Digest{a, b}},
		start + "; it refuses the stripped list too: no again":                {List: a, Refusal: refusal, StrippedRefusal: stripped},
		start + "; not stripped: it is signed":                                {List: a, Refusal: refusal, NotStripped: "it is signed"},
	} {
		assert.EqualError(t, err, want)
		assert.ErrorIs(t, err, refusal)
		assert.Equal(t, err.StrippedRefusal != nil, errors.Is(err, stripped))
	}
}

func TestMissingErrorWraps(t *testing.T) {
	said := errors.New("manifest unknown")
	err := &MissingError{Missing: []MissingInstance{{Digest: "d", Platform: "linux/arm"}, {Digest: "e", AttestationOf: "linux/arm"}}, Err: said}
	assert.EqualError(t, err, "missing at the source: d (linux/arm), e (attestation of linux/arm)")
	assert.ErrorIs(t, err, said)
}
