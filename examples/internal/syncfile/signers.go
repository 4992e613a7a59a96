package syncfile

import (
	"errors"
	"fmt"
	"time"

	"go.podman.io/image/v5/signature/signer"

	"github.com/sparsecopy/sparsecopy/examples/internal/transform"
)

// Signers make the signatures of the copies whose images have sign-by-sigstore.
type Signers struct {
	opened map[string]*signer.Signer // by the path of the file with the parameters
	since  time.Time
}

// certificateLife is how long a certificate of Fulcio is good for.
const certificateLife = 10 * time.Minute

// Certified reports whether copies of the image are signed by a certificate that is good for
// minutes only: who signs for longer needs a key.
func (i *Image) Certified() bool { return i.changes.Certified() }

// OpenSigners opens a signer for each file with parameters that the images of copies name, and sets
// their options: before, the images can be planned and not copied. It may ask for certificates over
// the network, and people to log in for that: these are given at the time now. The caller must call
// Close when the copies are done, also if OpenSigners fails.
func OpenSigners(copies []Copy, people transform.People, now time.Time) (*Signers, error) {
	s := &Signers{opened: map[string]*signer.Signer{}, since: now}
	for _, c := range copies {
		path := c.Image.changes.SignBySigstore
		if path == "" {
			continue
		}
		if s.opened[path] == nil {
			opened, err := c.Image.changes.OpenSigner(people)
			if err != nil {
				return s, fmt.Errorf("the image in line %d: %w", c.Image.Line, err)
			}
			s.opened[path] = opened
		}
		c.Image.Options.Signers = []*signer.Signer{s.opened[path]}
	}
	return s, nil
}

// Close closes the signers.
func (s *Signers) Close() error {
	var failures []error
	for _, opened := range s.opened {
		failures = append(failures, opened.Close())
	}
	return errors.Join(failures...)
}

// Warning says what may be wrong with signatures of c that were made by now: they are not accepted
// if the certificate that signs them was no longer good. It is "" if nothing is.
func (s *Signers) Warning(c Copy, now time.Time) string {
	if age := now.Sub(s.since); c.Image.changes.Certified() && age > certificateLife {
		return fmt.Sprintf("what was signed in this copy may not be accepted: the certificate is one of Fulcio, for %v, and was given %v ago; sign with a key, or sync fewer images at a time",
			certificateLife, age.Round(time.Second))
	}
	return ""
}
