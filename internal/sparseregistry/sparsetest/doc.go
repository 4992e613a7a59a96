// Package sparsetest is what a sparse registry must do, as tests that can be run over any registry
// behind the policy: AcceptancePerRepository, ChangingPolicies, Race and SameAnswers. It also has
// the plain HTTP client that they use.
package sparsetest
