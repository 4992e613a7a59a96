package registries

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// programHabits are answers that programs look for in errors.
var programHabits = []habit{
	{"docker-hub-insufficient-scope", func(t *testing.T) {
		auth := &registrytest.Auth{Bearer: true, Accounts: []registrytest.Account{{Username: "u", Password: "p", PullOnly: true}}}
		programs{to: registrytest.Options{Auth: auth}, words: "requested access to the resource is denied", finds: "denied"}.run(t)
	}},
	{"proxy-page-404", func(t *testing.T) {
		programs{from: answering("GET", registrytest.FailHTML(404)), words: "StatusCode: 404"}.run(t)
	}},
	{"ecr-own-words", func(t *testing.T) {
		a := registrytest.Fail(404, "NAME_UNKNOWN", "The repository with name 'app' does not exist in the registry with id '123456789012'")
		programs{from: answering("GET", a), words: "name unknown", finds: "name unknown"}.run(t)
	}},
	{"gateway-503", func(t *testing.T) {
		a := registrytest.FailHTML(503)
		programs{
			from: answering("GET", a), words: "received unexpected HTTP status: 503 Service Unavailable", finds: "docker.UnexpectedHTTPStatusError", again: true,
		}.run(t)
	}},
	{"load-balancer-closes", func(t *testing.T) {
		programs{from: answering("GET", registrytest.Close()), words: "EOF", finds: "*url.Error", again: true}.run(t)
	}},
	{"gateway-bare-200", func(t *testing.T) {
		f := imagetest.Platforms(2, 2, 100)
		e, src := copytest.NewEnv(t), copytest.Places["registry"](t)
		src.Push(f, "v1", imagetest.Top)
		dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{BareSuccess: true}), "app")
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
		require.NoError(t, err)
		dst.Check(imagetest.Want{Tag: "v1", Fixture: f, Digest: f.Digest(imagetest.Top)})
	}},
}

// answering is a registry that answers all requests for manifests with the given method so.
func answering(method string, a registrytest.Answer) registrytest.Options {
	return registrytest.Options{Script: registrytest.Only(registrytest.Matching(method, registrytest.KindManifest),
		func(int, *http.Request) registrytest.Answer { return a })}
}

// programs look for something in the error of a copy that a registry makes fail, be it upstream's
// or ours.
type programs struct {
	from, to registrytest.Options
	words    string // in the text
	finds    string // name of the one of errorChecks that must hold
	again    bool   // they would try again
}

func (p programs) run(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, p.from), "app")
	src.Push(f, "v1", imagetest.Top)
	sys := *e.Sys
	sys.DockerAuthConfig = &types.DockerAuthConfig{Username: "u", Password: "p"}
	u := &upstream.Options{ImageListSelection: upstream.CopyAllImages, SourceCtx: e.Sys, DestinationCtx: &sys}
	o := e.Options(copy.Options{ImageListSelection: copy.CopyAllImages, DestinationCtx: &sys})
	to := func() types.ImageReference {
		return copytest.RegistryAt(t, registrytest.Start(t, p.to), "app").Ref("v1")
	}
	_, theirs := upstream.Image(t.Context(), e.Policy, to(), src.Ref("v1"), u)
	_, ours := copy.Image(t.Context(), e.Policy, to(), src.Ref("v1"), o)
	for who, err := range map[string]error{"upstream": theirs, "ours": ours} {
		require.Error(t, err, who)
		assert.Contains(t, err.Error(), p.words, who)
		if strings.Contains(p.words, "404") {
			assert.Contains(t, err.Error(), "reading manifest", who)
		}
		assert.True(t, p.finds == "" || copytest.ErrorChecks[p.finds](err), "%s: %v", who, err)
		assert.Equal(t, p.again, copytest.Retryable(err), "%s: %v", who, err)
	}
	for name, check := range copytest.ErrorChecks {
		if check(theirs) {
			assert.True(t, check(ours), "%s: upstream %v\nours %v", name, theirs, ours)
		}
	}
}
