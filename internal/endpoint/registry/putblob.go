package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
)

// maxOverlapped is the size up to which a blob's content is asked for before it is certain that it
// is needed. If it is not, no more of it travels than fits into the buffers of one connection.
const maxOverlapped = 16 << 20

// PutBlob implements endpoint.Destination.
//
// It asks the registry to mount the blob from the repository itself, or from that of MountFrom,
// which answers whether it is there and, if not, starts the upload. Large blobs, and registries
// that were seen to ignore mounts, get an existence check first.
func (d *Destination) PutBlob(ctx context.Context, b endpoint.Blob, open endpoint.Opener) (endpoint.PutResult, error) {
	return d.putBlob(ctx, b, open, &sending{})
}

// SendBlob is PutBlob for a blob that the registry says is there, and then that it is not, when it
// is to store a manifest: nothing is asked. It is not sent if another end with the same Shared has
// done so since a manifest was refused.
func (d *Destination) SendBlob(ctx context.Context, b endpoint.Blob, open endpoint.Opener) error {
	_, err := d.putBlob(ctx, b, open, &sending{plain: true})
	return err
}

// A sending is what attempts to bring one blob have led to.
type sending struct {
	plain     bool  // it is not asked for
	throttled bool  // a mount was refused for being too much
	lost      bool  // the registry did not know the upload any more
	both      bool  // the registry took the content in no way
	unmatched bool  // the registry said that the content does not match the digest
	resumedAt int64 // bytes that the registry had when the upload was resumed last
	stuck     int   // how often it was resumed there since
}

func (d *Destination) putBlob(ctx context.Context, b endpoint.Blob, open endpoint.Opener, s *sending) (endpoint.PutResult, error) {
	if err := b.Digest.Validate(); err != nil {
		return endpoint.PutResult{}, fmt.Errorf("digest %q: %w", b.Digest, err)
	}
	there, end, err := d.repo.host.blobs.begin(ctx, b.Digest, d.repo)
	if there || err != nil {
		return endpoint.PutResult{Reused: there}, err
	}
	var result endpoint.PutResult
	defer func() { end(err == nil) }()
	err = d.repo.retry(ctx, d.shared.newRetrier(), func() (err error) {
		result.Reused, err = d.putBlobOnce(ctx, b, open, s)
		return err
	})
	if err != nil {
		return endpoint.PutResult{}, fmt.Errorf("to %s: %w", d.name.Name(), err)
	}
	d.repo.has(b.Digest)
	return result, nil
}

// OnItsWay returns a channel that is closed when another end with the same Shared is done with
// storing b where d will not have to send it again, and nil if there is none: PutBlob will not
// wait.
func (d *Destination) OnItsWay(b endpoint.Blob) <-chan struct{} {
	return d.repo.host.blobs.onItsWay(b.Digest, d.repo)
}

func (d *Destination) putBlobOnce(ctx context.Context, b endpoint.Blob, open endpoint.Opener, s *sending) (reused bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends reading the content, wherever that is
	how := howToStart{overlap: true}
	if !s.plain {
		how = d.howToStart(b)
	}
	if how.check {
		there, err := d.hasBlobOnce(ctx, b)
		if there {
			return true, nil
		}
		if err != nil {
			logrus.Debugf("Asking for blob %s: %v", b.Digest, err)
		}
		if errors.Is(err, errOtherSize) && how.from == d.repo.name {
			how.from = "" // it would be mounted, as it is
		}
	}
	content := &earlyContent{open: open}
	defer content.close()
	memory := d.remember(b)
	defer memory.release()
	if done, err := d.goOn(ctx, b, memory, content, s); done {
		return false, err
	}
	if how.overlap {
		content.start(ctx)
	}
	at, err := d.startUpload(ctx, b, how, s)
	if err != nil || at == nil {
		return err == nil, err
	}
	at.memory = memory
	err = d.upload(ctx, b, at, content, s)
	memory.ended(ctx, err)
	return false, s.unless(err)
}

// unless makes err one after which b is sent again if it says that what arrived is not the blob,
// for the first time: our end verifies what it sends, so it was damaged on its way.
func (s *sending) unless(err error) error {
	no, refused := refusedContent(err)
	if !refused || s.unmatched || !saysUnlike(no) {
		return err
	}
	s.unmatched = true
	return &lostUpload{err}
}

// saysUnlike reports whether no says that the content that has arrived is not that of the blob.
func saysUnlike(no *refusal) bool { return no.Has("DIGEST_INVALID") || no.Has("SIZE_INVALID") }

// hasBlobOnce is HasBlob without retries.
func (d *Destination) hasBlobOnce(ctx context.Context, b endpoint.Blob) (bool, error) {
	resp, err := d.repo.send(ctx, &request{method: http.MethodHead, path: "blobs/" + b.Digest.String()})
	if err != nil {
		return found(d.repo.wrapNotFound(err))
	}
	a := discard(resp)
	if err := errors.Join(a.aboutContent(), a.sizedAs(b)); err != nil {
		return false, err
	}
	return true, nil
}

// errOtherSize says that what has the digest of a blob has not its size.
var errOtherSize = errors.New("it has another size")

// sizedAs fails if a, the successful answer to a HEAD, states another length than that of b. None,
// and 0, which some registries and proxies always state, say nothing.
func (a answer) sizedAs(b endpoint.Blob) error {
	stated, err := strconv.ParseInt(a.header.Get("Content-Length"), 10, 64)
	if err == nil && stated > 0 && b.Size >= 0 && stated != b.Size {
		return fmt.Errorf("%s: %w: %d bytes, not %d", a.url, errOtherSize, stated, b.Size)
	}
	return nil
}

// startUpload returns where to send b, or nil if it is there already.
func (d *Destination) startUpload(ctx context.Context, b endpoint.Blob, how howToStart, s *sending) (*session, error) {
	switch {
	case how.from == "":
		at, _, err := d.post(ctx, "", "")
		return at, err
	case how.probe:
		return d.probeMount(ctx, b, how.from, s)
	default:
		return d.mount(ctx, b, how.from, s)
	}
}

// mount asks for b to be mounted. Whatever else the registry answers, or if it does not, it is
// asked for an upload: only one that has too much to do is asked again, once.
func (d *Destination) mount(ctx context.Context, b endpoint.Blob, from string, s *sending) (*session, error) {
	query := "mount=" + url.QueryEscape(b.Digest.String()) + "&from=" + url.QueryEscape(from)
	at, mounted, err := d.post(ctx, query, from)
	switch {
	case mounted && from == d.repo.name:
		d.repo.host.noteMounts(mountsWork)
	case mounted || (err == nil && from != d.repo.name):
		d.noteMount(b, from, mounted)
	case err != nil && ctx.Err() != nil:
		return nil, err
	case err != nil && saysBusy(err) && !s.throttled:
		s.throttled = true
		return nil, err
	case err != nil:
		logrus.Debugf("Mounting blob %s from %s: %v", b.Digest, from, err)
		if transient, _ := isRetriable(err); !transient || d.repo.host.failedMount() {
			d.noMounts(b, from)
		}
		at, _, err = d.post(ctx, "", "")
	}
	return at, err
}

// noMounts notes that blobs are not mounted from a repository.
func (d *Destination) noMounts(b endpoint.Blob, from string) {
	if from == d.repo.name {
		d.repo.host.noteMounts(mountsIgnored)
	} else {
		d.noteMount(b, from, false)
	}
}

// saysBusy reports whether err is the answer of a registry that has too much to do.
func saysBusy(err error) bool {
	no, refused := errors.AsType[*refusal](err)
	return refused && (no.Status == http.StatusTooManyRequests || no.Status == http.StatusServiceUnavailable)
}

// noteMount notes whether b was mounted from another repository. The source's own has the blob: if
// it was not mounted from there, there is no point in asking again.
func (d *Destination) noteMount(b endpoint.Blob, from string, mounted bool) {
	if origin := d.origin.Load(); origin == nil || *origin != from {
		d.repo.host.blobs.mounted(b.Digest, mounted)
	} else if !mounted {
		d.origin.Store(nil)
	}
}

// probeMount is mount with an existence check next to it: a blob that is there and is not mounted
// says that the registry ignores mounts.
func (d *Destination) probeMount(ctx context.Context, b endpoint.Blob, from string, s *sending) (*session, error) {
	there := make(chan bool, 1)
	go func() {
		found, err := d.hasBlobOnce(ctx, b)
		there <- found && err == nil
	}()
	at, err := d.mount(ctx, b, from, s)
	if <-there && at != nil {
		d.repo.host.noteMounts(mountsIgnored)
		return nil, nil
	}
	return at, err
}

// post starts an upload, or mounts with the given query and origin.
func (d *Destination) post(ctx context.Context, query, mountFrom string) (at *session, mounted bool, err error) {
	resp, err := d.repo.send(ctx, &request{
		method:    http.MethodPost,
		path:      "blobs/uploads/",
		query:     query,
		mountFrom: mountFrom,
	})
	if err != nil {
		return nil, false, err
	}
	discard(resp)
	switch {
	case resp.StatusCode == http.StatusCreated && mountFrom != "":
		return nil, true, nil
	case resp.StatusCode == http.StatusAccepted:
		location, err := d.uploadLocation(resp)
		if err != nil {
			return nil, false, err
		}
		return &session{location: location, least: leastChunk(resp)}, false, nil
	}
	return nil, false, fmt.Errorf("%s %s: unexpected status %d", resp.Request.Method, ocihttp.CleanURL(resp.Request.URL), resp.StatusCode)
}

// uploadLocation is where the registry wants the content. Some registries behind a proxy do not
// know that the outside speaks TLS: on the same host it stays.
func (d *Destination) uploadLocation(resp *http.Response) (*url.URL, error) {
	location, err := resp.Location()
	if err != nil || location.Host == "" || (location.Scheme != "https" && location.Scheme != "http") {
		return nil, fmt.Errorf("%s %s: the answer has no usable upload location", resp.Request.Method, ocihttp.CleanURL(resp.Request.URL))
	}
	asked := resp.Request.URL
	sameHost := strings.EqualFold(location.Hostname(), asked.Hostname()) && (location.Port() == "" || location.Port() == asked.Port())
	if asked.Scheme == "https" && location.Scheme == "http" && sameHost {
		location.Scheme, location.Host = asked.Scheme, asked.Host
	}
	return location, nil
}

type countedReader struct {
	io.ReadCloser
	stats *counters
}

func (r *countedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.stats.bytesWritten.Add(int64(n))
	return n, err
}
