package main

import "github.com/sparsecopy/sparsecopy/copy"

// A selection is a tag of a repository that is mirrored, for two platforms, and what becomes of it.
type selection struct {
	repo, tag string
	kind      string   // what the report of mirror sync calls it
	want      []string // what lines makes of the report, if the list is stripped
	// warning is part of the only warning if the list is stripped, "" if there is none.
	warning string
	// single is for images that say nothing of a platform, which platforms do not choose.
	single copy.SingleImageAction
	// refused is part of the error where the destination takes no list whose entries are no
	// manifests; "" for all others.
	refused string
}

var selections = []selection{
	{repo: "buildkit-attested", tag: "v1", kind: "list", want: []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
		"attestation of linux/amd64: copied, kept",
		"attestation of linux/arm64: copied, kept",
		"attestation of linux/s390x: skipped, stripped",
	}},
	{repo: "buildkit-cache-image", tag: "v1", kind: "artifact", want: []string{"artifact: copied"}},
	{repo: "buildkit-cache-index", tag: "v1", kind: "build cache", want: []string{
		"cache layer: copied, kept",
		"cache layer: copied, kept",
		"cache layer: copied, kept",
		"cache config: copied, kept",
	}, refused: "cache"},
	{repo: "buildkit-docker", tag: "v1", kind: "list", want: []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
	}},
	{repo: "buildkit-subject", tag: "v1", kind: "list", want: []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
		"attestation of linux/amd64: copied, kept",
		"attestation of linux/arm64: copied, kept",
		"attestation of linux/s390x: skipped, stripped",
		"vnd.docker.attestation.manifest.v1+json of linux/amd64: copied",
		"vnd.docker.attestation.manifest.v1+json of linux/arm64: copied",
	}},
	{repo: "buildx-attested", tag: "v1", kind: "list", want: []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"attestation of linux/amd64: copied, kept",
		"attestation of linux/arm64: copied, kept",
	}},
	{repo: "buildx-create", tag: "v1", kind: "list", want: []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
	}},
	{repo: "cosign-bundles", tag: "list", kind: "list", want: []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
		"vnd.dev.sigstore.bundle.v0.3+json of all: skipped",
		"vnd.dev.sigstore.bundle.v0.3+json of linux/amd64: copied",
		"vnd.dev.sigstore.bundle.v0.3+json of linux/amd64: copied",
		"vnd.dev.sigstore.bundle.v0.3+json of linux/arm64: copied",
	}, warning: "is signed, and changes"},
	{repo: "cosign-copied", tag: "list", kind: "list", want: []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
	}},
	{repo: "cosign-tags", tag: "list", kind: "list", want: []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
		"att of linux/amd64: copied",
		"sig of all: skipped",
		"sig of linux/amd64: copied",
		"sig of linux/arm64: copied",
	}, warning: "is signed, and changes"},
	{repo: "ggcr-apko", tag: "v1", kind: "list", want: []string{
		"linux/amd64: copied, kept",
		"linux/arm/v7: skipped, stripped",
		"linux/arm64: copied, kept",
	}},
	{repo: "ggcr-imgpkg", tag: "v1", kind: "image", want: []string{
		"image: copied",
		"image-locations.imgpkg of image: copied",
		"imgpkg of image: copied",
	}, single: copy.CopySingleImage},
	{repo: "helm-chart", tag: "0.1.0", kind: "artifact", want: []string{"artifact: copied"}},
	{repo: "image-twins", tag: "v1", kind: "list", want: []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
		"zstd twin of linux/amd64: copied, kept",
		"zstd twin of linux/arm64: copied, kept",
		"zstd twin of linux/s390x: skipped, stripped",
	}},
	{repo: "ko-app", tag: "v1", kind: "list", want: []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
		"sbom of all: skipped",
		"sbom of linux/amd64: copied",
		"sbom of linux/arm64: copied",
	}},
	{repo: "notation-api", tag: "list", kind: "list", want: []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
		"vnd.cncf.notary.signature of all: skipped",
		"vnd.cncf.notary.signature of linux/amd64: copied",
	}, warning: "is signed, and changes"},
	{repo: "notation-tag", tag: "list", kind: "list", want: []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
		"vnd.cncf.notary.signature of all: skipped",
		"vnd.cncf.notary.signature of linux/amd64: copied",
	}, warning: "is signed, and changes"},
	{repo: "soci-attested", tag: "v1", kind: "list", want: []string{ // nothing ties the attestations to the images any more
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
		"attestation: skipped, stripped: nothing says what it describes",
		"attestation: skipped, stripped: nothing says what it describes",
		"attestation: skipped, stripped: nothing says what it describes",
		"SOCI index of linux/amd64: copied, kept",
		"SOCI index of linux/arm64: copied, kept",
		"SOCI index of linux/s390x: skipped, stripped",
	}, warning: "attestations are left behind (3)"},
	{repo: "soci-converted", tag: "v1", kind: "list", want: []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
		"SOCI index of linux/amd64: copied, kept",
		"SOCI index of linux/arm64: copied, kept",
		"SOCI index of linux/s390x: skipped, stripped",
	}},
}
