// Package report has the types of what copies did, in the words of their plans (package copy/plan).
// It does nothing: package copy fills a Report in, and has aliases of all names here. A program
// that only reads reports imports this package, and links neither registries nor transports.
package report
