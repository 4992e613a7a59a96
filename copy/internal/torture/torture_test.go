//go:build linux

package torture

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// What the tests of this package have in common. docs/reliability.md says what they do; each has a
// short form, a sample that is drawn anew for each seed, and a full one:
//
//	SPARSECOPY_TORTURE=full     the full form
//	SPARSECOPY_TORTURE_SEED=n   the seed of the sample, and of everything random; the default is the same always
//	SPARSECOPY_TORTURE_CASE=s   only the cases whose names contain s
//
// A failure names the command that repeats it.

// fullTorture reports whether everything is to be tried, and not only a sample.
func fullTorture() bool { return os.Getenv("SPARSECOPY_TORTURE") == "full" }

// tortureCase is the part of names that limits what is tried, "" for no limit.
func tortureCase() string { return os.Getenv("SPARSECOPY_TORTURE_CASE") }

// tortureSeed is the seed of everything random.
func tortureSeed(t testing.TB) uint64 {
	t.Helper()
	text := os.Getenv("SPARSECOPY_TORTURE_SEED")
	if text == "" {
		return 20260522
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err, "SPARSECOPY_TORTURE_SEED")
	return seed
}

func seededRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, seed)) }

// byLot brings cases into a random order that depends on the seed and their names, and not on the
// order in which they were found: what concurrent copies ask has none.
func byLot[C fmt.Stringer](cases []C, seed uint64) {
	type drawn struct {
		lot [sha256.Size]byte
		c   C
	}
	all := make([]drawn, len(cases))
	for i, c := range cases {
		all[i] = drawn{sha256.Sum256(fmt.Appendf(nil, "%d %v", seed, c)), c}
	}
	slices.SortFunc(all, func(a, b drawn) int { return bytes.Compare(a.lot[:], b.lot[:]) })
	for i, d := range all {
		cases[i] = d.c
	}
}

// howToRepeat is the command that runs one case of a test again.
func howToRepeat(t testing.TB, seed uint64, name string) string {
	return fmt.Sprintf("SPARSECOPY_TORTURE=full SPARSECOPY_TORTURE_SEED=%d SPARSECOPY_TORTURE_CASE='%s' go test -count=1 -run '^%s$' ./copy/internal/torture",
		seed, name, strings.SplitN(t.Name(), "/", 2)[0])
}

// impatient is what copies of one run with o share: retries and timeouts as short as a test can
// afford.
func impatient(stall time.Duration, o copy.Options) *copy.Copier {
	return copy.NewCopier(impatience(stall, o))
}

func impatience(stall time.Duration, o copy.Options) copy.CopierOptions {
	return copy.CopierOptions{
		MaxParallelDownloads: o.MaxParallelDownloads, StallTimeout: stall, BlobTimeout: stall, AnswerTimeout: stall,
		Retries: copy.RetryPolicy{BaseDelay: time.Millisecond, MaxDelay: 10 * time.Millisecond},
	}
}

// complaints collects what a checker says.
type complaints []string

func (c *complaints) Helper() {}
func (c *complaints) Errorf(format string, args ...any) {
	*c = append(*c, fmt.Sprintf(format, args...))
}

// dirStore is a directory of the transport dir: as a place that the checker can inspect.
type dirStore string

func (s dirStore) read(name string) ([]byte, bool) {
	b, err := os.ReadFile(filepath.Join(string(s), name))
	return b, err == nil
}

func (s dirStore) Top(string) (imagetest.Descriptor, error) {
	b, err := os.ReadFile(filepath.Join(string(s), "manifest.json"))
	return imagetest.Descriptor{Digest: digest.FromBytes(b), Size: int64(len(b)), MediaType: declaredType(b)}, err
}

func (s dirStore) Manifest(d digest.Digest) ([]byte, string, bool) {
	if b, ok := s.read("manifest.json"); ok && digest.FromBytes(b) == d {
		return b, "", true
	}
	b, ok := s.read(d.Encoded() + ".manifest.json")
	return b, "", ok
}

func declaredType(document []byte) string {
	var declared struct{ MediaType string }
	_ = json.Unmarshal(document, &declared) // what is no JSON declares nothing
	return declared.MediaType
}

// child is how the test binary is told to be something else; see TestMain.
const child = "SPARSECOPY_TORTURE_CHILD"

// childTask is what a child process does.
type childTask struct {
	Do                  string // "copy" or "files"
	Source, Destination string // in the form transport:reference
	Options             childOptions
	Files               filesTask
}

// childOptions are those of Options that children need.
type childOptions struct {
	All       bool
	Platforms []string
	Action    copy.SparseManifestListAction
}

func (o childOptions) options() copy.Options {
	if o.All {
		return copy.Options{ImageListSelection: copy.CopyAllImages, SparseManifestListAction: o.Action}
	}
	return copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms(o.Platforms...), SparseManifestListAction: o.Action}
}

// command is the test binary as a child with a task.
func (c childTask) command(t testing.TB) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(c)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), child+"="+string(text))
	return cmd
}

// runChild is the main function of a child.
func runChild(text string) int {
	var task childTask
	if err := json.Unmarshal([]byte(text), &task); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	e, stop := newChildEnv()
	defer stop()
	if task.Do == "files" {
		return task.Files.run(e)
	}
	o := task.Options.options()
	_, err := e.Copier(o).Image(context.Background(), e.Policy, copytest.ParseName(task.Destination), copytest.ParseName(task.Source), e.Options(o))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// newChildEnv is newEnv without a test.
func newChildEnv() (*copytest.Env, func()) {
	t := &childTB{}
	return copytest.NewEnv(t), t.cleanup
}

// childTB stands in for a test in a child. Whatever fails ends the process.
type childTB struct {
	testing.TB
	cleanups []func()
}

func (t *childTB) Helper()          {}
func (t *childTB) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }
func (t *childTB) FailNow()         { os.Exit(2) }
func (t *childTB) Errorf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

func (t *childTB) TempDir() string {
	dir, err := os.MkdirTemp("", "child")
	if err != nil {
		t.Errorf("%v", err)
		t.FailNow()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (t *childTB) cleanup() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
}

// TestMain makes the binary a child if it is to be one.
func TestMain(m *testing.M) {
	registry.LowerNotes(notes)
	if task := os.Getenv(child); task != "" {
		os.Exit(runChild(task))
	}
	registry.LowerRanges(long, piece, 4)
	os.Exit(hermetictest.Main(func() int { return copytest.Run(m) }))
}
