package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/spf13/cobra"

	"shoal/internal/api"
	"shoal/internal/backup"
)

func backupCommand(docker command.Cli) *cobra.Command {
	var stale bool
	c := &cobra.Command{
		Use:   "backup [OPTIONS] FILE|-",
		Short: "Write a backup of the whole swarm, taken from a manager",
		Long: "Write everything that the swarm's managers hold (services, networks, secrets, configs, nodes, tokens, the root CA\n" +
			"and its key) to a file, or to STDOUT. The manager that is asked goes on meanwhile; containers' data and volumes\n" +
			"are not in it. The file is as secret as the swarm's keys: who has it, has the swarm. With autolock on it is\n" +
			"sealed with the unlock key of the moment, and worthless without it.",
		Args:                  cli.ExactArgs(1),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := takeBackup(cmd.Context(), docker, args[0], stale)
			if err != nil {
				return err
			}
			fmt.Fprintf(docker.Err(), "backup of swarm %s, taken from %s (%s)\n", h.ClusterID, h.Hostname, h.Advertise)
			if h.Locked {
				fmt.Fprintln(docker.Err(), "It is sealed: 'shoal swarm unlock-key' shows the key that opens it. Keep that elsewhere.")
			} else {
				fmt.Fprintln(docker.Err(), "It holds the swarm's keys in the clear: keep it as you keep those.")
			}
			return nil
		},
	}
	c.Flags().BoolVar(&stale, "stale", false, "Take what this manager has, without asking the leader (for a swarm that has none)")
	return c
}

// takeBackup writes the manager's backup to path, whole or not at all; "-" is standard output.
func takeBackup(ctx context.Context, docker command.Cli, path string, stale bool) (backup.Header, error) {
	if path == "-" && docker.Out().IsTerminal() {
		return backup.Header{}, errors.New("a backup is not written to a terminal: name a file")
	}
	resp, err := ask(ctx, docker, http.MethodGet, "/shoal/backup?stale="+fmt.Sprint(stale), nil)
	if err != nil {
		return backup.Header{}, err
	}
	defer resp.Body.Close()
	if path == "-" {
		return checkedCopy(docker.Out(), resp.Body)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".part-*") // for its owner alone
	if err != nil {
		return backup.Header{}, err
	}
	h, err := checkedCopy(f, resp.Body)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return h, errors.Join(err, os.Remove(f.Name()))
	}
	return h, nil
}

// checkedCopy copies a backup and makes sure that it has come over whole.
func checkedCopy(to io.Writer, from io.Reader) (backup.Header, error) {
	r, err := backup.NewReader(io.TeeReader(from, to))
	if err != nil {
		return backup.Header{}, err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return r.Header, fmt.Errorf("the backup did not come over whole: %w", err)
	}
	return r.Header, nil
}

func restoreCommand(docker command.Cli) *cobra.Command {
	var where api.RestoreRequest
	c := &cobra.Command{
		Use:   "restore [OPTIONS] FILE|-",
		Short: "Make this node the only manager of the swarm in a backup",
		Long: "Make the daemon's node, which must be in no swarm, the only manager of the swarm in a backup: with its CA, its\n" +
			"tokens and its services. Nodes of the swarm come back by themselves when the address is one that they know of a\n" +
			"manager. A backup that is broken or cut short changes nothing. Only one machine may go on with a swarm, and none\n" +
			"of its earlier managers may come back with what it had.",
		Args:                  cli.ExactArgs(1),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			done, err := restoreBackup(cmd.Context(), docker, args[0], where)
			if err != nil {
				return err
			}
			tellRestored(docker.Out(), done)
			return nil
		},
	}
	c.Flags().StringVar(&where.AdvertiseAddr, "advertise-addr", "", `Advertised address (format: "<ip|interface>[:port]")`)
	c.Flags().StringVar(&where.ListenAddr, "listen-addr", "", `Listen address (format: "<ip|interface>[:port]")`)
	c.Flags().StringVar(&where.DataPathAddr, "data-path-addr", "", `Address or interface to use for data path traffic (format: "<ip|interface>")`)
	return c
}

func restoreBackup(ctx context.Context, docker command.Cli, path string, where api.RestoreRequest) (done api.Restored, err error) {
	from := io.Reader(docker.In())
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return done, err
		}
		defer f.Close()
		from = f
	}
	q := url.Values{"listen-addr": {where.ListenAddr}, "advertise-addr": {where.AdvertiseAddr}, "data-path-addr": {where.DataPathAddr}}
	resp, err := ask(ctx, docker, http.MethodPost, "/shoal/restore?"+q.Encode(), io.NopCloser(from))
	if err != nil {
		return done, err
	}
	defer resp.Body.Close()
	return done, json.NewDecoder(resp.Body).Decode(&done)
}

func tellRestored(to io.Writer, d api.Restored) {
	fmt.Fprintf(to, "Swarm %s is restored as %s had it at %s; this node is its only manager, at %s.\n",
		d.ClusterID, d.Hostname, d.Created.Format(time.RFC3339), d.Advertise)
	if d.Locked {
		fmt.Fprintln(to, "It is locked: 'shoal swarm unlock' starts it, with the unlock key of the time.")
	}
	if d.Was != d.Advertise {
		fmt.Fprintf(to, "The address was %s: nodes that know no manager but that one must leave by force and join anew.\n", d.Was)
	}
	tellLost(to, d.Lost)
	fmt.Fprintln(to, "More managers: 'shoal swarm join-token manager' shows how they join.")
}

// tellLost says what to do about managers that a swarm goes on without.
func tellLost(to io.Writer, lost []string) {
	if len(lost) > 0 {
		fmt.Fprintf(to, "Managers that are given up: %s. None may come back with what it had: 'shoal swarm leave --force' there, or\n"+
			"an empty data root, before it joins anew; 'shoal node rm' for one that is gone.\n", strings.Join(lost, ", "))
	}
}

// ask calls one of Shoal's own routes over whatever connection docker/cli has to the daemon.
func ask(ctx context.Context, docker command.Cli, method, path string, body io.ReadCloser) (*http.Response, error) {
	dial := docker.Client().Dialer()
	h := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://shoal"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := h.Do(req)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the daemon: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, daemonError(resp)
	}
	return resp, nil
}
