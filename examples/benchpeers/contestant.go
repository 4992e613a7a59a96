package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	sparsecopy "github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// A tool is a contestant in one setting.
type tool struct {
	name string
	// copy does what a job of a single image says; nil if there is nothing to compare.
	copy func(ctx context.Context, j job) error
	// many does what jobs of one workload say; nil if that is not measured.
	many func(ctx context.Context, jobs []job) error
	// peer says that sparsecopy is to be faster.
	peer bool
	// untuned says that the tool's users can do better with a setting that is measured too.
	untuned bool
	// overTLS says that it makes no sense without.
	overTLS bool
	// remembers says that the tool keeps something in the job's directory for its next run.
	remembers bool
	// named says that only workloads measure it that name it.
	named bool
	// program is what the tool is, or runs; "" for none.
	program string
	// arguments are those of the program that does what a job of a single image says; nil for none.
	arguments func(j job) []string
	// start does as good as nothing, and takes what is not counted; nil if everything is.
	start func(ctx context.Context, j job) error
}

func (t tool) id() string { return t.name }

// The names of tools that bounds are about.
const (
	ours         = "sparsecopy"
	oursNoSync   = "sparsecopy@nosync"
	oursTrust    = "sparsecopy@trust"
	mirrorItself = "mirror"
	craneItself  = "crane-command"
	earlier      = "earlier"
	command      = "mirror-sync"
	singly       = "sparsecopy-singly"
	upstream     = "upstream"
	upstreamPool = "upstream@32"
	regsync3     = "regsync"
	regsync32    = "regsync@32"
	oras3        = "oras"
	oras32       = "oras@32"
	crane4       = "crane"
	crane32      = "crane@32"
	regctl       = "regctl"
	floor1       = "floor"
	floor2       = "floor@h2"
	floorSync    = "floor@fsync"
)

// tools are all there are, in the order of the tables. The number behind an @ is the concurrency
// that was set.
var tools = []tool{
	{
		name: floor1,
		copy: func(ctx context.Context, j job) error {
			if j.Destination.isLayout() {
				return copyFloorToLayout(ctx, j, false)
			}
			return copyFloor(ctx, []job{j}, false)
		},
		many: func(ctx context.Context, jobs []job) error { return copyFloor(ctx, jobs, false) },
	},
	{name: floor2, copy: func(ctx context.Context, j job) error { return copyFloor(ctx, []job{j}, true) }, overTLS: true},
	{name: floorSync, copy: func(ctx context.Context, j job) error { return copyFloorToLayout(ctx, j, true) }, named: true},
	{name: ours, copy: copySparsecopy, many: copySparsecopyImages, remembers: true},
	{name: oursNoSync, copy: copySparsecopyWith(sparsecopy.CopierOptions{NoSync: true}), named: true},
	{name: oursTrust, copy: copySparsecopyWith(sparsecopy.CopierOptions{TrustSource: true}), named: true},
	{name: earlier, copy: runProgram(mirrorCopy), program: earlierProgram, arguments: mirrorCopy, start: startProgram, named: true},
	{name: mirrorItself, copy: runProgram(mirrorCopy), program: mirrorProgram, arguments: mirrorCopy, named: true},
	{name: craneItself, copy: runProgram(craneCopy), program: craneProgram, arguments: craneCopy, peer: true, named: true},
	{name: command, many: mirrorSync, program: mirrorProgram, start: startProgram, remembers: true},
	{name: singly, many: oneByOne(copySparsecopy), peer: true},
	{name: upstream, copy: copyUpstream, many: oneByOne(copyUpstream), peer: true},
	{name: upstreamPool, many: atOnce(copyUpstream), peer: true},
	{name: regsync3, many: func(ctx context.Context, jobs []job) error { return regsync(ctx, jobs, 0) }, peer: true, untuned: true},
	{name: regsync32, many: func(ctx context.Context, jobs []job) error { return regsync(ctx, jobs, tuned) }, peer: true},
	{name: oras3, copy: func(ctx context.Context, j job) error { return copyORAS(ctx, j, 0) }, peer: true, untuned: true},
	{name: oras32, copy: func(ctx context.Context, j job) error { return copyORAS(ctx, j, tuned) }, peer: true},
	{name: crane4, copy: func(ctx context.Context, j job) error { return copyCrane(ctx, j, 0) }, peer: true, untuned: true},
	{name: crane32, copy: func(ctx context.Context, j job) error { return copyCrane(ctx, j, tuned) }, peer: true},
	{name: regctl, copy: copyRegctl, peer: true, named: true},
}

// tuned is the concurrency of the contestants that have one: as many blobs as sparsecopy has in
// flight by default, if they are large.
const tuned = largeAtOnce

// oneByOne copies one image after the other.
func oneByOne(copyImage func(context.Context, job) error) func(context.Context, []job) error {
	return func(ctx context.Context, jobs []job) error {
		for _, j := range jobs {
			if err := copyImage(ctx, j); err != nil {
				return err
			}
		}
		return nil
	}
}

// atOnce copies as many images at the same time as sparsecopy does by default.
func atOnce(copyImage func(context.Context, job) error) func(context.Context, []job) error {
	return func(ctx context.Context, jobs []job) error {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(imagesAtOnce)
		for _, j := range jobs {
			group.Go(func() error { return copyImage(ctx, j) })
		}
		return group.Wait()
	}
}

// run does what j says.
func (t tool) run(ctx context.Context, j job) error {
	if j.Images > 0 {
		return t.many(ctx, j.images())
	}
	return t.copy(ctx, j)
}

// A job is one copy, or that of many images.
type job struct {
	Tool                string
	Images              int // 0 for a single one
	Source, Destination place
	TLS                 bool
	CertsDir            string   // as in containers-certs.d(5)
	Dir                 string   // has the configuration of containers/image; for whatever else the tool keeps in files
	Platforms           []string // to copy, and to strip the others; nil for all
	Original            bool     // to attach what was stripped, so that it can be verified
	UpToDate            bool     // the destination has everything
	Again               bool     // the tool may have been asked for the same before, with the same Dir
	Format              string   // what layers are to be compressed with; "" for as they are, if they are
	SigningKey          string   // path of the key that signs; "" for none
	Profile             string   // path of profiles without what follows the last dot; "" for none
	Program             string   // path of the tool's program; "" if it has none
	Starter             string   // path of the program starter; "" if nobody needs it
	Starts              int      // how often the program starts; 0 for what is not about that
	Help                bool     // the program only prints its help
	Resumes             bool     // the program goes on with what it has left when it was killed
}

// A place is a tag in a repository; or in a layout, whose path Repo is then, and Host "".
type place struct{ Host, Repo, Tag string }

func (p place) isLayout() bool { return p.Host == "" }

func (p place) String() string { return p.Host + "/" + p.Repo + ":" + p.Tag }

// images are jobs of one image each.
func (j job) images() []job {
	from, to := repos(j.Source.Repo, j.Images), repos(j.Destination.Repo, j.Images)
	all := make([]job, len(from))
	for i := range all {
		all[i] = j
		all[i].Images, all[i].Source.Repo, all[i].Destination.Repo = 0, from[i], to[i]
	}
	return all
}

// wants reports whether the platform is to be copied.
func (j job) wants(os, architecture string) bool {
	return j.Platforms == nil || slices.Contains(j.Platforms, os+"/"+architecture)
}

// strip removes what is not wanted from a list. It returns the list as it was if everything is.
func (j job) strip(content []byte) ([]byte, imgspecv1.Index, error) {
	var list imgspecv1.Index
	if err := json.Unmarshal(content, &list); err != nil || j.Platforms == nil {
		return content, list, err
	}
	list.Manifests = slices.DeleteFunc(list.Manifests, func(d imgspecv1.Descriptor) bool {
		return d.Platform == nil || !j.wants(d.Platform.OS, d.Platform.Architecture)
	})
	content, err := json.Marshal(list)
	return content, list, err
}

// trust makes t trust the registries.
func (j job) trust(t *http.Transport) (*http.Transport, error) {
	if !j.TLS {
		return t, nil
	}
	pool := x509.NewCertPool()
	for _, p := range []place{j.Source, j.Destination} {
		if p.isLayout() {
			continue
		}
		ca, err := os.ReadFile(filepath.Join(j.CertsDir, p.Host, "ca.crt"))
		if err != nil {
			return nil, err
		}
		pool.AppendCertsFromPEM(ca)
	}
	t.TLSClientConfig = &tls.Config{RootCAs: pool}
	return t, nil
}

// A usage is what a copy took.
type usage struct {
	Wall  time.Duration
	CPU   time.Duration // of the process, and those that it started, while it copied, in user mode and in the kernel
	Peak  int64         // bytes of resident memory, the program itself included
	Idle  int64         // resident before the copy
	Error string        // "" if it succeeded
}

// serveContestant is the third process: it reads a job and answers with a usage.
func serveContestant(ctx context.Context, jobs io.Reader, answers io.Writer) error {
	var j job
	if err := json.NewDecoder(jobs).Decode(&j); err != nil {
		return err
	}
	i := slices.Index(names(tools), j.Tool)
	if i < 0 {
		return fmt.Errorf("no tool is called %q", j.Tool)
	}
	stopProfile, err := startProfile(j.Profile)
	if err != nil {
		return err
	}
	u, err := tools[i].measure(ctx, j)
	if err != nil {
		u.Error = err.Error()
	}
	return errors.Join(stopProfile(), json.NewEncoder(answers).Encode(u))
}

// measure does what j says, and returns what that took. The error is one of the tool.
func (t tool) measure(ctx context.Context, j job) (u usage, err error) {
	if j.Starts > 0 {
		return t.starts(ctx, j)
	}
	runtime.GC() // what the start of this process has left is nobody's, as in Go's own benchmarks
	u.Idle = resident("VmRSS:")
	if t.start != nil {
		cpu, start := cpuTime(), clock.System.Now()
		if err := t.start(ctx, j); err != nil {
			return u, err
		}
		u.Wall, u.CPU = -clock.Since(clock.System, start), cpu-cpuTime()
	}
	cpu, start := cpuTime(), clock.System.Now()
	err = t.run(ctx, j)
	u.Wall, u.CPU = u.Wall+clock.Since(clock.System, start), u.CPU+cpuTime()-cpu
	u.Peak = max(resident("VmHWM:"), peakOfChildren())
	return u, err
}

// runContestant carries out a job in a process of its own.
func runContestant(ctx context.Context, start func(*exec.Cmd) error, j job) (usage, error) {
	var u usage
	command, err := child(ctx, roleContestant)
	if err != nil {
		return u, err
	}
	task, err := json.Marshal(j)
	if err != nil {
		return u, err
	}
	var out bytes.Buffer
	command.Stdin, command.Stdout = bytes.NewReader(task), &out
	if err := runAt(start, command); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return u, err
	}
	if err := json.Unmarshal(out.Bytes(), &u); err != nil {
		return u, err
	}
	if u.Error != "" {
		return u, errors.New(u.Error)
	}
	return u, nil
}

// runAt is command.Run where start starts it.
func runAt(start func(*exec.Cmd) error, command *exec.Cmd) error {
	if err := start(command); err != nil {
		return err
	}
	return command.Wait()
}

// resident is a field of /proc/self/status in bytes, 0 where there is no such file. Unlike the
// maximum that getrusage tells, it does not begin with the memory of the process that started this
// one.
func resident(field string) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		var kB int64
		if rest, ok := strings.CutPrefix(line, field); ok {
			if _, err := fmt.Sscanf(rest, "%d kB", &kB); err == nil {
				return kB << 10
			}
		}
	}
	return 0
}
