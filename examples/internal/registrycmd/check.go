package registrycmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sparsecopy/sparsecopy/examples/internal/audit"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// check is what the flags of sparse-registry check say, beside the settings.
type check struct {
	noHash   bool
	readers  int
	require  string // architectures and platforms; "" if it is not given
	proposed string // a file; "" if it is not given
	rebuild  bool
	output   form
}

func checkCommand(env environment) *cobra.Command {
	var c check
	cmd := &cobra.Command{
		Use:   "check --storage DIRECTORY",
		Short: "Say whether the storage is complete and true",
		Long: "Check reads a storage and writes nothing: every manifest and blob has its digest; every link and tag names\n" +
			"something; every config, layer and required child of what is there is there, too; referrers are listed. With\n" +
			"--require or --proposed-config it also says which lists a new policy would refuse. A server may run\n" +
			"meanwhile: what looks wrong is looked at once more after five seconds. Each finding says what to do.\n\n" +
			"The policy in force is that of the settings: give the server's --config, or its flags and environment.\n\n" +
			"The exit status is 0 if all is well, 1 if there are faults, or it could not look, 2 if the command line or a\n" +
			"setting is wrong, and 4 if there is damage: content that is lost or altered, which only a push brings back.",
		Example: "  sparse-registry check --config /etc/sparse-registry/sparse-registry.yaml\n" +
			"  sparse-registry check --storage /var/lib/sparse-registry --feature-sparse-index --no-hash --require arm64",
	}
	refuseMisuse(cmd)
	defineFlags(cmd, settingsOf(slices.Concat(storageFlags, policyFlags)))
	flags := cmd.Flags()
	flags.BoolVar(&c.noHash, "no-hash", false, "do not read blobs; only look whether they are there, and how large they are")
	flags.IntVar(&c.readers, "readers", audit.DefaultReaders, "how many files are read at the same time")
	flags.StringVar(&c.require, "require", "", "say which lists a policy would refuse that requires these `ARCHITECTURES`, or platforms as linux/arm/v7, separated by commas")
	flags.StringVar(&c.proposed, "proposed-config", "", "say which lists the policy of this YAML `FILE` would refuse")
	flags.BoolVar(&c.rebuild, "rebuild-referrers", false, "make the links from subjects to their referrers anew before; no server may run")
	c.output.define(flags, "what was found")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o, err := loadOptions(cmd, env)
		if err != nil {
			return misuse(err)
		}
		auditing, err := c.options(o)
		if err != nil {
			return misuse(err)
		}
		store, err := openStorage(cmd.Context(), o)
		if err != nil {
			return misuse(err)
		}
		return c.run(cmd.Context(), store, auditing, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// options are how a storage is checked.
func (c *check) options(o options) (audit.Options, error) {
	policies := o.server.Policies
	switch {
	case c.readers < 1:
		return audit.Options{}, fmt.Errorf("flag --readers: %d is not positive", c.readers)
	case c.require != "" && c.proposed != "":
		return audit.Options{}, errors.New("--require and --proposed-config are two policies: give one of them")
	}
	if err := c.output.validate(); err != nil {
		return audit.Options{}, err
	}
	if err := policies.Validate(); err != nil {
		return audit.Options{}, err
	}
	proposed, err := c.proposal()
	return audit.Options{Policies: policies, Proposed: proposed, SkipContent: c.noHash, Readers: c.readers}, err
}

// proposal is the policy that lists are held against beside the one in force, nil for none.
func (c *check) proposal() (*sparseregistry.Policies, error) {
	switch {
	case c.require != "":
		p := &sparseregistry.Policies{Default: manifest.SparsePolicy{Enabled: true}}
		for name := range strings.SplitSeq(c.require, ",") {
			required := &p.Default.RequiredArchitectures
			if strings.Contains(name, "/") {
				required = &p.Default.RequiredPlatforms
			}
			*required = append(*required, strings.TrimSpace(name))
		}
		if err := p.Validate(); err != nil {
			return nil, fmt.Errorf("flag --require: %w", err)
		}
		return p, nil
	case c.proposed != "":
		return proposedPolicies(c.proposed)
	}
	return nil, nil
}

// proposedPolicies are the policies of a file with settings, whatever else that says.
func proposedPolicies(path string) (*sparseregistry.Policies, error) {
	var o options
	values, err := o.readFile(path)
	if err != nil {
		return nil, err
	}
	for _, s := range settingsOf(policyFlags) {
		if v, ok := values[s.key]; ok {
			if err := s.set(&o, v.value); err != nil {
				return nil, fmt.Errorf("%s:%d: %s: %w", path, v.line, s.key, err)
			}
		}
	}
	if err := o.server.Policies.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &o.server.Policies, nil
}

func (c *check) run(ctx context.Context, store *registrystore.Store, o audit.Options, out, notes io.Writer) error {
	var tags error
	if c.rebuild {
		rebuilt, err := rebuildReferrers(ctx, store, o, notes)
		if err != nil {
			return err
		}
		tags = rebuilt.Tags
	}
	report, err := audit.Check(ctx, store, o)
	if err != nil {
		return err
	}
	if err := c.output.print(out, report); err != nil {
		return err
	}
	return errors.Join(tags, verdict(store.Name(), report))
}

// rebuildReferrers makes the links of referrers anew under the storage's lock.
func rebuildReferrers(ctx context.Context, store *registrystore.Store, o audit.Options, notes io.Writer) (done audit.Rebuilt, retErr error) {
	if store.Directory() == "" {
		return done, misuse(errors.New("--rebuild-referrers needs the lock of the storage, which only a directory has"))
	}
	if owner := registrystore.ForeignOwner(store.Directory()); owner != "" {
		return done, misuse(fmt.Errorf("storage %s belongs to user %s, whose server could not change what root writes: run it as that user, as with sudo -u %[2]q", store.Directory(), owner))
	}
	lock, err := registrystore.TakeLock(store.Directory(), "sparse-registry check --rebuild-referrers")
	if err != nil {
		return done, err
	}
	defer func() { retErr = errors.Join(retErr, lock.Release()) }()
	done, err = audit.RebuildReferrers(ctx, store, o)
	if err != nil {
		return done, fmt.Errorf("rebuilding the links of referrers: %w", err)
	}
	_, err = fmt.Fprintf(notes, "links of referrers: %d written, %d removed\n", done.Written, done.Removed)
	return done, err
}

// verdict says in one line that something is wrong with a storage, nil if nothing is.
func verdict(storage string, report *audit.Report) error {
	switch {
	case report.Damage > 0:
		return &statusError{statusDamaged, fmt.Errorf("storage %s is damaged: see what was found", storage)}
	case report.Faults > 0:
		return fmt.Errorf("storage %s is not as it should be: see what was found", storage)
	}
	return nil
}
