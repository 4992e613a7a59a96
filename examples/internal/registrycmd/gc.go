package registrycmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrygc"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/examples/internal/sparseserver"
	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// defaultGrace is how long a client may take from its first question to its last push.
const defaultGrace = 24 * time.Hour

// collection is what the flags of sparse-registry gc say, beside the settings.
type collection struct {
	remove  bool
	alone   bool
	control string // socket of the server; "" for where it is by default
	options registrygc.Options
	output  form
}

func gcCommand(env environment) *cobra.Command {
	var c collection
	cmd := &cobra.Command{
		Use:   "gc --storage DIRECTORY",
		Short: "Remove what no repository needs any more",
		Long: "Gc says what it would remove from a storage, and with --delete removes it: blobs that no manifest names any\n" +
			"more, and with --untagged also manifests that nothing needs. What a tag names stays, with everything that it\n" +
			"names through lists, sparse and nested ones, and everything whose subject stays. Children that are absent are\n" +
			"no error. What was pushed or asked for within --grace stays, too.\n\n" +
			"In a repository where something cannot be read, everything stays, because nobody knows what it needs.\n\n" +
			"If a server runs on the storage, it does the work, in short turns between its clients' requests, when --delete\n" +
			"is given: interrupting gc ends that, too. In a storage that is no directory, such as an object store, only\n" +
			"--nobody-writes says that no server runs. A collection that is killed leaves the storage whole; the next one\n" +
			"goes on.\n\n" +
			"The exit status is 0 if all is well, 1 if it could not be done, 2 if the command line or a setting is wrong,\n" +
			"and 4 if it was done as far as damage allows.",
		Example: "  sparse-registry gc --storage /var/lib/sparse-registry\n" +
			"  sparse-registry gc --storage /var/lib/sparse-registry --untagged --delete",
	}
	refuseMisuse(cmd)
	defineFlags(cmd, settingsOf(append(slices.Clone(storageFlags), "control")))
	flags := cmd.Flags()
	flags.BoolVar(&c.remove, "delete", false, "remove it; without this, nothing is removed")
	flags.BoolVar(&c.options.Untagged, "untagged", false, "remove manifests, too, that no tag, list or subject needs")
	flags.DurationVar(&c.options.Grace, "grace", defaultGrace, "spare what was pushed, or asked for, within this `DURATION`")
	flags.BoolVar(&c.alone, "nobody-writes", false, "with --delete, for a storage that is no directory: say that no server uses it, anywhere")
	c.output.define(flags, "the report")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o, err := loadOptions(cmd, env)
		if err == nil {
			err = c.output.validate()
		}
		if err == nil && c.options.Grace < 0 {
			err = fmt.Errorf("flag --grace: %s is negative", c.options.Grace)
		}
		if err != nil {
			return misuse(err)
		}
		store, err := openStorage(cmd.Context(), o)
		if err == nil {
			err = c.refuse(o, store)
		}
		if err != nil {
			return misuse(err)
		}
		c.control = o.server.Control
		return c.run(cmd.Context(), store, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// refuse says why nothing can be removed from a storage, or what is said for nothing.
func (c *collection) refuse(o options, store *registrystore.Store) error {
	switch {
	case c.alone && !c.remove:
		return errors.New("--nobody-writes means nothing without --delete: a dry run removes nothing")
	case c.alone && store.Directory() != "":
		return errors.New("--nobody-writes means nothing for a directory, which has a lock: leave it out, and a server that runs does the work")
	case !c.remove:
		return nil
	}
	if store.Directory() == "" && !c.alone {
		return fmt.Errorf("nothing keeps others from writing to storage %s: stop every server that uses it, and say so with --nobody-writes", store.Name())
	}
	if o.server.Distribution != nil && slices.Contains(registrystore.Caches(o.server.Distribution.Storage), any("redis")) {
		return errors.New("storage.cache is redis, which would go on saying that what is removed is there: " +
			"empty its database while no server runs, and give gc a configuration without storage.cache")
	}
	return nil
}

// run collects, and prints the report, also if it had to end early.
func (c *collection) run(ctx context.Context, store *registrystore.Store, out, notes io.Writer) error {
	report, err := c.collect(ctx, store, notes)
	if report == nil {
		return err
	}
	if err := errors.Join(err, c.output.print(out, report)); err != nil {
		return err
	}
	if len(report.Damage) > 0 {
		return &statusError{statusDamaged, fmt.Errorf("storage %s is damaged: see what stays for it", store.Name())}
	}
	return nil
}

// collect removes what goes, under the storage's lock if it has one, or has the server that holds
// it do so; or finds out what would go. The report is nil if nothing was removed.
func (c *collection) collect(ctx context.Context, store *registrystore.Store, notes io.Writer) (_ *registrygc.Report, retErr error) {
	if !c.remove {
		return registrygc.DryRun(ctx, store, c.options, clock.System)
	}
	if store.Directory() != "" {
		lock, err := registrystore.TakeLock(store.Directory(), "sparse-registry gc --delete")
		if locked, ok := errors.AsType[*registrystore.LockedError](err); ok {
			return c.askServer(ctx, locked, notes)
		}
		if err != nil {
			return nil, err
		}
		defer func() { retErr = errors.Join(retErr, lock.Release()) }()
	}
	return registrygc.Collect(ctx, store, c.options, clock.System)
}

// askServer has the server that holds the lock of a storage collect.
func (c *collection) askServer(ctx context.Context, locked *registrystore.LockedError, notes io.Writer) (*registrygc.Report, error) {
	socket := cmp.Or(c.control, sparseserver.ControlSocket(locked.Storage))
	report, err := registrygc.Remote(ctx, socket, locked.Holder, c.options, tellProgress(notes))
	if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
		return nil, fmt.Errorf("%w; nobody collects at its control socket (--control): %w", locked, err)
	}
	return report, err
}

// tellProgress writes a line when a collection begins, and at most one a second from then on.
func tellProgress(notes io.Writer) func(registrygc.Progress) {
	var last time.Time
	return func(p registrygc.Progress) {
		now := clock.System.Now()
		if now.Sub(last) < time.Second {
			return
		}
		last = now
		line := "the server finds out what stays"
		if p.Goes != (registrygc.Totals{}) {
			line = fmt.Sprintf("the server has removed %s, of %s", p.Removed, p.Goes)
		}
		_, _ = fmt.Fprintln(notes, line) // the report is what counts
	}
}
