// Package tagselect chooses among the tags of a repository. It asks nobody: lists of tags and times
// go in, and tags come out.
//
// A Pattern takes single tags, whatever else there is: by name, glob, regular expression or range
// of versions, or by All or Not of others. A Selection has the patterns of one repository. Bounds
// choose among what its patterns take: the newest, or those since some time.
//
// A Version is what a tag says if it is read as one, generously: real tags are no semantic
// versions. Compare is the order in which tags are shown.
package tagselect
