// Command sparse-registry is a registry that accepts sparse lists under a policy: lists some of
// whose children are absent. It stores in a directory.
package main

import "github.com/sparsecopy/sparsecopy/examples/internal/registrycmd"

func main() { registrycmd.Main() }
