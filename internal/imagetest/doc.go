// Package imagetest makes images for tests, by symbolic name, and holds the checker at which every
// test of a copy ends.
//
// A Fixture is a set of named layers, images, artifacts, attestations and lists. It is
// deterministic: the same calls give the same bytes and digests on every machine. Names stand for
// digests in both directions, so that tests and their output can speak of "arm64" and "base":
//
//	f := imagetest.New()
//	f.Layer("base", imagetest.File("etc/motd", "hello\n"))
//	f.Image("amd64", imagetest.Platform("linux/amd64"), imagetest.Layers("base"))
//	f.Image("arm64", imagetest.Platform("linux/arm64"), imagetest.Layers("base"))
//	f.Attestation("att-amd64", "amd64")
//	f.List("top", imagetest.Entries("amd64", "arm64", "att-amd64"))
//	f.PushTo(registry, "team/app", "v1", "top", "arm64") // everything but arm64: a sparse source
//
// A test of a copy ends with what it wants the destination to be, and learns in one message of all
// that is not so:
//
//	imagetest.CheckRegistry(t, registry, "mirror/app", imagetest.Want{
//		Tag: "v1", Digest: f.Digest("top"), Fixture: f, Absent: []string{"arm64"},
//	})
//
// Misuse of a Fixture (a name that does not exist, or is taken) panics: it is a mistake in the
// test. A Fixture must be built by one goroutine; afterwards any number may read it.
//
// The files:
//
//   - fixture.go: Fixture, from names to digests and back
//   - layer.go, archive.go: layers, with readable or with random content, and how their bytes are
//     made
//   - image.go, list.go, options.go, json.go: images, artifacts, attestations and lists, and how
//     their documents are written
//   - sets.go: ready-made fixtures
//   - signed.go: a ready-made fixture with signatures that cosign made
//   - layout.go, push.go: a fixture's way into an OCI layout and into an in-process registry
//   - repository.go: a repository of an in-process registry as an OCI layout, and back
//   - check.go: Inspect, the checker, which walks what a tag names in any Store
//   - checklayout.go, checkregistry.go: OCI layouts and in-process registries as Stores, with what
//     only they can tell
//
// Nothing here uses the packages that it helps to test: documents are written and read with
// encoding/json alone.
package imagetest
