package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard)
	checkout = filepath.Join("..", "..")
	os.Exit(hermetictest.Main(m.Run))
}

// TestSelections mirrors what each selection names from and to registries that take no list whose
// children are absent, and, with keep, to one that does.
func TestSelections(t *testing.T) {
	for _, s := range selections {
		t.Run(s.repo+":"+s.tag, func(t *testing.T) {
			t.Parallel()
			from := registrytest.Start(t, registrytest.Options{})
			require.NoError(t, load(from, s.repo))
			source, _ := from.Resolve(s.repo, s.tag)

			for _, action := range []copy.SparseManifestListAction{copy.StripSparseManifestList, copy.AutoSparseManifestList} {
				to := registrytest.Start(t, registrytest.Options{Strict: true})
				report, err := s.mirror(t.Context(), action, from, to)
				if s.refused != "" {
					require.ErrorContains(t, err, s.refused)
					imagetest.CheckUnchanged(t, to, s.repo, s.tag, "")
					to = registrytest.Start(t, registrytest.Options{})
					report, err = s.mirror(t.Context(), action, from, to)
				}
				require.NoError(t, err)
				assert.Equal(t, s.want, lines(report), action)
				checkWarnings(t, s, report)
				imagetest.CheckRegistry(t, to, s.repo, imagetest.Want{Tag: s.tag, Digest: report.DestinationDigest, Irregular: true})
			}

			to := registrytest.Start(t, registrytest.Options{})
			report, err := s.mirror(t.Context(), copy.KeepSparseManifestList, from, to)
			require.NoError(t, err)
			assert.Equal(t, source, report.DestinationDigest)
			imagetest.CheckRegistry(t, to, s.repo, imagetest.Want{
				Tag: s.tag, Digest: source, Irregular: true, Optional: skipped(report),
			})
		})
	}
}

// checkWarnings demands the one warning of a selection, or none.
func checkWarnings(t *testing.T, s selection, report *copy.Report) {
	t.Helper()
	if s.warning == "" {
		assert.Empty(t, report.Warnings)
	} else if assert.Len(t, report.Warnings, 1) {
		assert.Contains(t, report.Warnings[0], s.warning)
	}
}

// TestTagsOfReferrers does it with registries that have no API for referrers, where tags of the
// form sha256-<hex> count: notation writes them beside the API, and cosign copy gives such names to
// what is no list of referrers.
func TestTagsOfReferrers(t *testing.T) {
	for _, s := range selections {
		if s.repo != "notation-tag" && s.repo != "cosign-copied" {
			continue
		}
		t.Run(s.repo, func(t *testing.T) {
			t.Parallel()
			from := registrytest.Start(t, registrytest.Options{NoReferrers: true})
			require.NoError(t, load(from, s.repo))
			to := registrytest.Start(t, registrytest.Options{NoReferrers: true, Strict: true})
			report, err := s.mirror(t.Context(), copy.StripSparseManifestList, from, to)
			require.NoError(t, err)
			assert.Equal(t, s.want, lines(report))
			checkWarnings(t, s, report)
		})
	}
}

// TestSignedElsewhere mirrors images whose signatures are in another registry, as those of hardened
// images are.
func TestSignedElsewhere(t *testing.T) {
	s := selection{repo: "buildx-create", tag: "v1"}
	from, elsewhere := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	require.NoError(t, load(from, s.repo))
	signatures := selection{repo: "notation-api", tag: "list"} // of the same images, in another list
	require.NoError(t, load(elsewhere, signatures.repo))
	options, err := s.options(copy.StripSparseManifestList)
	require.NoError(t, err)
	where, err := signatures.at(elsewhere)
	require.NoError(t, err)
	options.ReferrersFrom = &copy.ReferrersSource{Reference: where, SystemContext: options.SourceCtx}

	report, err := s.mirrorWith(t.Context(), options, from, registrytest.Start(t, registrytest.Options{Strict: true}))
	require.NoError(t, err)
	assert.Equal(t, []string{
		"linux/amd64: copied, kept",
		"linux/arm64: copied, kept",
		"linux/s390x: skipped, stripped",
		"vnd.cncf.notary.signature of linux/amd64: copied",
	}, lines(report))
}

// TestEveryRepositoryIsMirrored holds selections against the repositories that there are.
func TestEveryRepositoryIsMirrored(t *testing.T) {
	repos, err := loadAll(registrytest.NewHandler(registrytest.Options{}))
	require.NoError(t, err)
	var selected []string
	for _, s := range selections {
		selected = append(selected, s.repo)
	}
	slices.Sort(selected)
	assert.Equal(t, repos, slices.Compact(selected))
}

// lines says of each instance, and then of what is attached, by name, what became of it.
func lines(r *copy.Report) []string {
	names := map[digest.Digest]string{r.SourceDigest: "all"}
	for _, i := range r.Instances {
		names[i.Digest] = cmp.Or(i.Platform, "image")
	}
	var out []string
	for _, i := range r.Instances {
		switch {
		case i.Subject != "":
			names[i.Digest] = i.Kind + " of " + names[i.Subject]
		case i.Kind != "":
			names[i.Digest] = i.Kind
		}
		line := strings.TrimSuffix(fmt.Sprintf("%s: %s, %s", names[i.Digest], i.Outcome, i.Entry), ", ")
		if i.Outcome == copy.Skipped && i.Reason.Code != copy.ReasonNotSelected {
			line += ": " + i.Reason.Text
		}
		out = append(out, line)
	}
	instances := len(out)
	for _, a := range r.Attached {
		what := path.Base(a.ArtifactType)
		if a.Tag != "" {
			_, what, _ = strings.Cut(a.Tag, ".")
		}
		name := what + " of " + names[a.Subject]
		names[a.Digest] = name
		out = append(out, fmt.Sprintf("%s: %s", name, a.Outcome))
	}
	slices.Sort(out[instances:])
	return out
}

func skipped(r *copy.Report) (digests []string) {
	for _, i := range r.Instances {
		if i.Outcome == copy.Skipped {
			digests = append(digests, i.Digest.String())
		}
	}
	return digests
}
