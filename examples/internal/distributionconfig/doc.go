// Package distributionconfig reads the configuration file of plain distribution for
// sparse-registry.
//
// distribution's own parser reads it, with the variables REGISTRY_* of the environment that
// override it. What sparse-registry does in another way, or not at all, is refused by name, with
// what to use instead; nothing that the file says is passed over in silence. decisions.go says what
// becomes of each section.
package distributionconfig
