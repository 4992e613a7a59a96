// Package known has what a copy knows of its two ends before it writes anything: what was read from
// the source, and what the destination has told.
//
// Both are values. What they refer to does not change: whoever finds out more makes another one.
package known
