package validate

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// decode reads a document as one of Kubernetes' types. A field that the type does not have, or one
// of another type, is an error.
func decode(document []byte) (any, error) {
	var kind struct{ Kind string }
	if err := yaml.Unmarshal(document, &kind); err != nil {
		return nil, err
	}
	into, ok := map[string]any{"Job": &batchv1.Job{}, "Deployment": &appsv1.Deployment{}, "Service": &corev1.Service{}}[kind.Kind]
	if !ok {
		return nil, fmt.Errorf("there is no kind %q here", kind.Kind)
	}
	return into, yaml.UnmarshalStrict(document, into)
}

// documents reads and decodes a file of the folder kubernetes.
func documents(t *testing.T, name string) (all []any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "kubernetes", name))
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		object, err := decode(document)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, object)
	}
	return all
}

func TestDecode_refusals(t *testing.T) {
	for _, text := range []string{
		"kind: Job\nspec: {completion: 8}", "kind: Job\nspec: {completions: eight}", "kind: CronJob",
		"kind: Job\nspec: {template: {spec: {containers: [{name: a, comand: [sh]}]}}}",
	} {
		if _, err := decode([]byte(text)); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

// mounted checks that every mount of a pod has a volume.
func mounted(t *testing.T, pod corev1.PodSpec) {
	t.Helper()
	volumes := map[string]bool{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
	}
	for _, c := range pod.Containers {
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] {
				t.Errorf("container %s mounts %q, which is no volume", c.Name, m.Name)
			}
		}
	}
}

// Every index of the job answers a shard of its own, and together they are all.
func TestInterpretJob(t *testing.T) {
	job := documents(t, "interpret-job.yaml")[0].(*batchv1.Job)
	pod := job.Spec.Template.Spec
	mounted(t, pod)
	if job.APIVersion != "batch/v1" || *job.Spec.CompletionMode != batchv1.IndexedCompletion || pod.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("%s, %s, restart policy %s", job.APIVersion, *job.Spec.CompletionMode, pod.RestartPolicy)
	}
	n := int(*job.Spec.Completions)
	c := pod.Containers[0]
	for index := range n {
		got := commandOf(t, append(c.Command, c.Args...), fmt.Sprintf("JOB_COMPLETION_INDEX=%d", index))
		want := fmt.Sprintf("interpret --run /srv/recint/residual --in /srv/recint/rows.parquet --out /srv/recint/answers-%d.jsonl --shard %d/%d",
			index, index+1, n)
		if got != want {
			t.Errorf("index %d runs recint %s, want %s", index, got, want)
		}
	}
}

// commandOf runs a command with a recint and an srun that print how they are called.
func commandOf(t *testing.T, command []string, environment ...string) string {
	t.Helper()
	fake := t.TempDir()
	for name, script := range map[string]string{"recint": "echo \"$@\"", "srun": "echo srun \"$@\""} {
		if err := os.WriteFile(filepath.Join(fake, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command(command[0], command[1:]...)
	c.Env = append(os.Environ(), append(environment, "PATH="+fake+":"+os.Getenv("PATH"))...)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}

// The service selects the pods of the deployment, and probes and service name its port.
func TestServe(t *testing.T) {
	all := documents(t, "serve.yaml")
	deployment, service := all[0].(*appsv1.Deployment), all[1].(*corev1.Service)
	pod := deployment.Spec.Template
	mounted(t, pod.Spec)
	for key, value := range service.Spec.Selector {
		if pod.Labels[key] != value || deployment.Spec.Selector.MatchLabels[key] != value {
			t.Errorf("the label %s is %q in pods, and %q in the service", key, pod.Labels[key], value)
		}
	}
	c := pod.Spec.Containers[0]
	port := c.Ports[0].Name
	for name, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe, "readiness": c.ReadinessProbe, "liveness": c.LivenessProbe} {
		if probe.HTTPGet == nil || probe.HTTPGet.Port.StrVal != port || !strings.HasPrefix(probe.HTTPGet.Path, "/") {
			t.Errorf("the %s probe asks %+v", name, probe.HTTPGet)
		}
	}
	if got := service.Spec.Ports[0].TargetPort.StrVal; got != port {
		t.Errorf("the service leads to the port %q of pods; they have %q", got, port)
	}
	if *pod.Spec.TerminationGracePeriodSeconds < 45 {
		t.Error("pods are ended before they have answered")
	}
}

// sbatchOptions are those of sbatch that the scripts use, with the form of their values.
var sbatchOptions = map[string]string{
	"job-name": `[\w-]+`, "array": `\d+-\d+`, "ntasks": `\d+`, "nodes": `\d+`, "ntasks-per-node": `\d+`, "cpus-per-task": `\d+`,
	"mem": `\d+[KMGT]`, "time": `\d+:\d\d:\d\d`, "requeue": ``, "output": `[\w%.-]+`, "signal": `[A-Z]+@\d+`,
}

// Slurm has no schema: options are compared with those that sbatch has, and each task's command is
// looked at.
func TestSlurm(t *testing.T) {
	paths, err := filepath.Glob("../slurm/*.sbatch")
	if err != nil || len(paths) == 0 {
		t.Fatal("no scripts: ", err)
	}
	line := regexp.MustCompile(`^#SBATCH --([a-z-]+)(?:=(\S+))?$`)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for l := range strings.Lines(string(text)) {
			if l = strings.TrimSpace(l); !strings.HasPrefix(l, "#SBATCH") {
				continue
			}
			m := line.FindStringSubmatch(l)
			if m == nil {
				t.Errorf("%s: %q is no option", path, l)
			} else if form, ok := sbatchOptions[m[1]]; !ok || !regexp.MustCompile("^"+form+"$").MatchString(m[2]) {
				t.Errorf("%s: %q is no option of sbatch, or has another value", path, l)
			}
		}
	}
	for task := 1; task <= 8; task++ {
		got := commandOf(t, []string{"bash", "../slurm/interpret.sbatch"}, "RUN=run", "ROWS=rows.parquet", "ANSWERS=answers",
			"SLURM_CPUS_PER_TASK=8", fmt.Sprintf("SLURM_ARRAY_TASK_ID=%d", task))
		want := fmt.Sprintf("--threads 8 interpret --run run --in rows.parquet --out answers-%d.jsonl --shard %d/8", task, task)
		if got != want {
			t.Errorf("task %d runs recint %s, want %s", task, got, want)
		}
	}
	got := commandOf(t, []string{"bash", "../slurm/align.sbatch", "--out", "run"}, "SLURM_CPUS_PER_TASK=16")
	if want := "srun --mpi=pmix --kill-on-bad-exit=0 recint --threads 16 align --out run"; got != want {
		t.Errorf("align runs %s, want %s", got, want)
	}
}
