package mirrorcmd

import "github.com/spf13/pflag"

// layouts are the flags that say how files get into OCI layouts.
type layouts struct {
	noSync, hardLinks, trustSource bool
}

func (l *layouts) define(flags *pflag.FlagSet) {
	flags.Var(newChoice(&l.noSync, []string{"on", "off"}, []bool{false, true}), "fsync", "whether an OCI layout is on the disk when the copy ends: off, for scratch, leaves that to the system, which is faster")
	flags.BoolVar(&l.hardLinks, "hard-links", false, "from a layout or a directory to a layout, give files one more name instead of copying them, if they are yours, and all may read them and nobody else write to them: they are in both then")
	flags.BoolVar(&l.trustSource, "trust-source", false, "from a layout, an archive of one or a directory to a layout, hash nothing: what is damaged at the source arrives so, and the copy succeeds")
}
