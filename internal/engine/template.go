package engine

import (
	"errors"
	"maps"
	"runtime"
	"strings"
	"text/template"

	"shoal/internal/cluster"
)

// templates expands {{.Service.Name}} and its like. The first failure is kept; what comes after it expands to nothing.
type templates struct {
	context templateContext
	err     error
}

// templateContext is what a template can name; the field names are Docker's.
type templateContext struct {
	Service struct {
		ID, Name string
		Labels   map[string]string
	}
	Node struct {
		ID, Hostname string
		Platform     struct{ Architecture, OS string }
	}
	Task struct{ ID, Name, Slot string }
}

func newTemplates(a cluster.Assignment, hostname string) *templates {
	var c templateContext
	c.Service.ID, c.Service.Name, c.Service.Labels = a.Task.ServiceID, a.Task.ServiceName, a.ServiceLabels
	c.Node.ID, c.Node.Hostname = a.Task.NodeID, hostname
	c.Node.Platform.Architecture, c.Node.Platform.OS = machine(runtime.GOARCH), runtime.GOOS
	c.Task.ID, c.Task.Name, c.Task.Slot = a.Task.ID, a.Task.Name(), taskSlot(a.Task)
	return &templates{context: c}
}

// maxExpansion bounds an expanded text, in bytes: a template may loop.
const maxExpansion = 1 << 20

func (t *templates) expand(text string) string { return t.expandWith(text, nil) }

// expandValues returns a copy with every value expanded; nil stays nil.
func (t *templates) expandValues(m map[string]string) map[string]string {
	out := maps.Clone(m)
	for k, v := range out {
		out[k] = t.expand(v)
	}
	return out
}

// expandWith gives the template functions besides the fields.
func (t *templates) expandWith(text string, functions template.FuncMap) string {
	if t.err != nil || !strings.Contains(text, "{{") {
		return text
	}
	join := func(sep string, parts ...string) string { return strings.Join(parts, sep) }
	parsed, err := template.New("").Option("missingkey=error").Funcs(template.FuncMap{"join": join}).Funcs(functions).Parse(text)
	if err != nil {
		t.err = errTemplate(text, err)
		return ""
	}
	var out limited
	if err := parsed.Execute(&out, t.context); err != nil {
		t.err = errTemplate(text, err)
		return ""
	}
	return out.String()
}

// limited is a builder that refuses to grow beyond maxExpansion.
type limited struct{ strings.Builder }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxExpansion {
		return 0, errTooLong
	}
	return l.Builder.Write(p)
}

// machine is an architecture as `uname -m` and Docker's node descriptions have it.
func machine(goarch string) string {
	switch goarch {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	case "386":
		return "i686"
	}
	return goarch
}

var errTooLong = errors.New("the expansion is too long")
