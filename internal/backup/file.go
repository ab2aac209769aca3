package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
)

// magic is the first line of every backup, but for its version.
const (
	magic   = "shoal backup "
	version = "1\n"
)

// maxHeader bounds what a reader takes into memory before it knows whether the file is whole.
const maxHeader = 4 << 20

// Header is what a backup says of itself in the clear.
type Header struct {
	Created   time.Time
	Version   string // of the daemon that made it
	ClusterID string
	NodeID    string // the manager that made it, which a restored swarm goes on as
	Hostname  string
	Advertise string // host:port where other nodes reached it
	Index     uint64 // the store's, that is how many transactions are in it
	// Locked says that the keys in the file are sealed with the unlock key of the time.
	Locked bool
	// Membership, Certificate and Roots are the files of the manager's membership as it keeps them. Certificate holds
	// its keys too: in the clear, unless Locked.
	Membership  json.RawMessage
	Certificate []byte
	Roots       []byte
	// Raft is what the body's reader needs to open it.
	Raft json.RawMessage
}

// Write writes a whole backup to w: the header, then what body writes, then the checksum.
func Write(w io.Writer, h Header, body io.WriterTo) error {
	head, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if len(head) > maxHeader {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "the backup's header would have %d bytes, %d are the most", len(head), maxHeader)
	}
	sum := sha256.New()
	both := io.MultiWriter(w, sum)
	start := append([]byte(magic+version), binary.BigEndian.AppendUint32(nil, uint32(len(head)))...)
	if _, err := both.Write(append(start, head...)); err != nil {
		return err
	}
	if _, err := body.WriteTo(both); err != nil {
		return err
	}
	_, err = w.Write(sum.Sum(nil))
	return err
}

// Reader reads one backup. Its Read gives the body, and io.EOF only when the checksum at the end is right: until then
// nothing that was read may be relied upon.
type Reader struct {
	Header Header
	r      *bufio.Reader
	sum    hash.Hash
	err    error
}

var errCut = cluster.Errorf(errdefs.ErrDataLoss, "the backup is cut short")

// NewReader reads the header. The error is of class InvalidArgument for any other file, NotImplemented for a backup of a
// version of the format that this one does not know, DataLoss for a broken one.
func NewReader(from io.Reader) (*Reader, error) {
	r := &Reader{r: bufio.NewReaderSize(from, 128<<10), sum: sha256.New()}
	line := make([]byte, len(magic+version))
	if _, err := io.ReadFull(r.r, line); err != nil || string(line[:len(magic)]) != magic {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "this is not a backup of shoal")
	}
	if string(line[len(magic):]) != version {
		return nil, cluster.Errorf(errdefs.ErrNotImplemented, "the backup's format is none that this version of shoal knows: it was made by a newer one")
	}
	var size [4]byte
	if _, err := io.ReadFull(r.r, size[:]); err != nil {
		return nil, errCut
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxHeader {
		return nil, cluster.Errorf(errdefs.ErrDataLoss, "the backup's header is damaged")
	}
	head := make([]byte, n)
	if _, err := io.ReadFull(r.r, head); err != nil {
		return nil, errCut
	}
	for _, b := range [][]byte{line, size[:], head} {
		r.sum.Write(b)
	}
	if err := json.Unmarshal(head, &r.Header); err != nil {
		return nil, cluster.Errorf(errdefs.ErrDataLoss, "the backup's header is damaged: %v", err)
	}
	return r, nil
}

// Read gives the next bytes of the body. An error of class DataLoss says that the backup is cut short or damaged.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	// The last bytes of the file are its checksum, so as many are always held back.
	ahead, err := r.r.Peek(min(len(p)+sha256.Size, r.r.Size()))
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = fmt.Errorf("read the backup: %w", err)
		return 0, r.err
	}
	if n := len(ahead) - sha256.Size; n > 0 {
		copy(p, ahead[:n])
		r.sum.Write(ahead[:n])
		_, err := r.r.Discard(n)
		return n, err
	}
	switch {
	case len(ahead) < sha256.Size:
		r.err = errCut
	case !bytes.Equal(ahead, r.sum.Sum(nil)):
		r.err = cluster.Errorf(errdefs.ErrDataLoss, "the backup is damaged or cut short: its checksum is wrong")
	default:
		r.err = io.EOF
	}
	return 0, r.err
}
