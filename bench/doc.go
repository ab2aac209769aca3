// Package bench measures whole daemons: how long a service takes until all of its tasks run, and what a node costs in
// memory. The same question goes to Debian's docker.io in the same run, since only a ratio survives a change of the
// machine. It decides nothing and fails at no figure; README.md says how to run it and docs/performance.md what came out.
package bench
