package cluster

import "fmt"

// classed is an error whose text is its own and whose class is another error's.
type classed struct {
	text  string
	class error
}

func (e *classed) Error() string { return e.text }
func (e *classed) Unwrap() error { return e.class }

// Errorf returns an error of the given class (one of containerd/errdefs) whose text is the formatted message alone,
// since clients match on Docker's sentences and those name no class.
func Errorf(class error, format string, args ...any) error {
	return &classed{text: fmt.Sprintf(format, args...), class: class}
}
