package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// registries are a source and a destination.
type registries struct {
	source, destination *registrytest.Registry
	fixtures            map[string][]*imagetest.Fixture // by the workload's name
	connections         [2]int                          // to the source and to the destination before the copy
	held                atomic.Bool                     // no manifest comes to the destination
}

// addresses say where the registries are.
type addresses struct{ Source, Destination string }

// tag is the tag of everything.
const tag = "v1"

// startRegistries starts registries at an IP address, "" for that of loopback, and writes what
// clients need to trust them to certsDir.
func startRegistries(e environment, address, certsDir string) (*registries, addresses, error) {
	o := registrytest.Options{RTT: e.RTT, TLS: e.TLS, HTTP2: e.TLS, Rate: e.Cap, Address: address}
	if e.Link.Name != "" {
		o.RTT = 0 // it is the link's
	}
	r := &registries{source: registrytest.New(o), fixtures: map[string][]*imagetest.Fixture{}}
	o.DiscardBlobs, o.Rate, o.Script = true, 0, registrytest.Only(registrytest.Matching(http.MethodPut, registrytest.KindManifest), r.hold)
	r.destination = registrytest.New(o)
	err := errors.Join(r.source.WriteCertsDir(certsDir), r.destination.WriteCertsDir(certsDir))
	return r, addresses{r.source.Host(), r.destination.Host()}, err
}

// hold never answers while manifests are held.
func (r *registries) hold(int, *http.Request) registrytest.Answer {
	if r.held.Load() {
		return registrytest.Stall()
	}
	return registrytest.Answer{}
}

func (r *registries) close() {
	r.source.Close()
	r.destination.Close()
}

// prepare puts the images of w into the source, and into repo of the destination if they are to be
// there already. From then on requests and connections are counted. What is to be killed cannot
// end: manifests are held.
func (r *registries) prepare(w workload, repo string) {
	if r.fixtures[w.Name] == nil {
		r.fixtures[w.Name] = w.fixtures()
		w.pushTo(r.source, w.sourceRepo(), r.fixtures[w.Name])
	}
	if w.Layout {
		settle()
	}
	if w.UpToDate {
		w.pushTo(r.destination, repo, r.fixtures[w.Name])
	}
	r.held.Store(w.Killed)
	r.source.ResetLog()
	r.destination.ResetLog()
	r.connections = [2]int{r.source.Connections(), r.destination.Connections()}
}

func (w workload) pushTo(reg *registrytest.Registry, repo string, fixtures []*imagetest.Fixture) {
	for i, name := range repos(repo, w.Images) {
		fixtures[i].PushTo(reg, name, tag, imagetest.Top)
	}
}

// traffic is what a copy asked of the registries, and what is at the destination then.
type traffic struct {
	SourceRequests, DestinationRequests       int
	SourceHeads                               int // of the source's requests, those that count as no pull
	Attached                                  int // of the source's requests, those that look for what is attached
	SourceConnections, DestinationConnections int
	Read, Written                             int64 // bytes of bodies
	Stored                                    int64 // bytes of blobs and manifests in the destination's repositories
	Carried                                   carriage
	Missing                                   string
}

// A carriage is what was asked of the registries about images that stay as they are, and their
// blobs: of a single image with archives only.
type carriage struct {
	Images                              int
	SourceRequests, DestinationRequests int
	Done                                time.Duration // from the first request of the copy to the end of the last of these
}

// account returns the traffic since prepare. repo is the path of a layout where w is about one.
// Missing says what a complete copy of w would have besides; "" for nothing.
func (r *registries) account(w workload, repo string) traffic {
	var t traffic
	asked, written := r.source.Requests(), r.destination.Requests()
	for _, q := range asked {
		t.SourceRequests++
		if q.Method == http.MethodHead {
			t.SourceHeads++
		}
		if q.Kind == registrytest.KindReferrers || digesttag.Is(q.Ref) {
			t.Attached++
		}
		t.Read += q.BytesOut
	}
	for _, q := range written {
		t.DestinationRequests++
		t.Written += q.BytesIn
	}
	if w.Archives && len(asked) > 0 {
		t.Carried = carriageOf(w, r.fixtures[w.Name][0], asked, written)
	}
	t.SourceConnections = r.source.Connections() - r.connections[0]
	t.DestinationConnections = r.destination.Connections() - r.connections[1]
	if w.Layout {
		t.Stored, t.Missing = r.inLayout(w, repo)
		return t
	}
	for i, name := range repos(repo, w.Images) {
		t.Stored += r.stored(name)
		if err := r.complete(w, r.fixtures[w.Name][i], name); err != nil && t.Missing == "" {
			t.Missing = err.Error()
		}
	}
	return t
}

// carriageOf finds what is about images that stay as they are among what was asked of the source,
// which is something, and of the destination.
func carriageOf(w workload, f *imagetest.Fixture, asked, written []registrytest.Request) carriage {
	var c carriage
	var names []string
	for i, d := range w.images(f) {
		if w.transforms(i) {
			continue
		}
		c.Images++
		for _, d := range append(f.Blobs(f.Name(d)), d) {
			names = append(names, d.Encoded())
		}
	}
	count := func(requests []registrytest.Request) (n int) {
		for _, q := range requests {
			if slices.ContainsFunc(names, func(name string) bool { return strings.Contains(q.Path+"?"+q.Query, name) }) {
				n++
				c.Done = max(c.Done, q.End.Sub(asked[0].Start))
			}
		}
		return n
	}
	c.SourceRequests, c.DestinationRequests = count(asked), count(written)
	return c
}

// stored is the number of bytes in a repository of the destination.
func (r *registries) stored(repo string) (n int64) {
	for _, d := range r.destination.Blobs(repo) {
		c, _ := r.destination.Content(repo, d)
		n += c.Size
	}
	for _, d := range r.destination.Manifests(repo) {
		b, _, _ := r.destination.Manifest(repo, d.String())
		n += int64(len(b))
	}
	return n
}

// complete returns what a complete copy of f would have besides. Contents need no check: the
// destination hashes what it gets.
func (r *registries) complete(w workload, f *imagetest.Fixture, repo string) error {
	content, _, ok := r.destination.Manifest(repo, tag)
	if !ok {
		return errors.New("the destination has no tag")
	}
	var list imgspecv1.Index
	if err := json.Unmarshal(content, &list); err != nil {
		return fmt.Errorf("the list at the destination: %w", err)
	}
	images := w.images(f)
	if len(list.Manifests) != len(images) {
		return fmt.Errorf("the list at the destination names %d images, not %d", len(list.Manifests), len(images))
	}
	subjects := []digest.Digest{digest.FromBytes(content)}
	for i, d := range images {
		subjects = append(subjects, list.Manifests[i].Digest)
		if err := r.completeImage(w, i, f, d, list.Manifests[i].Digest, repo); err != nil {
			return fmt.Errorf("%s: %w", f.Name(d), err)
		}
	}
	if w.Signed {
		return r.signed(repo, subjects)
	}
	if w.Original {
		return r.attached(repo, subjects[0], f.Digest(imagetest.Top))
	}
	return nil
}

// attached returns an error unless a list in a repository of the destination has a referrer with
// the original that it was stripped from.
func (r *registries) attached(repo string, list, from digest.Digest) error {
	for _, d := range r.destination.Manifests(repo) {
		content, _, _ := r.destination.Manifest(repo, d.String())
		var m imgspecv1.Manifest
		if err := json.Unmarshal(content, &m); err != nil {
			return err
		}
		if m.Subject != nil && m.Subject.Digest == list && len(m.Layers) == 1 && m.Layers[0].Digest == from {
			return nil
		}
	}
	return fmt.Errorf("nothing attached to %s has %s", list, from)
}

// completeImage returns what the destination lacks of the image for platform i, which is source in
// the fixture and there in the destination's list.
func (r *registries) completeImage(w workload, i int, f *imagetest.Fixture, source, there digest.Digest, repo string) error {
	content, _, ok := r.destination.Manifest(repo, there.String())
	if !ok {
		return errors.New("the destination lacks its manifest")
	}
	if w.transforms(i) == (source == there) {
		return fmt.Errorf("it is %s at the source and %s at the destination", source, there)
	}
	var image imgspecv1.Manifest
	if err := json.Unmarshal(content, &image); err != nil {
		return err
	}
	if len(image.Layers) != w.Layers {
		return fmt.Errorf("it has %d layers at the destination", len(image.Layers))
	}
	blobs := r.destination.Blobs(repo)
	for _, b := range append(image.Layers, image.Config) {
		if !slices.Contains(blobs, b.Digest) {
			return fmt.Errorf("the destination lacks its blob %s", b.Digest)
		}
	}
	want := imgspecv1.MediaTypeImageLayerGzip
	if w.Format == zstd {
		want = imgspecv1.MediaTypeImageLayerZstd
	}
	for _, layer := range image.Layers {
		if layer.MediaType != want {
			return fmt.Errorf("it has a layer of type %s at the destination", layer.MediaType)
		}
	}
	return nil
}

// signed returns which of the subjects in a repository of the destination has no signature.
func (r *registries) signed(repo string, subjects []digest.Digest) error {
	for _, d := range subjects {
		content, _, ok := r.destination.Manifest(repo, fmt.Sprintf("%s-%s.sig", d.Algorithm(), d.Encoded()))
		if !ok {
			return fmt.Errorf("%s is not signed", d)
		}
		var signatures imgspecv1.Manifest
		if err := json.Unmarshal(content, &signatures); err != nil {
			return err
		}
		if len(signatures.Layers) != 1 || signatures.Layers[0].Annotations["dev.cosignproject.cosign/signature"] == "" {
			return fmt.Errorf("%s has %d signatures, or none that is one", d, len(signatures.Layers))
		}
	}
	return nil
}

// The first process asks the second one by lines of JSON.
type (
	// A question is exactly one of these.
	question struct {
		Start   *startQuestion   `json:",omitempty"` // once, first
		Prepare *subjectQuestion `json:",omitempty"`
		Account *subjectQuestion `json:",omitempty"`
		Release bool             `json:",omitempty"` // manifests are held no more
	}
	startQuestion struct {
		Environment environment
		Address     string // to listen at
		CertsDir    string
	}
	subjectQuestion struct {
		Workload workload
		Repo     string // the path of a layout, if the workload is about one
	}
	answer struct {
		Addresses addresses
		Traffic   traffic
	}
)

// serveRegistries is the second process. It ends when there are no more questions: at the latest
// when the first process ends.
func serveRegistries(questions io.Reader, answers io.Writer) error {
	in, out := json.NewDecoder(questions), json.NewEncoder(answers)
	var r *registries
	for {
		var q question
		if err := in.Decode(&q); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		var a answer
		var err error
		switch {
		case q.Start != nil:
			r, a.Addresses, err = startRegistries(q.Start.Environment, q.Start.Address, q.Start.CertsDir)
		case q.Prepare != nil:
			r.prepare(q.Prepare.Workload, q.Prepare.Repo)
		case q.Account != nil:
			a.Traffic = r.account(q.Account.Workload, q.Account.Repo)
		case q.Release:
			r.held.Store(false)
		}
		if err == nil {
			err = out.Encode(a)
		}
		if err != nil {
			return err
		}
	}
	if r != nil {
		r.close()
	}
	return nil
}

// A registryProcess is the first process's end of the second.
type registryProcess struct {
	command *exec.Cmd
	stdin   io.Closer
	out     *json.Encoder
	in      *json.Decoder
	addresses
	certsDir        string
	startContestant func(*exec.Cmd) error
}

// startRegistryProcess starts the second process. It must be stopped.
func startRegistryProcess(ctx context.Context, e environment, g *ground, certsDir string) (*registryProcess, error) {
	command, err := child(ctx, roleRegistries)
	if err != nil {
		return nil, err
	}
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := g.startRegistries(command); err != nil {
		return nil, err
	}
	p := &registryProcess{
		command: command, stdin: stdin, out: json.NewEncoder(stdin), in: json.NewDecoder(stdout),
		certsDir: certsDir, startContestant: g.startContestant,
	}
	a, err := p.ask(question{Start: &startQuestion{e, g.address, certsDir}})
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	p.addresses = a.Addresses
	return p, nil
}

// ask asks one question.
func (p *registryProcess) ask(q question) (answer, error) {
	var a answer
	err := p.out.Encode(q)
	if err == nil {
		err = p.in.Decode(&a)
	}
	if err != nil {
		err = fmt.Errorf("the process with the registries: %w", err)
	}
	return a, err
}

func (p *registryProcess) stop() error {
	return errors.Join(p.stdin.Close(), p.command.Wait())
}

// child is this program again, in another role. What it writes to stderr is ours.
func child(ctx context.Context, role string) (*exec.Cmd, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, path)
	c.Env = append(os.Environ(), roleVariable+"="+role)
	c.Stderr = os.Stderr
	return c, nil
}
