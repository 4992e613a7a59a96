// Package notify takes what registries send when somebody pushes to them, so that a mirror looks
// at a tag at once and not only when it is due.
//
// A Handler answers POST requests. It looks at who sends one (a Sender and its secret), parses the
// document in the sender's Format, and hands the names of tags to a Queue. That is all that a
// document can do: names that the mirror does not have among its sources are dropped by the Queue,
// and no address in a document is ever opened. Which registry a document is about is not for the
// document to say either: it is the registry that the sender was given.
package notify
