package images

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"shoal/internal/sample"
)

// postgresStart makes the database on its first start and then runs the server; the superuser's password comes from the
// file that $POSTGRES_PASSWORD_FILE names.
const postgresStart = `#!/bin/sh
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
	initdb -D "$PGDATA" -U postgres --pwfile="$POSTGRES_PASSWORD_FILE" -A scram-sha-256 --no-locale -E UTF8 --no-sync
	echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
fi
exec postgres -D "$PGDATA" -c 'listen_addresses=*' -c unix_socket_directories=/tmp -c fsync=off -c jit=off
`

// addPostgres adds postgres:15, made from Debian's packages of that release.
func addPostgres(ctx context.Context, r *sample.Registry) error {
	const home = "/usr/lib/postgresql/15"
	c := collector{seen: map[string]bool{}}
	for _, p := range []string{
		home + "/bin/postgres", home + "/bin/initdb", home + "/bin/psql",
		home + "/lib/plpgsql.so", home + "/lib/dict_snowball.so", "/bin/sh",
	} {
		if err := c.add(p, p[1:]); err != nil {
			return fmt.Errorf("postgres (tools/prerequisites e2e installs it): %w", err)
		}
	}
	share, err := tree("/usr/share/postgresql/15")
	if err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	root := append(append(c.files, share...),
		sample.File{Path: "etc/passwd", Mode: 0o644, Data: []byte("root:x:0:0::/:\npostgres:x:999:999::/data:\n")},
		sample.File{Path: "data", Mode: 0o777, Dir: true}, sample.File{Path: "tmp", Mode: 0o1777, Dir: true},
		sample.File{Path: "start", Mode: 0o755, Data: []byte(postgresStart)})
	conf := config([]string{"/start"}, "PGDATA=/data/db", "LANG=C")
	conf.Env[0] += ":" + home + "/bin"
	conf.User = "999:999"
	conf.Volumes = map[string]struct{}{"/data": {}}
	img, err := sample.Image(conf, root...)
	if err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	return r.Add(ctx, "postgres", "15", img)
}

// tree returns the regular files below a folder of this host, but for what no test reads: documents of other languages.
func tree(dir string) ([]sample.File, error) {
	var files []sample.File
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.Contains(path, "/man/") {
			return err
		}
		data, err := os.ReadFile(path)
		files = append(files, sample.File{Path: path[1:], Mode: 0o644, Data: data})
		return err
	})
	return files, err
}
