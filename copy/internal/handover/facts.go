package handover

import (
	"fmt"

	upstream "go.podman.io/image/v5/copy"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/plan"
)

// Facts returns what decides who does the work of a copy with these options, but for what is
// signed. from and to are what the ends are called in access.Transports.
func Facts(o *upstream.Options, from, to string) *plan.WayFacts {
	dest := access.Wanted(to, o.DestinationCtx)
	facts := &plan.WayFacts{
		Source: from, Destination: to, NativeSource: access.Transports[from].Source, NativeDestination: dest.Destination,
		UpstreamOnly: upstreamOnly(o, dest), EveryImage: everyImage(o), Stores: dest.MediaTypes, Layers: dest.Layers, ForeignStay: dest.Foreign,
		CompressionFormat: compressionFormat(o), Encrypts: encrypts(o), Decrypts: o.OciDecryptConfig != nil, DownloadsForeign: o.DownloadForeignLayers,
		Variants: variants(o),
	}
	if o.OciEncryptLayers != nil {
		facts.EncryptLayers = *o.OciEncryptLayers
	}
	return facts
}

// upstreamOnly returns the options that are set and that only upstream can carry out, whatever the
// images are.
func upstreamOnly(o *upstream.Options, dest access.Traits) []plan.OptionUse {
	return inUse([]optionUse{
		{o.DestinationTimestamp != nil && dest.Timestamps, "DestinationTimestamp", "dates what is created"},
	})
}

// everyImage returns the options that are set and that change images, whatever these are.
func everyImage(o *upstream.Options) []plan.OptionUse {
	return inUse([]optionUse{
		{encrypts(o), "OciEncryptConfig", "encrypts layers"},
		{o.OciEncryptLayers != nil, "OciEncryptLayers", "encrypts layers"},
		{o.ForceCompressionFormat, "ForceCompressionFormat", "changes layers"},
	})
}

// encrypts reports whether layers are to be encrypted: it takes keys, and layers.
func encrypts(o *upstream.Options) bool {
	return o.OciEncryptConfig != nil && o.OciEncryptLayers != nil
}

// An optionUse is an option, and what it does if it is set.
type optionUse struct {
	set          bool
	option, does string
}

// inUse returns those of options that are set.
func inUse(options []optionUse) []plan.OptionUse {
	var uses []plan.OptionUse
	for _, o := range options {
		if o.set {
			uses = append(uses, plan.OptionUse{Option: o.option, Does: o.does})
		}
	}
	return uses
}

// compressionFormat returns the name of the compression that is asked for, "" if none is.
func compressionFormat(o *upstream.Options) string {
	if o.DestinationCtx == nil || o.DestinationCtx.CompressionFormat == nil {
		return ""
	}
	return o.DestinationCtx.CompressionFormat.Name()
}

// variants returns the names of the compressions of the variants that are asked for.
func variants(o *upstream.Options) []string {
	var names []string
	for _, v := range o.EnsureCompressionVariantsExist {
		names = append(names, v.Algorithm.Name())
	}
	return names
}

// CheckGroup refuses to copy a list, as upstream does, to a destination that has no place for it.
func CheckGroup(selection upstream.ImageListSelection, top plan.Document, destination string) error {
	if !top.IsList() || selection == upstream.CopySystemImage || !access.Transports[destination].Single {
		return nil
	}
	return &plan.OptionsError{Options: []string{"ImageListSelection"}, Reason: fmt.Sprintf(
		"copying multiple images: destination transport %q does not support copying multiple images as a group", destination)}
}
