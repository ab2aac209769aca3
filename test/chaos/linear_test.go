package chaos

import "github.com/anishathalye/porcupine"

var _ = porcupine.Ok
