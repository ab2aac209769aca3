package e2e

import (
	"errors"
	"fmt"

	"github.com/rogpeppe/go-internal/testscript"

	"shoal/test/e2e/load"
)

// loadWord is: load start URL... | load stop
func loadWord(ts *testscript.TestScript, s *story, args []string) error {
	switch {
	case args[0] == "start" && len(args) > 1 && s.load == nil:
		s.load = load.Start(s.ctx, s.dialFrom(s.Client()), args[1:]...)
		return nil
	case args[0] == "stop" && len(args) == 1 && s.load != nil:
		fmt.Fprintln(ts.Stdout(), s.load.Stop())
		s.load = nil
		return nil
	}
	return errors.New("want start URL..., or stop after it")
}
