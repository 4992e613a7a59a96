package mirrorcmd

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"

	"github.com/sparsecopy/sparsecopy/examples/internal/foreign"
	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// A fromFlags says whether a file is a sync file or one of another tool, and how it is converted.
type fromFlags struct {
	flags      *pflag.FlagSet
	format     *foreign.Format // nil for a sync file
	options    foreign.Options
	acceptLost bool
	// elsewhere is set if the images are copied on another machine: variables and directories may
	// be absent.
	elsewhere bool
}

// define defines the flags of a command that reads a sync file.
func (f *fromFlags) define(flags *pflag.FlagSet) {
	flags.Var(formatName{&f.format}, "from", "`FILE` is none of mirror sync, but one of another tool, as mirror import takes it")
	f.defineConversion(flags)
}

// defineConversion defines those that say how a file is converted.
func (f *fromFlags) defineConversion(flags *pflag.FlagSet) {
	f.flags = flags
	flags.BoolVar(&f.acceptLost, "accept-lost", false, "go on though keys of the other tool's file have no counterpart")
	f.options.Define(flags)
}

// conversionFlags are the names of the flags that say how a file is converted.
func conversionFlags() []string {
	names := []string{"accept-lost"}
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.SortFlags = false
	(&foreign.Options{}).Define(flags)
	flags.VisitAll(func(flag *pflag.Flag) { names = append(names, flag.Name) })
	return names
}

// check refuses flags that have no effect.
func (f *fromFlags) check() error {
	given := changed(f.flags, conversionFlags())
	if f.format == nil {
		if len(given) > 0 {
			return misusef("%s %s --from, which says whose file it is", dashed(given), needs(given))
		}
		return nil
	}
	if others := slices.DeleteFunc(given, f.concerns); len(others) > 0 {
		return misusef("%s has no effect on files of the format %s", dashed(others), f.format.Name)
	}
	if f.format.NeedsTo && f.options.To == "" {
		return misusef("%s names no destinations: say where the images go, with --to, such as --to docker://mirror.example/images", f.format.Title)
	}
	if to := f.options.To; to != "" && !namesTransport(to) {
		if scheme, rest, hasScheme := strings.Cut(to, "://"); hasScheme {
			return misusef("--to %q: there is no transport %q; did you mean %s?", to, scheme, meant(scheme, rest))
		}
		return misusef("--to %q names no transport; for a registry write --to docker://%s", to, to)
	}
	return nil
}

// concerns reports whether a flag has an effect on files of the format.
func (f *fromFlags) concerns(flag string) bool {
	switch flag {
	case "accept-lost":
		return true
	case "to":
		return f.format.NeedsTo || f.format.TakesTo
	}
	return strings.HasPrefix(flag, f.format.Name+"-")
}

// convert makes a sync file of content, which is called name. An error is a misuse.
func (f *fromFlags) convert(name string, content []byte) (*foreign.Result, error) {
	o := f.options
	o.Parse = parseReference
	if f.elsewhere {
		o.Environment, o.Parse = foreign.AnyEnvironment, foreign.AnyDirectory(o.Parse)
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	o.Dir = dir
	result, err := f.format.Convert(name, content, o)
	if err != nil {
		return nil, &misuse{err}
	}
	return result, nil
}

// file reads content, which is called name: a sync file, or what is made one of. An error is a
// misuse.
func (f *fromFlags) file(name string, content []byte) (*syncfile.File, error) {
	if f.format == nil {
		file, err := syncfile.Parse(name, content, parseReference)
		if err != nil {
			return nil, &misuse{asOthers(name, content, err)}
		}
		return file, nil
	}
	result, err := f.convert(name, content)
	if err != nil {
		return nil, err
	}
	if err := f.refuse(name, result.Lost); err != nil {
		return nil, err
	}
	if n := len(result.Lost); n > 0 {
		logrus.Warnf("%s: %s without a counterpart, and not looked at; %s", name, counted(n, "key"), f.hint(name))
	}
	return result.File, nil
}

// asOthers is an error of a sync file, or says whose file it is if it looks like one of another
// tool.
func asOthers(name string, content []byte, err error) error {
	format := foreign.Likely(content)
	if format == nil {
		return err
	}
	flags := "--from " + format.Name
	if format.NeedsTo {
		flags += " and --to TEMPLATE"
	}
	return fmt.Errorf("%s is no sync file, but looks like %s: read it with %s; as a sync file, %w", name, format.Title, flags, err)
}

// refuse says that keys of a file are lost, nil if none is, or if that is accepted.
func (f *fromFlags) refuse(name string, lost []foreign.Note) error {
	if len(lost) == 0 || f.acceptLost {
		return nil
	}
	return misusef("%s of %s without a counterpart, the first: %s; %s, and --accept-lost goes on without", counted(len(lost), "key"), name, lost[0], f.hint(name))
}

// hint says how to see all that there is to be said of a conversion.
func (f *fromFlags) hint(name string) string {
	return "mirror import --check " + f.format.Name + " " + name + " lists all"
}

// formatName is a flag with the name of a format.
type formatName struct{ to **foreign.Format }

func (n formatName) Set(s string) (err error) {
	*n.to, err = foreign.Find(s)
	return err
}

func (n formatName) String() string {
	if n.to == nil || *n.to == nil {
		return ""
	}
	return (*n.to).Name
}

func (n formatName) Type() string { return "FORMAT" }

func (n formatName) choices() []string { return importForms().names() }
