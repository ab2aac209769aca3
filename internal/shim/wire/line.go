package wire

import (
	"encoding/json"
	"errors"
	"time"
	"unicode/utf8"
)

// Line is one entry of a log in Docker's json-file format. A piece of a longer line has no newline at its end.
type Line struct {
	Log    string            `json:"log"`
	Stream string            `json:"stream"`
	Attrs  map[string]string `json:"attrs,omitempty"`
	Time   time.Time         `json:"time"`
}

// MaxLine is the most bytes of text in one entry; longer lines are cut into pieces.
const MaxLine = 16 << 10

// AppendLine appends an entry with its newline to dst. attrs is a JSON object, or empty. Bytes that are not UTF-8
// become U+FFFD, as they do in Docker's files.
func AppendLine(dst, text []byte, stream string, attrs json.RawMessage, at time.Time) []byte {
	dst = append(dst, `{"log":`...)
	dst = appendString(dst, text)
	dst = append(dst, `,"stream":"`...)
	dst = append(dst, stream...)
	dst = append(dst, '"')
	if len(attrs) > 0 {
		dst = append(dst, `,"attrs":`...)
		dst = append(dst, attrs...)
	}
	dst = append(dst, `,"time":"`...)
	dst = at.UTC().AppendFormat(dst, time.RFC3339Nano)
	return append(dst, "\"}\n"...)
}

const hexDigits = "0123456789abcdef"

// appendString appends text as a JSON string.
func appendString(dst, text []byte) []byte {
	dst = append(dst, '"')
	for len(text) > 0 {
		c := text[0]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				dst = append(dst, '\\', c)
			case c == '\n':
				dst = append(dst, '\\', 'n')
			case c == '\r':
				dst = append(dst, '\\', 'r')
			case c == '\t':
				dst = append(dst, '\\', 't')
			case c < ' ' || c == 0x7f:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			default:
				dst = append(dst, c)
			}
			text = text[1:]
			continue
		}
		r, n := utf8.DecodeRune(text)
		dst = utf8.AppendRune(dst, r) // an invalid byte is decoded as U+FFFD
		text = text[n:]
	}
	return append(dst, '"')
}

// ErrLine says that bytes are no log entry.
var ErrLine = errors.New("not a log entry")

// DecodeLine reads one entry, with or without its newline. ErrLine: it is none, for example the torn last line of a
// full disk; the reader should go on with the next.
func DecodeLine(b []byte) (Line, error) {
	var l Line
	if err := json.Unmarshal(b, &l); err != nil {
		return Line{}, errors.Join(ErrLine, err)
	}
	if l.Stream != "stdout" && l.Stream != "stderr" {
		return Line{}, ErrLine
	}
	return l, nil
}

// CutLine returns how many bytes of buf make up the next entry: through the first newline, or, when there is none and
// buf holds MaxLine bytes or more, a piece that does not split a character. 0: wait for more.
func CutLine(buf []byte) int {
	for i, c := range buf {
		if c == '\n' && i < MaxLine {
			return i + 1
		}
		if i >= MaxLine {
			break
		}
	}
	if len(buf) < MaxLine {
		return 0
	}
	n := MaxLine
	for back := 1; back < utf8.UTFMax; back++ {
		if c := buf[n-back]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(buf[n-back:n]) {
				n -= back
			}
			break
		}
	}
	return n
}
