package endpoint

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// doubtful is content that may come in another way.
type doubtful struct {
	io.Reader
	again  bool
	doubts int
}

func (d *doubtful) Close() error { return nil }

func (d *doubtful) Doubt() bool {
	d.doubts++
	return d.again
}

// Content that is not the blob is to be read again if it says so, and only then.
func TestVerifiedDoubter(t *testing.T) {
	b := Blob{Digest: digest.FromString("right"), Size: 5}
	around := func(err error) error { return fmt.Errorf("reading: %w", err) }
	for _, test := range []struct {
		content string
		again   bool
		doubts  int
	}{{"right", true, 0}, {"wrong", true, 1}, {"wrong", false, 1}, {"short", true, 1}, {"bit", true, 0}} {
		d := &doubtful{Reader: strings.NewReader(test.content), again: test.again}
		_, err := io.ReadAll(Verified(d, b, nil, around))
		assert.Equal(t, test.content == "right", err == nil)
		assert.Equal(t, test.doubts, d.doubts, test.content)
		assert.Equal(t, test.doubts > 0 && test.again, errors.Is(err, ErrReadAgain))
		if test.doubts > 0 {
			require.EqualError(t, err, "reading: its content does not match the digest")
		}
	}
}

func TestTwice(t *testing.T) {
	other := errors.New("other")
	for _, test := range []struct {
		errs []error // of the attempts
		want error   // of the last one
	}{{[]error{nil}, nil}, {[]error{other}, other}, {[]error{ErrReadAgain, nil}, nil}, {[]error{ErrReadAgain, ErrReadAgain}, ErrReadAgain}} {
		n := 0
		err := Twice(func() error {
			n++
			return test.errs[n-1]
		})
		require.ErrorIs(t, err, test.want)
		assert.Len(t, test.errs, n)
	}
}
