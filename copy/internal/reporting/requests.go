package reporting

import (
	"github.com/sparsecopy/sparsecopy/copy/report"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
)

// Requests reports how many requests the ends have made, if they count them. An end may be nil.
func (r *Collector) Requests(src endpoint.SizedSource, dst endpoint.Destination, referrers *registry.Source) {
	counting, _ := src.(interface{ Stats() registry.Stats })
	counted, _ := dst.(interface{ Stats() registry.Stats })
	r.Update(func(rep *report.Report) {
		if counting != nil {
			stats := counting.Stats()
			rep.Source.Requests, rep.Source.Retries = stats.Requests, stats.Retries
		}
		if counted != nil {
			stats := counted.Stats()
			rep.Destination.Requests, rep.Destination.Retries = stats.Requests, stats.Retries
			rep.Destination.Resumed, rep.Destination.BegunAnew = stats.Resumed, stats.BegunAnew
		}
		if referrers != nil {
			stats := referrers.Stats()
			rep.ReferrersSource = &report.EndReport{Transport: "registry", Requests: stats.Requests, Retries: stats.Retries}
		}
	})
}
