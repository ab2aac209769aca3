package cli

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/docker/cli/cli/command"

	"shoal/internal/api"
	"shoal/internal/daemon"
	"shoal/internal/raftstore"
)

// managers makes a survey of them; the first one is this manager.
func managers(leader string, answer ...bool) api.Survey {
	s := api.Survey{ClusterID: "c", Leader: leader, LogIndex: 10, LogTerm: 2}
	for i, a := range answer {
		s.Managers = append(s.Managers, api.SurveyManager{ID: string(rune('a' + i)), Hostname: "host", Addr: "10.0.0.1:2377", Voter: true, Self: i == 0, Answers: a})
	}
	return s
}

func TestRecoverRefusesASwarmThatIsNotLost(t *testing.T) {
	for _, c := range []struct {
		name  string
		s     api.Survey
		words string // of the refusal; empty: none
	}{
		{"one of three", managers("", true, false, false), ""},
		{"two of five", managers("", true, true, false, false, false), ""},
		{"two of three, no leader yet", managers("", true, true, false), "comes back by itself"},
		{"a leader that this manager hears", managers("b", true, false, false), "has a leader"},
		{"the only one", managers("a", true), "the only one already"},
	} {
		err := refuse(c.s)
		if (err == nil) != (c.words == "") || err != nil && !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestRecoverWantsTheNewestDisk(t *testing.T) {
	disks := map[string]daemon.Disk{
		"older":   {ClusterID: "c", Log: raftstore.Tail{Index: 12, Term: 1}},
		"equal":   {ClusterID: "c", Log: raftstore.Tail{Index: 10, Term: 2}},
		"newer":   {ClusterID: "c", Log: raftstore.Tail{Index: 11, Term: 2}},
		"newest":  {ClusterID: "c", Log: raftstore.Tail{Index: 3, Term: 3}},
		"foreign": {ClusterID: "d", Log: raftstore.Tail{Index: 10, Term: 2}},
	}
	for _, c := range []struct{ given, words string }{
		{"", ""},
		{"older equal", ""},
		{"older newer", "the newest state is on newer"},
		{"newer newest", "the newest state is on newest"},
		{"newest newer", "the newest state is on newest"},
		{"foreign", "of another swarm"},
		{"missing", "disk missing"},
	} {
		r := recovery{disks: strings.Fields(c.given), look: func(path string) (daemon.Disk, error) {
			d, ok := disks[path]
			if !ok {
				return d, io.ErrUnexpectedEOF
			}
			return d, nil
		}}
		err := r.compareDisks(io.Discard, managers("", true, false, false))
		if (err == nil) != (c.words == "") || err != nil && !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", c.given, err)
		}
	}
}

func TestOnlyYesIsYes(t *testing.T) {
	for in, want := range map[string]bool{"y\n": true, "YES\n": true, " y \n": true, "\n": false, "": false, "n\n": false, "yep\n": false} {
		docker, err := command.NewDockerCli(command.WithInputStream(io.NopCloser(strings.NewReader(in))), command.WithOutputStream(new(bytes.Buffer)))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := confirm(docker, "? "); got != want || err != nil {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
}
