package mirrorcmd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/late"
)

// A misuse is an error of whoever wrote the command line.
type misuse struct{ err error }

func (m *misuse) Error() string { return m.err.Error() }
func (m *misuse) Unwrap() error { return m.err }

func misusef(format string, args ...any) error { return &misuse{fmt.Errorf(format, args...)} }

func isMisuse(err error) bool {
	var m *misuse
	var o *copy.OptionsError
	return errors.As(err, &m) || errors.As(err, &o)
}

// A stopped is the end of a command that somebody or something stopped.
type stopped struct{ cause error }

func (s *stopped) Error() string { return fmt.Sprintf("stopped: %v", s.cause) }
func (s *stopped) Unwrap() error { return s.cause }

// orStopped returns a *stopped if err only says that ctx has ended, and perhaps what a registry
// said last, which may be why it took so long.
func orStopped(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	cause := context.Cause(ctx)
	var said *copy.RegistryError
	switch {
	case !errors.Is(err, cause) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &said):
		return &stopped{err}
	}
	return &stopped{cause}
}

// optionFlags are the flags behind the library's options, whose names its errors have.
var optionFlags = map[string]string{
	"ImageListSelection":               "--all",
	"Instances":                        "--digest",
	"InstancePlatforms":                "--platform",
	"InstanceIndexes":                  "--index",
	"OptionalPlatforms":                "--optional-platform",
	"RequiredPlatforms":                "--require-platform",
	"SparseManifestListAction":         "--sparse",
	"Attestations":                     "--attestations",
	"MissingInstances":                 "--skip-missing",
	"SingleImage":                      "--single",
	"PlatformlessEntries":              "--platformless-entries",
	"Referrers":                        "--referrers",
	"ReferrerTypes":                    "--referrers",
	"DigestTags":                       "--digest-tags",
	"EntriesAsReferrers":               "--entries-as-referrers",
	"ReferrersFrom":                    "--referrers-source",
	"DigestTagSuffixes":                "--digest-tags",
	"KeepVoid":                         "--keep-void",
	"WidenedChildTags":                 "--widened-child-tags",
	"RemoveSignatures":                 "--remove-signatures",
	"RemoveListSignatures":             "--remove-list-signatures",
	"ListSignatures":                   "--list-signatures",
	"PreserveDigests":                  "--preserve-digests",
	"Signers":                          "--sign-by-sigstore",
	"SignBy":                           "--sign-by",
	"SignBySigstorePrivateKeyFile":     "--sign-by-sigstore-private-key",
	"ForceManifestMIMEType":            "--format",
	"ForceCompressionFormat":           "--dest-force-compress-format",
	"DestinationCtx.CompressionFormat": "--dest-compress-format",
	"OciEncryptConfig":                 "--encryption-key",
	"OciEncryptLayers":                 "--encrypt-layer",
	"OciDecryptConfig":                 "--decryption-key",
	"ChangedSubjects":                  "--changed-subjects",
	"AlwaysSign":                       "--always-sign",
	"MaxParallelDownloads":             "--parallel",
	"SignIdentity":                     "--sign-identity",
	"SignPassphrase":                   "--sign-passphrase-file",
	"SignSigstorePrivateKeyPassphrase": "--sign-passphrase-file",
	"DestinationCtx.CompressionLevel":  "--dest-compress-level",
	"CheckBlobs":                       "--check-blobs",
	"AttachOriginal":                   "--attach-original",
	"VerifierID":                       "--verifier-id",
	"OriginPolicy":                     "--origin-policy",
	"PolicyURI":                        "--policy-uri",
	"PolicyDigest":                     "--policy-digest",
	"PreviousPublicKeyFiles":           "--previous-public-key",
	"BundleVerifier":                   "--origin-key",
}

// optionKeys are the keys of a sync file behind them.
var optionKeys = map[string]string{
	"ImageListSelection":               "platforms",
	"InstancePlatforms":                "platforms",
	"OptionalPlatforms":                "optional",
	"RequiredPlatforms":                "required",
	"SparseManifestListAction":         "sparse",
	"Attestations":                     "attestations",
	"MissingInstances":                 "missing",
	"SingleImage":                      "single",
	"PlatformlessEntries":              "platformless-entries",
	"Referrers":                        "referrers",
	"ReferrerTypes":                    "referrers",
	"DigestTags":                       "digest-tags",
	"EntriesAsReferrers":               "entries-as-referrers",
	"ReferrersFrom":                    "referrers-source",
	"DigestTagSuffixes":                "digest-tags",
	"KeepVoid":                         "keep-void",
	"WidenedChildTags":                 "widened-child-tags",
	"RemoveSignatures":                 "remove-signatures",
	"RemoveListSignatures":             "remove-list-signatures",
	"ListSignatures":                   "list-signatures",
	"PreserveDigests":                  "preserve-digests",
	"CheckBlobs":                       "check-blobs",
	"MaxParallelDownloads":             "--parallel",
	"ChangedSubjects":                  "changed-subjects",
	"AlwaysSign":                       "always-sign",
	"Signers":                          "sign-by-sigstore",
	"SignBy":                           "sign-by",
	"SignBySigstorePrivateKeyFile":     "sign-by-sigstore-private-key",
	"SignIdentity":                     "sign-identity",
	"SignPassphrase":                   "sign-passphrase-file",
	"SignSigstorePrivateKeyPassphrase": "sign-passphrase-file",
	"DestinationCtx.CompressionLevel":  "dest-compress-level",
	"ForceManifestMIMEType":            "format",
	"ForceCompressionFormat":           "dest-force-compress-format",
	"DestinationCtx.CompressionFormat": "dest-compress-format",
	"OciEncryptConfig":                 "encryption-key",
	"OciEncryptLayers":                 "encrypt-layer",
	"OciDecryptConfig":                 "decryption-key",
	"AttachOriginal":                   "attach-original",
	"VerifierID":                       "verifier-id",
	"OriginPolicy":                     "origin-policy",
	"PolicyURI":                        "policy-uri",
	"PolicyDigest":                     "policy-digest",
	"PreviousPublicKeyFiles":           "previous-public-key",
	"BundleVerifier":                   "origin-key",
}

// optionName is what can be the name of an option.
var optionName = late.Regexp(`\b[A-Z][A-Za-z]+(\.[A-Z][A-Za-z]+)*\b`)

// inWords puts flags, or keys of the sync file that says what is copied, in the place of the
// library's options in what it says about options.
func (e *environment) inWords(sentence string) string {
	names := optionFlags
	if e.byFile {
		names = optionKeys
	}
	return optionName().ReplaceAllStringFunc(sentence, func(word string) string { return cmp.Or(names[word], word) })
}

// nouns are names of options that are words, too.
var nouns = late.Regexp(`\b(Attestations|Instances|Referrers)\b`)

// told is inWords for all else that the library says.
func (e *environment) told(text string) string {
	var b strings.Builder
	end := 0
	for _, at := range nouns().FindAllStringIndex(text, -1) {
		b.WriteString(e.inWords(text[end:at[0]]) + text[at[0]:at[1]])
		end = at[1]
	}
	return b.String() + e.inWords(text[end:])
}

// option names an option of the library that does not go with others by the flag, or key of a sync
// file, that says so.
func (e *environment) option(name string) string {
	if name == "ImageListSelection" && !e.byFile && e.sel != nil {
		if given := changed(e.sel.flags, selectors); len(given) > 0 {
			return dashed(given)
		}
	}
	return e.inWords(name)
}

// setting names the flag with a value, or the key of the sync file with one, that says something.
func (e *environment) setting(flag, key string) string {
	if e.byFile {
		return key
	}
	return flag
}

// explain describes an error in the words of the command line, with a way out where there is one.
func (e *environment) explain(err error) string {
	var (
		options  *copy.OptionsError
		match    *copy.NoMatchError
		refused  *copy.SparseRefusedError
		blobs    *copy.BlobsRefusedError
		locked   *copy.CannotModifyError
		missing  *copy.MissingError
		widen    *copy.WidenError
		refusal  *copy.AttachmentError
		alone    *copy.OriginalRefusedError
		noTags   *copy.TagListError
		unproven *copy.StripVerificationError
		rejected *copy.RejectedError
	)
	switch {
	case errors.As(err, &options):
		flags := make([]string, len(options.Options))
		for i, name := range options.Options {
			flags[i] = e.option(name)
		}
		return fmt.Sprintf("%s: %s", strings.Join(flags, " and "), e.inWords(options.Reason))
	case errors.As(err, &refused) && (e.byFile || e.sel != nil):
		return e.explainRefusal(refused)
	case errors.As(err, &match) && match.Single:
		return err.Error() + "; " + e.setting("--single copy", "single: copy") + " copies it whatever it is for"
	case errors.As(err, &blobs):
		said := *blobs
		said.Refusal = errors.New(registrysWords(blobs.Refusal))
		return said.Error()
	case errors.As(err, &locked):
		return fmt.Sprintf("list %s must not be changed: %s; %s leaves it as it is", locked.List, e.inWords(locked.Reason), e.setting("--sparse keep", "sparse: keep"))
	case errors.As(err, &widen) && (e.byFile || e.sel != nil || e.loads):
		return err.Error() + "; " + e.setting("--widened-child-tags", "widened-child-tags: true") + " keeps it by tags"
	case errors.As(err, &refusal), errors.As(err, &alone):
		return e.inWords(err.Error())
	case errors.As(err, &noTags):
		return strings.NewReplacer(
			"AllDigestTags", e.setting("--digest-tags=all", "digest-tags: all"),
			"CosignDigestTags", e.setting("--digest-tags=cosign", "digest-tags: cosign"),
		).Replace(err.Error()) + e.accessHint(err)
	case errors.As(err, &unproven):
		return e.told(err.Error()) + e.judgeHint(unproven.Reason)
	case errors.As(err, &rejected):
		return e.told(err.Error()) + "; the policy is asked about a list and about each image of it that is copied; registries.d says where their signatures are"
	case errors.As(err, &missing) && e.copiesList():
		return err.Error() + "; " + e.setting("--skip-missing", "missing: skip") + " leaves out what is missing"
	}
	return e.told(err.Error()) + e.accessHint(err) + choicesHint(err)
}

// judgeHint names what says who judges signatures of a list, if nobody could, or nobody did; "" for
// other reasons.
func (e *environment) judgeHint(reason copy.StripReason) string {
	switch reason {
	case copy.StripReasonPolicyDemandsNothing, copy.StripReasonPolicyOnly:
		return "; --policy names one"
	case copy.StripReasonNobodyJudges:
		return "; --policy or " + e.setting("--origin-key", "origin-key") + " names a file with that"
	case copy.StripReasonBundlesOnly:
		return "; " + e.setting("--origin-key", "origin-key") + " or " + e.setting("--origin-trusted-root", "origin-trusted-root") + " names a file with that"
	}
	return ""
}

// rateHint says what allows more pulls, "" if nothing does.
func rateHint(held *copy.RateLimitError) string {
	switch {
	case held.Remaining > 0:
		return "; a lower --min-remaining uses them"
	case held.User == "":
		return "; an account may have more: log in"
	}
	return ""
}

// accessHint names the flags that may help if an end could not be reached, was too slow, or did not
// let us in, "" if there are none. In sync files, registries has keys for the same.
func (e *environment) accessHint(err error) string {
	var (
		failed      *copy.Error
		failedEnd   *endError
		answer      *copy.RegistryError
		certificate *tls.CertificateVerificationError
	)
	if late := (*copy.TimeoutError)(nil); errors.As(err, &late) {
		return fmt.Sprintf("; %s gives it more time", timeFlags[late.Option])
	}
	if held := (*copy.RateLimitError)(nil); errors.As(err, &held) {
		return rateHint(held)
	}
	at := end{prefix: "src"}
	switch {
	case errors.As(err, &failedEnd):
		at.prefix = failedEnd.prefix
	case !errors.As(err, &failed):
		return ""
	case failed.Side == copy.DestinationSide:
		at.prefix = "dest"
	case failed.Side == copy.ReferrersSide:
		at.prefix = "referrers-source"
	}
	inFile := func(key string) string {
		if !e.byFile {
			return ""
		}
		return ", and so does " + key + " in registries of the file"
	}
	switch {
	case errors.As(err, &answer) && answer.Status == http.StatusUnauthorized:
		return fmt.Sprintf("; --%s or --%s gives credentials%s", at.flag("creds"), at.flag("authfile"), inFile("authfile"))
	case errors.As(err, &answer) && answer.Status == http.StatusRequestEntityTooLarge:
		return tooLargeHint
	case errors.As(err, &certificate):
		return fmt.Sprintf("; --%s names certificates to trust%s", at.flag("cert-dir"), inFile("cert-dir"))
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Sprintf("; --%s=false allows plain HTTP%s", at.flag("tls-verify"), inFile("tls-verify: false"))
	}
	return ""
}

// tooLargeHint is about requests that are too long: of layers, nothing smaller is tried any more.
const tooLargeHint = "; the registry, or a proxy before it, takes no longer request: layers were tried in pieces from 64 MiB down to 256 KiB, " +
	"and manifests go in one piece; raise the limit (nginx: client_max_body_size, its Kubernetes ingress: the annotation proxy-body-size)"

// An endError is a failure of an end that this package, not the library, has spoken to.
type endError struct {
	prefix string // of the end's flags
	what   string
	err    error
}

func (e *endError) Error() string { return e.what + ": " + e.err.Error() }
func (e *endError) Unwrap() error { return e.err }

func atEnd(prefix, what string, err error) error { return &endError{prefix, what, err} }

// explainRefusal is about a sparse list that a registry does not take.
func (e *environment) explainRefusal(refused *copy.SparseRefusedError) string {
	text := fmt.Sprintf("the destination refuses the sparse list %s: %s", refused.List, registrysWords(refused.Refusal))
	if refused.Unclear {
		text += fmt.Sprintf("; that may be because it is sparse, since the destination lacks %d of what it names", len(refused.Absent))
	}
	switch {
	case refused.StrippedRefusal != nil:
		text += "; it refuses the stripped list too: " + registrysWords(refused.StrippedRefusal)
	case e.keeps():
		text += "; use --sparse strip, or --sparse auto, or copy --all"
	case refused.NotStripped != "":
		text += "; not stripped: " + e.inWords(refused.NotStripped)
	}
	return text
}

// registrysWords is the registry's answer in err without what was tried, which the reader knows;
// all of err if there is none.
func registrysWords(err error) string {
	if answer, ok := errors.AsType[*copy.RegistryError](err); ok {
		err = answer
	}
	return upTo(err.Error(), 1000)
}

// upTo cuts a text that is longer than n bytes, and says so.
func upTo(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return fmt.Sprintf("%s… (%d bytes more)", strings.ToValidUTF8(text[:n], ""), len(text)-n)
}

// keeps reports whether the command that ran was told, or left, to keep lists.
func (e *environment) keeps() bool {
	return !e.byFile && e.sel != nil && e.sel.options.SparseManifestListAction == copy.KeepSparseManifestList
}

// copiesList reports whether the command that ran was told to copy a list, of which it could leave
// something out.
func (e *environment) copiesList() bool {
	return e.byFile || e.sel != nil && e.sel.options.ImageListSelection != copy.CopySystemImage
}

// maxLine is the length in bytes at which a line is cut: an error may name thousands of digests.
const maxLine = 4000

// oneLine makes one line of a text that strangers may have had a hand in.
func oneLine(text string) string {
	return printable(strings.ReplaceAll(strings.TrimSpace(upTo(text, maxLine)), "\n", "; "))
}

// printable escapes what could do something to a terminal, but for ends of lines.
func printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r == '\n' || unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}
