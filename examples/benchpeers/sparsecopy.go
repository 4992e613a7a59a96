package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/signature/sigstore"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/cache"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
)

func copySparsecopy(ctx context.Context, j job) error {
	return copySparsecopyBy(ctx, copy.Image, j)
}

// copySparsecopyWith copies by a Copier of its own.
func copySparsecopyWith(o copy.CopierOptions) func(context.Context, job) error {
	return func(ctx context.Context, j job) (err error) {
		copier := copy.NewCopier(o)
		defer func() { err = errors.Join(err, copier.Close()) }()
		return copySparsecopyBy(ctx, copier.Image, j)
	}
}

// imageCopy is copy.Image, or the same of a Copier.
type imageCopy func(ctx context.Context, p *signature.PolicyContext, destination, source types.ImageReference, o *copy.Options) ([]byte, error)

func copySparsecopyBy(ctx context.Context, copyImage imageCopy, j job) error {
	e, err := newImageEnvironment(j)
	if err != nil {
		return err
	}
	source, destination, err := j.references()
	if err != nil {
		return err
	}
	options := e.options()
	options.SignBySigstorePrivateKeyFile, options.SignSigstorePrivateKeyPassphrase = j.SigningKey, signingPassphrase
	if j.Platforms != nil {
		options.ImageListSelection = copy.CopySpecificImages
		options.SparseManifestListAction = copy.StripSparseManifestList
		options.AttachOriginal = j.Original
		options.InstancePlatforms, err = parseAll(j.Platforms)
		if err != nil {
			return err
		}
	}
	_, err = copyImage(ctx, e.policy, destination, source, options)
	return err
}

func (e *imageEnvironment) options() *copy.Options {
	return &copy.Options{SourceCtx: e.system, DestinationCtx: e.destination, ImageListSelection: copy.CopyAllImages}
}

// copySparsecopyImages copies all images in one call. If there may have been an earlier one, it
// begins with what that has left, and leaves the same for the next.
func copySparsecopyImages(ctx context.Context, jobs []job) error {
	e, err := newImageEnvironment(jobs[0])
	if err != nil {
		return err
	}
	var memory sparsecopyMemory
	if jobs[0].Again {
		if memory, err = openSparsecopyMemory(jobs[0].Dir); err != nil {
			return err
		}
	}
	var copies []copy.Job
	for _, j := range jobs {
		source, destination, err := j.references()
		if err != nil {
			return err
		}
		options := e.options()
		options.Earlier = memory.Earlier[j.Destination.String()]
		copies = append(copies, copy.Job{Source: source, Destination: destination, Options: options})
	}
	copier := copy.NewCopier(copy.CopierOptions{Cache: memory.cache})
	defer func() { _ = copier.Close() }()
	var failures []error
	for _, result := range copier.Images(ctx, e.policy, copies, &copy.ImagesOptions{Done: func(r copy.Result, report *copy.Report) {
		if jobs[0].Again {
			memory.note(jobs[r.Job], report)
		}
	}}) {
		failures = append(failures, result.Err)
	}
	if jobs[0].Again {
		failures = append(failures, memory.save(jobs[0].Dir))
	}
	return errors.Join(failures...)
}

// sparsecopyMemory is what one call leaves to the next, in the directory of a job.
type sparsecopyMemory struct {
	Earlier map[string]*copy.Earlier // by destination
	cache   copy.DocumentCache       // of what sources have handed out
}

func openSparsecopyMemory(dir string) (m sparsecopyMemory, err error) {
	if m.cache, err = cache.Directory(filepath.Join(dir, "cache"), 0); err != nil {
		return m, err
	}
	m.Earlier = map[string]*copy.Earlier{}
	content, err := os.ReadFile(filepath.Join(dir, "earlier.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err == nil {
		err = json.Unmarshal(content, &m.Earlier)
	}
	return m, err
}

func (m sparsecopyMemory) note(j job, report *copy.Report) {
	m.Earlier[j.Destination.String()] = &copy.Earlier{
		Source: report.SourceDigest, Destination: report.DestinationDigest, Wanted: report.Wanted, Verified: report.VerifiedAt,
	}
}

func (m sparsecopyMemory) save(dir string) error {
	content, err := json.Marshal(m.Earlier)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "earlier.json"), content, 0o600)
}

func parseAll(platforms []string) ([]copy.InstancePlatformFilter, error) {
	var filters []copy.InstancePlatformFilter
	for _, p := range platforms {
		f, err := copy.ParsePlatformFilter(p)
		if err != nil {
			return nil, err
		}
		filters = append(filters, f)
	}
	return filters, nil
}

// An imageEnvironment is what functions in the manner of containers/image want.
type imageEnvironment struct {
	system, destination *types.SystemContext
	policy              *signature.PolicyContext
}

// references are those of both ends in containers/image.
func (j job) references() (source, destination types.ImageReference, err error) {
	if source, err = j.Source.reference(); err != nil {
		return nil, nil, err
	}
	destination, err = j.Destination.reference()
	return source, destination, err
}

func (p place) reference() (types.ImageReference, error) {
	if p.isLayout() {
		return layout.NewReference(p.Repo, p.Tag)
	}
	return docker.ParseReference("//" + p.String())
}

// newImageEnvironment makes one that does not depend on the machine's configuration, and whose
// cache of blobs is empty.
func newImageEnvironment(j job) (*imageEnvironment, error) {
	e := &imageEnvironment{}
	var err error
	if e.policy, err = signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	}); err != nil {
		return nil, err
	}
	if e.system, err = hermetictest.SystemIn(j.Dir); err != nil {
		return nil, err
	}
	e.system.DockerPerHostCertDirPath = j.CertsDir
	if !j.TLS {
		e.system.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	}
	destination := *e.system
	if j.Format != "" {
		algorithm, err := compression.AlgorithmByName(j.Format)
		if err != nil {
			return nil, err
		}
		destination.CompressionFormat = &algorithm
	}
	e.destination = &destination
	if j.SigningKey == "" {
		return e, nil
	}
	attach := fmt.Sprintf("docker:\n  %s:\n    use-sigstore-attachments: true\n", j.Destination.Host)
	return e, os.WriteFile(filepath.Join(e.system.RegistriesDirPath, "destination.yaml"), []byte(attach), 0o600)
}

// signingPassphrase is the passphrase of the key that signs.
var signingPassphrase = []byte("benchpeers")

// writeSigningKey makes a key that signs, and returns its path.
func writeSigningKey(dir string) (string, error) {
	keys, err := sigstore.GenerateKeyPair(signingPassphrase)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "signing.key")
	return path, os.WriteFile(path, keys.PrivateKey, 0o600)
}
