// Package mirrorcmd is the command mirror, to be run by its main program, by tests and by the
// demonstration.
//
// # Map
//
//	run.go        Run: from arguments to exit status
//	copy.go       mirror copy; flags that say what is printed
//	guard.go      what stands before a list that one image would replace
//	plan.go       mirror plan
//	inspect.go    mirror inspect
//	digest.go     mirror digest
//	manifest.go   mirror manifest
//	tags.go       mirror tags
//	tag.go        mirror tag
//	delete.go     mirror delete
//	onlyend.go    what commands that have to do with one place have in common
//	verify.go     mirror verify, against a source; verify_origin.go: by what is beside a list that was stripped; verify_file.go: what a file says
//	removal.go    what may be removed, and how it is
//	sync*.go      mirror sync
//	runner.go     what mirror sync and mirror serve do with each image; runner_memory.go: what they remember of it
//	page.go       mirror report
//	from.go       --from: sync files that are made of those of other tools; import.go: mirror import; export.go: mirror export
//	serve.go      mirror serve; serve_run.go: while it runs; serve_plan.go: what a file says to a server
//	bundle.go     mirror bundle
//	              bundle_create.go: from registries into a bundle; bundle_load.go: from a bundle into a registry; bundle_list.go: what is in one
//	version.go    mirror version
//	diff.go       mirror diff; diff_text.go: what is printed of it
//	login.go      mirror login and mirror logout
//	progress.go   how far copies have come
//	completion.go mirror completion, and what shells complete
//	ends.go       from the flags to what the library wants
//	selection.go  flags that say what is copied, and what becomes of the list
//	original.go   flags about the original of a list that is stripped, and what is printed about it
//	access.go     flags that say how the two ends are reached; the signature policy; access_files.go: the files that they name
//	values.go     values of flags that are checked when they are parsed
//	reference.go  SOURCE and DESTINATION
//	report.go     what is printed about a copy
//	habits.go     commands and flags of other tools, and what to type in their place
//	failure.go    errors in the words of the command line; choices.go: what there is in the place of an image that is not
//
// A command defines its flags by groups (selection, access, output), each of which defines its
// flags, checks them, and turns them into what the library wants. New commands are put together
// from the same groups.
package mirrorcmd
