package foreign

import "github.com/spf13/pflag"

// Define defines the flags that say how files are converted. Those of one format alone begin with
// its name.
func (o *Options) Define(flags *pflag.FlagSet) {
	flags.StringVar(&o.To, "to", "", "where the images of a file go that names no destinations: `TEMPLATE`, as destination in a sync file")
	flags.StringVar(&o.ImageSyncer.Auth, "image-syncer-auth", "", "as --auth of image-syncer: `FILE` of which only insecure is taken")
	flags.StringVar(&o.ImageSyncer.Registry, "image-syncer-registry", "", "as --registry of image-syncer: `HOST` that images go to which name no destination")
	flags.StringVar(&o.ImageSyncer.Namespace, "image-syncer-namespace", "", "as --namespace of image-syncer: `NAME` in that registry, below which they stand by the last part of their names")
	flags.StringSliceVar(&o.ImageSyncer.OS, "image-syncer-os", nil, "as --os of image-syncer: copy images for `OS`, a list")
	flags.StringSliceVar(&o.ImageSyncer.Architecture, "image-syncer-arch", nil, "as --arch of image-syncer: copy images for `ARCH`, a list")
	flags.BoolVar(&o.Skopeo.Scoped, "skopeo-scoped", false, "as --scoped of skopeo sync: below --to stands all of the source's name")
	flags.BoolVar(&o.Skopeo.All, "skopeo-all", false, "as --all of skopeo sync: copy lists whole, not only the image for this system")
	flags.BoolVar(&o.Skopeo.PreserveDigests, "skopeo-preserve-digests", false, "as --preserve-digests of skopeo sync")
	flags.BoolVar(&o.Skopeo.RemoveSignatures, "skopeo-remove-signatures", false, "as --remove-signatures of skopeo sync")
	flags.StringVar(&o.Skopeo.AppendSuffix, "skopeo-append-suffix", "", "as --append-suffix of skopeo sync: `TEXT` at the end of tags")
	flags.StringArrayVar(&o.KubernetesImagePaths, "kubernetes-image-path", nil, "where else manifests have images: `KIND=PATH`, such as Cache=.spec.nodes[].image; may be repeated")
}
