package manifest_test

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// Two of three platforms remain. The rest of the document is as it was.
func Example() {
	list, err := manifest.Parse([]byte(`{
  "schemaVersion": 2,
  "manifests": [
    {"digest": "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb", "size": 600, "platform": {"os": "linux", "architecture": "amd64"}},
    {"digest": "sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d", "size": 601, "platform": {"os": "linux", "architecture": "s390x"}},
    {"digest": "sha256:2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6", "size": 602, "platform": {"os": "linux", "architecture": "arm64"}}
  ]
}`), "")
	if err != nil {
		fmt.Println(err)
		return
	}
	stripped := list.Clone()
	err = stripped.EditInstances([]manifest.ListEdit{{ListOperation: manifest.ListOpDelete, DeleteIndex: 1}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, instance := range stripped.Instances() {
		fmt.Println(instance.Index, instance.Platform.Architecture, instance.Size)
	}
	document, err := stripped.Serialize()
	fmt.Println(string(document), err)
	// Output:
	// 0 amd64 600
	// 1 arm64 602
	// {
	//   "schemaVersion": 2,
	//   "manifests": [
	//     {"digest": "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb", "size": 600, "platform": {"os": "linux", "architecture": "amd64"}},
	//     {"digest": "sha256:2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6", "size": 602, "platform": {"os": "linux", "architecture": "arm64"}}
	//   ]
	// } <nil>
}

// A stripped list is proven to be its original's with an entry taken out. One in which something
// was altered is not.
func ExampleStrippedFrom() {
	entry := func(content int, architecture string) string {
		return fmt.Sprintf(`{"digest": "sha256:%064x", "size": 600, "platform": {"os": "linux", "architecture": %q}}`, content, architecture)
	}
	list := func(entries ...string) []byte {
		return []byte(`{"schemaVersion": 2, "manifests": [` + strings.Join(entries, ", ") + `]}`)
	}
	original := list(entry(1, "amd64"), entry(2, "s390x"), entry(3, "arm64"))

	removal, err := manifest.StrippedFrom(list(entry(1, "amd64"), entry(3, "arm64")), original, nil)
	for _, removed := range removal.Removed {
		fmt.Println("removed:", removed.Index, removed.Platform.Architecture)
	}
	fmt.Println(err)

	_, err = manifest.StrippedFrom(list(entry(1, "amd64"), entry(0xbad, "arm64")), original, nil)
	var difference *manifest.DifferenceError
	if errors.As(err, &difference) {
		fmt.Println(difference.Kind, difference.Entry, difference.Field)
	}
	// Output:
	// removed: 1 s390x
	// <nil>
	// entry altered 1 digest
}
