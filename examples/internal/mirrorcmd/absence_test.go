package mirrorcmd

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestAbsence reads a list with a missing child at registries that say so in their own ways, and at
// those that do not answer.
func TestAbsence(t *testing.T) {
	f := imagetest.Platforms(3, 1, 100)
	child := func(q *http.Request) bool { return strings.HasSuffix(q.URL.Path, f.Digest("arm64").String()) }
	for name, c := range map[string]struct {
		o      registrytest.Options
		absent bool
	}{
		"UNKNOWN":        {registrytest.Options{AbsentCode: "UNKNOWN"}, true},
		"TAG_EXPIRED":    {registrytest.Options{AbsentCode: "TAG_EXPIRED"}, true},
		"NAME_UNKNOWN":   {registrytest.Options{AbsentCode: "NAME_UNKNOWN"}, true},
		"no code":        {registrytest.Options{AbsentCode: "-"}, true},
		"a page":         {registrytest.Options{AbsentPage: true}, true},
		"DENIED":         {registrytest.Options{AbsentCode: "DENIED"}, false},
		"403":            {registrytest.Options{Script: registrytest.Only(child, registrytest.EveryNth(1, registrytest.Fail(403, "DENIED", "no")))}, false},
		"a server error": {registrytest.Options{Script: registrytest.Only(child, registrytest.EveryNth(1, registrytest.Fail(501, "UNSUPPORTED", "no")))}, false},
	} {
		t.Run(name, func(t *testing.T) {
			whole := registrytest.Start(t, registrytest.Options{})
			f.PushTo(whole, repo, tag, imagetest.Top)
			r := registrytest.Start(t, c.o)
			f.PushTo(r, repo, tag, imagetest.Top, "arm64")

			seen := runAll(t.Context(), t, "", "inspect", "--tls-verify=false", refTo(r))
			assert.Equal(t, c.absent, seen.status == StatusDone && strings.Contains(seen.stdout, "missing"), seen.stdout+seen.stderr)

			bundle := filepath.Join(t.TempDir(), "bundle")
			made := runAll(t.Context(), t, "", "bundle", "create", "--insecure-policy", "--src-tls-verify=false", "--all", "--skip-missing", bundle, refTo(r))
			assert.Equal(t, c.absent, made.status == StatusDone, made.stderr)

			verified := mirror(t, "verify", "--all", refTo(whole), refTo(r))
			assert.NotEqual(t, StatusDone, verified.status)
			assert.Equal(t, c.absent, strings.Contains(verified.stdout, "it is missing"), verified.stdout+verified.stderr)

			skipped := mirror(t, "verify", "--all", "--skip-missing", refTo(r), refTo(whole))
			assert.Equal(t, c.absent, skipped.status == StatusDone, skipped.stdout+skipped.stderr)
		})
	}
	t.Run("a page before anything", func(t *testing.T) {
		whole, r := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{AbsentPage: true})
		f.PushTo(whole, repo, tag, imagetest.Top)
		verified := mirror(t, "verify", "--all", refTo(whole), refTo(r))
		require.NotEqual(t, StatusDone, verified.status)
		assert.NotContains(t, verified.stdout, "names nothing")
	})
}
