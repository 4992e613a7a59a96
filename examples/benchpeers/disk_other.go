//go:build !unix

package main

// settle does nothing: there is no such call.
func settle() {}
