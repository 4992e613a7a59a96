package audit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/examples/internal/referrers"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// facts are what was read of one repository, and of what it has.
type facts struct {
	repository string
	tags       map[string]link
	manifests  map[digest.Digest]link // by what the path of the link says
	blobs      map[digest.Digest]link // configs and layers, by what the path of the link says
	referrers  map[referral]bool      // that are linked

	stored    map[digest.Digest]stored   // what the storage has, of what is linked
	documents map[digest.Digest]document // the manifests that are linked, stored and not altered
}

// A link is a file that names what the storage has. Its path may say the same in another algorithm.
type link struct {
	target  digest.Digest // "" if it is damaged, or, of a tag, if there is no such file
	problem string        // why it is damaged, "" if it is not
	path    string        // where it is; present only if it is damaged

	unreadable bool // the problem is that the storage does not hand it out
}

// kind is of what is found about a link that has a problem.
func (l link) kind() Kind {
	if l.unreadable {
		return Unreadable
	}
	return LinkDamaged
}

// stored is what the storage has under a digest.
type stored struct {
	size    int64
	altered bool // its bytes have another digest; false where they were not read
}

// A referral is a manifest that refers to a subject.
type referral struct{ subject, referrer digest.Digest }

// A document is a manifest that was read: a list, an image, or neither.
type document struct {
	list    manifest.List
	image   *manifest.Image
	made    bool   // it is a list that the server made for a referrers tag, and that nobody pushed
	problem string // why it is neither, "" if it is one
}

// parse reads a manifest, which the storage keeps without the media type that it came with.
func parse(body []byte) document {
	mediaType := manifest.TypeOf(body, "")
	var d document
	var err error
	if manifest.IsListMediaType(mediaType) {
		d.list, err = manifest.Parse(body, mediaType)
		d.made = referrers.IsMade(body)
	} else {
		d.image, err = manifest.ParseImage(body, mediaType)
	}
	if err != nil {
		return document{problem: err.Error()}
	}
	return d
}

// subject is what a document refers to, "" if that is nothing.
func (d document) subject() digest.Digest {
	switch {
	case d.list != nil:
		return d.list.Subject()
	case d.image != nil:
		return d.image.Subject
	}
	return ""
}

// children are what a list names.
func (d document) children() []manifest.Instance {
	if d.list == nil {
		return nil
	}
	return d.list.Instances()
}

// demands are the policies that the lists of a repository are held against.
type demands struct {
	inForce  manifest.SparsePolicy
	proposed *manifest.SparsePolicy // nil for none
}

// judge says what is wrong with a repository, in no order.
func judge(f *facts, d demands) []Finding {
	j := &judgement{facts: f, needed: map[digest.Digest]bool{}, parents: map[digest.Digest][]digest.Digest{}}
	j.relate()
	j.judgeTags()
	for of, link := range f.manifests {
		j.judgeManifest(of, link, d)
	}
	for of, link := range f.blobs {
		j.judgeBlob(of, link)
	}
	j.judgeReferrers()
	return j.findings
}

// A judgement gathers what is wrong with one repository.
type judgement struct {
	*facts
	needed   map[digest.Digest]bool            // blobs that manifests name
	parents  map[digest.Digest][]digest.Digest // lists that name a manifest
	findings []Finding
}

// relate notes what the manifests name.
func (j *judgement) relate() {
	for of, document := range j.documents {
		for _, child := range document.children() {
			if child.IsBlob() {
				j.needed[child.Digest] = true
			} else {
				j.parents[child.Digest] = append(j.parents[child.Digest], of)
			}
		}
		if document.image != nil {
			for blob := range document.image.Blobs() {
				j.needed[blob.Digest] = true
			}
		}
	}
}

// found notes a finding about a manifest or a blob.
func (j *judgement) found(kind Kind, of, other digest.Digest, format string, args ...any) {
	f := newFinding(kind, j.repository, of, fmt.Sprintf(format, args...))
	f.Other, f.Tags = other, j.tagsLeadingTo(of)
	j.findings = append(j.findings, f)
}

// foundDamaged notes a link that is damaged.
func (j *judgement) foundDamaged(of digest.Digest, what string, link link) {
	j.found(link.kind(), of, "", "the repository's link to this %s %s", what, link.problem)
	j.findings[len(j.findings)-1].Path = link.path
}

// tagsLeadingTo returns the tags that name a manifest or a list that leads to it, in order.
func (j *judgement) tagsLeadingTo(of digest.Digest) []string {
	above := map[digest.Digest]bool{of: true}
	for next := []digest.Digest{of}; len(next) > 0; {
		parents := j.parents[next[0]]
		next = next[1:]
		for _, parent := range parents {
			if !above[parent] {
				above[parent] = true
				next = append(next, parent)
			}
		}
	}
	var tags []string
	for name, tag := range j.tags {
		if above[tag.target] {
			tags = append(tags, name)
		}
	}
	slices.Sort(tags)
	return tags
}

func (j *judgement) judgeTags() {
	for name, tag := range j.tags {
		kind, problem := TagEmpty, "the tag is listed, and names nothing"
		switch _, there := j.manifests[tag.target]; {
		case tag.problem != "":
			kind, problem = tag.kind(), "the tag's link "+tag.problem
		case tag.target != "" && there:
			continue
		case tag.target != "":
			kind, problem = TagDangling, "the tag names "+tag.target.String()+", which the repository does not have"
		}
		f := newFinding(kind, j.repository, tag.target, problem)
		f.Tag = name
		j.findings = append(j.findings, f)
	}
}

func (j *judgement) judgeManifest(of digest.Digest, link link, d demands) {
	if link.problem != "" {
		j.foundDamaged(of, "manifest", link)
		return
	}
	if _, there := j.stored[link.target]; !there {
		j.found(ManifestLost, of, "", "the manifest is lost: the storage does not have it")
		return
	}
	document, read := j.documents[of]
	switch {
	case !read: // it is altered, or could not be read, which is said elsewhere
	case document.problem != "":
		j.found(ManifestUnknown, of, "", "it cannot be read as a list or an image: %s", document.problem)
	case document.made: // what it names may have been deleted: the server makes another one then
	case document.list != nil:
		j.judgeList(of, document.list, d)
	default:
		j.judgeImage(of, document.image)
	}
}

// judgeImage looks for the config and the layers. What has URLs may be elsewhere.
func (j *judgement) judgeImage(of digest.Digest, image *manifest.Image) {
	for blob := range image.Blobs() {
		what := "layer"
		if blob.Digest == image.Config.Digest {
			what = "config"
		}
		if len(blob.URLs) == 0 {
			j.judgeContent(of, what, blob.Digest, blob.Size)
		}
	}
}

// judgeContent looks for a blob that a manifest cannot be without.
func (j *judgement) judgeContent(of digest.Digest, what string, named digest.Digest, size int64) {
	link, linked := j.blobs[named]
	have, there := j.stored[link.target]
	switch {
	case !linked:
		j.found(ContentLost, of, named, "its %s %s is not in the repository", what, named)
	case link.problem != "": // said of the link
	case !there:
		j.found(ContentLost, of, named, "its %s %s is lost: the storage does not have it", what, named)
	case have.size != size && !have.altered:
		j.found(SizeUntrue, of, named, "it says that its %s %s has %d bytes, which has %d", what, named, size, have.size)
	}
}

// judgeList looks for the children that the policies require.
func (j *judgement) judgeList(of digest.Digest, list manifest.List, d demands) {
	missing := j.missing(list, d.inForce)
	for _, m := range missing {
		j.found(ChildMissing, of, m.child, "%s", m.problem)
	}
	if d.proposed != nil {
		for _, m := range j.missing(list, *d.proposed) {
			if !slices.ContainsFunc(missing, func(already missingChild) bool { return already.child == m.child }) {
				j.found(PolicyRefuses, of, m.child, "the proposed policy refuses it: %s", m.problem)
			}
		}
	}
	said := map[digest.Digest]bool{}
	for _, child := range list.Instances() {
		have, there := j.stored[j.linkOf(child).target]
		if there && !have.altered && have.size != child.Size && !said[child.Digest] {
			said[child.Digest] = true
			j.found(SizeUntrue, of, child.Digest, "it says that its child %s has %d bytes, which has %d", child.Digest, child.Size, have.size)
		}
	}
}

// A missingChild is a child that a policy requires.
type missingChild struct {
	child   digest.Digest
	problem string
}

// missing are the children that a policy requires and the repository does not have. One whose link
// is damaged is not among them.
func (j *judgement) missing(list manifest.List, policy manifest.SparsePolicy) []missingChild {
	absent := map[digest.Digest]bool{} // what is named as a manifest and as a blob has to be there as both
	for _, child := range list.Instances() {
		link := j.linkOf(child)
		if _, there := j.stored[link.target]; !there && link.problem == "" {
			absent[child.Digest] = true
		}
	}
	var refused *manifest.MissingChildrenError
	if err := policy.Check(list, func(d digest.Digest) bool { return !absent[d] }); !errors.As(err, &refused) {
		return nil
	}
	missing := make([]missingChild, len(refused.Missing))
	for i, m := range refused.Missing {
		alone := &manifest.MissingChildrenError{Policy: refused.Policy, Missing: refused.Missing[i : i+1]}
		missing[i] = missingChild{m.Digest, alone.Error()}
		if !strings.Contains(missing[i].problem, m.Digest.String()) {
			missing[i].problem += ": " + m.Digest.String()
		}
	}
	return missing
}

// linkOf is the link to a child of a list, zero if there is none.
func (j *judgement) linkOf(child manifest.Instance) link {
	if child.IsBlob() {
		return j.blobs[child.Digest]
	}
	return j.manifests[child.Digest]
}

// judgeBlob looks for a blob that is linked. That a manifest lacks it is said of the manifest.
func (j *judgement) judgeBlob(of digest.Digest, link link) {
	_, there := j.stored[link.target]
	switch {
	case link.problem != "":
		j.foundDamaged(of, "blob", link)
	case !there && !j.needed[of]:
		j.found(BlobLost, of, "", "the repository has a link to this blob, and the storage does not have it")
	}
}

// judgeReferrers holds the links of referrers against what the manifests say.
func (j *judgement) judgeReferrers() {
	missing, stray := j.referrersToMend()
	for _, r := range missing {
		j.found(ReferrerUnlinked, r.referrer, r.subject, "it refers to %s, and is not among its referrers", r.subject)
	}
	for _, r := range stray {
		j.found(ReferrerStray, r.referrer, r.subject, "it is among the referrers of %s, and does not refer to it", r.subject)
	}
}

// referrersToMend are the links that are missing, and those that should not be. A link stays where
// its manifest is there and could not be read.
func (f *facts) referrersToMend() (missing, stray []referral) {
	for of, document := range f.documents {
		r := referral{document.subject(), of}
		if r.subject != "" && !f.referrers[r] {
			missing = append(missing, r)
		}
	}
	for r := range f.referrers {
		document, read := f.documents[r.referrer]
		_, linked := f.manifests[r.referrer]
		unknown := linked && (!read || document.problem != "")
		if !unknown && document.subject() != r.subject {
			stray = append(stray, r)
		}
	}
	return missing, stray
}
