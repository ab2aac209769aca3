package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestLineRoundTrip(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 60, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOf(rapid.Byte()).Draw(t, "text")
		line := AppendLine(nil, text, "stderr", json.RawMessage(`{"a":"b"}`), at)
		if n := bytes.IndexByte(line, '\n'); n != len(line)-1 {
			t.Fatalf("newline at %d of %d", n, len(line))
		}
		got, err := DecodeLine(line)
		if err != nil {
			t.Fatal(err)
		}
		var valid []byte // one U+FFFD a broken byte, which bytes.ToValidUTF8 would run together
		for rest := text; len(rest) > 0; {
			r, n := utf8.DecodeRune(rest)
			valid, rest = utf8.AppendRune(valid, r), rest[n:]
		}
		want := Line{Log: string(valid), Stream: "stderr", Attrs: map[string]string{"a": "b"}, Time: at}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	})
}

func TestCutLine(t *testing.T) {
	long := strings.Repeat("x", MaxLine)
	for _, c := range []struct {
		in   string
		want int
	}{
		{"", 0},
		{"abc", 0},
		{"a\nb", 2},
		{"\n", 1},
		{long, MaxLine},
		{long[1:], 0},
		{long[1:] + "\n", MaxLine},
		{long + "\n", MaxLine},
		{long[1:] + "é", MaxLine - 1},
		{long[2:] + "é", MaxLine},
		{long[2:] + "日", MaxLine - 2},
		{long[1:] + "\xff\xff", MaxLine - 1 + 1},
	} {
		if got := CutLine([]byte(c.in)); got != c.want {
			t.Errorf("%d bytes ending in %q: cut %d, want %d", len(c.in), c.in[max(0, len(c.in)-3):], got, c.want)
		}
	}
}

// Pieces put together are the text, whatever it is.
func TestCutLineLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.SampledFrom([]string{"a", "é", "日", "😀", "\xf0\x9f", "\n"})
		text := strings.Repeat(unit.Draw(t, "u"), 1+rapid.IntRange(0, 40000).Draw(t, "n")) + unit.Draw(t, "v")
		rest, got := []byte(text), []byte{}
		for n := CutLine(rest); n > 0; n = CutLine(rest) {
			if n > MaxLine {
				t.Fatalf("piece of %d bytes", n)
			}
			got, rest = append(got, rest[:n]...), rest[n:]
		}
		if string(append(got, rest...)) != text {
			t.Fatal("text changed")
		}
	})
}

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	for i, s := range []string{"", "hello", strings.Repeat("z", 70000)} {
		if err := WriteFrame(&b, byte(i), []byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []string{"", "hello", strings.Repeat("z", 70000)} {
		stream, data, err := ReadFrame(&b, nil)
		if err != nil || int(stream) != i || string(data) != want {
			t.Fatalf("frame %d: stream %d, %d bytes, %v", i, stream, len(data), err)
		}
	}
	if _, _, err := ReadFrame(&b, nil); !errors.Is(err, io.EOF) {
		t.Fatalf("at the end: %v", err)
	}
	if err := WriteFrame(io.Discard, 0, make([]byte, MaxFrame+1)); err == nil {
		t.Fatal("a frame over the limit was written")
	}
}

func FuzzDecodeLine(f *testing.F) {
	f.Add([]byte(`{"log":"a\n","stream":"stdout","time":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"log":`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := DecodeLine(b)
		if err != nil {
			return
		}
		again, err := DecodeLine(AppendLine(nil, []byte(l.Log), l.Stream, nil, l.Time))
		if l.Time.Year() < 0 || l.Time.Year() > 9999 {
			return
		}
		if err != nil || again.Log != l.Log || !again.Time.Equal(l.Time) {
			t.Fatalf("%q became %q: %v", l.Log, again.Log, err)
		}
	})
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 2, 'h', 'i'})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		for {
			_, data, err := ReadFrame(r, nil)
			if err != nil {
				return
			}
			if len(data) > MaxFrame {
				t.Fatal("frame over the limit")
			}
		}
	})
}
