package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	pathpkg "path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// rooms, from the top down: a package may import only rooms that stand below its own. Names on one line do not import each
// other. The reason says why the room stands where it does.
var rooms = []struct {
	names  string
	reason string
}{
	{"test bench", "they drive the product from outside; nothing of them may end up inside"},
	{"cmd", "picks the face; nothing else"},
	{"cli", "commands call everything; nothing calls a command"},
	{"daemon", "the composition root: it wires the parts, so that no part knows how another is made"},
	{"sim", "drives managers and agents with its own clock and network; a product package that imported it would ship a simulator"},
	{"api", "HTTP in and out: the verbs below know no requests"},
	{"controlplane", "the verbs on objects: they write to the store and wait for nobody"},
	{"manager", "the leader's passes: they turn the store's state into a commit, and serve no client"},
	{"relay", "streams from any task to any manager, over what dispatch and agent have opened"},
	{"dispatch", "the managers' side of a node's stream"},
	{"agent", "the node's side: it declares what it needs of an engine, so the engine may not import it back"},
	{"engine", "containers: it declares what it needs of a network, and knows no swarm"},
	{"image volume containerd", "parts of the engine that do not need one another's insides"},
	{"network", "the data plane: told what to hold, never asking the store"},
	{"rpc", "port 2377: identity comes from a certificate"},
	{"ca", "certificates: no network"},
	{"raftstore", "replication of the store; its transport is given from outside"},
	{"store", "objects and transactions: no Raft in it"},
	{"reconcile allocate", "decisions: pure functions of what they are given"},
	{"schedule", "a decision too; reconcile asks it where a task still fits"},
	{"backup", "a file's format: what is in it is the daemon's to say"},
	{"cluster", "the leaf: the types that everybody shares"},
	{"sample shim", "alone: a demonstration image, and a process that must start in milliseconds"},
}

// except lists imports that the table forbids and that are right all the same, with the reason.
var except = map[string]string{
	"manager > controlplane": "the pass that lets go of a spec drops it by the rule of the verbs that keep it",
}

// bans are modules that the table does not speak of and that a decision keeps out of all rooms but a few. Tests may bring in a
// module that some room has.
var bans = []struct{ module, rooms, reason string }{
	{"github.com/docker/cli", "cli", "a daemon with the CLI's tree inside starts five times slower"},
	{"github.com/moby/swarmkit", "", "what Shoal exists for is its own code"},
	{"github.com/moby/moby/v2", "", "what Shoal exists for is its own code; the API's types are github.com/moby/moby/api"},
	{"github.com/docker/docker", "", "what Shoal exists for is its own code; the API's types are github.com/moby/moby/api"},
	{"github.com/hashicorp/raft", "raftstore rpc", "consensus stays behind store.Proposer; rpc lends it the port"},
	{"github.com/tidwall/btree", "store", "tables are reached through the store's typed ones"},
	{"google.golang.org/grpc", "rpc containerd", "streams between nodes are declared by rpc's own types"},
	{"github.com/vishvananda/netlink", "network cli", "the kernel is written in one place and read back there; the playground makes machines"},
	{"golang.zx2c4.com/wireguard", "network", "keys and devices stay behind the data plane"},
	{"github.com/google/nftables", "network cli", "the kernel is written in one place and read back there; the playground cuts wires one way"},
	{"math/rand", "", "use math/rand/v2, with a source that is an argument where a decision depends on it"},
}

// pure are the packages that decide: same input, same plan. What they may not touch, and why.
var (
	pure     = []string{"reconcile", "schedule", "allocate", "network/plan"}
	impure   = []string{"os", "os/exec", "net/http", "math/rand", "math/rand/v2", "crypto/rand", "syscall", "shoal/internal/store", "log/slog"}
	impureOf = map[string][]string{
		"time": {"Now", "Since", "Until", "Sleep", "After", "Tick", "NewTimer", "NewTicker", "AfterFunc"},
		"net":  {"Dial", "Listen", "DialTimeout", "ListenPacket", "LookupHost", "LookupIP", "Interfaces", "InterfaceAddrs"},
	}
)

func room(pkg string) string {
	name, _, _ := strings.Cut(pkg, "/")
	return name
}

func rank(pkg string) int {
	for i, r := range rooms {
		if slices.Contains(strings.Fields(r.names), room(pkg)) {
			return i
		}
	}
	return -1
}

// source is one Go file of ours.
type source struct {
	path, pkg string // path from the repository's root; pkg is its folder, without internal/
	file      *ast.File
}

func (s source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

// tree is every Go file of the repository, parsed once for all tests.
var tree = sync.OnceValues(func() ([]source, error) {
	var out []source
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != "..":
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		f, err := parser.ParseFile(positions, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		path = strings.TrimPrefix(filepath.ToSlash(path), "../")
		out = append(out, source{path, strings.TrimPrefix(pathpkg.Dir(path), "internal/"), f})
		return nil
	})
	return out, err
})

// positions knows the lines of all files in tree.
var positions = token.NewFileSet()

// sources is the product's files in the rooms, or with tests all files.
func sources(t *testing.T, tests bool) []source {
	t.Helper()
	all, err := tree()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 100 {
		t.Fatalf("found %d Go files: this test looks in the wrong place", len(all))
	}
	if tests {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(s source) bool {
		return s.test() || s.pkg == "internal" || strings.Contains(s.path, "/testdata/")
	})
}

func imports(f *ast.File) []string {
	var out []string
	for _, i := range f.Imports {
		if p, err := strconv.Unquote(i.Path.Value); err == nil {
			out = append(out, p)
		}
	}
	return out
}

func TestImportsGoDownwards(t *testing.T) {
	for _, s := range sources(t, false) {
		from := rank(s.pkg)
		if from < 0 {
			t.Errorf("%s: package %s has no place in the import order: give it one, with the reason", s.path, s.pkg)
			continue
		}
		for _, imp := range imports(s.file) {
			target, ok := strings.CutPrefix(imp, "shoal/")
			target = strings.TrimPrefix(target, "internal/")
			if !ok || room(s.pkg) == room(target) {
				continue
			}
			to := rank(target)
			if _, allowed := except[s.pkg+" > "+target]; to <= from && !allowed {
				t.Errorf("%s imports %s, which does not stand below it (%s; %s)", s.path, target, rooms[from].reason, rooms[max(to, 0)].reason)
			}
			if room(s.pkg) == "shim" || s.pkg == "cmd/containerd-shim-shoal-v1" && room(target) != "shim" {
				t.Errorf("%s imports %s: the shim starts twice a container, and knows nothing of the daemon", s.path, target)
			}
		}
	}
}

func TestForeignModulesStayInTheirRooms(t *testing.T) {
	for _, s := range sources(t, true) {
		for _, imp := range imports(s.file) {
			for _, ban := range bans {
				if imp != ban.module && !strings.HasPrefix(imp, ban.module+"/") || imp == "math/rand/v2" {
					continue
				}
				if !slices.Contains(strings.Fields(ban.rooms), room(s.pkg)) && !(s.test() && ban.rooms != "") {
					t.Errorf("%s imports %s: %s", s.path, imp, ban.reason)
				}
			}
		}
	}
}

func TestPureRoomsTouchNothing(t *testing.T) {
	for _, s := range sources(t, false) {
		if !slices.ContainsFunc(pure, func(p string) bool { return s.pkg == p || strings.HasPrefix(s.pkg, p+"/") }) {
			continue
		}
		for _, imp := range imports(s.file) {
			if slices.Contains(impure, imp) {
				t.Errorf("%s imports %s: a decision may depend only on what it is given", s.path, imp)
			}
		}
		// Of the kernel's names the constants are allowed, which are written in capitals; its calls are not.
		for _, use := range uses(s.file, map[string][]string{"unix": nil}) {
			if strings.ToUpper(use.Sel.Name) != use.Sel.Name {
				t.Errorf("%s: %s: a decision may depend only on what it is given", positions.Position(use.Pos()), name(use))
			}
		}
		for _, use := range uses(s.file, impureOf) {
			t.Errorf("%s: %s: a decision may depend only on what it is given", positions.Position(use.Pos()), name(use))
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if _, ok := n.(*ast.GoStmt); ok {
				t.Errorf("%s: a goroutine: what ends first would decide", positions.Position(n.Pos()))
			}
			return true
		})
	}
}

func TestNobodySleeps(t *testing.T) {
	for _, s := range sources(t, true) {
		for _, use := range uses(s.file, map[string][]string{"time": {"Sleep"}}) {
			t.Errorf("%s: %s: wait for a condition, a channel, or a timer in a select", positions.Position(use.Pos()), name(use))
		}
	}
}

// uses finds package.Name for the listed names, or for all names of a package with none listed. It goes by the last element of
// the import path, which no package here hides.
func uses(f *ast.File, names map[string][]string) []*ast.SelectorExpr {
	var out []*ast.SelectorExpr
	known := imports(f)
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		id, ok := sel.X.(*ast.Ident)
		if !ok || !slices.ContainsFunc(known, func(p string) bool { return p == id.Name || strings.HasSuffix(p, "/"+id.Name) }) {
			return true
		}
		if listed, ok := names[id.Name]; ok && (len(listed) == 0 || slices.Contains(listed, sel.Sel.Name)) {
			out = append(out, sel)
		}
		return true
	})
	return out
}

func name(s *ast.SelectorExpr) string { return s.X.(*ast.Ident).Name + "." + s.Sel.Name }

func TestPackagesSayWhatTheyDecide(t *testing.T) {
	docs, files := map[string]string{}, map[string]string{}
	for _, s := range sources(t, false) {
		files[s.pkg] = s.path
		if s.file.Doc != nil {
			docs[s.pkg] += s.file.Doc.Text()
		}
	}
	for pkg, file := range files {
		if len(docs[pkg]) < 80 {
			t.Errorf("package %s (%s) has no doc.go that says what it decides and what it never does", pkg, file)
		}
	}
}

var (
	link   = regexp.MustCompile(`\]\(([^)#:\s]+)(?:#[^)]*)?\)`)
	quoted = regexp.MustCompile("`((?:internal|cmd|docs|test|tools|dist|bench|web|\\.ci)/[A-Za-z0-9_./-]*)`")
)

// TestDocumentsNameFilesThatExist: relative links, and paths of the repository in backquotes.
func TestDocumentsNameFilesThatExist(t *testing.T) {
	var docs []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/adr/*.md"} {
		found, err := filepath.Glob(filepath.Join("..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, found...)
	}
	if len(docs) < 5 {
		t.Fatalf("only %d documents found", len(docs))
	}
	for _, doc := range docs {
		b, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(b), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(doc), m[1])); err != nil {
				t.Errorf("%s links to %s, which does not exist", doc, m[1])
			}
		}
		for _, m := range quoted.FindAllStringSubmatch(string(b), -1) {
			if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
				t.Errorf("%s speaks of %s, which does not exist", doc, m[1])
			}
		}
	}
}
