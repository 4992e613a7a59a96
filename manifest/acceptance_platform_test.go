package manifest

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func platformWith(os, architecture, variant string) string {
	return `{"os":"` + os + `","architecture":"` + architecture + `","variant":"` + variant + `"}`
}

func TestRequiredPlatforms(t *testing.T) {
	for _, c := range []struct {
		required string
		yes, no  string // platforms of entries; "" for an operating system or a variant that is not stated
	}{
		{"linux/amd64", "linux/amd64 linux/amd64/v1 linux/amd64/v3 /amd64", "windows/amd64 linux/arm64 linux/AMD64 Linux/amd64 unknown/unknown unknown/amd64"},
		{"linux/amd64/v1", "linux/amd64 linux/amd64/v1 /amd64", "linux/amd64/v2 windows/amd64"},
		{"linux/amd64/v3", "linux/amd64/v3 /amd64/v3", "linux/amd64 linux/amd64/v1 linux/amd64/v2 windows/amd64/v3 /amd64"},
		{"linux/arm64", "linux/arm64 linux/arm64/v8 linux/arm64/v9", "linux/arm"},
		{"linux/arm64/v8", "linux/arm64 linux/arm64/v8", "linux/arm64/v9 linux/arm64/v8.1 linux/arm64/8"},
		{"linux/arm64/v9", "linux/arm64/v9", "linux/arm64 linux/arm64/v8"},
		{"linux/arm", "linux/arm linux/arm/v5 linux/arm/v7 linux/arm/other", "linux/arm64 windows/arm"},
		{"linux/arm/v7", "linux/arm linux/arm/v7", "linux/arm/v6 linux/arm/v8 linux/arm/V7 linux/arm/7 windows/arm windows/arm/v7"},
		{"windows/amd64", "windows/amd64", "linux/amd64"},
		{"linux/ppc64le/power9", "linux/ppc64le linux/ppc64le/power9", "linux/ppc64le/power8"},
	} {
		p := SparsePolicy{Enabled: true, RequiredPlatforms: []string{c.required}}
		require.NoError(t, p.Validate(), c.required)
		for want, all := range map[bool]string{true: c.yes, false: c.no} {
			for text := range strings.FieldsSeq(all) {
				stated := parseRequiredPlatform(text)
				in := acceptanceList(t, [2]string{"a", platformWith(stated.os, stated.architecture, stated.variant)}).Instances()[0]
				assert.Equal(t, want, p.Requires(in), "%s: %s", c.required, text)
			}
		}
		for _, without := range []string{"", "null", "{}", `{"os":"linux"}`, `{"os":"linux","variant":"v7"}`} {
			in := acceptanceList(t, [2]string{"a", without}).Instances()[0]
			assert.True(t, p.Requires(in), "%s: %s", c.required, without)
			lenient := p
			lenient.OptionalWithoutPlatform = true
			assert.False(t, lenient.Requires(in), "%s: %s", c.required, without)
		}
	}
}

// The naive model: an entry, or a requirement, is the set of all platforms that it can be.
var (
	modelSystems  = []string{"linux", "windows"}
	modelVariants = map[string][]string{"amd64": {"v1", "v3"}, "arm": {"v6", "v7", "some other"}, "s390x": {"some other"}}
)

func canBe(os, architecture string, variants ...string) map[[3]string]bool {
	set := map[[3]string]bool{}
	for _, o := range modelSystems {
		for _, v := range variants {
			if os == "" || os == o {
				set[[3]string{o, architecture, v}] = true
			}
		}
	}
	return set
}

func modelOfEntry(os, architecture, variant string) map[[3]string]bool {
	switch {
	case variant != "":
		return canBe(os, architecture, variant)
	case architecture == "amd64":
		return canBe(os, architecture, "v1")
	default:
		return canBe(os, architecture, modelVariants[architecture]...)
	}
}

func modelOfRequired(text string) map[[3]string]bool {
	parts := append(strings.Split(text, "/"), "")
	if parts[2] == "" {
		return canBe(parts[0], parts[1], modelVariants[parts[1]]...)
	}
	return canBe(parts[0], parts[1], parts[2])
}

// TestPoliciesWithPlatformsDoAsTheModelDoes checks random lists against random policies.
func TestPoliciesWithPlatformsDoAsTheModelDoes(t *testing.T) {
	const seed = 20260103
	random := rand.New(rand.NewPCG(seed, 0))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	for range 5000 {
		p := SparsePolicy{Enabled: true, OptionalWithoutPlatform: random.IntN(2) == 0}
		for range random.IntN(3) {
			p.RequiredPlatforms = append(p.RequiredPlatforms, pick("linux", "windows")+"/"+pick("amd64", "arm", "s390x", "amd64/v1", "amd64/v3", "arm/v6", "arm/v7"))
		}
		if random.IntN(3) == 0 {
			p.RequiredArchitectures = []string{pick("amd64", "arm", "s390x")}
		}
		os, architecture := pick("", "linux", "windows"), pick("", "amd64", "arm", "s390x")
		variant := pick(append([]string{""}, modelVariants[architecture]...)...)

		in := Instance{Platform: &imgspecv1.Platform{OS: os, Architecture: architecture, Variant: variant}}
		want := architecture != "" && slices.Contains(p.RequiredArchitectures, architecture)
		for _, text := range p.RequiredPlatforms {
			required := modelOfRequired(text)
			for platform := range modelOfEntry(os, architecture, variant) {
				want = want || architecture != "" && required[platform]
			}
		}
		if architecture == "" {
			want = len(p.RequiredArchitectures)+len(p.RequiredPlatforms) > 0 && !p.OptionalWithoutPlatform
		}
		if !assert.Equal(t, want, p.Requires(in), "%+v %+v, seed %d", p, *in.Platform, seed) {
			return
		}
	}
}

func TestMissingPlatformsAreNamed(t *testing.T) {
	list := acceptanceList(t,
		[2]string{"a", platformWith("linux", "arm", "v6")}, [2]string{"b", platformWith("linux", "arm", "")}, [2]string{"c", platformWith("linux", "arm", "v7")},
		[2]string{"d", platformOf("linux", "amd64")}, [2]string{"e", platformOf("windows", "amd64")}, [2]string{"f", platformOf("", "arm64")},
		[2]string{"g", platformOf("linux", "s390x")}, [2]string{"h", ""},
	)
	p := SparsePolicy{
		Enabled: true, RequiredArchitectures: []string{"s390x"},
		RequiredPlatforms: []string{"linux/arm/v7", "linux/amd64", "linux/arm64", "linux/s390x"},
	}
	require.NoError(t, p.Validate())
	var missing *MissingChildrenError
	require.ErrorAs(t, p.Check(list, func(digest.Digest) bool { return false }), &missing)
	var messages, required, stated []string
	for i, m := range missing.Missing {
		messages, required, stated = append(messages, missing.Message(i)), append(required, m.RequiredPlatform), append(stated, m.PlatformName())
	}
	assert.Equal(t, []string{
		"Required platform 'linux/arm/v7' manifest not found (for 'linux/arm', as the list says) (and 5 more)",
		"Required platform 'linux/arm/v7' manifest not found",
		"Required platform 'linux/amd64' manifest not found",
		"Required platform 'linux/arm64' manifest not found (for 'arm64', as the list says)",
		"Required architecture 's390x' manifest not found",
		"Required manifest " + digest.FromString("h").String() + " without platform not found",
	}, messages)
	assert.Equal(t, []string{"linux/arm/v7", "linux/arm/v7", "linux/amd64", "linux/arm64", "", ""}, required)
	assert.Equal(t, []string{"linux/arm", "linux/arm/v7", "linux/amd64", "arm64", "linux/s390x", ""}, stated)

	p.Enabled = false
	require.ErrorAs(t, p.Check(list, func(digest.Digest) bool { return false }), &missing)
	assert.Equal(t, "Manifest "+digest.FromString("a").String()+" for platform 'linux/arm/v6' not found (and 7 more)", missing.Error())
	for _, m := range missing.Missing {
		assert.Empty(t, m.RequiredPlatform)
	}
}

func TestRequiredPlatformsThatNoListNamesAreRefused(t *testing.T) {
	const form = `is not of the form os/architecture or os/architecture/variant, such as "linux/arm/v7"`
	for platforms, want := range map[string]string{
		"linux/amd64":             "",
		"linux/arm,linux/arm/v7":  "",
		"linux/arm64/v8.1":        "",
		"windows/amd64":           "",
		"amd64":                   `required platform "amd64": ` + form,
		"linux/arm/v7/x":          `required platform "linux/arm/v7/x": ` + form,
		"linux/arm/":              `required platform "linux/arm/": ` + form,
		"":                        `required platform "": ` + form,
		"linux/AMD64":             `required platform "linux/AMD64": must be in lower case: "linux/amd64"`,
		"linux/amd46":             `required platform "linux/amd46": unknown architecture "amd46" (known: 386, amd64, `,
		"linux/":                  `required platform "linux/": unknown architecture "" (known: `,
		"linux/*":                 `required platform "linux/*": unknown architecture "*" (known: `,
		"linus/amd64":             `required platform "linus/amd64": unknown operating system "linus" (known: aix, android, `,
		"/amd64":                  `required platform "/amd64": unknown operating system "" (known: `,
		"unknown/unknown":         `required platform "unknown/unknown": unknown operating system "unknown" (known: `,
		"linux/arm/7":             `required platform "linux/arm/7": unknown variant "7" (known of arm: v5, v6, v7, v8)`,
		"linux/s390x/v7":          `required platform "linux/s390x/v7": unknown variant "v7": none of s390x is known`,
		"linux/arm64,linux/arm64": `required platform "linux/arm64" is named twice`,
		" linux/arm64":            `required platform " linux/arm64": unknown operating system " linux" (known: `,
	} {
		p := SparsePolicy{RequiredPlatforms: strings.Split(platforms, ",")}
		for _, p.Enabled = range []bool{false, true} {
			err := p.Validate()
			if want == "" {
				assert.NoError(t, err, platforms)
			} else {
				assert.ErrorContains(t, err, want, platforms)
			}
		}
	}
}
