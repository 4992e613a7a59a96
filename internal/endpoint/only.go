package endpoint

// Only returns src as if its reference named doc, which is one of its manifests.
func Only(src Source, doc Document) Source { return only{src, doc} }

type only struct {
	Source
	doc Document
}

func (o only) Top() Document { return o.doc }
