// Command sparse-registry-cloud is sparse-registry with drivers for object stores, each behind a
// build tag: s3, gcs, azure. They come with the clouds' own libraries, which is why this is a
// module of its own.
//
//	GOWORK=off go build -tags s3,containers_image_openpgp .
//
// The storage is named by --distribution-config. All else is as in examples/sparse-registry.
package main

import "github.com/sparsecopy/sparsecopy/examples/internal/registrycmd"

func main() { registrycmd.Main() }
