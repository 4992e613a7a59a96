package registrygc_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrygc"
	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// letters puts a letter in place of each digest, in the order in which they are given.
func letters(text string, digests ...digest.Digest) string {
	for i, d := range digests {
		text = strings.ReplaceAll(text, d.String(), string(rune('A'+i)))
	}
	return text
}

// reported is a registry with something of each kind, and its digests.
func reported(t *testing.T) (*registry, []digest.Digest) {
	r := newRegistry(t)
	config, loose := r.pushBlob("team/app", "{}"), r.pushBlob("team/app", strings.Repeat("loose", 1000))
	img := image("", config)
	r.push("team/app", "v1", img)
	signature := image(digest.FromString("gone"), config)
	r.push("team/app", "", signature)
	require.NoError(t, r.store.PutReferrer(t.Context(), "team/app", signature.subject, signature.digest()))
	bad := r.pushBlob("broken", "x")
	require.NoError(t, r.driver.PutContent(t.Context(), "/docker/registry/v2/repositories/broken/_manifests/revisions/sha256/"+bad.Encoded()+"/link", []byte(bad)))
	return r, []digest.Digest{config, loose, img.digest(), signature.digest(), signature.subject, bad}
}

// A later clock says that it is later than it is.
type later struct {
	clock.Clock
	by time.Duration
}

func (l later) Now() time.Time { return l.Clock.Now().Add(l.by) }

func TestReportText(t *testing.T) {
	r, digests := reported(t)
	week := later{clock.System, 7 * 24 * time.Hour}
	o := registrygc.Options{Untagged: true, Grace: 24 * time.Hour}
	text := func(report *registrygc.Report) string {
		var b strings.Builder
		report.Took = 1500 * time.Millisecond
		require.NoError(t, report.WriteText(&b))
		return letters(b.String(), digests...)
	}
	const goes = `DAMAGED broken: manifest F: reading what it names: invalid character 'x' looking for beginning of value
  Nobody can tell what a damaged thing needs. So everything in its repository stays.
  Push it again, or restore it; sparse-registry check says more.
team/app
  manifest D: no tag, no list that stays and no subject that stays needs it
  layer    B: no manifest that stays in the repository names it
  referrer D of E
content B: 5.0 kB, no repository needs it
content D: 426 B, no repository needs it
stays:   2 manifests in 2 repositories: 1 tagged, 0 in lists, 0 of subjects, 0 young, 1 beside damage
         2 links to layers, 0 of them only because they are young
         3 contents of 261 B, 0 of them only because they are young
`
	dry, err := registrygc.DryRun(t.Context(), r.store, o, week)
	require.NoError(t, err)
	assert.Equal(t, goes+`would go: 1 manifest, 1 link to layers, 2 contents of 5.4 kB, 1 link to referrers
This was a dry run, nothing is removed. --delete does it.
`, text(dry))

	require.Len(t, r.contents(), 5)
	done, err := registrygc.Collect(t.Context(), r.store, o, week)
	require.NoError(t, err)
	assert.Len(t, r.contents(), 3)
	assert.Equal(t, goes+"removed: 1 manifest, 1 link to layers, 2 contents of 5.4 kB, 1 link to referrers, in 1.5s\n", text(done))
}

func TestReportOfUntaggedManifests(t *testing.T) {
	r := newRegistry(t)
	r.push("app", "", image("", r.pushBlob("app", "{}")))
	report, err := registrygc.DryRun(t.Context(), r.store, registrygc.Options{Grace: time.Hour}, clock.System)
	require.NoError(t, err)
	var b strings.Builder
	require.NoError(t, report.WriteText(&b))
	assert.Contains(t, b.String(), "0 young, 1 untagged (--untagged removes these)\n")
}

func TestReportOfWhatEndedEarly(t *testing.T) {
	h := newHistory(t, 0)
	h.pushBlob("a", "1")
	h.pushBlob("a", "2")
	report, err := registrygc.Collect(t.Context(), h.mortal(1), registrygc.Options{}, later{clock.System, time.Hour})
	require.ErrorIs(t, err, errKilled)
	var b strings.Builder
	require.NoError(t, report.WriteText(&b))
	assert.Contains(t, b.String(), "removed: 0 manifests, 1 link to layers, 0 contents of 0 B, of 0 manifests, 2 links to layers, 2 contents of 2 B\n"+
		"It ended early: removing /docker/registry/v2/repositories/a/_layers/sha256/")
	assert.Contains(t, b.String(), ": killed\nAnother collection goes on.\n")
}

func TestReportJSON(t *testing.T) {
	r, digests := reported(t)
	o := registrygc.Options{Untagged: true, Grace: 24 * time.Hour}
	report, err := registrygc.DryRun(t.Context(), r.store, o, later{clock.System, 7 * 24 * time.Hour})
	require.NoError(t, err)
	report.Took, report.Started = 1500*time.Millisecond, time.Unix(0, 0).UTC()
	text, err := json.Marshal(report)
	require.NoError(t, err)
	assert.JSONEq(t, `{
		"schema": "sparse-registry.gc/v1", "storage": "inmemory", "delete": false, "online": false, "untagged": true, "started": "1970-01-01T00:00:00Z", "grace": "24h0m0s", "seconds": 1.5,
		"kept": {"repositories": 2, "tagged": 1, "listed": 0, "referrers": 0, "young": 0, "damaged": 1, "untagged": 0,
			"layers": 2, "youngLayers": 0, "blobs": 3, "youngBlobs": 0, "bytes": 261},
		"goes": {"tags": 0, "manifests": 1, "layers": 1, "referrers": 1, "blobs": 2, "bytes": 5426},
		"removed": {"tags": 0, "manifests": 0, "layers": 0, "referrers": 0, "blobs": 0, "bytes": 0},
		"spared": {"tags": 0, "manifests": 0, "layers": 0, "referrers": 0, "blobs": 0, "bytes": 0},
		"repositories": [{
			"name": "team/app", "manifests": [{"digest": "D", "why": "no tag, no list that stays and no subject that stays needs it"}],
			"layers": [{"digest": "B", "why": "no manifest that stays in the repository names it"}],
			"referrers": [{"subject": "E", "referrer": "D"}]
		}],
		"contents": [{"digest": "B", "bytes": 5000}, {"digest": "D", "bytes": 426}],
		"damage": [{"repository": "broken", "object": "manifest F", "error": "reading what it names: invalid character 'x' looking for beginning of value"}]
	}`, letters(string(text), digests...))
	var back registrygc.Report
	require.NoError(t, json.Unmarshal(text, &back))
	assert.Equal(t, *report, back)
}

func TestOneRepository(t *testing.T) {
	var b strings.Builder
	require.NoError(t, (&registrygc.Report{Kept: registrygc.Kept{Repositories: 1}}).WriteText(&b))
	assert.Contains(t, b.String(), "stays:   0 manifests in 1 repository: 0 tagged")
}
