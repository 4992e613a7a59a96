package copy

import "github.com/sparsecopy/sparsecopy/copy/internal/known"

// A survey is what is known of both ends, and the plan that follows from it. It is a value, and so
// are its parts: what they refer to does not change. A step that finds out more returns another
// one.
type survey struct {
	source known.Source      // what was read from the source
	there  known.Destination // what the destination has told
	plan   *Plan             // nil until there is one
	// settled is set if everything that the plan names is at the destination already, but perhaps
	// for what is attached: nothing else is executed or written.
	settled bool
	// asEarlier is set as long as the destination may be as Options.Earlier says: its reference
	// names that, and it has not been asked for anything else.
	asEarlier bool
	// unasked is set if nobody has looked for signatures of lists that turned out to change.
	unasked bool
	// warnings are those of the steps up to the plan, which every plan after them has, too.
	warnings []string
}
