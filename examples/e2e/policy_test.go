package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A policyCase is what becomes of a list of which amd64 alone is copied.
type policyCase struct {
	name   string
	policy manifest.SparsePolicy
	sparse bool   // the registry takes the list as it is
	hint   string // what mirror plan --compare --sparse auto says of the registry
}

var policyCases = []policyCase{
	{"off", off, false, "the destination refuses sparse lists: it announces that it does not take them"},
	{
		"off, requirements mean nothing", manifest.SparsePolicy{RequiredArchitectures: []string{"amd64"}}, false,
		"the destination refuses sparse lists: it announces that it does not take them",
	},
	{"on", on(), true, "it announces that it takes sparse lists"},
	{"on, required is selected", on("amd64"), true, "it announces that it takes sparse lists, and requires amd64"},
	{"on, required is not listed", on("amd64", "s390x"), true, "it announces that it takes sparse lists, and requires amd64 and s390x"},
	{"on, required is not selected", on("arm64"), false, "(linux/arm64): it announces that it takes sparse lists, and requires arm64"},
}

// TestPoliciesAndActions copies amd64 of three platforms under each policy, with each action.
func TestPoliciesAndActions(t *testing.T) {
	for form, options := range forms {
		f := threePlatforms(options...)
		source := newSource(t, f)
		for _, c := range policyCases {
			for how, hide := range map[string]bool{"announced": announced, "hidden": hidden} {
				for _, action := range []string{"keep", "strip", "auto"} {
					t.Run(form+"/"+c.name+"/"+how+"/"+action, func(t *testing.T) {
						c.run(t, f, source, hide, action)
					})
				}
			}
		}
	}
}

func (c policyCase) run(t *testing.T, f *imagetest.Fixture, source string, hide bool, action string) {
	dst := newPlace(t, c.policy, hide)
	r := mirror(t, "copy", "--platform", "linux/amd64", "--sparse", action, source, dst.ref(tag))

	if action == "keep" && !c.sparse {
		r.failed("refuses the sparse list "+f.Digest(imagetest.Top).String(), "--sparse auto")
		dst.checkUnknown(tag)
		assert.Equal(t, hide, len(dst.written()) > 0, "announced: before anything is written")
		return
	}
	r.done()
	kept := action != "strip" && c.sparse
	want := imagetest.Want{Tag: tag, Fixture: f, Only: true, Present: []string{"amd64"}, Absent: []string{"arm64", "ppc64le"}}
	if kept {
		want.Digest = f.Digest(imagetest.Top)
	} else {
		want.Absent = append(want.Absent, imagetest.Top)
	}
	dst.check(want)
	checkPullable(t, f, dst.ref(tag))

	triedInVain := action == "auto" && !c.sparse && hide
	assert.Equal(t, triedInVain, strings.Contains(r.stdout, "because the destination refused"), "%s", r.stdout)
	lists := 1
	if triedInVain {
		lists = 2
	}
	assert.Len(t, dst.seen(http.MethodPut+" /v2/"+repo+"/manifests/"), 1+lists, "amd64, and the list")
}

// TestPlanSaysWhatIsAnnounced compares, which reads what the registry announces, and writes
// nothing.
func TestPlanSaysWhatIsAnnounced(t *testing.T) {
	f := threePlatforms()
	source := newSource(t, f)
	for _, c := range policyCases {
		t.Run(c.name, func(t *testing.T) {
			dst := newPlace(t, c.policy, announced)
			plan := func(action string) outcome {
				return mirror(t, "plan", "--compare", "--platform", "linux/amd64", "--sparse", action, source, dst.ref(tag))
			}
			auto := plan("auto").done()
			assert.Contains(t, auto.stdout, c.hint)
			if c.sparse {
				assert.Contains(t, plan("keep").done().stdout, "action keep: the destination takes sparse lists: "+c.hint)
				other := newPlace(t, c.policy, announced)
				copied := mirror(t, "copy", "--platform", "linux/amd64", source, other.ref(tag)).done()
				assert.Contains(t, copied.stdout, "action keep: the destination takes sparse lists: "+c.hint, "as in the plan")
			} else {
				plan("keep").failed(c.hint, "--sparse auto")
			}
			assert.NotContains(t, plan("strip").done().stdout, "announces", "it does not matter")
			assert.Empty(t, dst.written())
			dst.checkEmpty()
		})
	}
	t.Run("without --compare nothing is asked", func(t *testing.T) {
		dst := newPlace(t, on("arm64"), announced)
		mirror(t, "plan", "--platform", "linux/amd64", "--sparse", "auto", source, dst.ref(tag)).done()
		assert.Empty(t, dst.seen(""))
	})
	t.Run("copy does what was planned", func(t *testing.T) {
		dst := newPlace(t, on("arm64"), announced)
		args := []string{"--platform", "linux/amd64", "--sparse", "auto", source, dst.ref(tag)}
		planned := mirror(t, "plan", append([]string{"--compare"}, args...)...).done()
		mirror(t, "copy", args...).done()
		top, err := dst.Top(tag)
		require.NoError(t, err)
		assert.Contains(t, planned.stdout, "destination digest "+top.Digest.String())
	})
}

// TestPolicyOfTheRepositoryIsAskedFor copies to a registry that is off but for some repositories.
func TestPolicyOfTheRepositoryIsAskedFor(t *testing.T) {
	f := threePlatforms()
	source := newSource(t, f)
	platforms := manifest.SparsePolicy{Enabled: true, RequiredPlatforms: []string{"linux/amd64", "linux/ppc64le"}}
	for name, c := range map[string]struct {
		rule    sparseregistry.Rule
		refused string
	}{
		"on":                    {sparseregistry.Rule{Pattern: "**", Policy: on("amd64")}, ""},
		"requires a platform":   {sparseregistry.Rule{Pattern: repo, Policy: platforms}, "(linux/ppc64le)"},
		"not of the repository": {sparseregistry.Rule{Pattern: "else/*", Policy: on()}, "it announces that it does not take them"},
	} {
		t.Run(name, func(t *testing.T) {
			dst := newPlaceOf(t, sparseregistry.Policies{Rules: []sparseregistry.Rule{c.rule}}, announced)
			r := mirror(t, "copy", "--platform", "linux/amd64", "--sparse", "keep", source, dst.ref(tag))
			assert.Len(t, dst.asked(), 2, "for all, and for the repository")
			if c.refused != "" {
				r.failed(c.refused)
				assert.Empty(t, dst.written())
				return
			}
			r.done()
			dst.check(imagetest.Want{Tag: tag, Digest: f.Digest(imagetest.Top), Fixture: f, Only: true, Present: []string{"amd64"}, Absent: []string{"arm64", "ppc64le"}})
		})
	}
}
