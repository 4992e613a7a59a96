package plan

// ReasonCode says why an instance is copied, or why not, for programs.
type ReasonCode string

// The reasons to copy an instance, and then the reasons not to.
const (
	ReasonAll      ReasonCode = "all"      // CopyAllImages, or everything that is not excluded
	ReasonDigest   ReasonCode = "digest"   // named by Instances
	ReasonIndex    ReasonCode = "index"    // named by InstanceIndexes
	ReasonPlatform ReasonCode = "platform" // matched by a platform filter
	ReasonWithin   ReasonCode = "within"   // in a nested list that was selected as a whole
	ReasonContains ReasonCode = "contains" // a nested list with something selected in it
	ReasonFollows  ReasonCode = "follows"  // an attestation or accelerator whose subject is copied
	ReasonKept     ReasonCode = "kept"     // an attestation, by KeepAllAttestations
	// ReasonPlatformless is a reason to copy an entry, and not to: it has no platform.
	ReasonPlatformless ReasonCode = "platformless"

	ReasonSystem ReasonCode = "system" // suits the running system
	ReasonSingle ReasonCode = "single" // the source is a single image
	ReasonEntire ReasonCode = "entire" // in a list that names blobs

	ReasonNotSelected ReasonCode = "not-selected"
	ReasonExcluded    ReasonCode = "excluded"  // by an excluding filter
	ReasonDropped     ReasonCode = "dropped"   // an attestation, by DropAttestations or ForceManifestMIMEType
	ReasonMissing     ReasonCode = "missing"   // selected, but it is missing, or all that was selected in it
	ReasonOrphaned    ReasonCode = "orphaned"  // it would follow a list that changes, or an image that is missing
	ReasonUntied      ReasonCode = "untied"    // it might follow, and nothing ties it to what could be selected
	ReasonElsewhere   ReasonCode = "elsewhere" // a blob with URLs, which stays there
	// ReasonEncryption: layers are encrypted, and those of this one cannot be.
	ReasonEncryption ReasonCode = "encryption"
)

// A Reason says why an instance is copied or not.
type Reason struct {
	Code ReasonCode `json:"code"`
	Text string     `json:"text"` // for people; never decide by it
}

// The reasons of attached manifests, beside ReasonFollows. ReasonVoid is one of entries of lists,
// too, whose subject is an image that changes.
const (
	ReasonSubject ReasonCode = "subject" // its subject is not copied
	ReasonVoid    ReasonCode = "void"    // its subject changes
	ReasonType    ReasonCode = "type"    // not among ReferrerTypes
	// ReasonOriginal is one to copy: it signs a list that changes, whose original is attached.
	ReasonOriginal ReasonCode = "original"
	ReasonEntry    ReasonCode = "entry" // an entry of the list, too, and not copied as that
)
