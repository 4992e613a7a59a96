//go:build linux

package torture

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// allWritten is all that is written by copies: logs of every level, errors, reports, plans and
// lines of progress.
type allWritten struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (e *allWritten) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.text.Write(p)
}

// Levels and Fire take log entries with all their fields.
func (e *allWritten) Levels() []logrus.Level { return logrus.AllLevels }
func (e *allWritten) Fire(entry *logrus.Entry) error {
	fmt.Fprintf(e, "%s %v\n", entry.Message, entry.Data)
	return nil
}

// listen makes e hear what is logged until the test ends.
func (e *allWritten) listen(t *testing.T) {
	level, hooks := logrus.GetLevel(), logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{})
	logrus.SetLevel(logrus.TraceLevel)
	logrus.SetOutput(e)
	logrus.AddHook(e)
	t.Cleanup(func() {
		logrus.SetLevel(level)
		logrus.SetOutput(os.Stderr)
		logrus.StandardLogger().ReplaceHooks(hooks)
	})
}

// TestTortureSecrets copies with every kind of credential, with answers that contain secrets, and
// with errors. What is written down, at any log level, has none of them.
func TestTortureSecrets(t *testing.T) {
	const (
		user, password, identity = "the-user-name", "hunter2-password", "hunter2-identity-token"
		signature                = "hunter2-signed-url"
		registryToken            = "hunter2-registry-token"
	)
	f := imagetest.Platforms(2, 1, 100)
	// sign puts a secret into every URL that an answer gives: upload locations, redirects, token
	// services.
	var tokens sync.Map
	sign := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if given, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer "); ok {
				tokens.Store(given, true)
			}
			if strings.Contains(req.URL.Path, "/blobs/sha256") && req.Method == http.MethodGet && req.URL.Query().Get("sig") == "" {
				w.Header().Set("Location", "http://userinfo:"+signature+"@"+req.Host+req.URL.Path+"?sig="+signature+"#"+signature)
				w.WriteHeader(http.StatusTemporaryRedirect)
				return
			}
			next.ServeHTTP(&signingWriter{ResponseWriter: w, secret: signature}, req)
		})
	}
	faults := map[string]registrytest.Script{
		"none":   nil,
		"403":    registrytest.EveryNth(5, registrytest.Fail(403, "DENIED", "no")),
		"closed": registrytest.EveryNth(4, registrytest.Close()),
		"closed always": func(n int, _ *http.Request) registrytest.Answer {
			return map[bool]registrytest.Answer{true: registrytest.Close()}[n > 9]
		},
		"cut":     registrytest.EveryNth(3, registrytest.CutBody(10)),
		"damaged": registrytest.EveryNth(3, registrytest.Corrupt(3)),
		"page":    registrytest.EveryNth(6, registrytest.FailHTML(200)),
		"401":     registrytest.EveryNth(4, registrytest.Fail(401, "UNAUTHORIZED", "no")),
		"bad location": registrytest.Only(registrytest.Matching(http.MethodPost, ""), registrytest.EveryNth(1, registrytest.Answer{
			Status: 202, Header: http.Header{"Location": {"http://u:" + signature + "@127.0.0.1:1/%zz?sig=" + signature}},
		})),
		"nowhere": registrytest.Only(registrytest.Matching(http.MethodPost, ""), registrytest.EveryNth(1, registrytest.Answer{
			Status: 202, Header: http.Header{"Location": {"http://u:" + signature + "@127.0.0.1:1/x?sig=" + signature}},
		})),
		"redirect nowhere": registrytest.Only(registrytest.Matching(http.MethodGet, registrytest.KindManifest), registrytest.EveryNth(2, registrytest.Answer{
			Status: 307, Header: http.Header{"Location": {"http://u:" + signature + "@127.0.0.1:1/x?sig=" + signature}},
		})),
		"bad realm": registrytest.EveryNth(2, registrytest.Answer{
			Status: 401, Header: http.Header{"Www-Authenticate": {`Bearer realm="http://u:` + signature + `@127.0.0.1:1/t?sig=` + signature + `",service="x"`}},
		}),
	}
	var all allWritten
	all.listen(t)
	failures := 0
	for name, script := range faults {
		for kind, credentials := range map[string]types.DockerAuthConfig{
			"basic": {Username: user, Password: password}, "bearer": {Username: user, Password: password}, "identity": {IdentityToken: identity},
		} {
			auth := registrytest.Auth{Bearer: kind != "basic", Accounts: []registrytest.Account{{Username: user, Password: password, IdentityToken: identity}}}
			both := registrytest.Options{Auth: &auth, Script: script, Strict: true}
			src, dst := copytest.StartPeer(t, registrytest.Options{Auth: &auth, Script: script}, sign), copytest.StartPeer(t, both, sign)
			f.PushTo(src.Registry, "app", "v1", imagetest.Top)
			e := copytest.NewEnv(t)
			sys := *e.Sys
			sys.DockerAuthConfig = &credentials
			for _, token := range []string{"", registryToken} {
				sys := sys
				sys.DockerBearerRegistryToken = token
				o := copy.Options{ImageListSelection: copy.CopyAllImages, SourceCtx: &sys, DestinationCtx: &sys, ReportWriter: &all}
				r, err := e.Image(t.Context(), dst.Ref(t, "app", "v1"), src.Ref(t, "app", "v1"), o)
				if err != nil {
					failures++
				} else if name == "none" && token == "" {
					imagetest.CheckRegistry(t, dst.Registry, "app", imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
				}
				text, jsonErr := json.Marshal(r)
				require.NoError(t, jsonErr)
				fmt.Fprintf(&all, "%v %+v %#v %s %v\n", err, err, err, text, r.Plan)
			}
		}
	}
	require.Greater(t, failures, 10, "errors are what may say too much")
	written := all.text.String()
	require.Greater(t, len(written), 10_000, "something was logged")
	secrets := []string{password, identity, signature, registryToken, base64.StdEncoding.EncodeToString([]byte(user + ":" + password)), url.QueryEscape(password)}
	seen := 0
	tokens.Range(func(token, _ any) bool {
		secrets = append(secrets, token.(string))
		seen++
		return true
	})
	require.NotZero(t, seen, "tokens were used")
	for _, secret := range secrets {
		if i := strings.Index(written, secret); i >= 0 {
			assert.Fail(t, "a secret was written", "…%s…", written[max(0, i-300):min(len(written), i+100)])
		}
	}
	t.Logf("%d bytes written, %d secrets, %d copies failed", len(written), len(secrets), failures)
}

// signingWriter adds a secret to the locations of answers.
type signingWriter struct {
	http.ResponseWriter
	secret string
}

func (w *signingWriter) WriteHeader(status int) {
	if location := w.Header().Get("Location"); location != "" && status == http.StatusAccepted && !strings.Contains(location, w.secret) {
		separator := "?"
		if strings.Contains(location, "?") {
			separator = "&"
		}
		w.Header().Set("Location", location+separator+"sig="+w.secret)
	}
	w.ResponseWriter.WriteHeader(status)
}

// TestTorturePolicy takes the signature of each instance away in turn: the policy rejects exactly
// that one, and nothing is written.
func TestTorturePolicy(t *testing.T) {
	e, _, public := copytest.NewSigningEnv(t)
	f := imagetest.Platforms(4, 1, 100)
	src := copytest.SignedSource(t, e, f, registrytest.Options{})
	e.Policy = copytest.SigstorePolicy(t, e, public, src.Host()+"/app")
	for _, name := range []string{"amd64", "arm64", "arm/v7", "ppc64le"} {
		attachment := strings.Replace(f.Digest(name).String(), ":", "-", 1) + ".sig"
		document, mediaType, ok := src.Manifest("app", attachment)
		require.True(t, ok)
		src.DeleteTag("app", attachment)
		dst := copytest.StartPeer(t, registrytest.Options{}, nil)
		_, err := e.Image(t.Context(), dst.Ref(t, "app", "v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
		var rejected *copy.RejectedError
		require.ErrorAs(t, err, &rejected, name)
		assert.Equal(t, f.Digest(name), rejected.Digest)
		assert.Empty(t, dst.Snapshot("app"))
		src.PutManifest("app", attachment, mediaType, document)
	}
}
