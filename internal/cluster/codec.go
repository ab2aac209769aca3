package cluster

import "github.com/fxamacker/cbor/v2"

// The one encoding of everything that is stored or sent between nodes: CBOR over the Go types, by their json tags.
// Times keep their nanoseconds; whatever writes itself as text (IP addresses, digests) is written as text.
var (
	encoder = must(cbor.EncOptions{
		TextMarshaler: cbor.TextMarshalerTextString,
		Time:          cbor.TimeRFC3339Nano,
	}.EncMode())
	decoder = must(cbor.DecOptions{
		TextUnmarshaler:  cbor.TextUnmarshalerTextString,
		MaxArrayElements: 1 << 24, // one transaction may make very many tasks
		MaxMapPairs:      1 << 20,
	}.DecMode())
)

// Marshal encodes v. It fails only for types that have no encoding (channels, functions).
func Marshal(v any) ([]byte, error) { return encoder.Marshal(v) }

// Unmarshal decodes exactly one item into v, a pointer. Truncated, malformed or trailing bytes are errors; fields that
// v's type does not know are skipped, so that an older node reads what a newer one wrote.
func Unmarshal(b []byte, v any) error { return decoder.Unmarshal(b, v) }

func must[M any](mode M, err error) M {
	if err != nil {
		panic(err) // the options above contradict each other
	}
	return mode
}
