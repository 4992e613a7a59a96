package mirrorcmd

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sparsecopy/sparsecopy/examples/internal/foreign"
)

// forms are what files are converted from, or to.
type forms []form

type form struct{ name, title string }

// importForms are what mirror import and --from read.
func importForms() (all forms) {
	for _, f := range foreign.Formats() {
		all = append(all, form{f.Name, f.Title})
	}
	return all
}

// exportForms are what mirror export writes.
func exportForms() (all forms) {
	for _, f := range foreign.Exports() {
		all = append(all, form{f.Name, f.Title})
	}
	return all
}

func (f forms) names() (names []string) {
	for _, one := range f {
		names = append(names, one.name)
	}
	return names
}

// table has a line for each form.
func (f forms) table() string {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, one := range f {
		fmt.Fprintf(table, "  %s\t%s\n", one.name, one.title)
	}
	table.Flush()
	return b.String()
}

// checkCount refuses another number of arguments than FORMAT and FILE.
func (f forms) checkCount(command string, args []string) error {
	if len(args) != 2 {
		return misusef("mirror %s takes FORMAT and FILE, and %d arguments were given; FORMAT is one of %s", command, len(args), strings.Join(f.names(), ", "))
	}
	return nil
}

// complete completes FORMAT and FILE.
func (f forms) complete(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return f.names(), cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveDefault
}

// readConverted reads the file of a name, which is to be converted into out, "" for standard
// output. An error is a misuse.
func (e *environment) readConverted(name, out string) ([]byte, error) {
	if out != "" {
		if err := checkOut(out, name); err != nil {
			return nil, err
		}
	}
	content, err := e.readAll(name)
	if err != nil {
		return nil, &misuse{err}
	}
	return content, nil
}

// checkOut is checkReplacedFile for --out; what is written is not to take the place of input.
func checkOut(out, input string) error {
	if err := checkReplacedFile("out", out); err != nil {
		return err
	}
	there, err := os.Stat(out)
	if err != nil {
		return nil //nolint:nilerr // there is nothing whose place it would take
	}
	if read, err := os.Stat(input); err == nil && os.SameFile(there, read) {
		return misusef("--out: %s is the file that is read, and would be lost", out)
	}
	return nil
}

// writeConverted writes a file to out, or to standard output if that is "", and then the notes.
func (e *environment) writeConverted(out string, text []byte, notes string) (err error) {
	if out == "" {
		_, err = e.stdout.Write(text)
	} else {
		err = writeWhole(out, text)
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(e.stderr, notes)
	return err
}

// noteLines are a line for each thing that is to be said of a conversion.
func noteLines(lost, notes []foreign.Note) string {
	var b strings.Builder
	for _, n := range lost {
		fmt.Fprintf(&b, "lost: %s\n", oneLine(n.String()))
	}
	for _, n := range notes {
		fmt.Fprintf(&b, "note: %s\n", oneLine(n.String()))
	}
	return b.String()
}
