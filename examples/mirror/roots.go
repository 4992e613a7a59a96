package main

// Where the system has no authorities to trust, as in an image of this program alone, these are
// Mozilla's as of its build.
import _ "golang.org/x/crypto/x509roots/fallback"
