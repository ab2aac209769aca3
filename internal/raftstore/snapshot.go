package raftstore

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"

	"github.com/hashicorp/raft"
	"golang.org/x/crypto/chacha20poly1305"
)

// sealedSnapshots seals what another snapshot store keeps. Raft, and so another node that a snapshot is sent to, sees
// them in the clear and with their clear size: sizes on disk follow from it.
type sealedSnapshots struct {
	raft.SnapshotStore
	seal *Sealer
}

// Create begins a snapshot.
func (s *sealedSnapshots) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, cIndex uint64, t raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(version, index, term, c, cIndex, t)
	if err != nil {
		return nil, err
	}
	return &sealedSink{SnapshotSink: sink, w: newSealWriter(sink, s.seal, index, term)}, nil
}

// List returns the snapshots, the newest first.
func (s *sealedSnapshots) List() ([]*raft.SnapshotMeta, error) {
	metas, err := s.SnapshotStore.List()
	for _, m := range metas {
		m.Size = clearSize(m.Size)
	}
	return metas, err
}

// Open reads a snapshot.
func (s *sealedSnapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, r, err := s.SnapshotStore.Open(id)
	if err != nil {
		return nil, nil, err
	}
	clear := *meta
	clear.Size = clearSize(meta.Size)
	return &clear, newSealReader(r, s.seal, meta.Index, meta.Term), nil
}

type sealedSink struct {
	raft.SnapshotSink
	w *sealWriter
}

func (s *sealedSink) Write(b []byte) (int, error) { return s.w.Write(b) }

func (s *sealedSink) Close() error {
	if err := s.w.finish(); err != nil {
		return errors.Join(err, s.Cancel())
	}
	return s.SnapshotSink.Close()
}

// A sealed snapshot is a random prefix and chunks of clearChunk bytes, the last one shorter or not. The nonce of a chunk
// is the prefix, its number and whether it is the last one (the STREAM construction, as age has it), so chunks cannot be
// moved, left out or cut off; index and term of the snapshot are authenticated with each.
const (
	prefixSize  = chacha20poly1305.NonceSizeX - 5
	clearChunk  = 64 << 10
	sealedChunk = clearChunk + chacha20poly1305.Overhead
)

// clearSize is the size of what is sealed in a file of that size.
func clearSize(sealed int64) int64 {
	body := sealed - prefixSize
	n := (body + sealedChunk - 1) / sealedChunk
	return max(0, body-n*chacha20poly1305.Overhead)
}

// chunks counts the chunks of one snapshot.
type chunks struct {
	seal        *Sealer
	index, term uint64
	prefix      []byte
	number      uint32 // 4 billion of 64 KiB: 256 TiB
}

// next returns the nonce and the additional data of the next chunk.
func (c *chunks) next(last bool) (nonce, bound []byte) {
	nonce = make([]byte, 0, chacha20poly1305.NonceSizeX)
	nonce = append(nonce, c.prefix...)
	nonce = binary.BigEndian.AppendUint32(nonce, c.number)
	if last {
		nonce = append(nonce, 1)
	} else {
		nonce = append(nonce, 0)
	}
	c.number++
	bound = binary.BigEndian.AppendUint64(nil, c.index)
	return nonce, binary.BigEndian.AppendUint64(bound, c.term)
}

type sealWriter struct {
	w      io.Writer
	chunks chunks
	buf    []byte // the chunk being filled; a full one waits for more, since it may be the last
	out    []byte
}

func newSealWriter(w io.Writer, seal *Sealer, index, term uint64) *sealWriter {
	return &sealWriter{w: w, chunks: chunks{seal: seal, index: index, term: term}, buf: make([]byte, 0, clearChunk)}
}

func (s *sealWriter) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		if len(s.buf) == clearChunk {
			if err := s.flush(false); err != nil {
				return n, err
			}
		}
		k := min(len(b), clearChunk-len(s.buf))
		s.buf = append(s.buf, b[:k]...)
		b = b[k:]
		n += k
	}
	return n, nil
}

func (s *sealWriter) finish() error { return s.flush(true) }

func (s *sealWriter) flush(last bool) error {
	if s.chunks.prefix == nil {
		s.chunks.prefix = make([]byte, prefixSize)
		rand.Read(s.chunks.prefix) // never fails since Go 1.24
		if _, err := s.w.Write(s.chunks.prefix); err != nil {
			return err
		}
	}
	nonce, bound := s.chunks.next(last)
	s.out = s.chunks.seal.aead.Seal(s.out[:0], nonce, s.buf, bound)
	s.buf = s.buf[:0]
	_, err := s.w.Write(s.out)
	return err
}

type sealReader struct {
	r      *bufio.Reader
	file   io.Closer
	chunks chunks
	rest   []byte // opened and not read yet
	ended  bool
}

func newSealReader(r io.ReadCloser, seal *Sealer, index, term uint64) *sealReader {
	return &sealReader{r: bufio.NewReaderSize(r, sealedChunk), file: r, chunks: chunks{seal: seal, index: index, term: term}}
}

func (s *sealReader) Read(b []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.ended {
			return 0, io.EOF
		}
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *sealReader) fill() error {
	if s.chunks.prefix == nil {
		s.chunks.prefix = make([]byte, prefixSize)
		if _, err := io.ReadFull(s.r, s.chunks.prefix); err != nil {
			return unsealable(err)
		}
	}
	sealed := make([]byte, sealedChunk)
	n, err := io.ReadFull(s.r, sealed)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return unsealable(err)
	}
	_, more := s.r.Peek(1)
	s.ended = errors.Is(more, io.EOF)
	nonce, bound := s.chunks.next(s.ended)
	if s.rest, err = s.chunks.seal.aead.Open(sealed[:0], nonce, sealed[:n], bound); err != nil {
		return errUnsealed
	}
	return nil
}

// unsealable takes an end that comes too early for tampering.
func unsealable(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errUnsealed
	}
	return err
}

func (s *sealReader) Close() error { return s.file.Close() }
