package registrytest

import (
	"cmp"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"
)

// Options are the behaviours of a Registry. The zero value is a registry on plain HTTP that asks
// for no credentials, accepts lists whose children are missing, and does everything that the
// specification offers.
//
// A Registry copies its Options; what functions and pointers in it refer to must not change
// afterwards.
type Options struct {
	// Strict refuses lists whose children are not all there as manifests, as ListPolicy
	// Distribution3 does. It has no effect if ListPolicy is set.
	Strict bool
	// ListPolicy decides on every PUT of a list that is otherwise correct. nil accepts, unless
	// Strict is set.
	ListPolicy ListPolicy
	// BlobsUnknown, if not nil, is the answer to a manifest that names blobs which are not there:
	// ECR names them in a message. If it is nil, that is 400 MANIFEST_BLOB_UNKNOWN with an error
	// for each, as distribution 3 answers.
	BlobsUnknown func(missing []digest.Digest) Answer
	// ImmutableTags refuses to point an existing tag at another digest: 400 TAG_INVALID, as ECR
	// does.
	ImmutableTags bool
	// PutAgain, if not nil, decides about every PUT of a tag that is there already, whatever it
	// names: registries refuse to write an immutable tag, with the same digest, too (Harbor 2, ECR,
	// Artifactory 7). What is at the tag is not looked at, nor are the children of a list.
	PutAgain ListPolicy
	// HonourAccept answers GET and HEAD of a manifest with 404 MANIFEST_UNKNOWN if the Accept
	// header does not admit its media type, as distribution 2.8 and 3 do for OCI documents. Without
	// it Accept is not looked at.
	HonourAccept bool

	// DeclareAs is what manifests and lists of these media types are declared to be in answers to
	// GET and HEAD: Quay 3 declares schema 2 manifests as schema 1, and caches and converting
	// proxies go by what they think that a client wants.
	DeclareAs map[string]string

	// AbsentCode is the code of the 404 for manifests and blobs that are not there, "" for those of
	// the specification: UNKNOWN (registry.redhat.io, 2026), TAG_EXPIRED (Quay 3, of deleted tags),
	// NAME_UNKNOWN (distribution 3 and Harbor 2, of repositories). "-" is for none, as Artifactory
	// 7 answers.
	AbsentCode string
	// AbsentPage makes that answer a web page, as proxies before a registry (nginx), and object
	// stores, send it.
	AbsentPage bool
	// ForbidAbsentTags answers 403 for tags that are not there, as Artifactory 7 does to accounts
	// that may not write.
	ForbidAbsentTags bool

	// DiscardBlobs hashes uploads and keeps digest and size only: HEAD works, GET answers 500.
	// It does not concern what tests put in by PutBlob and PutContent.
	DiscardBlobs bool

	// NoReferrers switches the referrers API off: 404, and no OCI-Subject header, as distribution
	// 3.1 and GitLab.com (2026).
	NoReferrers bool
	// SubjectHeader sends the OCI-Subject header all the same, as ECR did in 2024.
	SubjectHeader bool
	// Referrers is how the list of referrers is answered.
	Referrers ReferrersForm
	// ReferrersPage, if not 0, is the status of a web page at the second server to which the
	// question for referrers leads, as GHCR leads to GitHub's in 2026: 303, and no OCI-Subject
	// header.
	ReferrersPage int
	// DigestTags reads a tag that looks like a digest, sha256-<hex>, as that digest, as GitLab.com
	// does in 2026.
	DigestTags bool
	// RequireSubjects refuses what has a subject that is not there as a manifest: 400
	// MANIFEST_BLOB_UNKNOWN with the subject, as GitLab.com does in 2026.
	RequireSubjects bool
	// NoDockerSubjects refuses what has a subject with a Docker media type: 400 MANIFEST_INVALID,
	// as GitLab.com does in 2026.
	NoDockerSubjects bool
	// TypePolicy decides on every PUT of what is otherwise correct, by the media types that it
	// states. nil accepts.
	TypePolicy TypePolicy
	// NoMonolithicPost ignores the digest of a POST that wants to upload in one request: 202 with a
	// location, as distribution 2.8 and 3 do.
	NoMonolithicPost bool
	// IgnoreMounts answers every mount request with 202, as if the blob were not there.
	IgnoreMounts bool
	// PhantomMounts answers every mount request with 201, as if the blob were there: caches before
	// registries do.
	PhantomMounts bool
	// PatchOnly answers 404, without a code, to a PUT that would bring the content of an upload:
	// Artifactory 6 takes it by PATCH.
	PatchOnly bool
	// MaxBody is the most bytes that a request of an upload may bring: 413 with a page for others,
	// as Cloudflare (100 MB) and nginx (1 MiB) answer before the body was read. 0 for no bound.
	MaxBody int64
	// MovingUploads gives an upload another URL with each PATCH, as distribution 2.8 and 3 do,
	// which keep its state there. The one before is not known any more.
	MovingUploads bool
	// UploadStatus is the status of the answer that says that a blob was stored, 201 if 0: 200, 202
	// and 204 are met too.
	UploadStatus int
	// NoLengthOfHEAD leaves out Content-Length in answers to HEAD of a blob.
	NoLengthOfHEAD bool
	// Ranges is how a Range header is answered.
	Ranges RangeForm
	// BareSuccess answers PUT of manifests and blobs with 200 and nothing else: some gateways in
	// front of registries drop the rest.
	BareSuccess bool
	// RefuseHEAD answers HEAD of manifests and blobs with 405 UNSUPPORTED.
	RefuseHEAD bool
	// HEADs is how HEAD of a manifest is answered.
	HEADs HEADForm
	// PageSize is the largest page of tags and of referrers; 0 means no limit.
	PageSize int
	// Links is how the pages of tags and of referrers are linked.
	Links LinkForm
	// ListsCache leaves out of the list of tags those that are named after digests, for which it
	// answers all the same, as the proxy caches of Harbor 2.2.1 do until somebody has asked for
	// them.
	ListsCache bool
	// UnknownWithoutTags answers 404 NAME_UNKNOWN for the list of tags of a repository that has
	// none, as distribution 3 does.
	UnknownWithoutTags bool
	// ListedTags are listed beside the tags that are there, whatever they are: registries list
	// names that other software put there.
	ListedTags []string
	// Location is the form of the Location header of uploads.
	Location LocationForm
	// RedirectBlobs answers GET of a blob with 307 to the second server, which accepts no
	// Authorization header: it answers 400 to a request that carries one, as object stores with
	// signed URLs do.
	RedirectBlobs bool

	// BlobWait is how long the first byte of a blob takes, as it does behind proxies that scan what
	// passes (Zscaler). With BlobHeaderFirst, the header of that answer comes at once.
	BlobWait        time.Duration
	BlobHeaderFirst bool
	// CommitWait is how long a registry takes to answer the request that ends the upload of a blob,
	// as distribution does on S3, where it copies what is large from one place to another.
	CommitWait time.Duration

	// Throttle answers 429 to requests that arrive while this number of others is in progress; 0
	// means never.
	Throttle int
	// RetryAfter is the Retry-After header of these answers: "" means "1", "-" means none.
	RetryAfter string
	// RateLimit, if not nil, limits how many manifests are read.
	RateLimit *RateLimit
	// Script, if not nil, is asked before every request is served, whichever server it came to; n
	// counts them from 1, and is the N of the Request in the log. It may be called concurrently.
	// The zero Answer serves the request.
	Script func(n int, req *http.Request) Answer

	// Announce, if not nil, makes the registry tell what it thinks of sparse lists.
	Announce *Announcement

	// Auth, if not nil, asks for credentials.
	Auth *Auth

	// TLS serves HTTPS with a certificate of a certificate authority of its own; see
	// Registry.WriteCertsDir.
	TLS bool
	// HTTP2 offers HTTP/2 in TLS handshakes.
	HTTP2 bool
	// RequireClientCert ends TLS handshakes without the client certificate that WriteCertsDir
	// writes.
	RequireClientCert bool

	// RTT is the round-trip time of all connections: bytes take half of it each way, and the first
	// byte of a new connection one RTT more, as the handshake of TCP does.
	RTT time.Duration
	// Rate is how many bytes in a second a connection brings to a client at most, as content
	// delivery networks limit downloads; 0 for no limit. What clients send has none.
	Rate int64
	// Address is the IP address to listen at; "" is 127.0.0.1. With another one, nothing may be
	// asked for that needs TLS or a second server: certificates and the second server's name are
	// those of loopback.
	Address string
}

func (o Options) address() string { return cmp.Or(o.Address, "127.0.0.1") }

// HEADForm is how HEAD of a manifest is answered.
type HEADForm int

const (
	// HEADComplete is the answer to a GET without its body.
	HEADComplete HEADForm = iota
	// HEADWithoutDigest leaves Docker-Content-Digest out, as registry.redhat.io did in 2023
	// (regclient/regclient 363), and as buckets do that serve files as a registry.
	HEADWithoutDigest
	// HEADOfNoLength says that the manifest has no bytes, as NORA did in 2026 (getnora-io/nora
	// 337), and Artipie in 2021.
	HEADOfNoLength
	// HEADAbsent is 404, whether or not the manifest is there, as Nexus 3 behind nginx
	// answers in 2026 (crazy-max/diun 1614).
	HEADAbsent
)

// RangeForm is how a request for a range of a blob is answered.
type RangeForm int

const (
	// RangeComplete is that range, or, if an If-Range header names another ETag, the whole blob.
	RangeComplete RangeForm = iota
	// RangeIgnored is 200 with the whole blob, as distribution 2.8 and 3 answer as proxy caches,
	// while they fetch it.
	RangeIgnored
	// RangeFirst is 206 with as many bytes from the start of the blob, whatever was asked for, and
	// says so.
	RangeFirst
	// RangeFalse is the same, and says that these bytes are what was asked for: a cache that keeps
	// parts by the URL alone does that.
	RangeFalse
	// RangeCoded states a Content-Encoding for the range.
	RangeCoded
	// RangeRefused is 416, whatever is asked for.
	RangeRefused
	// RangeWithoutSize has "*" for the size of the blob.
	RangeWithoutSize
	// RangeMovingTag has another ETag in each answer, as servers behind one address have which
	// make it from inode numbers (Apache 2.2).
	RangeMovingTag
	// RangeWeakTag has a weak ETag, which If-Range must not name: such a request gets the whole
	// blob.
	RangeWeakTag
)

// ReferrersForm is how a list of referrers is answered.
type ReferrersForm int

const (
	// ReferrersIndex is an index of complete descriptors, of the type that is asked for.
	ReferrersIndex ReferrersForm = iota
	// ReferrersJSON is the same as application/json, as Harbor before 2.11 declares it.
	ReferrersJSON
	// ReferrersBare is an index of descriptors without artifact types and with null for
	// annotations, whatever type is asked for, null if there are none, and declared as text/plain,
	// as old servers in Go send what they do not declare.
	ReferrersBare
	// ReferrersOfConfigs states the types of configs as artifact types, whatever type is asked for,
	// as the registry of go-containerregistry 0.22.1 does.
	ReferrersOfConfigs
	// ReferrersStale is an index without entries, as of a moment before there were any: Quay's
	// answer is up to a minute old (quay/quay 6510).
	ReferrersStale
)

// LocationForm says where upload locations point to.
type LocationForm int

const (
	// LocationAbsolute is a URL with the host that the client used.
	LocationAbsolute LocationForm = iota
	// LocationRelative is an absolute path without scheme and host.
	LocationRelative
	// LocationSecond is a URL on the second server. Uploads there need no credentials: the URL is
	// the secret.
	LocationSecond
)

// Announcement is what a registry says about sparse lists: in the headers
// X-Sparse-Manifest-Support, X-Required-Architectures and X-Sparse-Manifest-Widening of GET /v2/,
// and in the answer to GET /api/v1/registry/capabilities.
type Announcement struct {
	Sparse        bool
	Architectures []string // required; nil for none
	Widening      bool     // children may be added to a list that is there. Quay says nothing of it

	// More, if not nil, is what sparse-registry says besides, and Quay does not.
	More *MoreAnnounced
}

// MoreAnnounced is said in the headers X-Required-Platforms and X-Required-Without-Platform, and in
// the fields of the same names.
type MoreAnnounced struct {
	Platforms       []string // required; nil for none
	WithoutPlatform bool     // children without a platform are required

	// Repositories are the answers to ?repository=NAME, by name, for those who may pull from it;
	// all others get the one that has this map. A registry that does not know the parameter has
	// none.
	Repositories map[string]*Announcement
}
