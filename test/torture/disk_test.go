package torture

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"
)

// TestFullDisk fills the disk under a daemon that works. Writes are refused in words, reads and containers go on, a crash is
// survived, and with space all is as before.
func TestFullDisk(t *testing.T) {
	r := newRig(t, "10.99.72.0/24")
	r.run("mkdir", "-p", r.data())
	r.run("mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs", r.data())
	r.init()
	before := r.create(r.spec("before", `"StopGracePeriod":1000000000`, `"Mode":{"Replicated":{"Replicas":2}}`))
	up := func(id string, want int) {
		t.Helper()
		r.await(30*time.Second, "service "+id+" does not run", func() (bool, string) {
			n, why := r.running(id)
			return n == want, why
		})
	}
	up(before, 2)

	r.fill()
	refused := func(what string, a answer) {
		t.Helper()
		if a.status != http.StatusInsufficientStorage || !strings.Contains(a.message, "no space left") {
			t.Errorf("%s on a full disk: %d %s", what, a.status, a.message)
		}
	}
	refused("create", r.post("/services/create", r.spec("during", "", "")))
	refused("update", r.post("/services/"+before+"/update?version="+r.version(before), r.spec("before", "", `"Mode":{"Replicated":{"Replicas":3}}`)))
	refused("remove", r.request(http.MethodDelete, "/services/"+before, "", nil))
	refused("config", r.post("/configs/create", `{"Name":"c","Data":"eA=="}`))
	refused("container", r.post("/containers/create?name=during", `{"Image":"`+r.image+`"}`))
	refused("volume", r.post("/volumes/create", `{"Name":"during"}`))
	if n, why := r.running(before); n != 2 {
		t.Errorf("%d of 2 tasks run: %s", n, why)
	}
	if !r.alive() {
		t.Fatal("the daemon has ended")
	}

	t.Log("one container dies and the daemon is killed while the disk is full")
	if _, err := r.docker.ContainerKill(t.Context(), r.tasks(before)[0].Status.ContainerStatus.ContainerID, client.ContainerKillOptions{}); err != nil {
		t.Error(err)
	}
	if err := r.machine.Signal(t.Context(), r.pid, syscall.SIGKILL, true); err != nil {
		t.Fatal(err)
	}
	r.launch()
	r.ready()
	refused("create after a crash", r.leads(r.spec("during", "", "")))
	if !r.alive() {
		t.Fatal("the daemon has ended")
	}

	r.run("rm", r.data()+"/ballast")
	up(before, 2)
	up(r.create(r.spec("after", "", "")), 1)
	if a := r.request(http.MethodGet, "/services/during", "", nil); a.status != http.StatusNotFound {
		t.Errorf("a refused service is there: %d %s", a.status, a.message)
	}
}

// fill takes what is left of the machine's disk.
func (r *rig) fill() {
	r.Helper()
	r.run("sh", "-c", "cat /dev/zero >"+r.data()+"/ballast 2>/dev/null; [ $(stat -f -c %a "+r.data()+") = 0 ]")
}

// leads repeats a create until the swarm has a leader to answer it.
func (r *rig) leads(body string) (a answer) {
	r.Helper()
	r.await(20*time.Second, "no leader answers", func() (bool, string) {
		a = r.post("/services/create", body)
		return a.status != http.StatusServiceUnavailable, a.message
	})
	return a
}
