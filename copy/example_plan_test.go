package copy_test

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// app is the digest of the image for a platform in the list of these examples.
func app(platform string) digest.Digest { return digest.FromString("app for " + platform) }

// appList is an OCI index of an image for linux/amd64, linux/arm64 and linux/s390x.
func appList() copy.Document {
	var entries []string
	for _, arch := range []string{"amd64", "arm64", "s390x"} {
		entries = append(entries, fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":7,"platform":{"os":"linux","architecture":%q}}`,
			app("linux/"+arch), arch))
	}
	return copy.Document{Bytes: []byte(`{"schemaVersion":2,"manifests":[` + strings.Join(entries, ",") + `]}`)}
}

// only selects by platform.
func only(platforms ...string) []copy.InstancePlatformFilter {
	var filters []copy.InstancePlatformFilter
	for _, p := range platforms {
		f, err := copy.ParsePlatformFilter(p)
		if err != nil {
			panic(err)
		}
		filters = append(filters, f)
	}
	return filters
}

// A caller that has the list already asks what a copy would do.
func ExampleNewPlan() {
	plan, err := copy.NewPlan(copy.PlanInput{
		Top: appList(),
		Options: &copy.Options{
			ImageListSelection:       copy.CopySpecificImages,
			InstancePlatforms:        only("linux/*", "!linux/s390x"),
			SparseManifestListAction: copy.StripSparseManifestList,
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, instance := range plan.List.Instances {
		fmt.Printf("%s: %s, %s the entry: %s\n", instance.Platform, instance.Decision, instance.Entry, instance.Reason.Text)
	}
	fmt.Println("the digest stays:", plan.Digest == plan.List.Digest)
	// Output:
	// linux/amd64: copy, keep the entry: selected by linux/*
	// linux/arm64: copy, keep the entry: selected by linux/*
	// linux/s390x: skip, strip the entry: excluded by !linux/s390x
	// the digest stays: false
}

// Options that make no sense name the fields to correct.
func ExampleOptionsError() {
	_, err := copy.NewPlan(copy.PlanInput{
		Top:     appList(),
		Options: &copy.Options{ImageListSelection: copy.CopyAllImages, InstanceIndexes: []int{0}},
	})
	var invalid *copy.OptionsError
	if errors.As(err, &invalid) {
		fmt.Println(strings.Join(invalid.Options, ", "))
		fmt.Println(invalid.Reason)
	}
	// Output:
	// InstanceIndexes, ImageListSelection
	// selectors need CopySpecificImages
}

// A selector that matches nothing: the caller can offer what there is.
func ExampleNoMatchError() {
	_, err := copy.NewPlan(copy.PlanInput{
		Top: appList(),
		Options: &copy.Options{
			ImageListSelection: copy.CopySpecificImages,
			InstancePlatforms:  only("linux/amd64", "linux/riscv64"),
		},
	})
	var noMatch *copy.NoMatchError
	if errors.As(err, &noMatch) {
		fmt.Println("not there:", noMatch.Asked)
		fmt.Println("there:", noMatch.Offered)
	}
	// Output:
	// not there: [linux/riscv64]
	// there: [linux/amd64 linux/arm64 linux/s390x]
}

// Required platforms that are not selected, or not there.
func ExampleRequiredError() {
	_, err := copy.NewPlan(copy.PlanInput{
		Top:     appList(),
		Missing: map[digest.Digest]bool{app("linux/arm64"): true},
		Options: &copy.Options{
			ImageListSelection: copy.CopyAllImages,
			MissingInstances:   copy.SkipMissing,
			RequiredPlatforms:  only("linux/amd64", "linux/arm64", "windows/amd64"),
		},
	})
	var required *copy.RequiredError
	if errors.As(err, &required) {
		for _, failed := range required.Failed {
			fmt.Printf("%s: %s (known by its digest: %t)\n", failed.Platform, failed.Reason, failed.Digest != "")
		}
		fmt.Println("of", required.Required)
	}
	// Output:
	// linux/arm64: missing at the source (known by its digest: true)
	// windows/amd64: not in the list (known by its digest: false)
	// of [linux/amd64 linux/arm64 windows/amd64]
}

// Instances that the list names and the source does not have: the caller may copy the others.
func ExampleMissingError() {
	in := copy.PlanInput{
		Top:     appList(),
		Missing: map[digest.Digest]bool{app("linux/arm64"): true},
		Options: &copy.Options{ImageListSelection: copy.CopyAllImages},
	}
	_, err := copy.NewPlan(in)
	var missing *copy.MissingError
	if errors.As(err, &missing) {
		for _, m := range missing.Missing {
			fmt.Println("missing:", m.Platform)
		}
		in.Options.MissingInstances = copy.SkipMissing
		plan, err := copy.NewPlan(in)
		fmt.Println("without them:", len(plan.Copies), "images,", err)
	}
	// Output:
	// missing: linux/arm64
	// without them: 2 images, <nil>
}

// Nothing is left of the selection.
func ExampleEmptyError() {
	_, err := copy.NewPlan(copy.PlanInput{
		Top: appList(),
		Options: &copy.Options{
			ImageListSelection: copy.CopySpecificImages,
			InstancePlatforms:  only("linux/amd64", "!linux/*"),
		},
	})
	var empty *copy.EmptyError
	if errors.As(err, &empty) {
		fmt.Printf("nothing of %d entries is left, %d are missing\n", empty.Entries, empty.Missing)
	}
	// Output:
	// nothing of 3 entries is left, 0 are missing
}

// A signed list must not be stripped; the caller may keep it instead.
func ExampleCannotModifyError() {
	top := appList()
	in := copy.PlanInput{
		Top:         top,
		SignedLists: map[digest.Digest]int{digest.FromBytes(top.Bytes): 1},
		Options: &copy.Options{
			ImageListSelection:       copy.CopySpecificImages,
			InstancePlatforms:        only("linux/amd64"),
			SparseManifestListAction: copy.StripSparseManifestList,
		},
	}
	_, err := copy.NewPlan(in)
	var cannot *copy.CannotModifyError
	if errors.As(err, &cannot) {
		why, cure, _ := strings.Cut(cannot.Reason, "; ")
		fmt.Println(why)
		fmt.Println(cure)
		in.Options.SparseManifestListAction = copy.KeepSparseManifestList
		plan, err := copy.NewPlan(in)
		fmt.Println("kept instead:", plan.Digest == cannot.List, err)
	}
	// Output:
	// it is signed, and its signatures (1) would become invalid
	// AttachOriginal lets them travel along, RemoveListSignatures removes them
	// kept instead: true <nil>
}

// The destination is known to refuse sparse lists.
func ExampleSparseRefusedError() {
	_, err := copy.NewPlan(copy.PlanInput{
		Top:    appList(),
		Sparse: copy.SparseSupport{Known: true, Accepts: false, Basis: "its documentation"},
		Options: &copy.Options{
			ImageListSelection: copy.CopySpecificImages,
			InstancePlatforms:  only("linux/amd64"),
		},
	})
	var refused *copy.SparseRefusedError
	if errors.As(err, &refused) {
		fmt.Println(refused.Refusal)
		fmt.Println(len(refused.Absent), "children would be absent")
		fmt.Println("not stripped:", refused.NotStripped)
	}
	// Output:
	// the destination refuses sparse lists: its documentation
	// 2 children would be absent
	// not stripped: SparseManifestListAction is keep
}

// Lists within lists within lists: a limit ends that.
func ExampleLimitError() {
	top, documents := appList(), map[digest.Digest]copy.Document{}
	for range 10 {
		d := digest.FromBytes(top.Bytes)
		documents[d] = top
		top = copy.Document{Bytes: fmt.Appendf(nil,
			`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":%q,"size":%d}]}`, d, len(top.Bytes))}
	}
	_, err := copy.NewPlan(copy.PlanInput{
		Top: top, Documents: documents, Options: &copy.Options{ImageListSelection: copy.CopyAllImages},
	})
	var limit *copy.LimitError
	if errors.As(err, &limit) {
		fmt.Printf("%s: at most %d\n", limit.What, limit.Limit)
	}
	// Output:
	// depth of nested lists: at most 8
}

// Nested lists have to be given: the caller reads them and tries again.
func ExampleUnreadError() {
	inner := appList()
	d := digest.FromBytes(inner.Bytes)
	in := copy.PlanInput{
		Top: copy.Document{Bytes: fmt.Appendf(nil,
			`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":%q,"size":%d}]}`, d, len(inner.Bytes))},
		Documents: map[digest.Digest]copy.Document{},
		Options:   &copy.Options{ImageListSelection: copy.CopyAllImages},
	}
	plan, err := copy.NewPlan(in)
	for unread := new(copy.UnreadError); errors.As(err, &unread); plan, err = copy.NewPlan(in) {
		fmt.Println("to be read:", len(unread.Lists))
		for _, list := range unread.Lists {
			in.Documents[list] = inner
		}
	}
	fmt.Println(len(plan.Copies), "images,", err)
	// Output:
	// to be read: 1
	// 3 images, <nil>
}

// A document that two parsers could read differently is refused, with the place.
func ExampleNewPlan_parseError() {
	_, err := copy.NewPlan(copy.PlanInput{
		Top:     copy.Document{Bytes: []byte(`{"schemaVersion":2,"manifests":[],"Manifests":[]}`)},
		Options: &copy.Options{ImageListSelection: copy.CopyAllImages},
	})
	var parse *manifest.ParseError
	if errors.As(err, &parse) {
		fmt.Println("byte", parse.Offset)
	}
	// Output:
	// byte 34
}
