package mirrorcmd

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/examples/internal/state"
	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// memoryFlags are the flags about the state of a mirror.
type memoryFlags struct {
	file       string
	recheck    time.Duration
	checkBlobs bool
}

// defaultRecheck is how long what is at a destination is believed to be there.
const defaultRecheck = 24 * time.Hour

func (f *memoryFlags) define(flags *pflag.FlagSet) {
	flags.StringVar(&f.file, "state", "", "`FILE` that remembers what destinations have, so that the next run asks for little; it is made if it is not there")
	flags.DurationVar(&f.recheck, "recheck", defaultRecheck, "how long destinations are believed to have what they had: `DURATION`, after half of which the first are looked at again")
	flags.BoolVar(&f.checkBlobs, "check-blobs", false, "look at destinations whose turn it is down to each config and layer, as check: blobs does for an image; without --state, it is always their turn")
}

func (f *memoryFlags) check() error {
	if f.recheck < 0 {
		return misusef("--recheck is %s: write a duration from zero, such as 0s or 24h", f.recheck)
	}
	return nil
}

// A memory is the state of a mirror while copies are made. Its methods are safe for concurrent use.
type memory struct {
	store   *state.Store
	recheck time.Duration
	now     func() time.Time

	mu      sync.Mutex
	flushed time.Time // guarded by mu

	troubleMu sync.Mutex
	trouble   error // why the state could not be read or written, nil if it can; guarded by troubleMu
}

// open opens the memory, nil if none is wanted, or if another process has it: then warning says so.
// It must not be syncFile.
func (f *memoryFlags) open(env *environment, syncFile string) (m *memory, warning string, err error) {
	if f.file == "" {
		return nil, "", nil
	}
	if sameFile(f.file, syncFile) {
		return nil, "", misusef("--state %s is FILE itself: name another one, which is made if it is not there", f.file)
	}
	store, warning, err := state.Open(f.file)
	switch {
	case errors.Is(err, state.ErrLocked):
		return nil, fmt.Sprintf("%v: this run goes without it, asks for everything, and records nothing", err), nil
	case err != nil:
		return nil, "", misusef("--state: %w", err)
	}
	return &memory{store: store, recheck: f.recheck, now: env.now, flushed: env.now()}, warning, nil
}

// sameFile reports whether two paths lead to one file.
func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	other, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(one, other)
}

// close writes what is not written yet. It does nothing if m is nil.
func (m *memory) close() {
	if m != nil {
		m.worked(m.store.Close())
	}
}

// worked says that the state does not work, if it did before: that costs questions, and fails no
// copy.
func (m *memory) worked(err error) {
	if err == nil {
		return
	}
	m.troubleMu.Lock()
	defer m.troubleMu.Unlock()
	if m.trouble == nil {
		logrus.Warnf("the next run will ask for more: %v", err)
	}
	m.trouble = err
}

// flush writes what is not written yet. If that works, so does the state.
func (m *memory) flush() {
	if err := m.store.Flush(); err != nil {
		m.worked(err)
		return
	}
	m.troubleMu.Lock()
	defer m.troubleMu.Unlock()
	if m.trouble != nil {
		logrus.Infof("the state is written again; before: %v", m.trouble)
	}
	m.trouble = nil
}

// broken returns why the state does not work, nil if it does.
func (m *memory) broken() error {
	m.troubleMu.Lock()
	defer m.troubleMu.Unlock()
	return m.trouble
}

// expectOne makes an image pending of which nothing is known.
func (m *memory) expectOne(destination, source string) {
	_, ok, err := m.store.Get(destination)
	if err == nil && !ok {
		err = m.store.Put(state.Image{Destination: destination, Source: source, Status: state.Pending})
	}
	m.worked(err)
}

// promise notes that somebody has told of a push to the source of an image.
func (m *memory) promise(destination, source string) {
	m.worked(m.store.Update(destination, func(known state.Image, ok bool) state.Image {
		if !ok {
			known = state.Image{Destination: destination, Source: source, Status: state.Pending}
		}
		known.Pushed = m.now().UTC()
		return known
	}))
}

// forget forgets all images of a shard that are not wanted.
func (m *memory) forget(shard *shard, wanted func(destination string) bool) {
	names, err := m.store.Names()
	m.worked(err)
	for _, name := range names {
		if !wanted(name) && shard.hasImage(name) {
			m.worked(m.store.Delete(name))
		}
	}
}

// A recalled is what is known of an image before it is copied.
type recalled struct {
	known state.Image // with digests only if they are of a copy with the same options
	due   bool        // it is time to look at the destination, as far as check says
	check syncfile.Check
}

// recall returns what is known of a destination, if it is copied from source in the way that key
// stands for.
func (m *memory) recall(destination, source string, key digest.Digest, check syncfile.Check) recalled {
	known, ok, err := m.store.Get(destination)
	m.worked(err)
	if !ok {
		known = state.Image{Destination: destination, Status: state.Pending}
	}
	if known.Source != source || known.Options != key {
		known = void(known, source, key)
	}
	if known.Status == state.Damaged && known.Checked == state.CheckBlobs {
		check = syncfile.CheckBlobs // else nobody would see that it still is
	}
	return recalled{known: known, check: check, due: m.due(&known, check)}
}

// void returns what is left of an image that is to be copied from elsewhere, or in another way:
// what was done.
func void(i state.Image, source string, key digest.Digest) state.Image {
	return state.Image{
		Destination: i.Destination, Source: source, Options: key, Status: state.Pending,
		Copied: i.Copied, Transferred: i.Transferred, Saved: i.Saved, Pushed: i.Pushed,
	}
}

// due reports whether it is an image's turn to be looked at: between a half and the whole of the
// period after the last time, so that images which were copied together are not looked at together.
// It is always the turn of one that is damaged.
func (m *memory) due(i *state.Image, check syncfile.Check) bool {
	age, half := m.now().Sub(i.Verified), m.recheck/2
	switch {
	case i.Status == state.Damaged:
		return true
	case check == syncfile.CheckTag:
		return false
	}
	return i.Verified.IsZero() || age < 0 || age >= half+time.Duration(float64(half)*share(i.Destination))
}

// share is a number from 0 to 1 that depends on a name alone.
func share(name string) float64 {
	sum := sha256.Sum256([]byte(name))
	return float64(binary.BigEndian.Uint32(sum[:])) / math.MaxUint32
}

// apply sets what a copy is told of what is known.
func (r recalled) apply(o *copy.Options) {
	o.CheckBlobs = o.CheckBlobs || r.due && r.check == syncfile.CheckBlobs
	if r.known.SourceDigest == "" {
		return
	}
	o.Recheck = r.due
	o.Earlier = &copy.Earlier{Source: r.known.SourceDigest, Destination: r.known.DestinationDigest, Wanted: r.known.Wanted, Verified: r.known.Verified}
}

// expect makes the images of a shard be these: others are forgotten, and new ones are pending.
func (m *memory) expect(images []syncImage, shard *shard) {
	names, err := m.store.Names()
	m.worked(err)
	known := map[string]bool{}
	for _, name := range names {
		known[name] = true
	}
	for _, i := range images {
		if !known[i.Destination] {
			m.worked(m.store.Put(state.Image{Destination: i.Destination, Source: i.Source, Status: state.Pending}))
		}
		delete(known, i.Destination)
	}
	for name := range known {
		if shard.hasImage(name) {
			m.worked(m.store.Delete(name))
		}
	}
}

// maxWarnings is how many warnings are remembered of an image.
const maxWarnings = 10

// maxUnwritten is how long what was noted may be in memory alone, as long as more is noted.
const maxUnwritten = 5 * time.Second

// note remembers how a task ended.
func (m *memory) note(t *task, err error, report *copy.Report) {
	now := m.now().UTC()
	before := t.recalled.known.Pushed
	t.recalled.known = noted(t, err, report, now)
	m.worked(m.store.Update(t.recalled.known.Destination, func(known state.Image, _ bool) state.Image {
		image := t.recalled.known
		if known.Pushed.After(before) { // while it was copied
			image.Pushed = known.Pushed
		}
		return image
	}))
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Sub(m.flushed) >= maxUnwritten {
		m.flushed = now
		m.flush()
	}
}

// inState is the status of an image, of which a copy has ended so, in a state.
func (s imageStatus) inState() state.Status {
	switch s {
	case imageCopied, imagePresent:
		return state.Mirrored
	case imageSkipped:
		return state.Skipped
	case imagePostponed:
		return state.Postponed
	case imageDamaged:
		return state.Damaged
	}
	return state.Failed
}

// noted is what is known of an image after an attempt that ended now.
func noted(t *task, err error, report *copy.Report, now time.Time) state.Image {
	i := t.recalled.known
	i.Tried, i.Error, i.Warnings, i.PostponedUntil, i.Pushed = now, oneLine(t.entry.Error), nil, time.Time{}, time.Time{}
	for _, w := range t.entry.Warnings[:min(len(t.entry.Warnings), maxWarnings)] {
		i.Warnings = append(i.Warnings, oneLine(w))
	}
	if d := t.entry.SourceDigest; d != "" && d != i.LatestSource {
		i.LatestSource, i.SourceChanged = d, now
	}
	i.Transferred += report.BytesCopied
	i.Status = t.entry.Status.inState()
	switch i.Status {
	case state.Mirrored:
		succeeded(&i, t, report, now)
	case state.Skipped:
		i.Succeeded, i.LagSince = now, time.Time{}
	case state.Postponed:
		i.PostponedUntil = t.entry.PostponedUntil
	case state.Damaged:
		damaged(&i, t, err)
	}
	if i.Status != state.Mirrored && i.Status != state.Skipped && i.LatestSource != i.SourceDigest && i.LagSince.IsZero() {
		i.LagSince = now
	}
	return i
}

// succeeded notes what a copy has left.
func succeeded(i *state.Image, t *task, report *copy.Report, now time.Time) {
	isNew := report.SourceDigest != "" && report.SourceDigest != i.SourceDigest
	if report.SourceDigest != "" { // else the source is gone, and the mirror has all that it had
		i.SourceDigest, i.DestinationDigest, i.Wanted = report.SourceDigest, report.DestinationDigest, report.Wanted
	}
	i.Succeeded, i.LagSince = now, time.Time{}
	if at, level := checkedAt(t, report); !at.IsZero() && (i.Verified.IsZero() || level == state.CheckBlobs || t.recalled.check != syncfile.CheckBlobs) {
		i.Verified, i.Checked = at, level
	}
	if t.entry.Status == imageCopied {
		i.Copied = now
	}
	if len(report.Instances) == 0 {
		return // the rest is as it was
	}
	i.Kind, i.Action = t.entry.Kind, ""
	if report.Plan != nil && report.Plan.List != nil {
		i.Action = t.entry.Action
	}
	i.OriginProven = provenBy(report)
	i.Platforms = platformsOf(report, i.Platforms)
	i.Size = sizeOf(i.Platforms)
	if isNew && t.entry.Status == imageCopied {
		i.Saved.Platforms = plan.AddSize(i.Saved.Platforms, notCopied(i.Platforms))
		i.Saved.Present = plan.AddSize(i.Saved.Present, presentBytes(report))
	}
}

// checkedAt is when a copy has asked the destination for all that belongs to the image, and how far
// down; zero if it has not.
func checkedAt(t *task, report *copy.Report) (time.Time, state.Level) {
	if report.Checked == copy.CheckedEarlier {
		return time.Time{}, ""
	}
	return report.VerifiedAt, levelOf(t)
}

// levelOf is how far down the copy of a task asks.
func levelOf(t *task) state.Level {
	if t.Image.Options.CheckBlobs || t.recalled.due && t.recalled.check == syncfile.CheckBlobs {
		return state.CheckBlobs
	}
	return state.CheckManifests
}

// damaged notes which platforms the destination has lost, and how that was found out.
func damaged(i *state.Image, t *task, err error) {
	lost, ok := errors.AsType[*copy.DamagedError](err)
	if !ok {
		return
	}
	i.Checked = levelOf(t)
	i.Platforms = slices.Clone(i.Platforms)
	for n := range i.Platforms {
		if slices.Contains(lost.Lacks, i.Platforms[n].Digest) {
			i.Platforms[n].Status = state.PlatformDamaged
		}
	}
}
