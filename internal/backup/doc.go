// Package backup is the format of a backup's file: a first line that names it and its version, a header in JSON, a body
// that only its maker can read, and a checksum over all of it at the end. It decides whether a file is whole; it never
// says what becomes of it.
package backup
