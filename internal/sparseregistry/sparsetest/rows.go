package sparsetest

import (
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// off and on are the two policies.
var off = manifest.SparsePolicy{}

func on(required ...string) manifest.SparsePolicy {
	return manifest.SparsePolicy{Enabled: true, RequiredArchitectures: required}
}

func platforms(required ...string) manifest.SparsePolicy {
	return manifest.SparsePolicy{Enabled: true, RequiredPlatforms: required}
}

// A child is the refusal of a list because of one child.
type child struct {
	name, architecture, message string
}

// A pushCase is a list that is pushed to a repository in which some children are.
type pushCase struct {
	name    string
	policy  manifest.SparsePolicy
	present []string           // children that are pushed first
	list    []imagetest.Option // its entries, and what else there is
	missing []child            // one error each, in this order; none if the list is accepted. DIGEST(name) stands for a digest
	invalid string             // instead: the beginning of the only error's message
}

func entries(names ...string) []imagetest.Option {
	return []imagetest.Option{imagetest.Entries(names...)}
}

var pushCases = []pushCase{
	{
		name: "Q1 off, all children", policy: off,
		present: []string{"amd64", "arm64", "ppc64le"}, list: entries("amd64", "arm64", "ppc64le"),
	},
	{
		name: "Q2 off, one child missing", policy: off,
		present: []string{"amd64", "ppc64le"}, list: entries("amd64", "arm64", "ppc64le"),
		missing: []child{{"arm64", "arm64", "Manifest DIGEST(arm64) for platform 'linux/arm64' not found"}},
	},
	{
		name: "Q2 off, several children missing", policy: off,
		list: entries("amd64", "armv7", "plain", "att"),
		missing: []child{
			{"amd64", "amd64", "Manifest DIGEST(amd64) for platform 'linux/amd64' not found (and 3 more)"},
			{"armv7", "arm", "Manifest DIGEST(armv7) for platform 'linux/arm/v7' not found"},
			{"plain", "", "Manifest DIGEST(plain) without platform not found"},
			{"att", "unknown", "Manifest DIGEST(att) for platform 'unknown/unknown' not found"},
		},
	},
	{
		name: "Q3 off, requirements mean nothing", policy: manifest.SparsePolicy{RequiredArchitectures: []string{"amd64"}},
		present: []string{"amd64"}, list: entries("amd64", "arm64"),
		missing: []child{{"arm64", "arm64", "Manifest DIGEST(arm64) for platform 'linux/arm64' not found"}},
	},
	{
		name: "Q4 on, none required, all missing", policy: on(),
		list: entries("amd64", "arm64", "plain", "att"),
	},
	{
		name: "Q5 on, the required one is there", policy: on("amd64"),
		present: []string{"amd64"}, list: entries("amd64", "arm64", "ppc64le"),
	},
	{
		name: "Q6 on, the required one is missing", policy: on("amd64"),
		present: []string{"arm64", "ppc64le"}, list: entries("amd64", "arm64", "ppc64le"),
		missing: []child{{"amd64", "amd64", "Required architecture 'amd64' manifest not found"}},
	},
	{
		name: "Q7 on, two required and one other missing", policy: on("amd64", "arm64"),
		list: entries("amd64", "s390x", "arm64"),
		missing: []child{
			{"amd64", "amd64", "Required architecture 'amd64' manifest not found (and 1 more)"},
			{"arm64", "arm64", "Required architecture 'arm64' manifest not found"},
		},
	},
	{
		name: "Q8 on, the list does not name the required one", policy: on("amd64"),
		list: entries("arm64", "s390x"),
	},
	{
		name: "Q9 on, a child without platform missing", policy: on("amd64"),
		present: []string{"amd64"}, list: entries("amd64", "plain"),
		missing: []child{{"plain", "", "Required manifest DIGEST(plain) without platform not found"}},
	},
	{
		name:    "Q9 on, a child without platform missing, with the switch",
		policy:  manifest.SparsePolicy{Enabled: true, RequiredArchitectures: []string{"amd64"}, OptionalWithoutPlatform: true},
		present: []string{"amd64"}, list: entries("amd64", "plain"),
	},
	{
		name: "Q10 on, unknown/unknown missing", policy: on("amd64"),
		present: []string{"amd64"}, list: entries("amd64", "att"),
	},
	{
		name: "Q11 on, a variant missing", policy: on("arm"),
		present: []string{"armv7"}, list: entries("armv6", "armv7"),
		missing: []child{{"armv6", "arm", "Required architecture 'arm' manifest not found"}},
	},
	{
		name: "Q12 on, another operating system missing", policy: on("amd64"),
		present: []string{"amd64"}, list: entries("amd64", "windows"),
		missing: []child{{"windows", "amd64", "Required architecture 'amd64' manifest not found"}},
	},
	{
		name: "Q28 on, a platform that is not required is missing", policy: platforms("linux/arm/v7", "linux/amd64"),
		present: []string{"armv7"}, list: entries("armv6", "armv7", "windows", "att"),
	},
	{
		name: "Q28 on, a required platform is missing", policy: platforms("linux/arm/v7", "linux/amd64"),
		present: []string{"armv6", "windows"}, list: entries("windows", "armv7", "armv6", "arm64"),
		missing: []child{{"armv7", "arm", "Required platform 'linux/arm/v7' manifest not found"}},
	},
	{
		name: "Q28 on, a platform of any variant is missing", policy: platforms("linux/arm"),
		present: []string{"armv7"}, list: entries("armv7", "armv6"),
		missing: []child{{"armv6", "arm", "Required platform 'linux/arm' manifest not found (for 'linux/arm/v6', as the list says)"}},
	},
	{
		name: "Q28 on, what may be the variant is missing", policy: platforms("linux/arm/v7"),
		list:    []imagetest.Option{imagetest.Entries("armv6"), imagetest.Entry("armv7", imagetest.Platform("linux/arm"))},
		missing: []child{{"armv7", "arm", "Required platform 'linux/arm/v7' manifest not found (for 'linux/arm', as the list says)"}},
	},
	{
		name:   "Q28 on, an architecture and a platform",
		policy: manifest.SparsePolicy{Enabled: true, RequiredArchitectures: []string{"s390x"}, RequiredPlatforms: []string{"windows/amd64"}},
		list:   entries("amd64", "windows", "s390x"),
		missing: []child{
			{"windows", "amd64", "Required platform 'windows/amd64' manifest not found (and 1 more)"},
			{"s390x", "s390x", "Required architecture 's390x' manifest not found"},
		},
	},
	{
		name: "Q28 on, with a required platform, a child without platform missing", policy: platforms("linux/amd64"),
		present: []string{"amd64"}, list: entries("amd64", "plain"),
		missing: []child{{"plain", "", "Required manifest DIGEST(plain) without platform not found"}},
	},
	{
		name:    "Q28 on, with a required platform, a child without platform missing, with the switch",
		policy:  manifest.SparsePolicy{Enabled: true, RequiredPlatforms: []string{"linux/amd64"}, OptionalWithoutPlatform: true},
		present: []string{"amd64"}, list: entries("amd64", "plain"),
	},
	{
		name: "Q28 off, required platforms mean nothing", policy: manifest.SparsePolicy{RequiredPlatforms: []string{"linux/amd64"}},
		present: []string{"amd64"}, list: entries("amd64", "arm64"),
		missing: []child{{"arm64", "arm64", "Manifest DIGEST(arm64) for platform 'linux/arm64' not found"}},
	},
	{
		name: "Q14 on, a required child with the wrong size", policy: on("amd64"),
		present: []string{"amd64"}, list: []imagetest.Option{imagetest.Entry("amd64", imagetest.EntrySize(12))},
		invalid: "manifests[0]: size is 12, but manifest DIGEST(amd64) has ",
	},
	{
		name: "Q14 on, an optional child with the wrong size", policy: on("amd64"),
		present: []string{"amd64", "arm64"},
		list:    []imagetest.Option{imagetest.Entries("amd64"), imagetest.Entry("arm64", imagetest.EntrySize(12))},
		invalid: "manifests[1]: size is 12, but manifest DIGEST(arm64) has ",
	},
	{
		name: "Q14 on, the size of a missing child means nothing", policy: on("amd64"),
		present: []string{"amd64"},
		list:    []imagetest.Option{imagetest.Entries("amd64"), imagetest.Entry("arm64", imagetest.EntrySize(12))},
	},
	{
		name: "Q15 on, the same digest twice, missing", policy: on("amd64", "arm64"),
		list: []imagetest.Option{imagetest.Entries("amd64"), imagetest.Entry("amd64", imagetest.Platform("linux/arm64"))},
		missing: []child{
			{"amd64", "amd64", "Required architecture 'amd64' manifest not found"},
		},
	},
	{
		name: "Q15 on, only the second entry of a digest is required", policy: on("arm64"),
		list:    []imagetest.Option{imagetest.Entries("armv7"), imagetest.Entry("armv7", imagetest.Platform("linux/arm64"))},
		missing: []child{{"armv7", "arm64", "Required architecture 'arm64' manifest not found"}},
	},
	{
		name: "Q15 on, the same digest twice, there", policy: on("amd64", "arm64"),
		present: []string{"amd64"},
		list:    []imagetest.Option{imagetest.Entries("amd64"), imagetest.Entry("amd64", imagetest.Platform("linux/arm64"))},
	},
	{
		name: "Q19 on, full list", policy: on("amd64"),
		present: []string{"amd64", "arm64", "ppc64le"}, list: entries("amd64", "arm64", "ppc64le"),
	},
	{
		name: "Q20 off, nested list missing", policy: off,
		present: []string{"amd64"}, list: entries("amd64", "inner"),
		missing: []child{{"inner", "", "Manifest DIGEST(inner) without platform not found"}},
	},
	{
		name: "Q20 on, nested list missing", policy: on("amd64"),
		present: []string{"amd64"}, list: entries("amd64", "inner"),
		missing: []child{{"inner", "", "Required manifest DIGEST(inner) without platform not found"}},
	},
	{
		name: "Q21 on, the subject does not exist", policy: on("amd64"),
		present: []string{"amd64"}, list: []imagetest.Option{imagetest.Entries("amd64", "arm64"), imagetest.Subject("s390x")},
	},
	{
		name: "Q21 off, the subject does not exist", policy: off,
		present: []string{"amd64"}, list: []imagetest.Option{imagetest.Entries("amd64"), imagetest.Subject("s390x")},
	},
	{
		name: "Q27 off, a blob in the place of a manifest, there", policy: off,
		present: []string{"amd64"}, list: entries("base", "amd64", "base"),
	},
	{
		name: "Q27 off, a blob in the place of a manifest, missing", policy: off,
		present: []string{"amd64"}, list: entries("base", "layer", "amd64"),
		missing: []child{{"layer", "", "Blob DIGEST(layer) not found"}},
	},
	{
		name: "Q27 on, a blob in the place of a manifest, missing", policy: on("amd64"),
		present: []string{"amd64"}, list: entries("base", "layer", "amd64"),
		missing: []child{{"layer", "", "Required blob DIGEST(layer) without platform not found"}},
	},
	{
		name: "Q27 on, none required, a blob in the place of a manifest, missing", policy: on(),
		list: entries("layer"),
	},
	{
		name: "Q27 on, the wrong size of a blob", policy: on("amd64"),
		present: []string{"amd64"}, list: []imagetest.Option{imagetest.Entry("base", imagetest.EntrySize(12))},
		invalid: "manifests[0]: size is 12, but blob DIGEST(base) has",
	},
	{
		name: "Q27 off, a manifest named as a blob", policy: off,
		present: []string{"amd64"}, list: []imagetest.Option{
			imagetest.Entry("amd64", imagetest.NoPlatform(), imagetest.EntryMediaType(manifest.MediaTypeDockerLayer)),
		},
		missing: []child{{"amd64", "", "Blob DIGEST(amd64) not found"}},
	},
}
