package mirrorcmd

import (
	"cmp"

	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/signature/signer"
	"go.podman.io/image/v5/types"

	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/transform"
)

// ends are what a command that copies, or plans to, needs.
type ends struct {
	source, destination types.ImageReference
	policy              *signature.PolicyContext
	options             copy.Options
	copier              *copy.Copier

	changes *transform.Settings
	people  transform.People
	signer  *signer.Signer // to be closed, nil for none
}

// prepare checks the command line, and then the files that it names. Nothing has been opened if it
// fails.
func (e *environment) prepare(args []string, sel *selection, access *access, out *output) (*ends, error) {
	e.sel = sel
	if err := checkAll(out.check, sel.check, access.check); err != nil {
		return nil, err
	}
	source, destination, err := access.parseReferences(args)
	if err != nil {
		return nil, err
	}
	options := sel.options
	if given := access.referrers.given(access.flags); options.ReferrersFrom == nil && len(given) > 0 {
		return nil, misusef("%s has no effect without --referrers-source", dashed(given))
	}
	if err := cmp.Or(sel.changes.Apply(&options), sel.changes.CheckDestination(destination)); err != nil {
		return nil, &misuse{err}
	}
	sys, err := access.systemContexts(e)
	if err != nil {
		return nil, err
	}
	options.SourceCtx, options.DestinationCtx = sys.source, sel.changes.Context(sys.destination)
	options.ReferrersFrom = reachedBy(options.ReferrersFrom, sys.referrers)
	policy, err := access.policyContext(options.SourceCtx)
	if err != nil {
		return nil, err
	}
	limits := e.limits(access)
	limits.MaxParallelDownloads = options.MaxParallelDownloads
	return &ends{
		source: source, destination: destination, policy: policy, options: options, copier: copy.NewCopier(limits),
		changes: &sel.changes, people: e.people(sys.secrets),
	}, nil
}

// unlock opens the keys that sign, until close. A plan needs none.
func (e *ends) unlock() error {
	if err := e.changes.Unlock(&e.options, e.people); err != nil {
		return err
	}
	var err error
	if e.signer, err = e.changes.OpenSigner(e.people); err != nil {
		return err
	}
	if e.signer != nil {
		e.options.Signers = []*signer.Signer{e.signer}
	}
	return nil
}

func (e *ends) close() {
	_ = e.copier.Close() // closes connections that nobody uses any more
	if e.signer != nil {
		if err := e.signer.Close(); err != nil {
			logrus.Debugf("signer: %v", err)
		}
	}
	if err := e.policy.Destroy(); err != nil {
		logrus.Debugf("signature policy: %v", err)
	}
}
