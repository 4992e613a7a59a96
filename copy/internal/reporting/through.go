package reporting

import (
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	upstreammanifest "go.podman.io/image/v5/manifest"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/copy/report"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// Through notes what is known of a copy that followed p through upstream, and that the destination
// names copied because of it.
func (r *Collector) Through(p *plan.Plan, copied []byte) error {
	d, err := upstreammanifest.Digest(copied)
	if err != nil {
		return err
	}
	r.SetComplete()
	for _, wanted := range p.Wanted() {
		r.image(wanted, func(i *imageReport) { i.outcome = report.Copied })
	}
	r.Update(func(rep *report.Report) { rep.Written, rep.DestinationDigest = true, d })
	l := p.List
	if l == nil {
		r.Update(func(rep *report.Report) { rep.ManifestsCopied++ })
		return nil
	}
	if len(l.Edits) == 0 && d != l.Digest {
		r.Warn(fmt.Sprintf("the list was kept, and has another digest all the same: %s", p.WayReason))
	}
	if written, err := manifest.Parse(copied, manifest.TypeOf(copied, "")); err == nil {
		r.Update(func(rep *report.Report) { rep.ManifestsCopied += writtenManifests(l, written.Instances()) })
		for _, d := range p.Wanted() {
			names := func(instance manifest.Instance) bool { return instance.Digest == d }
			if !slices.ContainsFunc(written.Instances(), names) {
				r.image(d, func(i *imageReport) { i.converted = true })
			}
		}
		for _, orphan := range orphans(l, written.Instances()) {
			r.Warn(fmt.Sprintf("the %s %s %s an image that was changed, and is about nothing now: %s", orphan.Kind, orphan.Digest, orphan.Relation, p.WayReason))
		}
	}
	return nil
}

// writtenManifests is how many manifests upstream has written for a list that was l and is written
// now, the list included.
func writtenManifests(l *plan.ListPlan, written []manifest.Instance) int {
	left := map[digest.Digest]bool{}
	for _, ip := range l.Instances {
		left[ip.Digest] = left[ip.Digest] || ip.Decision != plan.Copy
	}
	distinct := map[digest.Digest]bool{}
	for _, instance := range written {
		if !left[instance.Digest] {
			distinct[instance.Digest] = true
		}
	}
	return len(distinct) + 1
}

// orphans returns the entries of l that are among written, what became of it, and whose subjects
// are not there any more.
func orphans(l *plan.ListPlan, written []manifest.Instance) []plan.InstancePlan {
	there := map[digest.Digest]bool{}
	for _, instance := range written {
		there[instance.Digest] = true
	}
	var all []plan.InstancePlan
	for _, ip := range l.Instances {
		if ip.Relation.Follows() && ip.Subject != "" && there[ip.Digest] && !there[ip.Subject] {
			all = append(all, ip)
		}
	}
	return all
}
