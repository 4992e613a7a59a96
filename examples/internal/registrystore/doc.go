// Package registrystore reads and changes the storage of a registry behind the registry's back, in
// the layout that distribution gives it. Its commands (gc, check) work with it, and so does what
// the server keeps beside distribution's own files. The paths of that layout are known here and
// nowhere else.
//
// A Store is made of a directory (OpenDirectory), of distribution's configuration (Open), or of any
// driver (New). It walks, and hands out what it finds one by one, so that a storage of any size can
// be walked:
//
//	Repositories                          names, in the order of their components
//	    Tags(repository)                  each with the digest that it names
//	    Revisions(repository)             links to the manifests that the repository has
//	    Layers(repository)                links to the blobs that the repository has
//	    Referrers(repository)             our links from a subject to what refers to it
//	Blobs                                 the contents, of manifests and of layers, of all repositories
//
// Contents are global: a blob is there once, however many repositories link to it. A client reaches
// a manifest or a layer only by a link of the repository that it asks. So what a link names can be
// removed from a repository by removing the link, and a content when no link is left anywhere:
// RemoveX and PutX are about one link or one content each.
//
// A link's target is the digest by which it is found, except for a layer that was pushed under
// another algorithm's digest than sha256: LayerTarget tells.
//
// The storage may change while it is walked. What comes or goes meanwhile is handed out or not;
// that is no error. What is no part of the layout (temporary files, directories that are left
// empty) is passed over.
//
// Who writes to a storage directory has its Lock: one process at a time. Reading needs none, and
// neither do the methods of a Store look for it.
//
// Errors name the operation and the object; those of the driver are wrapped. What is not there is
// an error for which errors.Is(err, fs.ErrNotExist) holds. All methods are safe for concurrent use.
package registrystore
