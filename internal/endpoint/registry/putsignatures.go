package registry

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// PutSignatures implements endpoint.Destination. Sigstore's signatures become a sigstore
// attachment, or part of the one that is there; others go where registries.d, or the registry's
// extension for them, says.
func (d *Destination) PutSignatures(ctx context.Context, of digest.Digest, sigs endpoint.Signatures) error {
	return d.PutSignaturesWhen(ctx, func() error { return nil }, of, sigs)
}

// PutSignaturesWhen is PutSignatures for a manifest that is on its way: what there is to read is
// read meanwhile. Before anything becomes visible, it calls stored, which waits until the manifest
// is there, and may be called again.
func (d *Destination) PutSignaturesWhen(ctx context.Context, stored func() error, of digest.Digest, sigs endpoint.Signatures) error {
	if sigs == nil || sigs.Len() == 0 {
		return stored()
	}
	attachment, others, err := d.attachment(of, sigs)
	if err != nil {
		return err
	}
	if attachment != nil {
		if err := attachment.Put(ctx, d, stored); err != nil {
			return fmt.Errorf("writing the signatures of %s: %w", of, err)
		}
	}
	if err := stored(); err != nil {
		return err
	}
	return d.sigs.put(ctx, of, others)
}

// PutSignatureBlobs stores beforehand what PutSignatures with the same arguments would store before
// anything of it is visible. The manifest with digest of need not be there yet.
func (d *Destination) PutSignatureBlobs(ctx context.Context, of digest.Digest, sigs endpoint.Signatures) error {
	attachment, _, err := d.attachment(of, sigs)
	if err != nil || attachment == nil {
		return err
	}
	if err := attachment.PutBlobs(ctx, d); err != nil {
		return fmt.Errorf("writing the signatures of %s: %w", of, err)
	}
	return nil
}

// attachment returns the sigstore attachment for those of sigs that go there, nil if none do, and
// the others.
func (d *Destination) attachment(of digest.Digest, sigs endpoint.Signatures) (*attach.SignatureImage, endpoint.Signatures, error) {
	attachable, others := sigs.Split()
	if len(attachable) == 0 {
		return nil, others, nil
	}
	if err := d.TakesAttachments(); err != nil {
		return nil, others, err
	}
	attachment, err := attach.SignatureImageOf(of, attachable)
	return attachment, others, err
}

// TakesAttachments returns why sigstore attachments must not be written, nil if they may be: it is
// for whoever configures the system to say.
func (d *Destination) TakesAttachments() error {
	config, err := d.shared.signatureConfig(d.sys)
	if err != nil {
		return err
	}
	if !config.usesAttachments(d.ref) {
		return fmt.Errorf("writing sigstore attachments is disabled by configuration: "+
			"set use-sigstore-attachments to true for %s in a file of registries.d", d.name.Name())
	}
	return nil
}
