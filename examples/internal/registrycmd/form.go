package registrycmd

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/pflag"
)

// A form is how a subcommand prints its report: "text" or "json".
type form string

// define defines the flag that says it.
func (f *form) define(flags *pflag.FlagSet, of string) {
	flags.StringVar((*string)(f), "output", "text", "`FORMAT` of "+of+": text or json")
}

func (f form) validate() error {
	if f != "text" && f != "json" {
		return fmt.Errorf("flag --output: %q is neither text nor json", string(f))
	}
	return nil
}

// print prints a report, which is its JSON.
func (f form) print(to io.Writer, report interface{ WriteText(w io.Writer) error }) error {
	if f == "text" {
		return report.WriteText(to)
	}
	encoder := json.NewEncoder(to)
	encoder.SetIndent("", "  ")
	return encoder.Encode(report)
}
