package registrygc

import (
	"context"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// DryRun reports what Collect would remove. It changes nothing, and a server may run meanwhile:
// what it does then is taken into account or not.
func DryRun(ctx context.Context, store *registrystore.Store, o Options, c clock.Clock) (*Report, error) {
	_, report, err := planAndReport(ctx, store, o, c)
	return report, err
}

// Collect removes what nothing needs. Nobody else may write to the storage meanwhile. If it ends
// early, it returns a report of what it has removed, and an error; nothing that is left then names
// anything that was removed, and another collection goes on. The report is nil if it has removed
// nothing.
func Collect(ctx context.Context, store *registrystore.Store, o Options, c clock.Clock) (*Report, error) {
	plan, report, err := planAndReport(ctx, store, o, c)
	if err != nil {
		return nil, err
	}
	report.Delete = true
	report.Removed, err = plan.Sweep(ctx, store)
	report.end(c, err)
	return report, err
}

func planAndReport(ctx context.Context, store *registrystore.Store, o Options, c clock.Clock) (*Plan, *Report, error) {
	started := c.Now()
	plan, err := MakePlan(ctx, store, o, started)
	if err != nil {
		return nil, nil, err
	}
	report := newReport(plan)
	report.Storage, report.Untagged, report.Grace, report.Started = store.Name(), o.Untagged, o.Grace, started.UTC()
	report.end(c, nil)
	return plan, report, nil
}
