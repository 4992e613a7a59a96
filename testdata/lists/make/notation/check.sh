for repo in notation-api notation-tag; do
	notation verify "$REGISTRY/$repo@$AMD64"
	if test "$STATE" != strip; then # a stripped list is another list, which nobody signed
		notation verify "$REGISTRY/$repo@$LIST"
	fi
done
