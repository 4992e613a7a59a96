package state

import (
	"encoding/binary"
	"hash/fnv"
	"os"
)

// bbolt trusts the pages of its file: one wrong byte in what leads from page to page can send it
// around in circles, or let it take billions of pages for free. So these are checked before it
// reads them. What is below is the form of its pages, version 2, in the byte order of the machine.
const (
	pageHeaderSize = 16 // id, flags, count, overflow
	elementSize    = 16 // of a branch: position, length of the key, page; of a leaf: flags, position, two lengths
	minPageSize    = 1 << 10
	maxPageSize    = 1 << 24
	maxTreeDepth   = 64

	branchFlag, leafFlag, freelistFlag = 0x01, 0x02, 0x10
	bucketFlag                         = 0x01 // of an element
	manyFree                           = 0xFFFF

	magicNumber   = 0xED0CDAED
	formatVersion = 2
	noFreelist    = ^uint64(0)
)

// A head says where a database begins: the valid one of two that was written last holds.
type head struct {
	Magic, Version, PageSize, Flags       uint32
	Root, Sequence, Freelist, Pages, TxID uint64
	Checksum                              uint64
}

// pages are those of a database while they are checked.
type pages struct {
	file *os.File
	head head
	seen map[uint64]bool // the pages that something leads to
}

// checkStructure follows what leads from page to page. The error is an *unusableError if it does
// not do so as it should.
func checkStructure(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return err
	}
	first, ok := readHead(f, 0)
	second, ok2 := readSecondHead(f, first, ok)
	if !ok && !ok2 {
		return unusablef("is damaged, or no state")
	}
	if !ok || ok2 && second.TxID > first.TxID {
		first = second
	}
	p := &pages{file: f, head: first, seen: map[uint64]bool{}}
	if size := int64(p.head.PageSize); p.head.Pages > uint64(info.Size()/size) {
		return unusablef("is damaged: it ends too early")
	}
	if err := p.tree(p.head.Root, 0); err != nil {
		return err
	}
	return p.free()
}

// readHead reads the head at an offset, if there is a valid one.
func readHead(f *os.File, at int64) (h head, ok bool) {
	raw := make([]byte, binary.Size(h))
	if _, err := f.ReadAt(raw, at+pageHeaderSize); err != nil {
		return head{}, false
	}
	if _, err := binary.Decode(raw, binary.NativeEndian, &h); err != nil {
		return head{}, false
	}
	sum := fnv.New64a()
	_, _ = sum.Write(raw[:len(raw)-8])
	return h, h.Magic == magicNumber && h.Version == formatVersion && h.Checksum == sum.Sum64() &&
		h.PageSize >= minPageSize && h.PageSize <= maxPageSize
}

// readSecondHead reads the head that follows the first, wherever that is if the first is not valid.
func readSecondHead(f *os.File, first head, ok bool) (head, bool) {
	if ok {
		return readHead(f, int64(first.PageSize))
	}
	for size := int64(minPageSize); size <= maxPageSize; size *= 2 {
		if h, ok := readHead(f, size); ok && int64(h.PageSize) == size {
			return h, true
		}
	}
	return head{}, false
}

// tree checks a page and all that it leads to.
func (p *pages) tree(id uint64, depth int) error {
	if depth > maxTreeDepth {
		return unusablef("is damaged: its pages are nested too deep")
	}
	page, err := p.page(id)
	if err != nil {
		return err
	}
	return p.node(id, page, depth)
}

// page reads a page, which nothing else may lead to.
func (p *pages) page(id uint64) ([]byte, error) {
	size := int64(p.head.PageSize)
	header := make([]byte, pageHeaderSize)
	if id < 2 || id >= p.head.Pages {
		return nil, unusablef("is damaged: there is no page %d", id)
	}
	if _, err := p.file.ReadAt(header, int64(id)*size); err != nil {
		return nil, err
	}
	length := 1 + uint64(binary.NativeEndian.Uint32(header[12:]))
	if binary.NativeEndian.Uint64(header) != id || length > p.head.Pages-id {
		return nil, unusablef("is damaged: page %d", id)
	}
	for n := id; n < id+length; n++ {
		if p.seen[n] {
			return nil, unusablef("is damaged: page %d belongs to two others", n)
		}
		p.seen[n] = true
	}
	page := make([]byte, int64(length)*size)
	_, err := p.file.ReadAt(page, int64(id)*size)
	return page, err
}

// node checks what a page, or what is like one in a document, consists of.
func (p *pages) node(id uint64, page []byte, depth int) error {
	order := binary.NativeEndian
	flags, count := order.Uint16(page[8:]), int(order.Uint16(page[10:]))
	if flags != branchFlag && flags != leafFlag || flags == branchFlag && count == 0 || pageHeaderSize+count*elementSize > len(page) {
		return unusablef("is damaged: page %d", id)
	}
	for at := pageHeaderSize; at < pageHeaderSize+count*elementSize; at += elementSize {
		element := page[at : at+elementSize]
		if flags == branchFlag {
			if position, key := uint64(order.Uint32(element)), uint64(order.Uint32(element[4:])); key == 0 || uint64(at)+position+key > uint64(len(page)) {
				return unusablef("is damaged: page %d", id)
			}
			if err := p.tree(order.Uint64(element[8:]), depth+1); err != nil {
				return err
			}
			continue
		}
		value, ok := leafValue(page, at)
		if !ok {
			return unusablef("is damaged: page %d", id)
		}
		if order.Uint32(element)&bucketFlag != 0 {
			if err := p.bucket(id, value, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// leafValue is the value of the element of a leaf that is at an offset.
func leafValue(page []byte, at int) ([]byte, bool) {
	order := binary.NativeEndian
	position, key, value := uint64(order.Uint32(page[at+4:])), uint64(order.Uint32(page[at+8:])), uint64(order.Uint32(page[at+12:]))
	begin := uint64(at) + position + key
	if key == 0 || begin+value > uint64(len(page)) {
		return nil, false
	}
	return page[begin : begin+value], true
}

// bucket checks a bucket: a page that it names, or, of a small one, what follows its header.
func (p *pages) bucket(id uint64, value []byte, depth int) error {
	const headerSize = 16 // root, sequence
	if len(value) < headerSize {
		return unusablef("is damaged: page %d", id)
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return p.tree(root, depth)
	}
	if len(value) < headerSize+pageHeaderSize || depth > maxTreeDepth {
		return unusablef("is damaged: page %d", id)
	}
	return p.node(id, value[headerSize:], depth)
}

// free checks the list of free pages: in order, and none that something leads to.
func (p *pages) free() error {
	if p.head.Freelist == noFreelist {
		return unusablef("is damaged: it has no list of free pages")
	}
	page, err := p.page(p.head.Freelist)
	if err != nil {
		return err
	}
	order := binary.NativeEndian
	count, ids := uint64(order.Uint16(page[10:])), page[pageHeaderSize:]
	if count == manyFree {
		count, ids = order.Uint64(ids), ids[8:]
	}
	if order.Uint16(page[8:]) != freelistFlag || count > uint64(len(ids)/8) {
		return unusablef("is damaged: page %d", p.head.Freelist)
	}
	last := uint64(1)
	for ; count > 0; count-- {
		free := order.Uint64(ids)
		if free <= last || free >= p.head.Pages || p.seen[free] {
			return unusablef("is damaged: page %d is not free", free)
		}
		last, ids = free, ids[8:]
	}
	return nil
}
