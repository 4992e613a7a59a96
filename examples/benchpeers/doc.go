// Command benchpeers measures copies of one image and of many between two registries on loopback:
// sparsecopy beside upstream's copy, oras-go, crane, regsync, and the floor, a minimal copier that
// does nothing but what a copy cannot do without.
//
//	go -C examples run ./benchpeers
//
// # Map
//
//	main.go        flags; which of the three processes this is
//	workload.go    what is copied, at which round-trip times
//	environment.go what lies between: round-trip times, caps, links
//	measure.go     the first process: who copies what, how often, in which order
//	registries.go  the second process: the source and the destination, whose CPU time and memory are nobody's
//	contestant.go  the third process, a new one for every copy: its CPU time and its memory are those of the copy
//	programs.go    programs, and how they are built: some contestants are no library, but one of these
//	commands.go    what programs are started with, and what it takes to start them
//	killed.go      a program that is killed in the middle, and starts again
//	sparsecopy.go  upstream.go  oras.go  crane.go  regsync.go  floor.go  floor_layout.go
//	               the contestants
//	layout.go      whether a layout has everything
//	results.go     samples, medians, lines in the format of Go benchmarks
//	tables.go      the tables of the summary
//	bounds.go      what the project promises, held against the numbers
//	goals.go       the same where others are ahead, or were, as data and as a table
//
// The registries are those of internal/registrytest: blobs of the source are computed, the
// destination hashes what it gets and throws it away, round-trip times are injected into the
// connections. Over links, which package slowlink makes, it is theirs, and the second and the third
// process are at different ends. After each copy it is checked that everything arrived.
//
// Lines that begin with "Benchmark" are one copy each, for benchstat. The exit status is 0 if all
// copies succeeded and the numbers meet all bounds; those of -quick are not looked at.
package main
