package main

// A selection is a tag of a repository that is mirrored, for two platforms, and what becomes of it.
type selection struct {
	repo, tag string
	want      []string // what lines makes of the report, if the list is stripped
	// refused is part of the error where the destination takes no list whose entries are no
	// manifests; "" for all others.
	refused string
}

var selections = []selection{
	{"buildkit-attested", "v1", []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
		"attestation of linux/amd64: copied, kept",
		"attestation of linux/arm64: copied, kept",
		"attestation of linux/s390x: skipped, stripped",
	}, ""},
	{"buildkit-cache-image", "v1", []string{"artifact: copied"}, ""},
	{"buildkit-cache-index", "v1", []string{
		"cache layer: copied, kept",
		"cache layer: copied, kept",
		"cache layer: copied, kept",
		"cache config: copied, kept",
	}, "cache"},
	{"buildkit-docker", "v1", []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
	}, ""},
	{"buildkit-subject", "v1", []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
		"attestation of linux/amd64: copied, kept",
		"attestation of linux/arm64: copied, kept",
		"attestation of linux/s390x: skipped, stripped",
		"vnd.docker.attestation.manifest.v1+json of linux/amd64: copied",
		"vnd.docker.attestation.manifest.v1+json of linux/arm64: copied",
	}, ""},
	{"buildx-attested", "v1", []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"attestation of linux/amd64: copied, kept",
		"attestation of linux/arm64: copied, kept",
	}, ""},
	{"buildx-create", "v1", []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
	}, ""},
	{"cosign-bundles", "list", []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
		"vnd.dev.sigstore.bundle.v0.3+json of all: skipped",
		"vnd.dev.sigstore.bundle.v0.3+json of linux/amd64: copied",
		"vnd.dev.sigstore.bundle.v0.3+json of linux/amd64: copied",
		"vnd.dev.sigstore.bundle.v0.3+json of linux/arm64: copied",
	}, ""},
	{"cosign-copied", "list", []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
	}, ""},
	{"cosign-tags", "list", []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
		"att of linux/amd64: copied",
		"sig of all: skipped",
		"sig of linux/amd64: copied",
		"sig of linux/arm64: copied",
	}, ""},
	{"ggcr-apko", "v1", []string{
		"linux/amd64: copied, kept",
		"linux/arm/v7: skipped, stripped",
		"linux/arm64: copied, kept",
	}, ""},
	{"ggcr-imgpkg", "v1", []string{"image: copied"}, ""},
	{"helm-chart", "0.1.0", []string{"artifact: copied"}, ""},
	{"ko-app", "v1", []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
		"sbom of all: skipped",
		"sbom of linux/amd64: copied",
		"sbom of linux/arm64: copied",
	}, ""},
	{"notation-api", "list", []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
		"vnd.cncf.notary.signature of all: skipped",
		"vnd.cncf.notary.signature of linux/amd64: copied",
	}, ""},
	{"notation-tag", "list", []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
		"vnd.cncf.notary.signature of all: skipped",
		"vnd.cncf.notary.signature of linux/amd64: copied",
	}, ""},
	{"soci-attested", "v1", []string{ // nothing ties the attestations to the images any more
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
		"attestation: skipped, stripped",
		"attestation: skipped, stripped",
		"attestation: skipped, stripped",
		"SOCI index of linux/amd64: copied, kept",
		"SOCI index of linux/arm64: copied, kept",
		"SOCI index of linux/s390x: skipped, stripped",
	}, ""},
	{"soci-converted", "v1", []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
		"SOCI index of linux/amd64: copied, kept",
		"SOCI index of linux/arm64: copied, kept",
		"SOCI index of linux/s390x: skipped, stripped",
	}, ""},
}
