package manifest_test

import (
	"fmt"

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
